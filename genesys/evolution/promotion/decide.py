"""What a free verifier does next: the rules that hold for every promotion strategy, around the strategy's choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from genesys.evolution.events import PolicyFailed
from genesys.evolution.policy import STRATEGY_TIMEOUT_S, call_with_deadline, is_built_in
from genesys.evolution.population import Population
from genesys.evolution.promotion.base import Decline, Promotion, PromotionStrategy, highest_open
from genesys.evolution.promotion.random import RandomPromotion
from genesys.evolution.promotion.replicates import next_replicate
from genesys.evolution.promotion.room import Room, best_waiting, cost_at
from genesys.evolution.tree import EvolutionTree
from genesys.ladder.ledger import FIRST_SEED


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """Lease this design at this scale. A seed other than 0 is a replicate. `failure` is to be journaled when the strategy had to be replaced."""

    design: str
    scale: str
    reason: str
    seed: int = FIRST_SEED
    failure: PolicyFailed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to start now; ask again after the next event. `is_capped`: a cap leaves no room until some run ends."""

    reason: str
    failure: PolicyFailed | None = None
    is_capped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """No verification will ever start again, and none runs."""

    reason: str


Decision = Verify | Wait | Finished


def decide(
    tree: EvolutionTree, strategy: PromotionStrategy, rng: Random, *, proposals_open: bool = True,
    timeout_s: float | None = STRATEGY_TIMEOUT_S,
) -> Decision:  # fmt: skip
    """What the next free verifier is to do. Changes nothing.

    Before the strategy is asked, seeds go first on the bottom rung and the reference goes first on each rung; room
    is kept for those of them that are still on their way, and on each rung for one design of a protected niche other
    than the reference. When nothing runs and nothing else can come, the best that waits goes, so that a strategy
    which only waits cannot stop the ladder. Where nothing of the ladder may start, a replicate does.

    Args:
        proposals_open: Whether designers may still propose; False once their attempts are spent.
        timeout_s: For strategies that are not built in.
    """
    if tree.run is None:
        return Wait(reason="the run has not started")
    if tree.draining or tree.finished:
        reason = tree.draining or tree.finished
        return Wait(reason=f"{reason}; {len(tree.leases)} still run") if tree.leases else Finished(reason=reason)
    decision = _climb(tree, strategy, rng, proposals_open=proposals_open, timeout_s=timeout_s)
    return decision if isinstance(decision, Verify) else _or_replicate(tree, decision)


def _or_replicate(tree: EvolutionTree, decision: Wait | Finished) -> Decision:
    """A replicate, where nothing of the ladder starts and no cap is what holds the ladder up."""
    replicate = None if isinstance(decision, Wait) and decision.is_capped else next_replicate(tree)
    if replicate is not None:
        reason = f"training seed {replicate.seed}, while nothing else may start"
        failure = getattr(decision, "failure", None)
        return Verify(
            design=replicate.design, scale=replicate.scale, reason=reason, seed=replicate.seed, failure=failure
        )
    if not isinstance(decision, Finished):
        return decision
    if tree.leases:
        return Wait(reason=f"{decision.reason}; {len(tree.leases)} replicates still run")
    due = next_replicate(tree, within_caps=False)
    if due is None:
        return decision
    cap = tree.budget.shortage(cost_at(tree, due.scale))
    return Finished(reason=f"{decision.reason}; {cap} leaves no room for a further training seed at {due.scale}")


def _climb(
    tree: EvolutionTree, strategy: PromotionStrategy, rng: Random, *, proposals_open: bool, timeout_s: float | None
) -> Decision:
    """What the ladder itself has to do next."""
    declined: dict[str, str] = {}
    while True:
        room = Room(tree=tree, proposals_open=proposals_open, declined=declined)
        if len(room.settled) == len(tree.scales):
            return Finished(reason=_why_finished(tree, room, declined))
        first = _goes_first(tree, room)
        if first is not None:
            return Verify(design=first.design, scale=first.scale, reason=first.reason)
        decision = _by_strategy(tree, room, strategy, rng, timeout_s)
        if not isinstance(decision, _Declined):
            return decision
        declined |= dict.fromkeys(decision.scales, decision.reason)


@dataclass(frozen=True, slots=True)
class _Declined:
    """The strategy wants nobody who waits at these scales, and nothing else can come."""

    scales: tuple[str, ...]
    reason: str


def _why_finished(tree: EvolutionTree, room: Room, declined: Mapping[str, str]) -> str:
    if tree.ledger.is_spent():
        return "every quota is spent"
    kept: dict[str, list[str]] = {}
    for scale, reason in declined.items():
        kept.setdefault(reason, []).append(scale)
    said = [f"{reason}; the quota left at {' and '.join(scales)} stays unspent" for reason, scales in kept.items()]
    if why_shut := room.why_shut:
        said.insert(0, why_shut)
    return "; ".join(said) or "no design is left that could spend a quota"


