"""What a selection strategy is, and the rules that every built-in one shares."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil, inf, isclose
from random import Random
from typing import Literal, Protocol, TypeVar, get_args

from genesys.errors import ConfigError
from genesys.evolution.design import DesignView
from genesys.evolution.population import Population

Operator = Literal["mutation", "crossover", "scratch"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)
N_PARENTS = {"mutation": 1, "crossover": 2, "scratch": 0}

_ATTEMPTS = 8

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Ranked(Protocol[T_co]):
    """Ids or views, the best first."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> T_co: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What the next design is made from: ids of its parents, and of what else its designer may read.

    Attributes:
        odds: Probability of each operator that could have been drawn, its own included; journaled, so that what the
            operators earn can be told from where they were used. Empty when it was no draw.
    """

    operator: Operator
    parents: tuple[str, ...]
    references: tuple[str, ...] = ()
    reason: str = ""
    odds: Mapping[Operator, float] = field(default_factory=dict)


class SelectionStrategy(Protocol):
    """Chooses the parents of the next design. Called for 0, 1, 2, 3 designs as well as for thousands."""

    def select(self, population: Population, *, rng: Random) -> Selection:
        """Choose.

        Args:
            population: Valid for this call only.
            rng: The only source of chance.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRates:
    """How often each operator is drawn, and how a young population is treated.

    Attributes:
        mutation, crossover, scratch: Shares; they sum to 1.
        crossover_from, scratch_from: Implemented designs from which these operators are drawn at all.
        seed_until: While at most this many designs are verified, one parent is a seed.
        restart: Probability that all parents are seeds.

    Without seeds the warm-up rules are waived; an operator that lacks parents gives way to one that does not.

    Source: shares Cheng et al. 2025 (arXiv 2506.20249); warm-up as in the published implementation.
    """

    mutation: float = 0.75
    crossover: float = 0.20
    scratch: float = 0.05
    crossover_from: int = 10
    scratch_from: int = 20
    seed_until: int = 10
    restart: float = 0.05

    def __post_init__(self) -> None:
        for name in (*OPERATORS, "restart"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
                raise ConfigError(f"Cannot draw operators with {name} {value!r}; expected a number in 0..1.")
        for name in ("crossover_from", "scratch_from", "seed_until"):
            value, least = getattr(self, name), -1 if name == "seed_until" else 0  # -1: not even while nothing is
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"Cannot draw operators with {name} {value!r}; expected a whole number from {least}.")
        total = self.mutation + self.crossover + self.scratch
        if not isclose(total, 1.0, abs_tol=1e-6):
            shares = ", ".join(f"{name} {getattr(self, name):g}" for name in OPERATORS)
            raise ConfigError(
                f"Cannot draw operators with {shares}: they sum to {total:g}; expected 1. Give all three."
            )

    def plan(self, population: Population, rng: Random, pick: Callable[[], DesignView], reason: str = "") -> Selection:
        """Draw an operator and its parents.

        Args:
            pick: Draws one parent by the strategy's own rule; called only when there is one to draw.
            reason: The strategy's, kept in the selection.
        """
        odds = self.odds(population)
        operator = rng.choices(tuple(odds), tuple(odds.values()))[0]
        parents, why = self._parents(N_PARENTS[operator], population, rng, pick, reason)
        return Selection(operator=operator, parents=parents, reason=why, odds=odds)

    def _parents(
        self, n: int, population: Population, rng: Random, pick: Callable[[], DesignView], reason: str
    ) -> tuple[tuple[str, ...], str]:
        """So many parents, and why these."""
        if n == 0:
            return (), "from scratch"
        seeds = population.seeds
        if len(seeds) >= n and rng.random() < self.restart:
            return tuple(view.id for view in rng.sample(seeds, n)), "restart from the seeds"
        parents: list[str] = []
        if seeds and population.n_verified <= self.seed_until:
            parents.append(rng.choice(seeds).id)
            reason = f"{reason}; one parent is a seed".removeprefix("; ")
        while len(parents) < n:
            parents.append(self._another(population, rng, pick, parents))
        return tuple(parents), reason

    def odds(self, population: Population) -> dict[Operator, float]:
        """Probability of each operator that may be drawn now; they sum to 1."""
        warm_up = bool(population.seeds)
        allowed: dict[Operator, bool] = {
            "mutation": len(population.eligible) >= 1,
            "crossover": len(population.eligible) >= 2
            and not (warm_up and population.n_implemented < self.crossover_from),
            "scratch": not (warm_up and population.n_implemented < self.scratch_from),
        }
        shares = {"mutation": self.mutation, "crossover": self.crossover, "scratch": self.scratch}
        weights = {o: shares[o] for o in OPERATORS if allowed[o] and shares[o] > 0}
        total = sum(weights.values())
        if total > 0:
            return {operator: weight / total for operator, weight in weights.items()}
        return {"mutation" if allowed["mutation"] else "scratch": 1.0}

    def _another(self, population: Population, rng: Random, pick: Callable[[], DesignView], taken: list[str]) -> str:
        """A parent not taken yet: the strategy's, else after some tries anyone."""
        for _ in range(_ATTEMPTS):
            found = pick().id
            if found not in taken:
                return found
        return next(view.id for view in population.sample(rng, len(taken) + 1) if view.id not in taken)


