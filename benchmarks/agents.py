"""What sessions cost beside the models' own time: CPU for each call over bare LiteLLM, and how busy they keep a server.

    python -m benchmarks.agents [SECONDS]

A scripted model in a process of its own answers over HTTP. First the same requests are made by whole sessions (gateway,
books on disk, conductor, session, prompts), 100 at once, and by LiteLLM alone, in turns. Then two
designers' processes conduct 100 sessions each, with one keeper of the money, against answers that take 1 s +- 20%; the
checks that sessions ask for take no time, but for those that are read off the code.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import count
from multiprocessing import get_context
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
from genesys.llm.client import OWN_HANDLER, LiteLLMClient, unlogged
from genesys.llm.gateway import Gateway
from genesys.llm.local_treasury import LocalTreasury
from genesys.llm.prices import PriceList
from genesys.llm.settings import AgentsConfig, ModelConfig, MoneyCaps
from genesys.roles.brief import Brief, SessionLimits
from genesys.roles.session import design_session
from genesys.sandbox import Policy
from genesys.testing.null_cage import NullCage

GOAL_MS = 2.0
GOAL_BUSY = 0.85
N_PROCESSES, N_SESSIONS, LATENCY_S = 2, 100, 1.0
N_ROUNDS, N_PER_ROUND = 3, 200
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


async def _cpu_ms(url: str, folder: Path) -> dict[str, float]:
    """CPU milliseconds for each call: of LiteLLM as it is installed, of LiteLLM as the client lightens it, of whole sessions."""
    client = LiteLLMClient()
    agents = _agents(url)
    conducting = _Conducting(agents, LocalTreasury(CallBook(folder / "calls.sqlite", agents.caps)), client)
    await conducting.some("warm-up", N_SESSIONS, N_SESSIONS)
    import litellm  # as the client set it up

    send, sent = litellm.acompletion, list[dict[str, Any]]()

    async def note(**request: Any) -> Any:
        sent.append(request)
        return await send(**request)

    async def lightened(**request: Any) -> Any:
        with unlogged():
            return await send(**request)

    litellm.acompletion = note
    rounds = []
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:
        for _ in range(N_ROUNDS):
            sent.clear()
            whole_s = await _cpu_s(conducting.some(f"round-{len(rounds)}", N_PER_ROUND, N_SESSIONS))
            lightened_s = await _cpu_s(_in_lanes(lightened, sent, N_SESSIONS))
            bare_s = await asyncio.wrap_future(apart.submit(_bare_s, sent, N_SESSIONS))
            rounds.append([1000 * seconds / len(sent) for seconds in (bare_s, lightened_s, whole_s)])
    await client.close()
    return dict(zip(("bare", "lightened", "session"), map(statistics.median, zip(*rounds, strict=True)), strict=True))


def _bare_s(requests: Sequence[Mapping[str, Any]], n_lanes: int) -> float:
    """CPU seconds of LiteLLM alone, in a process in which no client of ours was made."""
    os.environ.pop(OWN_HANDLER, None)
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    litellm.suppress_debug_info = True

    async def work() -> float:
        await _in_lanes(litellm.acompletion, requests[:n_lanes], n_lanes)
        return await _cpu_s(_in_lanes(litellm.acompletion, requests, n_lanes))

    return asyncio.run(work())


async def _cpu_s(work: Awaitable[None]) -> float:
    began = time.process_time()
    await work
    return time.process_time() - began


async def _in_lanes(send: Callable[..., Awaitable[Any]], requests: Sequence[Mapping[str, Any]], n_lanes: int) -> None:
    waiting = iter(requests)

    async def lane() -> None:
        for request in waiting:
            await send(**request)

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
        cpu_ms = asyncio.run(_cpu_ms(url, Path(folder)))
    for what, ms in cpu_ms.items():
        report.add(f"{what}_cpu", ms, "ms a call")
    report.add("overhead_cpu", cpu_ms["session"] - cpu_ms["bare"], "ms a call", at_most=GOAL_MS)
    with (
        tempfile.TemporaryDirectory(prefix="ga-", dir="/tmp") as folder,
        _model("--latency-s", str(LATENCY_S)) as url,
    ):
        ray.init(address="local", num_cpus=4, object_store_memory=200_000_000, include_dashboard=False, log_to_driver=False,
                 _temp_dir=folder, logging_level="ERROR", namespace="benchmark")  # fmt: skip
        share, calls_per_s, designer_ms = _busy_share(url, Path(folder), seconds)
        ray.shutdown()
    report.add("calls", calls_per_s, "calls a second")
    report.add("designer_cpu", designer_ms, "ms a call")
    report.add("busy_places", share, "of 200", at_least=GOAL_BUSY)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
