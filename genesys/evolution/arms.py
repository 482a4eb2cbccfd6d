"""Which model earned what in which role: a bandit whose arms cost money.

Everything follows from the books, so that it needs no memory of its own. A session's reward is the fitness that its
design gained over its best parent, never below 0, and 0 when it gave no design; its price is what it cost. An arm is a
model in a role, and a session counts for the models that answered most in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from random import Random
from statistics import fmean, variance

from genesys.evolution.attribution import gain_over_parents
from genesys.evolution.design import DesignRecord, DesignState
from genesys.evolution.events import LESSONS, NO_FAULT_CAUSES
from genesys.evolution.tree import EvolutionTree

N_DRAWS = 200
EXPLORED = 0.1
"""Share of a role's draws that goes by the configured weights, whatever was earned."""

_NO_FAULT_OF_A_MODEL = NO_FAULT_CAUSES | {"bug", "poison"}
_PRIOR_SESSIONS = 2.0
"""Sessions as good as the role's mean that every arm is credited with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A session whose worth is known; `design` is "" where it gave none."""

    session: str
    design: str
    models: Mapping[str, str]
    cost_usd: float
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A model in a role.

    Attributes:
        n: Its sessions whose worth is known.
        n_designs: Those that gave a design.
        gain: Mean fitness gained by a session; failures count 0.
        usd: Mean cost of a session.
    """

    role: str
    model: str
    n: int
    n_designs: int
    gain: float
    usd: float

    @property
    def gain_per_usd(self) -> float | None:
        """None where nothing was paid."""
        return self.gain / self.usd if self.usd > 0 else None


def settled_sessions(tree: EvolutionTree) -> Iterator[Settled]:
    """Sessions whose worth the books tell: those without a design, and those whose design is rated or unsound.

    Designs that wait for a verification are left out, and so are sessions that ended through no fault of a model: for want
    of money, stale, or by a mistake of ours.
    """
    for design in tree.authored:
        record = tree.record(design)
        gain = _gain(tree, record)
        if gain is not None:
            yield Settled(
                session=record.session, design=design, models=record.models, cost_usd=record.cost_usd, gain=gain
            )
    for event in tree.failed_sessions:
        if event.cause not in _NO_FAULT_OF_A_MODEL and event.operator != LESSONS:
            yield Settled(session=event.session, design="", models=event.models, cost_usd=event.cost_usd, gain=0.0)


def arms(tree: EvolutionTree) -> tuple[Arm, ...]:
    """What each model earned in each role, by role and name."""
    groups = _by_arm(settled_sessions(tree))
    return tuple(
        Arm(
            role=role, model=model, n=len(found), n_designs=sum(bool(s.design) for s in found),
            gain=fmean(s.gain for s in found), usd=fmean(s.cost_usd for s in found),
        )
        for (role, model), found in sorted(groups.items())
    )  # fmt: skip


def arm_weights(
    tree: EvolutionTree, models: Mapping[str, Mapping[str, float]], rng: Random
) -> dict[str, dict[str, float]]:
    """By role, how often each model should be drawn next: as often as it seems to earn most for a dollar.

    Thompson sampling of gain over cost, with a share kept for the configured weights. A role with one model, or of
    whose models none has been tried, keeps its weights.

    Args:
        models: By role, the configured weight of each model; a weight of 0 stays 0.

    Source: Xia et al. 2015, Thompson sampling for budgeted multi-armed bandits, with normal posteriors of the mean gain.
    """
    groups = _by_arm(settled_sessions(tree))
    found = {}
    for role, weights in models.items():
        open_ = {model: weight for model, weight in weights.items() if weight > 0}
        tried = {model: groups.get((role, model), []) for model in open_}
        if len(open_) > 1 and any(tried.values()):
            wins = _wins(tried, rng)
            total = sum(open_.values())
            found[role] = {
                model: EXPLORED * weight / total + (1 - EXPLORED) * wins[model] / N_DRAWS
                for model, weight in open_.items()
            }
    return found


def _wins(tried: Mapping[str, list[Settled]], rng: Random) -> Counter[str]:
    """How often each model has the highest gain per dollar, when both are drawn as the sessions leave them open."""
    everyone = [session for sessions in tried.values() for session in sessions]
    mean = fmean(s.gain for s in everyone)
    spread = variance([s.gain for s in everyone]) if len(everyone) > 1 else 1.0
    spread = spread or max(mean**2, 1e-6)
    usd = fmean(s.cost_usd for s in everyone)
    draws = {}
    for model, sessions in tried.items():
        n = len(sessions) + _PRIOR_SESSIONS
        centre = (sum(s.gain for s in sessions) + _PRIOR_SESSIONS * mean) / n
        price = (sum(s.cost_usd for s in sessions) + _PRIOR_SESSIONS * usd) / n or 1.0
        draws[model] = [max(0.0, rng.gauss(centre, sqrt(spread / n))) / price for _ in range(N_DRAWS)]
    wins: Counter[str] = Counter()
    for k in range(N_DRAWS):
        best = max(draw[k] for draw in draws.values())
        wins[rng.choice([model for model, draw in draws.items() if draw[k] == best])] += 1
    return wins


def _by_arm(sessions: Iterable[Settled]) -> dict[tuple[str, str], list[Settled]]:
    groups: dict[tuple[str, str], list[Settled]] = {}
    for session in sessions:
        for role, model in session.models.items():
            groups.setdefault((role, model), []).append(session)
    return groups


def _gain(tree: EvolutionTree, record: DesignRecord) -> float | None:
    """What a design gained; against the reference at 0 without parents; None while nothing tells."""
    match record.state:
        case DesignState.REJECTED | DesignState.TWIN | DesignState.FAILED:
            return 0.0
        case DesignState.VERIFIED:
            own = tree.ratings.fitness(record.id)
            if not record.parents:
                return max(0.0, next(iter(own.values())).value) if own else None
            gain = gain_over_parents(record.parents, own, tree.ratings.fitness)
            return None if gain is None else max(0.0, gain)
    return None
