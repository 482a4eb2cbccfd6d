"""Evolutions by language models, whole and without a key: a scripted model over HTTP, LiteLLM, cage, verifiers, ladder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from genesys.agents.conductor import conduct
from genesys.agents.endings import brief_of
from genesys.agents.retrieval import Bm25Retriever
from genesys.agents.workbench import Workbench
from genesys.api import Run
from genesys.config import load_config
from genesys.evolution.events import DesignProposed, Event, ProposalFailed, SessionStarted
from genesys.evolution.sessions import decode_task
from genesys.gau import UnitTree
from genesys.llm.book import CallBook
from genesys.llm.calls import NANO_PER_USD
from genesys.llm.gateway import Gateway
from genesys.llm.prices import PriceList
from genesys.llm.replay import ReplayTreasury
from genesys.llm.spending import Totals
from genesys.roles.session import design_session
from genesys.storage import RunStore
from genesys.testing.null_cage import NullCage
from genesys.testing.scripted_model import Script, ScriptedModel, settings_yaml
from tests.integration.processes import actor_processes, start_into
from tests.integration.test_evolve import write_config

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(3600)]
PATIENCE_S = 3000.0
MODES = ("mutation", "crossover", "scratch")
SETTINGS = """
seeds: [gpt, retnet]
operators: {mutation: 0.3, crossover: 0.4, scratch: 0.3, crossover_from: 2, scratch_from: 0}
"""
LIMITS = (
    "  limits: {beam: 1, samples: 1, max_proposals: 3, max_searches: 1, max_turns: 2, max_attempts: 3, max_units: 8}\n"
)


@contextmanager
def running(folder: Path, server: ScriptedModel, quotas: str, *, sessions: int) -> Iterator[subprocess.Popen[str]]:
    """An evolution by the scripted model, as a command; interrupted if it is still there at the end."""
    agents = settings_yaml(server.url, server.script).replace(
        "  kinds: {rules: 0, llm: 1}", f"  kinds: {{llm: 1}}\n  sessions: {sessions}"
    )
    write_config(folder, f"quotas: {quotas}\n" + SETTINGS + agents + LIMITS)
    process = start_into(folder / "log.txt", "evolve", "run.yaml", "--no-dashboard", cwd=folder)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(120)


def designers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The designers below a run; one at work is called after its latest task."""
    run = psutil.Process(process.pid)
    return [found for name in ("Designer", "design ") for found in actor_processes(name, run)]


def events_of(run: Path) -> list[Event]:
    with closing(RunStore(run).journal(mode="reader")) as journal:
        return [entry.event for entry in journal.read()]


def sessions_of(events: list[Event]) -> tuple[dict[str, SessionStarted], dict[str, DesignProposed | ProposalFailed]]:
    """Sessions as they started and as they ended, by id."""
    started = {event.session: event for event in events if isinstance(event, SessionStarted)}
    ended = {
        event.session: event for event in events if isinstance(event, DesignProposed | ProposalFailed) and event.session
    }
    return started, ended


def n_ended(run: Path) -> int:
    return len(sessions_of(events_of(run))[1]) if (run / "journal.sqlite").exists() else 0


def totals_of(run: Path) -> Totals:
    with closing(CallBook(run / "calls.sqlite", mode="reader")) as book:
        return book.totals()


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ScriptedModel, float]]:
    """The folder of a run of at least ten sessions in all modes, its model, and the seconds it took."""
    folder = tmp_path_factory.mktemp("agents")
    script = Script(
        seed=1, latency_s=0.05, p_bad_code=0.1, p_low_rating=0.1, p_malformed=0.05, p_rate_limited=0.03,
        p_server_error=0.03,
    )  # fmt: skip
    with ScriptedModel(script) as server:
        began = time.monotonic()
        with running(folder, server, "[12, 2]", sessions=4) as process:
            process.wait(PATIENCE_S)
        assert process.returncode == 0, (folder / "log.txt").read_text()
        yield folder / "runs" / "run-1", server, time.monotonic() - began