def value_of(view: DesignView) -> float:
    """Its fitness at the highest scale at which it is rated; minus infinity when it is unrated."""
    return view.best.value if view.best is not None else -inf


def n_first(ranked: _Ranked[T], share: float, value: Callable[[T], float]) -> int:
    """How many stand in the first share (0..1) of a ranking, at least one, whoever is tied with the last of them included.

    0 for an empty ranking.
    """
    if not len(ranked):
        return 0
    last = max(1, ceil(share * len(ranked))) - 1
    return bisect_right(ranked, -value(ranked[last]), lo=last, key=lambda item: -value(item))


def fitter_of_two(draw: Callable[[], DesignView]) -> DesignView:
    """The fitter of two draws, the first when they are tied: the best of n likelier than the last by 2n - 1 to 1."""
    return max(draw(), draw(), key=value_of)


def validate_selection(selection: object, population: Population) -> Selection:
    """Check a strategy's answer.

    Raises:
        ConfigError: It is no selection, its operator is unknown, its parents are not what the operator takes, or its
            references or odds are none.
    """
    if not isinstance(selection, Selection):
        raise ConfigError(
            f"Cannot use the answer {selection!r} of a selection strategy: it is a {type(selection).__name__}; "
            f"expected a Selection. Return Selection(operator=..., parents=...)."
        )
    if selection.operator not in OPERATORS:
        raise ConfigError(f"Cannot use operator {selection.operator!r}; expected one of {', '.join(OPERATORS)}.")
    parents = selection.parents
    if not isinstance(parents, tuple) or not all(isinstance(p, str) for p in parents):
        raise ConfigError(f"Cannot use parents {parents!r}; expected a tuple of design ids.")
    if len(set(parents)) != N_PARENTS[selection.operator] or len(set(parents)) != len(parents):
        raise ConfigError(
            f"Cannot use {len(parents)} parents for {selection.operator}: {parents}; expected "
            f"{N_PARENTS[selection.operator]} different ones."
        )
    for parent in parents:
        if parent not in population or population.confidence_share(parent) is None:
            raise ConfigError(
                f"Cannot use parent {parent[:12]!r}: the population has no design of that id that is implemented. "
                f"Choose from population.eligible."
            )
    if not isinstance(selection.references, tuple) or not all(isinstance(r, str) for r in selection.references):
        raise ConfigError(f"Cannot use references {selection.references!r}; expected a tuple of names.")
    odds = selection.odds
    if odds and not (odds.get(selection.operator, 0) > 0 and isclose(sum(odds.values()), 1.0, abs_tol=1e-6)):
        raise ConfigError(
            f"Cannot use odds {dict(odds)} of a {selection.operator}: expected probabilities that sum to 1, its own "
            "above 0. Leave them out, or take those of OperatorRates."
        )
    return selection
