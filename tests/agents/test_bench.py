"""The bench: its problems, its sums, and what it does about money, crashes and endpoints that are away."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.agents import bounds
from genesys.agents.bench import Bench, Case, Problem, limits_of, spread
from genesys.agents.bench_results import FLOWS, RESULTS_FILE, Result, rates, read_results
from genesys.agents.workbench import Workbench
from genesys.cli._problems import cases_of, read_problems
from genesys.cli.bench_agents import compared
from genesys.config import load_design
from genesys.ladder import LADDERS
from genesys.llm.book import CallBook
from genesys.llm.calls import Remembered
from genesys.llm.client import CallFailed
from genesys.llm.local_treasury import LocalTreasury
from genesys.llm.prices import PriceList
from genesys.llm.settings import AgentsConfig, ModelConfig, MoneyCaps
from genesys.roles.brief import SessionLimits
from genesys.testing._answers import Rates
from genesys.testing.null_cage import NullCage
from tests.actors.scripted_client import ScriptedClient

SCALES = LADDERS["cpu"].scales
PROBLEMS = read_problems()
MODEL = ModelConfig(name="openai/scripted", input_usd=1.0, output_usd=4.0, context_tokens=200_000)
OTHER = replace(MODEL, name="openai/other")
LIMITS = SessionLimits(max_attempts=2, max_turns=1)


def cases(n: int = 3, models: tuple[str, ...] = (MODEL.name,)) -> list[Case]:
    return cases_of(spread(PROBLEMS, n), models, FLOWS)


class _Run:
    """A bench in a folder, with a client in this process."""

    def __init__(
        self, folder: Path, client: Any, *, cap: float = 50.0, models: tuple[ModelConfig, ...] = (MODEL,)
    ) -> None:
        self.folder, self.client = folder, client
        self.agents = AgentsConfig(models={"default": models}, caps=MoneyCaps(run=cap), limits=LIMITS, n_retries=0)
        folder.mkdir(exist_ok=True)

    def solve(self, some: list[Case], *, n_at_once: int = 3, most: int = 1000) -> Bench:
        return asyncio.run(self._solve(some, n_at_once, most))

    async def _solve(self, some: list[Case], n_at_once: int, most: int) -> Bench:
        told: list[Result] = []

        def on_result(result: Result) -> None:
            told.append(result)
            if len(told) >= most:
                raise KeyboardInterrupt

        with closing(
            CallBook(self.folder / "calls.sqlite", self.agents.caps, PriceList.of(self.agents).to_json())
        ) as book:
            bench = Bench(
                self.folder, compared(self.agents, None), bounds(SCALES, 257), treasury=LocalTreasury(book), client=self.client,
                workbench=Workbench(NullCage(), SCALES, 257),
            )  # fmt: skip
            await bench.run(some, n_at_once=n_at_once, on_result=on_result)
            totals = book.totals()
        done = {result.session for result in bench.results}
        booked = sum(spent.booked_nano for session, spent in totals.sessions.items() if session in done)
        assert round(sum(result.cost_usd for result in bench.results) * 1e9) == booked
        return bench


# --- problems --------------------------------------------------------------------------------------------------


def test_our_problems_can_be_posed() -> None:
    assert len(PROBLEMS) == 100 == len({problem.title for problem in PROBLEMS})
    for problem in PROBLEMS:
        assert len(problem.title) <= 120 and 150 <= len(problem.ask) <= 2000, problem.name
        assert problem.new_units >= (problem.mode != "crossover")
        assert bool(problem.target) == (problem.mode == "mutation")
    assert len(cases_of(PROBLEMS, ["one", "two"], FLOWS)) == 600, "parents and places exist"


@given(st.integers(1, 300))
def test_fewer_problems_are_spread_over_all(n: int) -> None:
    some = spread(PROBLEMS, n)
    assert len(some) == len({problem.name for problem in some}) == min(n, 100)
    if n >= 4:
        assert {problem.mode for problem in some} == {"mutation", "crossover", "scratch"}


def test_flows_differ_in_what_they_are_named_for() -> None:
    wide = SessionLimits(beam=3, samples=1, max_attempts=7)
    direct, units, beam = (limits_of(flow, wide) for flow in FLOWS)
    assert (direct.flow, units.flow, beam.flow) == ("direct", "units", "units")
    assert (units.beam, units.samples) == (1, 1) and (beam.beam, beam.samples) == (3, 2)
    assert {limits.max_attempts for limits in (direct, units, beam)} == {7}


# --- sums ------------------------------------------------------------------------------------------------------


def result(name: str, outcome: str, **said: Any) -> Result:
    plain: dict[str, Any] = {
        "mode": "scratch", "new_units": 1, "flow": "direct", "model": "m", "session": name, "reason": "", "design": "",
        "n_answers": 2, "n_useful": 1, "n_calls": 3, "n_input": 10, "n_output": 5, "cost_usd": 0.5,
    }  # fmt: skip
    return Result(problem=name, outcome=outcome, **plain | said)


def test_rates_leave_out_what_says_nothing_of_a_model() -> None:
    results = [result(str(i), "valid", mode="mutation", n_useful=2 - i % 2) for i in range(6)]
    results += [result("a", "check"), result("b", "check"), result("c", "units"), result("d", "unavailable")]
    results += [result("a", "valid", flow="units")]
    direct, units = rates(results)
    assert (direct["flow"], direct["n"], direct["n_valid"], units["n"]) == ("direct", 9, 6, 1)
    assert (direct["valid"]["low"], direct["valid"]["high"]) == pytest.approx((0.3542, 0.8794), abs=1e-3), (
        "Wilson, 6 of 9"
    )
    assert direct["straight"]["value"] == pytest.approx(3 / 9)
    assert direct["causes"] == {"check": 2, "units": 1} and direct["usd_per_valid"] == pytest.approx(4.5 / 6)
    assert (direct["modes"]["mutation"]["value"], direct["modes"]["scratch"]["value"]) == (1.0, 0.0)
    assert rates([result("a", "check")])[0]["usd_per_valid"] is None and rates([]) == []


# --- running ---------------------------------------------------------------------------------------------------


def test_each_case_is_solved_once_and_paid_once(tmp_path: Path) -> None:
    client = ScriptedClient(Rates(p_tool=0.0, p_reuse=0.0))
    run = _Run(tmp_path / "run", client, models=(MODEL, OTHER))
    some = cases(2, (MODEL.name, OTHER.name))
    bench = run.solve(some)
    assert {r.key for r in bench.results} == {case.key for case in some} and not bench.stopped
    assert all(r.outcome == "valid" and r.n_answers and r.n_calls and r.cost_usd > 0 for r in bench.results)
    assert all(
        load_design(str(run.folder / "designs" / f"{r.design}.json")).design_id == r.design for r in bench.results
    )
    assert read_results(run.folder) == bench.results
    n_asked, lines = len(client.asked), (run.folder / RESULTS_FILE).read_text()
    assert run.solve(some).results == bench.results and len(client.asked) == n_asked

    (run.folder / RESULTS_FILE).write_text(lines[: len(lines) - 40])  # cut off by a crash
    again = run.solve(some)
    assert len(client.asked) == n_asked, "the answers are in the books"
    assert again.results == bench.results == read_results(run.folder)


def test_what_was_interrupted_goes_on(tmp_path: Path) -> None:
    client, some = ScriptedClient(Rates(p_tool=0.0)), cases(3)
    run = _Run(tmp_path / "run", client)
    with pytest.raises(KeyboardInterrupt):
        run.solve(some, most=2)
    n_done = len(read_results(run.folder))
    assert 2 <= n_done < len(some)
    assert {r.key for r in run.solve(some).results} == {case.key for case in some}


def test_money_that_ran_out_is_no_result(tmp_path: Path) -> None:
    run = _Run(tmp_path / "run", ScriptedClient(), cap=0.06)
    poor = run.solve(cases(3), n_at_once=1)
    assert "run" in poor.stopped and len(poor.results) < 9 and all(r.is_valid for r in poor.results)
    rich = _Run(tmp_path / "run", run.client).solve(cases(3))
    assert not rich.stopped and len(rich.results) == 9 and rich.results[: len(poor.results)] == poor.results


def test_nobody_who_answers_is_tried_again(tmp_path: Path) -> None:
    class Away:
        async def send(self, *_: Any, **__: Any) -> Any:
            raise CallFailed("forbidden", "Incorrect API key provided")

    folder, some = tmp_path / "run", cases(1)
    away = _Run(folder, Away()).solve(some, n_at_once=1)
    assert "Incorrect API key" in away.stopped and [r.outcome for r in away.results] == ["unavailable"]
    assert rates(away.results) == []
    bench = _Run(folder, ScriptedClient()).solve(some)
    assert not bench.stopped and len(bench.results) == 1 + len(some) and bench.results[1].session.endswith("#2")


def test_what_another_version_began_is_tried_again_under_a_new_number(tmp_path: Path) -> None:
    run, (case, *_) = _Run(tmp_path / "run", ScriptedClient(Rates(p_tool=0.0))), cases(1)
    with closing(CallBook(run.folder / "calls.sqlite", run.agents.caps, PriceList.of(run.agents).to_json())) as book:
        entry = Remembered(step="prompt direct", effect="of another version", result=None)
        asyncio.run(LocalTreasury(book).remember("/".join(case.key), entry))
    stale = run.solve([case])
    assert [r.outcome for r in stale.results] == ["stale"] and not stale.stopped and rates(stale.results) == []
    (_, again) = run.solve([case]).results
    assert again.is_valid and again.session.endswith("#2")


def test_putting_in_what_exists_solves_nothing_new(tmp_path: Path) -> None:
    new = Problem(name="n", mode="mutation", title="t", ask="a", parents=("gpt",), target="mixer.position")
    case = Case(problem=new, parents=(load_design("gpt"),), flow="units", model=MODEL.name)
    run = _Run(tmp_path / "run", ScriptedClient(Rates(p_reuse=1.0, p_tool=0.0)))
    (result,) = run.solve([case]).results
    assert (result.outcome, result.n_answers) == ("reuse", 0) and not result.is_valid


def test_a_result_of_a_later_version_is_read(tmp_path: Path) -> None:
    (tmp_path / RESULTS_FILE).write_text(json.dumps(asdict(result("a", "valid")) | {"later": 1}) + "\n")
    assert read_results(tmp_path) == [result("a", "valid")]