def test_a_complete_evolution(whole_run: tuple[Path, ScriptedModel, float]) -> None:
    run, server, _ = whole_run
    events, tree = events_of(run), Run(run).tree
    started, ended = sessions_of(events)
    assert tree.finished == "every quota is spent"
    assert len(started) >= 10 and {event.operator for event in started.values()} == set(MODES)
    assert started.keys() == ended.keys() and not tree.open_sessions
    verified = [record for record in tree if record.session and record.runs]
    assert len(verified) >= 8, "designs by language models climb the ladder"
    assert not tree.counters["design_rejected"], "what a session hands in passes the checker again"
    run_total = totals_of(run).run
    assert run_total.booked_nano == server.charged.nano > 0 == run_total.unsure_nano
    assert sum(round(event.cost_usd * NANO_PER_USD) for event in ended.values()) == run_total.booked_nano
    assert totals_of(run).purposes["embedding"].booked_nano > 0, "proposals are compared by their meaning"
    assert {served.outcome for served in server.served} >= {"answered", "malformed"}


async def test_a_recorded_run_replays_offline(
    whole_run: tuple[Path, ScriptedModel, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same outcomes from the books alone: no network, no cage, nothing to search in."""
    run, server, seconds = whole_run
    n_served, config, tree = server.charged.n_requests, load_config(run / "config.yaml"), Run(run).tree
    started, ended = sessions_of(events_of(run))
    monkeypatch.setattr("genesys.llm.client._litellm", lambda: pytest.fail("a request was made"))
    began = time.process_time()
    with (
        closing(CallBook(run / "calls.sqlite", mode="reader")) as book,
        closing(RunStore(run).journal(mode="reader")) as journal,
    ):
        treasury = ReplayTreasury(book)
        gateway = Gateway(config.agents, PriceList.from_json(book.prices), treasury, None)  # type: ignore[arg-type]
        for session, event in started.items():
            task = decode_task(journal.blob(event.task))
            parents = [UnitTree.from_json(json.loads(journal.blob(tree.record(p).program))) for p in task.parents]

            async def claim(tree: UnitTree) -> str:
                return ""

            done = await conduct(
                design_session(brief_of(task, parents)), session_id=session, gateway=gateway, treasury=treasury,
                workbench=Workbench(NullCage(), (), 257), retriever=Bm25Retriever(), claim=claim, seed=task.seed,
                weights=task.weights,
            )  # fmt: skip
            end = ended[session]
            assert round(end.cost_usd * NANO_PER_USD) == done.cost_nano
            assert (done.outcome.title, dict(done.outcome.scores)) == (end.title, dict(end.scores))
            if isinstance(end, DesignProposed):
                assert done.outcome.tree is not None and done.outcome.tree.design_id == end.design
            else:
                assert end.cause in (done.outcome.cause, "duplicate")
    share = (time.process_time() - began) / seconds
    print(f"replay took {share:.2%} of the run's time")
    assert server.charged.n_requests == n_served


STAGES = ("ProposerTurn", "ReviewerTurn", "PlannerTurn", "CoderTurn", "ObserverTurn")


def test_a_designer_killed_in_each_stage_is_resumed(tmp_path: Path) -> None:
    """SIGKILL while a call of each role is under way: sessions go on, and only calls in flight may be paid again."""
    run, killed = tmp_path / "runs" / "run-1", list[str]()
    with (
        ScriptedModel(Script(seed=2, latency_s=1.0, p_bad_code=0.1, p_search=0.0)) as server,
        running(tmp_path, server, "[8, 1]", sessions=1) as process,
    ):
        deadline = time.monotonic() + PATIENCE_S
        for stage in STAGES:
            while stage not in server.open_forms or n_ended(run) < len(killed):  # no session dies twice
                assert process.poll() is None, (tmp_path / "log.txt").read_text()
                assert time.monotonic() < deadline, f"no call of {stage} came"
                time.sleep(0.05)
            (designer,) = designers(process)
            os.kill(designer.pid, signal.SIGKILL)
            killed.append(stage)
        process.wait(PATIENCE_S)
    assert process.returncode == 0, (tmp_path / "log.txt").read_text()
    started, ended = sessions_of(events_of(run))
    totals = totals_of(run).run
    assert not {"stale", "poison"} & {getattr(event, "cause", "") for event in ended.values()}
    assert started.keys() == ended.keys() and Run(run).tree.finished == "every quota is spent"
    assert server.charged.nano <= totals.booked_nano and totals.unsure_nano > 0
    asked = Counter(json.dumps(served.body, sort_keys=True) for served in server.served if served.nano)
    n_again = sum(n - 1 for n in asked.values())
    assert n_again <= len(STAGES), f"{n_again} calls were paid again, one was in flight at each kill"
    assert server.charged.n_charged - n_again == totals.n_answered
