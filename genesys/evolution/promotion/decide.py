"""What a free verifier does next: the rules that hold for every promotion strategy, around the strategy's choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from genesys.evolution.design import DesignState
from genesys.evolution.events import PolicyFailed
from genesys.evolution.policy import STRATEGY_TIMEOUT_S, call_with_deadline, is_built_in
from genesys.evolution.population import Population
from genesys.evolution.promotion.base import Promotion, PromotionStrategy, highest_open
from genesys.evolution.promotion.random import RandomPromotion
from genesys.evolution.promotion.replicates import next_replicate
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
    """Nothing to start now; ask again after the next event."""

    reason: str
    failure: PolicyFailed | None = None


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
    if isinstance(decision, Verify):
        return decision
    replicate = next_replicate(tree)
    if replicate is not None:
        reason = f"training seed {replicate.seed}, while nothing else may start"
        failure = getattr(decision, "failure", None)
        return Verify(
            design=replicate.design, scale=replicate.scale, reason=reason, seed=replicate.seed, failure=failure
        )
    if isinstance(decision, Finished) and tree.leases:
        return Wait(reason=f"{decision.reason}; {len(tree.leases)} replicates still run")
    return decision


def _climb(
    tree: EvolutionTree, strategy: PromotionStrategy, rng: Random, *, proposals_open: bool, timeout_s: float | None
) -> Decision:
    """What the ladder itself has to do next."""
    room = _Room.of(tree, proposals_open=proposals_open)
    if len(room.settled) == len(tree.scales):
        spent = tree.ledger.is_spent()
        return Finished(reason="every quota is spent" if spent else "no design is left that could spend a quota")
    first = _goes_first(tree, room)
    if first is not None:
        return Verify(design=first.design, scale=first.scale, reason=first.reason)
    return _by_strategy(tree, room, strategy, rng, timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """Where leases are free: `free` in all, `openings` without the room kept for those that go first.

    `only` names, for a scale, the niches that alone may use its openings; `is_quiet` says that nothing runs and
    nothing new comes while the strategy waits.
    """

    settled: frozenset[str]
    free: Mapping[str, int]
    openings: Mapping[str, int]
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_quiet: bool = False

    @staticmethod
    def of(tree: EvolutionTree, *, proposals_open: bool) -> _Room:
        settled = _settled(tree, proposals_open)
        free = {s: tree.ledger.released(s, settled=settled) - tree.ledger.account(s).used for s in tree.scales}
        openings = {s: n - _kept(tree, k, settled) for k, (s, n) in enumerate(free.items())}
        only = {s: _reserved_niches(tree, k, settled) for k, s in enumerate(tree.scales)}
        bottom = tree.scales[0]
        may_grow = proposals_open or bool(tree.in_state(DesignState.PROPOSED))
        # designers pause while designs wait at the bottom, so a strategy must not wait for more of them then
        nothing_comes = not may_grow or tree.ledger.account(bottom).left == 0 or len(tree.waiting(bottom)) > 0
        is_quiet = nothing_comes and not tree.leases
        return _Room(
            settled=frozenset(settled), free=free, only={s: n for s, n in only.items() if n}, is_quiet=is_quiet,
            openings={s: n for s, n in openings.items() if n > 0 and len(tree.waiting(s))},
        )  # fmt: skip


def _settled(tree: EvolutionTree, proposals_open: bool) -> list[str]:
    """The scales, from the bottom, that will finish nothing more."""
    settled: list[str] = []
    may_grow = proposals_open or bool(tree.in_state(DesignState.PROPOSED))
    for scale in tree.scales:
        account = tree.ledger.account(scale)
        if account.reserved or (account.left and (may_grow or len(tree.waiting(scale)))):
            break
        settled.append(scale)
        may_grow = False
    return settled


def _kept(tree: EvolutionTree, k: int, settled: list[str]) -> int:
    """Room kept at a scale for seeds in check, or for the reference on its way up."""
    if k == 0:
        return tree.n_pending_seeds
    coming = tree.reference and tree.scales[k - 1] not in settled and tree.ratings.awaits_reference(tree.scales[k])
    return int(bool(coming) and tree.reference not in tree.present(tree.scales[k]))


def _reserved_niches(tree: EvolutionTree, k: int, settled: list[str]) -> tuple[str, ...]:
    """Protected niches that alone may use what is left at a scale, since nobody represents them there yet."""
    niches, scale = tree.rule.protected_niches, tree.scales[k]
    if k == 0 or not niches or tree.ledger.account(scale).left - _kept(tree, k, settled) > len(niches):
        return ()
    there = {tree.ratings.niche(design) for design in tree.present(scale) if design != tree.reference}
    missing = [n for n in niches if n not in there]
    if tree.scales[k - 1] in settled:
        missing = [n for n in missing if any(tree.ratings.niche(d) == n for d in tree.waiting(scale))]
    return tuple(missing) if tree.ledger.account(scale).left - _kept(tree, k, settled) <= len(missing) else ()


def _goes_first(tree: EvolutionTree, room: _Room) -> Promotion | None:
    for scale in reversed(tree.scales):
        if tree.reference in tree.waiting(scale) and room.free[scale] > 0:
            return Promotion(design=tree.reference, scale=scale, reason="the reference goes first at each scale")
    bottom = tree.scales[0]
    waiting = tree.waiting(bottom)
    if len(waiting) and room.free[bottom] > 0 and tree.record(waiting[0]).is_seed:
        return Promotion(design=waiting[0], scale=bottom, reason="seeds go first on the bottom rung")
    return None


def _by_strategy(
    tree: EvolutionTree, room: _Room, strategy: PromotionStrategy, rng: Random, timeout_s: float | None
) -> Decision:
    openings = {s: n for s, n in room.openings.items() if s not in room.only}
    for scale, niches in room.only.items():
        if scale in room.openings and (found := _best_of(tree, scale, niches)) is not None:
            return Verify(
                design=found, scale=scale, reason=f"the last room at {scale} is for niche {', '.join(niches)}"
            )
    if not openings:
        return Wait(reason=_why_waiting(tree, room))
    population = tree.population()
    failure: PolicyFailed | None = None
    try:
        limit = None if is_built_in(strategy) else timeout_s
        choice = call_with_deadline(lambda: strategy.promote(population, openings, rng=rng), limit)
        problem = _nonsense(tree, choice, openings)
        if problem:
            raise ValueError(problem)
    except Exception as error:  # a strategy of somebody else's: whatever it does, the run goes on
        failure = PolicyFailed(
            policy="promotion", strategy=type(strategy).__name__, reason=f"{type(error).__name__}: {error}"
        )
        choice = RandomPromotion().promote(population, openings, rng=rng)
    if choice is None and room.is_quiet:
        choice = _forced(population, openings)
    if choice is None:
        return Wait(reason="the strategy waits for more results", failure=failure)
    return Verify(design=choice.design, scale=choice.scale, reason=choice.reason, failure=failure)


def _best_of(tree: EvolutionTree, scale: str, niches: tuple[str, ...]) -> str | None:
    """The best design of these niches that waits at a scale, once nothing better may still come from below."""
    below = tree.scales[tree.scales.index(scale) - 1]
    if tree.running(below):
        return None
    return next((d for d in tree.waiting(scale) if tree.ratings.niche(d) in niches), None)


def _forced(population: Population, openings: Mapping[str, int]) -> Promotion | None:
    scale = highest_open(population, openings)
    if scale is None:
        return None
    return Promotion(
        design=population.unverified(scale)[0].id, scale=scale, reason="nothing else can come: the best that waits"
    )


def _nonsense(tree: EvolutionTree, choice: object, openings: Mapping[str, int]) -> str:
    if choice is None:
        return ""
    if not isinstance(choice, Promotion):
        return f"it returned {type(choice).__name__}; expected a Promotion or None"
    if openings.get(choice.scale, 0) < 1:
        return f"it chose scale {choice.scale!r}; expected one of {', '.join(openings)}"
    if choice.design not in tree.waiting(choice.scale):
        return f"it chose design {str(choice.design)[:12]!r}, which does not wait at {choice.scale!r}"
    return ""


def _why_waiting(tree: EvolutionTree, room: _Room) -> str:
    if not any(len(tree.waiting(scale)) for scale in tree.scales):
        return "no design waits for a verification"
    return (
        "every design that waits is on a rung that is not open yet"
        if not room.openings
        else "the last room is kept for a niche"
    )
