"""Direct, unit-wise and beam generation with a simulated coder, against the closed forms of `docs/theory.md`.

`python -m benchmarks.factorisation [SESSIONS]`: the real session generators run against a world in which each unit is right
with a given probability; shares and mean numbers of codings must lie within intervals that all hold together at 95%.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from math import comb, sqrt
from random import Random
from statistics import NormalDist, fmean, variance
from typing import Any

from benchmarks._report import Report
from genesys.errors import Finding
from genesys.evolution.evidence import Evidence
from genesys.gau import UnitTree
from genesys.roles.answers import CoderTurn, DirectTurn, ObserverTurn, ProposerTurn
from genesys.roles.brief import Brief, SessionLimits
from genesys.roles.direct import direct
from genesys.roles.effects import Ask, Check, Checked, Claim, Effect, Gather, Probe, Single
from genesys.roles.implementing import implement
from genesys.roles.wording import BOUNDS

_COMMON = dict.fromkeys(BOUNDS, "")
_PROPOSAL = ProposerTurn(
    action="propose", query="", title="", abstract="", motivation="", mathematics="", algorithm="", target="", risks=""
)
_WRONG = Finding(rule="run-error", measured="wrong", required="right", hint="")


# --- closed forms ----------------------------------------------------------------------------------------------


def p_accepted(p: float, false_rejects: float, false_accepts: float) -> float:
    """Chance that a coding passes a checker that turns down right ones and lets wrong ones pass."""
    return p * (1 - false_rejects) + (1 - p) * false_accepts


def precision(p: float, false_rejects: float, false_accepts: float) -> float:
    """Chance that a coding which passed is right."""
    return p * (1 - false_rejects) / p_accepted(p, false_rejects, false_accepts)


def p_written(p: float, n_codings: int) -> float:
    """Chance that one of some codings passes."""
    return 1 - (1 - p) ** n_codings


def expected_rounds(p: float, samples: int, attempts: int) -> float:
    """Mean rounds of side-by-side codings until one passes, or the attempts are used up."""
    return p_written(p, samples * attempts) / p_written(p, samples)


@cache
def unit_wise(p: float, limits: SessionLimits, n_units: int, k: int = 0, given_up: int = 0) -> tuple[float, float]:
    """Chance that a greedy session with k units written ends with all, and its mean number of codings from there on."""
    if k == n_units:
        return 1.0, 0.0
    if given_up >= max(1, limits.max_failed_units):
        return 0.0, 0.0
    written = p_written(p, limits.samples * limits.max_attempts)
    on, n_on = unit_wise(p, limits, n_units, k + 1, given_up)
    back, n_back = unit_wise(p, limits, n_units, max(k - 1, 0), given_up + 1)
    here = limits.samples * expected_rounds(p, limits.samples, limits.max_attempts)
    return written * on + (1 - written) * back, here + written * n_on + (1 - written) * n_back


@cache
def beam(p: float, limits: SessionLimits, n_units: int, n_drafts: int = 1) -> tuple[float, float]:
    """The same for a beam of some drafts that ends when none of them can be extended."""
    if n_units == 0:
        return 1.0, 0.0
    here = n_drafts * limits.samples * expected_rounds(p, limits.samples, limits.max_attempts)
    outcomes = {0: 1.0}  # distribution of the drafts that come of all
    for _ in range(n_drafts):
        outcomes = _added(outcomes, _offspring(p, limits))
    p_done, n_codings = 0.0, here
    for n, chance in outcomes.items():
        if n:
            done, n_on = beam(p, limits, n_units - 1, min(n, limits.beam))
            p_done, n_codings = p_done + chance * done, n_codings + chance * n_on
    return p_done, n_codings


def _offspring(p: float, limits: SessionLimits) -> dict[int, float]:
    """Distribution of the codings of one draft that pass in the round that ends its unit."""
    s, written = limits.samples, p_written(p, limits.samples * limits.max_attempts)
    passing = {b: comb(s, b) * p**b * (1 - p) ** (s - b) / p_written(p, s) for b in range(1, s + 1)}
    return {0: 1 - written} | {b: written * chance for b, chance in passing.items()}


def _added(a: dict[int, float], b: dict[int, float]) -> dict[int, float]:
    total: dict[int, float] = {}
    for n, chance in a.items():
        for m, other in b.items():
            total[n + m] = total.get(n + m, 0.0) + chance * other
    return total


# --- the simulated world ---------------------------------------------------------------------------------------


@dataclass
class SimulatedWorld:
    """A coder each of whose units is right with probability p, and a checker with its error rates.

    Attributes:
        n_codings: Units, or whole blocks, that were handed in.
        right: Of each unit written, by its number, whether it is right.
    """

    p: float
    n_units: int
    rng: Random
    false_rejects: float = 0.0
    false_accepts: float = 0.0
    n_codings: int = 0
    right: dict[int, bool] = field(default_factory=dict)
    _passes: dict[int, bool] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    def run(self, session: Generator[Effect, Any, Any]) -> Any:
        answer: Any = None
        while True:
            try:
                effect = session.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = tuple(map(self._answer, effect.effects)) if isinstance(effect, Gather) else self._answer(effect)

    def is_right(self, tree: UnitTree) -> bool:
        return all(self.right[_number(place)] for _, place in tree.walk())

    def _answer(self, effect: Single) -> Any:
        match effect:
            case Ask(answer=form) if form is CoderTurn:
                is_root = "\nSlot: (root);" in effect.prompt.messages[1].text
                return CoderTurn(action="submit", code=self._unit(is_root), query="", explanation="")
            case Ask(answer=form) if form is DirectTurn:
                return self._block()
            case Ask():
                rating = 5 * self.rng.random()
                return ObserverTurn(
                    fidelity=rating, quality=rating, novelty=rating, rating=rating, review="", suggestions=""
                )
            case Check(depth="static"):
                return Checked(findings=() if self._passes[_number(effect.tree)] else (_WRONG,))
            case Check():
                return Checked(
                    findings=() if all(self._passes[_number(t)] for _, t in effect.tree.walk()) else (_WRONG,)
                )
            case Probe():
                return 0.5
            case Claim():
                return ""
        return ()

    def _drawn(self, p: float) -> int:
        """The number of something newly written that is right with probability p."""
        number = next(self._numbers)
        right = self.right[number] = self.rng.random() < p
        self._passes[number] = (
            self.rng.random() >= self.false_rejects if right else self.rng.random() < self.false_accepts
        )
        self.n_codings += 1
        return number

    def _unit(self, is_root: bool, p: float | None = None) -> str:
        slots = {f"slot{i}": {"accepts": ("norm",)} for i in range(self.n_units - 1)} if is_root and p is None else {}
        return (
            f'class Unit:\n    """{self._drawn(self.p if p is None else p)}"""\n    kind = "{"block" if is_root else "norm"}"\n'
            f"    slots = {slots}\n\n    def __init__(self, d, ctx):\n        pass\n"
        )

    def _block(self) -> DirectTurn:
        """All units in one text: right if each of them is."""
        code = self._unit(True, self.p**self.n_units)
        return DirectTurn(title="", abstract="", units=(code,), tree='{"unit": "Unit"}')


def _number(tree: UnitTree) -> int:
    return int(tree.unit.doc)


# --- the comparison --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One setting and what the closed forms say of it.

    Attributes:
        expected: Share of sessions that end with a design; share of those that are right; mean number of codings.
    """

    name: str
    p: float
    n_units: int
    limits: SessionLimits
    expected: tuple[float, float, float]
    false_rejects: float = 0.0
    false_accepts: float = 0.0


