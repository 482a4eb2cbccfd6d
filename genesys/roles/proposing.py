"""The proposal stage: somebody proposes, code turns down what is too near, a reviewer rates, and the bar decides."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from genesys.roles.account import Account
from genesys.roles.answers import ProposerTurn, ReviewerTurn
from genesys.roles.brief import Attempt, Brief
from genesys.roles.effects import Ask, Effect, Embed, Passage, Refusal, Role, Search, Tell
from genesys.roles.grafting import most_units
from genesys.roles.planting import planted
from genesys.roles.prompt import Prompt, render
from genesys.roles.wording import (
    bar_text,
    line,
    parents_text,
    passages_text,
    proposal_text,
    review_text,
    searchable,
    surroundings_text,
)

TOO_NEAR = 0.9
"""Similarity from which a proposal counts as one that exists; an equal text has 1."""

TOO_NEAR_IN_MEANING = 0.95
"""Cosine of embeddings from which it does, too: the same proposal in other words."""

N_NEAREST = 4
N_CANDIDATES = 16
"""Of those nearest by their words, so many are compared by embeddings."""
SCORES = ("novelty", "soundness", "feasibility", "effect", "cost", "rating")

TASKS: Mapping[str, str] = {
    "mutation": "Change one unit of parent 1, with new units below it if it needs them. All its other units stay as they are.",
    "crossover": "Join units of the parents into one design, and say what glue that takes.",
    "scratch": "Design a whole block from its root on.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A proposal that passed, or that nobody had to review. Scores are its own, such as `reviewer.rating`."""

    proposal: ProposerTurn
    scores: Mapping[str, float] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    log: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """No proposal passed.

    Attributes:
        cause: `proposal`, `refused` or `money`, as in `SessionOutcome`.
        proposal: The last one, if there was any; the scores are its own.
    """

    cause: str
    reason: str
    proposal: ProposerTurn | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    log: tuple[Mapping[str, object], ...] = ()


def propose(brief: Brief, common: Mapping[str, str]) -> Generator[Effect, Any, Accepted | Failed]:
    """Get one proposal past the bar, in at most `max_proposals` rounds. Never raises on what it is told.

    Args:
        common: The fields of `prompts/common.md`.
    """
    stage = _Stage(brief, common)
    if (bad := planted(brief)) is not None and (refusal := (yield from stage.audit(bad))) is not None:
        return stage.failed(refusal)
    prompt, refusal = stage.opening(), None
    for round_ in range(brief.limits.max_proposals):
        said, prompt = yield from stage.proposal_turn(prompt, round_)
        if isinstance(said, ProposerTurn):
            refusal = yield from stage.rate(said)
            if refusal is not None:
                break
            if not stage.reason:
                return stage.accepted()
            prompt = prompt.reply(_as_text(said), stage.feedback())
        else:
            refusal, prompt = said, stage.opening()  # a conversation that led to no answer is not carried on
            if refusal.cause in ("money", "unavailable"):
                break
    return stage.failed(refusal)


