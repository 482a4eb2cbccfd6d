"""What sessions cost beside the models' own time: CPU for each call over bare LiteLLM, and how busy they keep a server.

    python -m benchmarks.agents [SECONDS]

A scripted model in a process of its own answers over HTTP. First the same requests are made by whole sessions (gateway,
books on disk, conductor, session, prompts) and by LiteLLM alone, in turns, in one process. Then two designers' processes conduct 100
sessions each, with one keeper of the money, against answers that take 1 s +- 20%; the checks that sessions ask for take no time.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import ray

from actors.handles import TreasurerHandle
from actors.treasurer import TreasurerSettings
from benchmarks._report import Report
from cluster.spawn import spawn_treasurer
from genesys.agents.briefing import bounds
from genesys.agents.conductor import conduct
from genesys.agents.retrieval import Bm25Retriever, library_documents
from genesys.agents.workbench import Workbench
from genesys.evolution.evidence import Evidence, Known
from genesys.gau import UnitTree
from genesys.gau.library import seed_design
from genesys.ladder import LADDERS
from genesys.llm.book import CallBook
from genesys.llm.calls import Treasury
from genesys.llm.client import LiteLLMClient
from genesys.llm.gateway import Gateway
from genesys.llm.local_treasury import LocalTreasury
from genesys.llm.prices import PriceList
from genesys.llm.settings import AgentsConfig, ModelConfig, MoneyCaps
from genesys.roles.brief import Brief, SessionLimits
from genesys.roles.session import design_session
from genesys.sandbox import Policy
from genesys.testing.null_cage import NullCage

GOAL_MS, LITELLM_MS = 2.0, 2.75  # the goal was set where LiteLLM alone takes 2.5 to 3 ms
GOAL_BUSY = 0.85
N_PROCESSES, N_SESSIONS, LATENCY_S = 2, 100, 1.0
N_ROUNDS, N_PER_ROUND, N_AT_ONCE = 3, 24, 8
WARM_UP_S = 10.0
LIMITS = SessionLimits(beam=1, samples=1)
SCALES = LADDERS["cpu"].scales
OPERATORS = ("mutation", "crossover", "scratch")
SCRIPT = ("--p-bad-code", "0.2", "--p-low-rating", "0.2", "--p-malformed", "0.05")


class _Bench(NullCage):
    """Passes every design at once and derives nothing."""

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        return await super().run(entry, request, policy) if "tree" in request else {"output": "0"}


class _Conducting:
    """Sessions one after the other in any number of lanes, through one gateway."""

    def __init__(self, agents: AgentsConfig, treasury: Treasury, client: LiteLLMClient) -> None:
        self._gateway = Gateway(agents, PriceList.of(agents), treasury, client)
        self._treasury = treasury
        self._workbench = Workbench(_Bench(), SCALES, 257, n_jobs=64)
        self._retriever = Bm25Retriever(library_documents())
        self._bounds = bounds(SCALES, 257)

    async def one(self, name: str, n: int) -> None:
        """Conduct one session to its end."""

        async def claim(tree: UnitTree) -> str:
            return ""

        operator: Any = OPERATORS[n % len(OPERATORS)]
        seeds = {"mutation": ("gpt",), "crossover": ("gpt", "retnet"), "scratch": ()}[operator]
        known = tuple(Known(design=seed_design(s).design_id, name=s, outcome="verified") for s in seeds)
        brief = Brief(session=f"{name}-{n}", operator=operator, parents=tuple(map(seed_design, seeds)), seed=n,
                      evidence=Evidence(parents=known), bounds=self._bounds, limits=LIMITS)  # fmt: skip
        await conduct(
            design_session(brief), session_id=brief.session, gateway=self._gateway, workbench=self._workbench,
            retriever=self._retriever, claim=claim, treasury=self._treasury, seed=n,
        )  # fmt: skip

    async def some(self, name: str, n: int, n_lanes: int) -> None:
        """Conduct `n` sessions, so many at once."""
        numbers = iter(range(n))

        async def lane() -> None:
            for number in numbers:
                await self.one(name, number)

        await asyncio.gather(*(lane() for _ in range(n_lanes)))

    async def until(self, name: str, n_lanes: int, end: float) -> None:
        """Conduct sessions until a time of the wall clock; those under way then are given up."""
        numbers = count()

        async def lane() -> None:
            while True:
                await self.one(name, next(numbers))

        lanes = [asyncio.ensure_future(lane()) for _ in range(n_lanes)]
        await asyncio.wait(lanes, timeout=max(0.0, end - time.time()), return_when=asyncio.FIRST_EXCEPTION)
        for task in lanes:
            task.cancel()
        for failed in await asyncio.gather(*lanes, return_exceptions=True):
            if isinstance(failed, Exception):
                raise failed


@ray.remote
class _Designer:
    """A designer's process, without the cage."""

    def __init__(self, agents: AgentsConfig, treasurer: TreasurerHandle) -> None:
        self._conducting = _Conducting(agents, treasurer, LiteLLMClient())

    async def ready(self, name: str) -> None:
        """Conduct one session, so that everything is loaded."""
        await self._conducting.one(f"{name}-first", 0)

    async def work(self, name: str, n_lanes: int, end: float) -> float:
        """Conduct sessions; gives the CPU seconds that it took."""
        before = time.process_time()
        await self._conducting.until(name, n_lanes, end)
        return time.process_time() - before