def cases() -> list[Case]:
    """Every flow at several success rates, limits, widths and error rates."""
    return [
        *(_direct(p, n, attempts=a) for p, n, a in ((0.9, 6, 1), (0.6, 6, 5), (0.6, 3, 40))),
        *(_greedy(p, n, attempts=a) for p, n, a in ((0.6, 6, 5), (0.3, 4, 3), (0.5, 3, 200))),
        _greedy(0.35, 5, attempts=2, max_failed=4),
        _greedy(0.3, 4, attempts=2, samples=3, max_failed=2),
        *(_beam(0.3, 5, width=w, samples=2, attempts=2) for w in (1, 2, 3, 4)),
        _beam(0.5, 6, width=3, samples=4, attempts=1),
        _direct(0.7, 4, attempts=3, errors=(0.1, 0.2)),
        _greedy(0.6, 4, attempts=3, errors=(0.1, 0.2)),
        _greedy(0.6, 4, attempts=3, errors=(0.3, 0.02), max_failed=3),
    ]


def compare(report: Report, chosen: list[Case], n_sessions: int, seed: int = 0) -> None:
    """Run each case and report how far it lies from its closed forms, in half-widths of the interval."""
    width = NormalDist().inv_cdf(1 - 0.025 / (3 * len(chosen)))  # all intervals hold together at 95%
    for number, case in enumerate(chosen):
        runs = list(_sessions(case, n_sessions, Random(f"{seed}/{number}")))
        done = [is_right for is_right, _ in runs if is_right is not None]
        codings = [float(n) for _, n in runs]
        p_done, p_right, n_codings = case.expected
        for what, measured, expected, error in (
            ("designs a session", len(done) / n_sessions, p_done, sqrt(p_done * (1 - p_done) / n_sessions)),
            ("right of them", fmean(done), p_right, sqrt(p_right * (1 - p_right) / len(done))),
            ("codings a session", fmean(codings), n_codings, sqrt(variance(codings) / n_sessions)),
        ):
            report.add(f"{case.name}: {what}, simulated", measured, "1")
            report.add(f"{case.name}: {what}, closed form", expected, "1")
            off = abs(measured - expected)
            in_widths = off / (width * error) if error else off / 1e-9
            report.add(f"{case.name}: {what}, off", in_widths, "half-widths of the interval", at_most=1.0)