class _Stage:
    """A proposal stage as it runs.

    Attributes:
        n_searches: What is left of the proposer's; a reviewer has as many for each review.
        reason: Why the last proposal did not pass; "" when it did.
        last_review, previous: What was said of the last proposal, and of the one before.
    """

    def __init__(self, brief: Brief, common: Mapping[str, str]) -> None:
        self.brief, self.limits, self.common = brief, brief.limits, common
        self.most = f"A finished tree has at most {most_units(brief)} units."
        self.account = Account()
        self.max_searches = self.n_searches = self.limits.max_searches if self.limits.literature else 0
        self.proposal: ProposerTurn | None = None
        self.planted: dict[str, float] = {}
        self.scores: dict[str, float] = {}
        self.same_in_meaning: set[str] = set()
        self.reason = "no proposal was handed in"
        self.last_review = self.previous = ""
        self.fields = {
            "mode": brief.operator,
            "bar": bar_text(self.limits.proposal_bar),
            "parents": parents_text(brief),
            "surroundings": surroundings_text(brief.evidence, feedback=self.limits.feedback),
        }

    def accepted(self) -> Accepted:
        assert self.proposal is not None, "what was rated was proposed"
        return Accepted(proposal=self.proposal, scores=self.planted | self.scores, attempts=self.account.attempts,
                        log=tuple(self.account.log))  # fmt: skip

    def failed(self, refusal: Refusal | None) -> Failed:
        cause = "proposal" if refusal is None else "money" if refusal.cause == "money" else "refused"
        return Failed(
            cause=cause, reason=self.reason if refusal is None else refusal.reason, proposal=self.proposal,
            scores=self.planted | self.scores, attempts=self.account.attempts, log=tuple(self.account.log),
        )  # fmt: skip

    # --- proposing ---------------------------------------------------------------------------------------------

    def opening(self) -> Prompt:
        task = f"{TASKS[self.brief.operator]} {self.most}"
        return render("proposer", self.fields | {"task": task, "n_searches": str(self.n_searches)}, self.common)

    def feedback(self) -> str:
        return (
            f"It did not pass: {self.reason}.\n{self.last_review}\n{self.fields['bar']} Revise it, or propose something "
            f"else. You may search {self.n_searches} times more."
        )

    def proposal_turn(
        self, prompt: Prompt, round_: int
    ) -> Generator[Effect, Any, tuple[ProposerTurn | Refusal, Prompt]]:
        ask = Ask(role="proposer", prompt=prompt, answer=ProposerTurn, sample=round_)
        said, prompt, self.n_searches = yield from self._turn(ask, self.n_searches)
        if isinstance(said, ProposerTurn):
            self.proposal, self.scores = said, {}
            self.previous, self.last_review = self.last_review, ""
            yield Tell(stage="proposal", text=line(f"{said.title}: {said.abstract}", 600))
        return said, prompt

    def _turn(self, ask: Ask, left: int) -> Generator[Effect, Any, tuple[Any, Prompt, int]]:
        """Ask until the role hands in, searching for it while it may; one search beyond that is forgiven.

        Returns:
            What was handed in or a refusal, the conversation up to it, and the searches left.
        """
        prompt = ask.prompt
        for n_left in (*range(left, 0, -1), 0, 0):
            said = yield from self.account.ask(replace(ask, prompt=prompt))
            if isinstance(said, Refusal) or said.action != "search":
                return said, prompt, n_left
            found = (yield from self._search(ask.role, said.query)) if n_left else "You have no searches left."
            prompt = prompt.reply(_as_text(said), f"{found}\n\nYou may search {max(0, n_left - 1)} times more.")
        self.account.useless(ask.role)
        return Refusal(cause="malformed", reason=f"the {ask.role} searched on with no search left"), prompt, 0

    def _search(self, role: Role, query: str) -> Generator[Effect, Any, str]:
        passages = yield Search(
            query=query, sources=self.limits.sources, n=N_NEAREST, n_tokens=self.limits.retrieval_tokens
        )
        self.account.note("search", role=role, query=query, found=[f"{p.source} {p.name}" for p in passages])
        return passages_text(passages)

    # --- rating ------------------------------------------------------------------------------------------------

    def rate(self, proposal: ProposerTurn) -> Generator[Effect, Any, Refusal | None]:
        """Set `reason` to why a proposal does not pass, or to ""; a refusal where nobody could be had to say."""
        near = () if _lacks(proposal) else (yield from self._nearest(proposal))
        self.reason = _lacks(proposal) or self._too_near(proposal, near)
        roles: tuple[Role, ...] = ("reviewer", "judge") if self.limits.judge else ("reviewer",)
        for role in roles if self.limits.reviewer else ():
            if self.reason:
                break
            review = yield from self._review(role, proposal, near)
            if isinstance(review, Refusal):
                return review
            self.scores |= {f"{role}.{name}": float(getattr(review, name)) for name in SCORES}
            self.last_review = review_text(review)
            if not review.rating >= self.limits.proposal_bar:
                self.reason = f"the {role} rated it below the bar"
        if self.reason:
            self.account.useless("proposer")
        return None

    def audit(self, bad: ProposerTurn) -> Generator[Effect, Any, Refusal | None]:
        """Have a proposal reviewed that is known to be bad; a refusal where money is out."""
        near = yield from self._nearest(bad)
        review = yield from self._review("reviewer", bad, near, of=" of a planted proposal")
        if isinstance(review, Refusal):
            return review if review.cause == "money" else None
        self.planted = {"planted.rating": float(review.rating)}
        self.account.note("planted", title=bad.title, rating=review.rating)
        return None

    def _nearest(self, proposal: ProposerTurn) -> Generator[Effect, Any, tuple[Passage, ...]]:
        """What the run has near a proposal; looked up without literature, too, since duplicates are turned down by it."""
        query = searchable(proposal.title, proposal.abstract)
        near: tuple[Passage, ...] = yield Search(
            query=query, sources=("design", "failure"), n=N_CANDIDATES, n_tokens=self.limits.retrieval_tokens
        )
        vectors: tuple[Sequence[float], ...] = ()
        if near:
            vectors = yield Embed(texts=(query, *(searchable(p.title, p.text) for p in near)))
        meanings = {p.name: _cosine(vectors[0], vector) for p, vector in zip(near, vectors[1:], strict=False)}
        self.same_in_meaning = {name for name, meaning in meanings.items() if meaning >= TOO_NEAR_IN_MEANING}
        return tuple(
            sorted(near, key=lambda p: -meanings.get(p.name, 0.0))[:N_NEAREST]
        )  # as they came, without vectors

    def _too_near(self, proposal: ProposerTurn, near: tuple[Passage, ...]) -> str:
        seen = self.brief.evidence
        told = (*seen.parents, *seen.siblings, *seen.failures, *seen.leaders)
        titles = {_bare(title): title for title in (*(k.title for k in told), *(p.title for p in near)) if _bare(title)}
        alike = (p.title or p.name for p in near if p.similarity >= TOO_NEAR or p.name in self.same_in_meaning)
        same = titles.get(_bare(proposal.title)) or next(alike, "")
        if not same:
            return ""
        self.account.note("too-near", title=proposal.title, to=same)
        return f"it is too near to {line(same, 120)!r}, which was proposed before"

    def _review(
        self, role: Role, proposal: ProposerTurn, near: tuple[Passage, ...], *, of: str = ""
    ) -> Generator[Effect, Any, ReviewerTurn | Refusal]:
        """What a role says of a proposal.

        Args:
            of: What those who watch are told of the proposal.
        """
        readable = [p for p in near if p.source in self.limits.sources] if self.limits.literature else []
        fields = self.fields | {
            "proposal": proposal_text(proposal),
            "nearest": passages_text(readable),
            "most": self.most,
        }
        n_searches = self.max_searches if role == "reviewer" else 0
        if role == "reviewer":
            fields |= {"n_searches": str(n_searches), "last_review": self.previous or "This is its first review."}
        ask = Ask(role=role, prompt=render(role, fields, self.common), answer=ReviewerTurn)
        said: ReviewerTurn | Refusal
        said, _, _ = yield from self._turn(ask, n_searches)
        if isinstance(said, ReviewerTurn):
            yield Tell(stage="review", text=line(f"{role}{of}: {said.rating:g} of 5. {said.review}", 600))
        return said


def _lacks(proposal: ProposerTurn) -> str:
    parts = {
        "title": proposal.title,
        "abstract": proposal.abstract,
        "mathematics or algorithm": proposal.mathematics + proposal.algorithm,
    }
    missing = [name for name, text in parts.items() if not text.strip()]
    return f"it has no {', no '.join(missing)}" if missing else ""


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    size = math.hypot(*a) * math.hypot(*b) if len(a) == len(b) else 0.0
    return sum(x * y for x, y in zip(a, b, strict=True)) / size if size else 0.0


def _bare(title: str) -> str:
    return "".join(sign for sign in title.casefold() if sign.isalnum())


def _as_text(said: Any) -> str:
    return json.dumps(asdict(said), ensure_ascii=False)