@contextmanager
def _model(*flags: str) -> Iterator[str]:
    """A scripted model in a process of its own; gives its URL."""
    command = [sys.executable, "-m", "genesys.testing.scripted_model", "--port", "0", *SCRIPT, *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield next(line.split("api_base: ")[1].strip() for line in process.stdout if "api_base: " in line)
    finally:
        process.terminate()
        process.wait(30)


def _agents(url: str) -> AgentsConfig:
    model = ModelConfig(name="openai/scripted", api_base=url, structured="json_schema", input_usd=1.0, cached_usd=0.1,
                        output_usd=4.0)  # fmt: skip
    return AgentsConfig(models={"default": (model,)}, caps=MoneyCaps(run=100_000.0), limits=LIMITS)


async def _overhead_ms(url: str, folder: Path) -> tuple[float, float]:
    """CPU milliseconds for each call: of LiteLLM alone, and of whole sessions."""
    client = LiteLLMClient()
    agents = _agents(url)
    conducting = _Conducting(agents, LocalTreasury(CallBook(folder / "calls.sqlite", agents.caps)), client)
    await conducting.some("warm-up", 6, N_AT_ONCE)
    import litellm  # as the client set it up

    send, sent = litellm.acompletion, list[dict[str, Any]]()

    async def note(**request: Any) -> Any:
        sent.append(request)
        return await send(**request)

    litellm.acompletion = note
    bare, whole = [], []
    for round_ in range(N_ROUNDS):
        sent.clear()
        began = time.process_time()
        await conducting.some(f"round-{round_}", N_PER_ROUND, N_AT_ONCE)
        whole.append((time.process_time() - began) / len(sent))
        began = time.process_time()
        await _in_lanes([send(**request) for request in sent], N_AT_ONCE)
        bare.append((time.process_time() - began) / len(sent))
    await client.close()
    return 1000 * statistics.median(bare), 1000 * statistics.median(whole)


async def _in_lanes(coroutines: Sequence[Any], n_lanes: int) -> None:
    waiting = iter(coroutines)

    async def lane() -> None:
        for coroutine in waiting:
            await coroutine

    await asyncio.gather(*(lane() for _ in range(n_lanes)))


def _busy_share(url: str, folder: Path, seconds: float) -> tuple[float, float, float]:
    """The share of places at the server that are taken, calls a second, and CPU ms of a designer for each call."""
    agents = _agents(url)
    treasurer = spawn_treasurer(TreasurerSettings(path=folder / "calls.sqlite", agents=agents))
    designers = [_Designer.options(num_cpus=0, max_concurrency=2).remote(agents, treasurer) for _ in range(N_PROCESSES)]
    ray.get([d.ready.remote(f"designer-{i}") for i, d in enumerate(designers)], timeout=300)
    first, end = _charged(url)["n_charged"], time.time() + WARM_UP_S + seconds
    work = [d.work.remote(f"designer-{i}", N_SESSIONS, end) for i, d in enumerate(designers)]
    time.sleep(WARM_UP_S)
    before = _charged(url)
    time.sleep(seconds - 1.0)
    after = _charged(url)
    cpu_s = sum(ray.get(work, timeout=seconds + 300))
    passed, n_calls = after["at"] - before["at"], after["n_charged"] - before["n_charged"]
    share = (after["place_seconds"] - before["place_seconds"]) / passed / (N_PROCESSES * N_SESSIONS)
    return share, n_calls / passed, 1000 * cpu_s / (_charged(url)["n_charged"] - first)


def _charged(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/charged", timeout=60) as response:
        found: dict[str, float] = json.load(response)
        return found


def main() -> int:
    """Measure, print, and give the exit status."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    report = Report("agents")
    with tempfile.TemporaryDirectory(prefix="genesys-agents-") as folder, _model() as url:
        bare_ms, whole_ms = asyncio.run(_overhead_ms(url, Path(folder)))
    report.add("litellm_cpu", bare_ms, "ms a call")
    report.add("session_cpu", whole_ms, "ms a call")
    report.add("overhead_cpu", whole_ms - bare_ms, "ms a call", at_most=GOAL_MS * bare_ms / LITELLM_MS)
    with (
        tempfile.TemporaryDirectory(prefix="ga-", dir="/tmp") as folder,
        _model("--latency-s", str(LATENCY_S)) as url,
    ):
        ray.init(address="local", num_cpus=4, object_store_memory=200_000_000, include_dashboard=False, log_to_driver=False,
                 _temp_dir=folder, logging_level="ERROR", namespace="benchmark")  # fmt: skip
        share, calls_per_s, cpu_ms = _busy_share(url, Path(folder), seconds)
        ray.shutdown()
    report.add("calls", calls_per_s, "calls a second")
    report.add("designer_cpu", cpu_ms, "ms a call")
    report.add("busy_places", share, "of 200", at_least=GOAL_BUSY)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
