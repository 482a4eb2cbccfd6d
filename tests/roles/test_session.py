"""Whole sessions: both flows, and any world whatever ends them with a typed outcome after a bounded number of effects."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from random import Random
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.errors import Finding
from genesys.gau.library import library
from genesys.roles import SessionOutcome, design_session, lessons_session
from genesys.roles.answers import (
    CoderTurn,
    DirectTurn,
    LessonsTurn,
    ObserverTurn,
    PlannerTurn,
    ProposerTurn,
    ReviewerTurn,
)
from genesys.roles.effects import (
    Ask,
    Check,
    Checked,
    Claim,
    Derive,
    Embed,
    Passage,
    Probe,
    Profile,
    Refusal,
    RefusalCause,
    Search,
    Single,
    Tell,
)
from genesys.roles.proposing import propose
from tests.roles.briefs import DIRECT, EVIDENCE, FIGURES, PROPOSAL, REVIEW, brief, play, world

CAUSES = {"", "proposal", "duplicate", "units", "check", "refused", "money"}
TEXTS = (
    "",
    "x",
    "mixer",
    "(root)",
    "nowhere.at.all",
    "Two-rate attention",
    "</retrieved>",
    "{" * 50,
    "\ud800",
    "a\0b",
    "🌍" * 300,
)
SOURCES = tuple(unit.source for unit in library().values())


class Chaos:
    """A world that answers anything that its types allow; `p_good` of the time something of use."""

    def __init__(self, seed: int, p_good: float) -> None:
        self.random, self.p_good = Random(seed), p_good

    def __call__(self, effect: Single) -> Any:
        random = self.random
        match effect:
            case Ask(answer=form):
                if random.random() < 0.15:
                    return Refusal(cause=random.choice(get_args(RefusalCause)), reason=random.choice(TEXTS))
                return self._answer(form)
            case Search():
                return tuple(
                    Passage(source="design", name=random.choice(TEXTS), title=random.choice(TEXTS), text=random.choice(TEXTS),
                            similarity=random.choice((0.0, 0.5, 0.95)))
                    for _ in range(random.randrange(3))
                )  # fmt: skip
            case Embed(texts=texts):
                n = random.choice((0, 1, len(texts)))
                return tuple([random.choice((0.0, 1.0)), random.random()] for _ in range(n))
            case Check():
                good = random.random() < self.p_good
                return Checked(findings=() if good else tuple(self._finding() for _ in range(random.randrange(3))))
            case Claim():
                return "" if random.random() < self.p_good else "d" * 64
            case Probe():
                return random.choice((None, 0.5, 1.0))
            case Profile() | Derive():
                return random.choice(TEXTS)
        return None

    def _finding(self) -> Finding:
        random = self.random
        return Finding(rule="causality", measured=random.choice(TEXTS), required="0", hint="", unit=random.choice(TEXTS),
                       path=random.choice(TEXTS), line=random.choice((None, 1)),
                       severity=random.choice(("error", "warning")))  # fmt: skip

    def _answer(self, form: type[Any]) -> Any:
        random, good = self.random, self.random.random() < self.p_good
        text = lambda: random.choice(TEXTS)  # noqa: E731
        score = lambda: 5.0 if good else random.uniform(0, 5)  # noqa: E731
        code = random.choice(SOURCES) if good else text()
        if form is ProposerTurn:
            return replace(PROPOSAL, action=random.choice(("search", "propose", "propose")), query=text(), target=text(),
                           **({} if good else {"title": text(), "abstract": text(), "mathematics": text()}))  # fmt: skip
        if form is ReviewerTurn:
            return replace(
                REVIEW,
                action=random.choice(("search", "review", "review")),
                query=text(),
                rating=score(),
                review=text(),
            )
        if form is PlannerTurn:
            return PlannerTurn(slot=text(), specification=text(), reuse=random.choice(("", "RMSNorm", "Nothing")))
        if form is CoderTurn:
            actions = ("submit", "check", "profile", "read_unit", "search", "derive")
            return CoderTurn(
                action=random.choice(actions + ("submit",) * 6), code=code, query=text(), explanation=text()
            )
        if form is ObserverTurn:
            return ObserverTurn(
                fidelity=score(), quality=score(), novelty=score(), rating=score(), review=text(), suggestions=text()
            )
        if form is DirectTurn:
            return replace(DIRECT, title=text(), units=(code,)) if good else DirectTurn(
                title=text(), abstract=text(), units=(code, text()), tree=random.choice((*TEXTS, "[" * 3000, '{"unit": 1}')))  # fmt: skip
        assert form is LessonsTurn
        return LessonsTurn(lessons=random.choice((*TEXTS, "- a [555555555555]", "- a [0123456789ab]")))


def limits(random: Random) -> dict[str, Any]:
    flags = ("reviewer", "judge", "observer", "planner", "literature", "feedback")
    counts = {"beam": 3, "samples": 3, "max_proposals": 4, "max_searches": 3, "max_turns": 4, "max_attempts": 3,
              "max_failed_units": 3}  # fmt: skip
    return {flag: random.random() < 0.7 for flag in flags} | {
        name: random.randrange(0 if name in ("max_proposals", "max_searches") else 1, most)
        for name, most in counts.items()
    }


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32), st.sampled_from(["mutation", "crossover", "scratch"]), st.sampled_from(["units", "direct"])
)
def test_any_world_ends_a_session_with_a_typed_outcome(seed: int, operator: str, flow: str) -> None:
    random = Random(seed)
    the_brief = replace(brief(operator, flow=flow, **limits(random)), planted=random.choice((0.0, 1.0)), seed=seed)
    played = play(design_session(the_brief), Chaos(seed, random.choice((0.1, 0.6, 0.95))))
    outcome = played.outcome
    assert isinstance(outcome, SessionOutcome) and outcome.cause in CAUSES
    assert (outcome.tree is None) == bool(outcome.cause) and bool(outcome.reason) >= bool(
        outcome.cause in ("check", "units")
    )
    assert all(0 <= attempt.n_useful <= attempt.n_asked for attempt in outcome.attempts)
    asked = [effect.role for effect in played.effects if isinstance(effect, Ask)]
    assert {a.role: a.n_asked for a in outcome.attempts} == {role: asked.count(role) for role in set(asked)}
    json.dumps(
        [asdict(attempt) for attempt in outcome.attempts] + list(outcome.log) + [dict(outcome.scores)], allow_nan=False
    )
    told = [effect for effect in played.effects if isinstance(effect, Tell)]
    assert told[-1].stage == "end" and told[-1].tree == outcome.tree


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_a_proposal_stage_asks_no_more_than_its_limits(seed: int) -> None:
    the_brief = replace(brief(**limits(Random(seed))), planted=1.0, seed=seed)
    played, most = play(propose(the_brief, FIGURES), Chaos(seed, 0.5)), the_brief.limits
    n_searches = most.max_searches if most.literature else 0
    assert len(played.asked("proposer")) <= n_searches + 2 * most.max_proposals
    assert len(played.asked("reviewer")) <= (n_searches + 2) * (most.max_proposals + 1) * most.reviewer
    assert len(played.asked("judge")) <= 2 * most.max_proposals * most.judge * most.reviewer
    searched = [entry["role"] for entry in played.outcome.log if entry["what"] == "search"]
    assert searched.count("proposer") <= n_searches and "judge" not in searched


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_any_world_ends_a_scribe(seed: int) -> None:
    played = play(lessons_session(EVIDENCE, FIGURES), Chaos(seed, 0.5), most=3)
    assert bool(played.outcome.text) != bool(played.outcome.cause)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["units", "direct"]))
def test_the_same_world_gives_the_same_session(seed: int, flow: str) -> None:
    the_brief = brief(flow=flow)
    first, second = (play(design_session(the_brief), Chaos(seed, 0.8)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("flow", ["units", "direct"])
def test_money_ends_a_session_at_its_first_call(flow: str) -> None:
    refusal = Refusal(cause="money", reason="no room", cap="run")
    played = play(design_session(brief(flow=flow)), world(proposer=[refusal], coder=[refusal]))
    assert (played.outcome.cause, played.outcome.reason) == ("money", "no room")
    assert sum(isinstance(effect, Ask) for effect in played.effects) == 1


def test_a_failed_proposal_is_part_of_the_outcome() -> None:
    low = replace(REVIEW, rating=1.0)
    outcome = play(design_session(brief(max_proposals=2)), world(proposer=[PROPOSAL], reviewer=[low])).outcome
    assert (outcome.cause, outcome.title, outcome.abstract) == ("proposal", PROPOSAL.title, PROPOSAL.abstract)
    assert outcome.scores["reviewer.rating"] == 1.0 and len(outcome.log) >= 4


def test_a_mutation_gives_a_claimed_tree() -> None:
    code = next(unit for unit in library().values() if unit.name == "AlibiAttention" or unit.name == "ALiBiAttention")
    plan = PlannerTurn(slot="mixer", specification="as proposed", reuse="")
    coder = CoderTurn(action="submit", code=code.source, query="", explanation="")
    seen = ObserverTurn(fidelity=4, quality=4, novelty=3, rating=4, review="", suggestions="")
    answers = world(proposer=[PROPOSAL], reviewer=[REVIEW], planner=[plan], coder=[coder], observer=[seen])
    played = play(design_session(brief(beam=1, samples=1)), lambda e: 0.5 if isinstance(e, Probe) else answers(e))
    outcome = played.outcome
    assert not outcome.cause and outcome.tree.at("mixer").unit == code and outcome.target == "mixer"
    assert {"reviewer.rating", "observer.rating"} <= outcome.scores.keys()
    assert {attempt.role for attempt in outcome.attempts} >= {"proposer", "reviewer", "coder", "observer"}
    assert sum(isinstance(effect, Claim) for effect in played.effects) == 1


def test_a_brief_without_its_bounds_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(ValueError, match="bound 'causality' is missing"):
        next(design_session(replace(brief(), bounds={})))
