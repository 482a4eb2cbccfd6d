"""A world for sessions: it answers every effect by rules that a test may replace."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from genesys.errors import Finding
from genesys.gau import UnitTree, parse_unit
from genesys.roles.answers import CoderTurn, ObserverTurn, PlannerTurn, ProposerTurn
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
    Search,
    Single,
    Tell,
)

T = TypeVar("T")

_SLOT = re.compile(r"^Slot: (.+?); accepts: (.+)$", re.MULTILINE)
_OPEN = re.compile(r"^Open slots:\n- (.+?); accepts:", re.MULTILINE)


def unit_text(name: str, kind: str, slots: dict[str, str] | None = None, note: str = "") -> str:
    """A unit that parses; `slots` from name to the one kind it accepts."""
    declared = {slot: {"doc": f"the {slot}", "accepts": (accepts,)} for slot, accepts in (slots or {}).items()}
    return (
        f'class {name}:\n    """{note or name}."""\n\n    kind = "{kind}"\n    slots = {declared!r}\n\n'
        f"    def __init__(self, d: int, ctx):\n        pass\n"
    )


def design(root: str, **children: str) -> UnitTree:
    """A block with leaves."""
    return UnitTree(parse_unit(root), (), tuple((s, UnitTree(parse_unit(text))) for s, text in children.items()))


def proposal(target: str = "") -> ProposerTurn:
    return ProposerTurn(
        action="propose", query="", title="Fading memory", abstract="It fades.", motivation="m", mathematics="y = x",
        algorithm="a", target=target, risks="r",
    )  # fmt: skip


def coder(code: str, action: str = "submit", query: str = "") -> CoderTurn:
    return CoderTurn(action=action, code=code, query=query, explanation="")  # type: ignore[arg-type]


def observer(rating: float, review: str = "seen") -> ObserverTurn:
    return ObserverTurn(
        fidelity=rating, quality=rating, novelty=rating, rating=rating, review=review, suggestions="better"
    )


def finding(unit: str = "", line: int | None = None, rule: str = "shape") -> Finding:
    return Finding(rule=rule, unit=unit, line=line, measured="wrong figure", required="right figure", hint="Mend it.")


def asked_slot(ask: Ask) -> str:
    """The path of the slot that a coder is asked for."""
    found = _SLOT.search(ask.prompt.messages[1].text)
    assert found is not None
    return "" if found[1] == "(root)" else found[1]


@dataclass
class World:
    """Answers effects and keeps them; by default planners take the first slot and everything passes."""

    code: Callable[[Ask], Any]
    check: Callable[[Check], tuple[Finding, ...]] = lambda check: ()
    observe: Callable[[Ask], Any] = lambda ask: observer(4.0)
    plan: Callable[[Ask], Any] | None = None
    probe: Callable[[UnitTree], float | None] = lambda tree: 0.5
    claim: Callable[[UnitTree], str] = lambda tree: ""
    yielded: list[Effect] = field(default_factory=list)

    def run(self, session: Generator[Effect, Any, T], most: int = 10_000) -> T:
        answer: Any = None
        for _ in range(most):
            try:
                effect = session.send(answer)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            self.yielded.append(effect)
            answer = (
                tuple(self.answer(single) for single in effect.effects)
                if isinstance(effect, Gather)
                else self.answer(effect)
            )
        raise AssertionError(f"no end after {most} effects")

    def answer(self, effect: Single) -> Any:
        match effect:
            case Ask(role="coder"):
                return self.code(effect)
            case Ask(role="observer"):
                return self.observe(effect)
            case Ask():
                return self.plan(effect) if self.plan is not None else _first_slot(effect)
            case Check():
                return Checked(findings=self.check(effect))
            case Probe():
                return self.probe(effect.tree)
            case Claim():
                return self.claim(effect.tree)
            case Profile() | Derive():
                return "text"
            case Search() | Embed():
                return ()
            case Tell():
                return None

    def singles(self, kind: type[T]) -> list[T]:
        """The effects of a type, in order, out of their gatherings."""
        return [single for single in self._singles() if isinstance(single, kind)]

    def asks(self, role: str) -> list[Ask]:
        return [ask for ask in self.singles(Ask) if ask.role == role]

    def _singles(self) -> Iterator[Single]:
        for effect in self.yielded:
            yield from effect.effects if isinstance(effect, Gather) else (effect,)


def _first_slot(ask: Ask) -> PlannerTurn:
    found = _OPEN.search(ask.prompt.messages[1].text)
    assert found is not None
    return PlannerTurn(slot=found[1], specification=f"What belongs into {found[1]}.", reuse="")
