"""The forms of the roles' answers. `genesys.llm.schema` turns them into JSON schemas; a field's meaning is its `help`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


def said(help: str, **bounds: Any) -> Any:
    """A field with what the model is told of it; bounds are JSON schema's: `minimum`, `maximum`, `maxLength`."""
    return field(metadata={"help": help, **bounds})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposerTurn:
    """Either a search for more to read, or the proposal."""

    action: Literal["search", "propose"] = said("`search` to read more first, `propose` to hand in the proposal")
    query: str = said("what to search for; empty when you propose", maxLength=500)
    title: str = said("a short name of the design; empty when you search", maxLength=120)
    abstract: str = said("what it is and why it should be better, in at most five sentences", maxLength=2000)
    motivation: str = said("what in the evidence or the literature makes you expect this", maxLength=4000)
    mathematics: str = said(
        "the formulas of what is new, parallel form and recurrence where there is one", maxLength=8000
    )
    algorithm: str = said("pseudo-code of what is new, with shapes and complexity", maxLength=8000)
    target: str = said("for a mutation, the path of the one unit to change; else empty", maxLength=200)
    risks: str = said("what could make it fail the checks or the training", maxLength=2000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewerTurn:
    """Either a search for more to read, or the review. Scores go from 0 to 5."""

    action: Literal["search", "review"] = said("`search` to read more first, `review` to hand in the review")
    query: str = said("what to search for; empty when you review", maxLength=500)
    novelty: float = said("is it new against what was retrieved?", minimum=0, maximum=5)
    soundness: float = said("are formulas, causality and gradients right?", minimum=0, maximum=5)
    feasibility: float = said("can it be written within the limits?", minimum=0, maximum=5)
    effect: float = said("how likely does it raise fitness over its parents?", minimum=0, maximum=5)
    cost: float = said("5 for as cheap as the reference, 0 for unaffordable", minimum=0, maximum=5)
    rating: float = said("the whole, from 0 to 5; the bar is stated above", minimum=0, maximum=5)
    review: str = said("what is wrong or weak, concretely", maxLength=6000)
    suggestions: str = said("what to change so that it passes", maxLength=4000)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerTurn:
    """Which open slot to write next."""

    slot: str = said("one of the open slots listed, by its path", maxLength=200)
    specification: str = said(
        "what the unit there computes: inputs, outputs, formulas, kind, slots of its own", maxLength=6000
    )
    reuse: str = said("name of a library unit that does exactly that; else empty", maxLength=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoderTurn:
    """Either the use of a tool, or the unit."""

    action: Literal["submit", "check", "profile", "read_unit", "search", "derive"] = said(
        "`submit` hands the unit in; `check` and `profile` try the code first; `read_unit` shows a library unit; `search` looks "
        "for text; `derive` runs a SymPy program"
    )
    code: str = said(
        "the whole text of the unit, for submit, check and profile; a SymPy program for derive", maxLength=40000
    )
    query: str = said("a unit's name for read_unit, what to look for in search; else empty", maxLength=500)
    explanation: str = said("what you did and why, in a few sentences", maxLength=3000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserverTurn:
    """Scores of a unit's code from 0 to 5."""

    fidelity: float = said("does the code do what was specified and proposed?", minimum=0, maximum=5)
    quality: float = said("is it right, numerically safe, efficient and clear?", minimum=0, maximum=5)
    novelty: float = said("is it more than a copy of the nearest units shown?", minimum=0, maximum=5)
    rating: float = said("the whole, from 0 to 5; the bar is stated above", minimum=0, maximum=5)
    review: str = said("what is wrong, concretely", maxLength=4000)
    suggestions: str = said("what to change so that it passes", maxLength=3000)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectTurn:
    """A whole block in one answer: one text for each unit, and what fills whose slots."""

    title: str = said("a short name of the design", maxLength=120)
    abstract: str = said("what it is, in at most five sentences", maxLength=2000)
    units: tuple[str, ...] = said("the text of each new unit")
    tree: str = said(
        'JSON of the block: {"unit": NAME, "hyperparameters": {...}, "slots": {SLOT: the same again}}', maxLength=8000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonsTurn:
    """The lessons of a run so far, rewritten."""

    lessons: str = said("what worked, what failed and why; each lesson cites designs by their ids", maxLength=8000)