def _goes_first(tree: EvolutionTree, room: Room) -> Promotion | None:
    for scale in reversed(tree.scales):
        if tree.reference in tree.waiting(scale) and room.free[scale] > 0:
            return Promotion(design=tree.reference, scale=scale, reason="the reference goes first at each scale")
    bottom = tree.scales[0]
    waiting = tree.waiting(bottom)
    if len(waiting) and room.free[bottom] > 0 and tree.record(waiting[0]).is_seed:
        return Promotion(design=waiting[0], scale=bottom, reason="seeds go first on the bottom rung")
    return None


def _by_strategy(
    tree: EvolutionTree, room: Room, strategy: PromotionStrategy, rng: Random, timeout_s: float | None
) -> Decision | _Declined:
    openings = {s: n for s, n in room.openings.items() if s not in room.only and s not in room.declined}
    for scale, niches in room.only.items():
        if scale in room.openings and (found := _best_of(tree, scale, niches)) is not None:
            niche = tree.ratings.niche(found)
            return Verify(
                design=found, scale=scale, reason=f"the best of niche {niche}, for which nobody stands at {scale}"
            )
    if not openings:
        return _waiting(tree, room)
    population, bottom = tree.population(), tree.scales[0]
    choice, failure = _ask(tree, population, openings, strategy, rng, timeout_s)
    if isinstance(choice, Decline) and room.is_quiet and bottom not in openings:
        return _Declined(tuple(openings), choice.reason)
    if not isinstance(choice, Promotion) and room.is_quiet:
        choice = _forced(population, {bottom: openings[bottom]} if isinstance(choice, Decline) else openings)
    if not isinstance(choice, Promotion):
        reason = choice.reason if choice else "the strategy waits for more results"
        return Wait(reason=reason, failure=failure, is_capped=room.may_refill)
    return Verify(design=choice.design, scale=choice.scale, reason=choice.reason, failure=failure)


def _ask(
    tree: EvolutionTree, population: Population, openings: Mapping[str, int], strategy: PromotionStrategy, rng: Random,
    timeout_s: float | None,
) -> tuple[Promotion | Decline | None, PolicyFailed | None]:  # fmt: skip
    """The strategy's choice, or a draw in place of one that fails."""
    try:
        limit = None if is_built_in(strategy) else timeout_s
        choice = call_with_deadline(lambda: strategy.promote(population, openings, rng=rng), limit)
        problem = _nonsense(tree, choice, openings)
        if problem:
            raise ValueError(problem)
    except Exception as error:  # a strategy of somebody else's: whatever it does, the run goes on
        reason = f"{type(error).__name__}: {error}"
        failure = PolicyFailed(policy="promotion", strategy=type(strategy).__name__, reason=reason)
        population.forget()
        return RandomPromotion().promote(population, openings, rng=rng), failure
    return choice, None


def _best_of(tree: EvolutionTree, scale: str, niches: tuple[str, ...]) -> str | None:
    """The best design of these niches that waits at a scale, once nothing better may still come from below."""
    below = tree.scales[tree.scales.index(scale) - 1]
    if tree.running(below):
        return None
    return best_waiting(tree, scale, niches)


def _forced(population: Population, openings: Mapping[str, int]) -> Promotion | None:
    scale = highest_open(population, openings)
    if scale is None:
        return None
    return Promotion(
        design=population.unverified(scale)[0].id, scale=scale, reason="nothing else can come: the best that waits"
    )


def _nonsense(tree: EvolutionTree, choice: object, openings: Mapping[str, int]) -> str:
    if choice is None or isinstance(choice, Decline):
        return ""
    if not isinstance(choice, Promotion):
        return f"it returned {type(choice).__name__}; expected a Promotion, a Decline or None"
    if openings.get(choice.scale, 0) < 1:
        return f"it chose scale {choice.scale!r}; expected one of {', '.join(openings)}"
    if choice.design not in tree.waiting(choice.scale):
        return f"it chose design {str(choice.design)[:12]!r}, which does not wait at {choice.scale!r}"
    return ""


def _waiting(tree: EvolutionTree, room: Room) -> Wait:
    if why_shut := room.why_shut:
        reason = f"{why_shut} until a run ends" if tree.leases else why_shut
        return Wait(reason=reason, is_capped=room.may_refill)
    if not any(len(tree.waiting(scale)) for scale in tree.scales):
        return Wait(reason="no design waits for a verification")
    if room.openings:
        return Wait(reason="the last room is kept for a niche")
    return Wait(reason="every design that waits is on a rung that is not open yet")
