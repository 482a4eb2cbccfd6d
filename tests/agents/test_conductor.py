"""A session is told the same when it is taken up again, and nothing is done twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator, Mapping
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.agents import conductor
from genesys.agents.conductor import Conducted, conduct
from genesys.agents.retrieval import Bm25Retriever, Document
from genesys.agents.workbench import Workbench
from genesys.errors import TransientError
from genesys.gau.library import seed_design
from genesys.ladder import LADDERS
from genesys.llm.calls import Remembered
from genesys.roles.answers import PlannerTurn
from genesys.roles.brief import SessionOutcome
from genesys.roles.effects import (
    Ask,
    Check,
    Checked,
    Claim,
    Derive,
    Effect,
    Embed,
    Gather,
    Probe,
    Profile,
    Refusal,
    Search,
    Single,
    Tell,
)
from genesys.roles.prompt import Message, Prompt
from genesys.sandbox import Policy
from genesys.testing.null_cage import NullCage
from tests.agents.fakes import Answer, DictTreasury, FunctionGateway

GPT = seed_design("gpt")
DOCUMENTS = (Document(source="unit", name="Gate", title="Gate", text="a gate by the input"),)


class CountingCage(NullCage):
    """Counts its jobs, and answers derivations."""

    def __init__(self) -> None:
        super().__init__()
        self.n_jobs = 0

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        self.n_jobs += 1
        if "program" in request:
            return {"output": request["program"]}
        return await super().run(entry, request, policy)


class Embedding(FunctionGateway):
    """Gives each text its length as a vector."""

    async def embed(self, session: str, step: str, texts: Any) -> Any:
        vectors = tuple((float(len(text)),) for text in texts)
        return SimpleNamespace(vectors=vectors, cost_nano=5, n_calls=2)


def ask(text: str, role: str = "planner") -> Ask:
    prompt = Prompt(template="planner", version="1", messages=(Message(author="user", text=text),))
    return Ask(role=role, prompt=prompt, answer=PlannerTurn)  # type: ignore[arg-type]


def collected(effects: tuple[Effect, ...], told: list[Any]) -> Generator[Effect, Any, list[Any]]:
    for effect in effects:
        told.append((yield effect))
    return told


def run(
    *effects: Effect, treasury: DictTreasury | None = None, cage: NullCage | None = None,
    gateway: FunctionGateway | None = None, claimed: list[str] | None = None, existing: str = "", **options: Any,
) -> Conducted[list[Any]]:  # fmt: skip
    async def claim(tree: Any) -> str:
        (claimed if claimed is not None else []).append(tree.design_id)
        return existing

    async def conducted() -> Conducted[list[Any]]:
        bench = Workbench(cage or CountingCage(), LADDERS["cpu"].scales, 257)
        return await conduct(
            collected(effects, []), session_id="s1", gateway=gateway or FunctionGateway(lambda step, _: Answer(step)),
            workbench=bench, retriever=Bm25Retriever(DOCUMENTS), claim=claim, treasury=treasury or DictTreasury(), **options,
        )  # fmt: skip

    return asyncio.run(conducted())


def test_embeddings_are_the_gateways_matter() -> None:
    done = run(Embed(texts=("a", "bcd")), gateway=Embedding(lambda step, _: Answer(step)))
    assert done.outcome == [((1.0,), (3.0,))] and (done.cost_nano, done.n_calls) == (5, 2)
    assert run(Embed(texts=("a",))).outcome == [()], "without a model for it"


EVERYTHING = (
    Tell(stage="plan", text="hello"),
    ask("first"),
    Check(tree=GPT),
    Gather((Derive(program="1 + 1"), Search(query="gate"), Probe(tree=GPT))),
    Profile(tree=GPT),
    Claim(tree=GPT),
)


def test_every_effect_has_its_result() -> None:
    told: list[Tell] = []
    result = run(*EVERYTHING, on_tell=told.append)
    nothing, answer, checked, (derived, passages, probed), profile, duplicate = result.outcome
    assert (nothing, answer, derived, probed, duplicate) == (None, "1", "1 + 1", None, "")
    assert isinstance(checked, Checked) and checked.is_sane and checked.report["design"] == GPT.design_id
    assert [passage.name for passage in passages] == ["Gate"]
    assert "parameters" in profile and told == [EVERYTHING[0]]


def test_what_was_done_is_not_done_again() -> None:
    treasury, cage, claimed = DictTreasury(), CountingCage(), list[str]()
    first = run(*EVERYTHING, treasury=treasury, cage=cage, claimed=claimed)
    n_jobs, kept = cage.n_jobs, list(treasury.kept["s1"])
    again = run(*EVERYTHING, treasury=treasury, cage=cage, claimed=claimed)
    assert again == first
    assert cage.n_jobs == n_jobs == 4
    assert len(claimed) == 2, "a claim that held is made again, for it went with the designer that died"
    assert treasury.kept["s1"][: len(kept)] == kept


def test_a_claim_that_did_not_hold_is_remembered() -> None:
    treasury, claimed = DictTreasury(), list[str]()
    assert run(Claim(tree=GPT), treasury=treasury, existing="d7").outcome == ["d7"]
    assert run(Claim(tree=GPT), treasury=treasury, claimed=claimed).outcome == ["d7"] and not claimed


def test_memory_is_plain_data() -> None:
    treasury = DictTreasury()
    first = run(*EVERYTHING, treasury=treasury)
    treasury.kept["s1"] = [Remembered(**json.loads(json.dumps(asdict(entry)))) for entry in treasury.kept["s1"]]
    assert run(*EVERYTHING, treasury=treasury).outcome == first.outcome


@given(
    st.integers(0, len(EVERYTHING) - 1),
    st.sampled_from([Derive(program="other"), ask("other"), Tell(stage="plan", text="")]),
)
def test_another_session_under_the_same_name_is_stale(place: int, other: Single) -> None:
    treasury = DictTreasury()
    run(*EVERYTHING, treasury=treasury)
    remembered = {entry.step for entry in treasury.kept["s1"]}
    changed = run(*EVERYTHING[:place], other, *EVERYTHING[place + 1 :], treasury=treasury).outcome
    if remembered & {str(place), f"{place}.0"} and str(place) in remembered:
        assert changed.cause == "stale" and changed.tree is None  # type: ignore[union-attr]
        assert f"step {place}" in changed.reason  # type: ignore[union-attr]
    else:
        assert isinstance(changed, list)


def test_a_stale_session_asks_nobody() -> None:
    treasury, gateway = DictTreasury(), FunctionGateway(lambda step, _: Answer(step))
    run(Derive(program="1"), treasury=treasury)
    result = run(Derive(program="2"), ask("x"), treasury=treasury, gateway=gateway)
    assert result.outcome.cause == "stale" and not gateway.steps  # type: ignore[union-attr]


def test_a_session_keeps_the_prompts_that_it_began_with() -> None:
    treasury, gateway = DictTreasury(), FunctionGateway(lambda step, _: Answer(step))
    run(ask("x"), ask("y"), treasury=treasury)
    assert [(entry.step, entry.effect) for entry in treasury.kept["s1"]] == [("prompt planner", "1")]
    asked = ask("x")
    edited = replace(asked, prompt=replace(asked.prompt, version="2"))
    result = run(edited, treasury=treasury, gateway=gateway)
    assert result.outcome.cause == "stale" and not gateway.steps  # type: ignore[union-attr]
    assert "version 1 of planner.md" in result.outcome.reason  # type: ignore[union-attr]


def test_members_of_a_gather_run_at_once_under_their_own_steps() -> None:
    gateway = FunctionGateway(lambda step, _: Answer(step))
    result = run(ask("x"), Gather(tuple(ask("x") for _ in range(5))), Gather(()), gateway=gateway)
    assert result.outcome == ["0", ("1.0", "1.1", "1.2", "1.3", "1.4"), ()]
    assert gateway.most_at_once == 5


def test_costs_and_models_are_those_of_the_answers() -> None:
    def answer(step: str, asked: Ask) -> Answer | Refusal:
        if step == "3":
            return Refusal(cause="malformed", reason="no JSON", cost_nano=20000, n_calls=3)
        return Answer(step, model="a" if step == "0" else "b", cost_nano=10 ** int(step), n_calls=2)

    result = run(*(ask(str(i)) for i in range(4)), ask("c", "coder"), gateway=FunctionGateway(answer))
    assert result.cost_nano == 30111 and result.n_calls == 11
    assert result.models == {"planner": "b", "coder": "b"}
    assert isinstance(result.outcome[3], Refusal)  # type: ignore[index]


class Flaky(CountingCage):
    """Infrastructure that is away for the first `n` jobs."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.left = n

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        self.left -= 1
        if self.left >= 0:
            raise TransientError("the fork server is away")
        return await super().run(entry, request, policy)


def test_infrastructure_that_is_away_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conductor, "_RETRY_AFTER_S", (0.0, 0.0))
    assert run(Derive(program="1"), cage=Flaky(2)).outcome == ["1"]
    with pytest.raises(TransientError, match="away"):
        run(Derive(program="1"), cage=Flaky(3))


def test_a_bug_of_ours_ends_its_session_and_what_runs_beside_it() -> None:
    ended = []

    async def forever(step: str, asked: Ask) -> Answer:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(step)
        raise AssertionError

    class Gateway:
        async def ask(self, session: str, step: str, asked: Ask, **_: Any) -> Answer:
            if step == "0.1":
                raise ZeroDivisionError("our bug")
            return await forever(step, asked)

    outcome = run(Gather((ask("a"), ask("b"))), gateway=Gateway()).outcome  # type: ignore[arg-type]
    assert isinstance(outcome, SessionOutcome) and (outcome.cause, outcome.reason) == (
        "bug",
        "ZeroDivisionError: our bug",
    )
    assert ended == ["0.0"]


def test_a_session_that_never_yields_ends() -> None:
    assert run().outcome == []
    assert replace(run(), outcome=[1]).n_calls == 0