def best_of_samples(report: Report, n_sessions: int, n_units: int = 4) -> None:
    """What width and samples do to quality where every unit is right: ratings are uniform in 0 to 5, the best are kept.

    A width of 1 keeps the best of s, whose mean is 5 s / (s + 1); wider beams have no closed form, and are reported.
    """
    for width, samples in ((1, 1), (1, 2), (1, 4), (2, 2), (4, 2), (2, 4)):
        limits = SessionLimits(beam=width, samples=samples, planner=False, unit_bar=0.0, max_units=n_units)
        rng = Random(f"{width}/{samples}")
        ratings = [
            _run(implement, SimulatedWorld(1.0, n_units, rng), limits).scores["observer.rating"]
            for _ in range(n_sessions)
        ]
        name = f"width {width}, {samples} samples: rating of a unit"
        report.add(f"{name}, simulated", fmean(ratings), "of 5")
        if width == 1:
            expected, error = 5 * samples / (samples + 1), sqrt(variance(ratings) / n_sessions)
            report.add(f"{name}, closed form", expected, "of 5")
            half_width = NormalDist().inv_cdf(1 - 0.025 / 3) * error
            report.add(
                f"{name}, off", abs(fmean(ratings) - expected) / half_width, "half-widths of the interval", at_most=1.0
            )


def _sessions(case: Case, n_sessions: int, rng: Random) -> Iterator[tuple[bool | None, int]]:
    """Of each session whether its design is right, None without one, and how many codings it took."""
    flow = direct if case.limits.flow == "direct" else implement
    for _ in range(n_sessions):
        world = SimulatedWorld(case.p, case.n_units, rng, case.false_rejects, case.false_accepts)
        tree = _run(flow, world, case.limits).tree
        yield (None if tree is None else world.is_right(tree)), world.n_codings


def _run(flow: Callable[..., Generator[Effect, Any, Any]], world: SimulatedWorld, limits: SessionLimits) -> Any:
    brief = Brief(session="s", operator="scratch", parents=(), evidence=Evidence(), bounds={}, limits=limits)
    return world.run(implement(brief, _PROPOSAL, _COMMON) if flow is implement else flow(brief, _COMMON, _PROPOSAL))


def _direct(p: float, n: int, *, attempts: int, errors: tuple[float, float] = (0.0, 0.0)) -> Case:
    limits = SessionLimits(flow="direct", max_attempts=attempts, max_units=n)
    accepted = p_accepted(p**n, *errors)
    expected = (p_written(accepted, attempts), precision(p**n, *errors), expected_rounds(accepted, 1, attempts))
    return Case(
        name=f"direct, p={p:g}, {n} units, {attempts} attempts{_erring(errors)}", p=p, n_units=n, limits=limits,
        expected=expected, false_rejects=errors[0], false_accepts=errors[1],
    )  # fmt: skip


def _greedy(
    p: float, n: int, *, attempts: int, samples: int = 1, max_failed: int = 1, errors: tuple[float, float] = (0.0, 0.0)
) -> Case:
    limits = _limits(n, beam=1, samples=samples, max_attempts=attempts, max_failed_units=max_failed)
    p_done, n_codings = unit_wise(p_accepted(p, *errors), limits, n)
    name = f"unit-wise, p={p:g}, {n} units, {attempts} attempts, {samples} samples, ends at {max_failed} given up"
    return Case(
        name=name + _erring(errors), p=p, n_units=n, limits=limits, false_rejects=errors[0], false_accepts=errors[1],
        expected=(p_done, precision(p, *errors) ** n, n_codings),
    )  # fmt: skip


def _beam(p: float, n: int, *, width: int, samples: int, attempts: int) -> Case:
    limits = _limits(n, beam=width, samples=samples, max_attempts=attempts, max_failed_units=1)
    p_done, n_codings = beam(p, limits, n)
    name = f"beam of {width}, p={p:g}, {n} units, {attempts} attempts, {samples} samples"
    return Case(name=name, p=p, n_units=n, limits=limits, expected=(p_done, 1.0, n_codings))


def _limits(n: int, **given: Any) -> SessionLimits:
    return SessionLimits(planner=False, observer=False, max_units=n, **given)


def _erring(errors: tuple[float, float]) -> str:
    return f", checker errs {errors[0]:g}/{errors[1]:g}" if any(errors) else ""


def main(n_sessions: int = 500) -> int:
    """Compare all cases; exit code 1 when a figure lies outside of its interval."""
    report = Report("factorisation")
    compare(report, cases(), n_sessions)
    best_of_samples(report, n_sessions // 4)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
