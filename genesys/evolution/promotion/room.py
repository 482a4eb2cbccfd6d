"""Where verifications may start now: quotas, what is released of them, caps, and the room that is kept for some."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from genesys.evolution.design import DesignState
from genesys.evolution.tree import EvolutionTree
from genesys.ladder.budget import Cost
from genesys.ladder.scale import PROBES


@dataclass(frozen=True, kw_only=True)
class Room:
    """The free leases of a moment.

    Attributes:
        proposals_open: Whether designers may still propose.
        declined: Scales at which the strategy wants nobody who waits, though nothing better can come.
    """

    tree: EvolutionTree
    proposals_open: bool = True
    declined: Collection[str] = ()

    @cached_property
    def short(self) -> Mapping[str, str]:
        """Scales at which a cap leaves no room for a run now, and that cap in words."""
        found = {s: self.tree.budget.shortage(cost_at(self.tree, s)) for s in self.tree.scales}
        return {scale: cap for scale, cap in found.items() if cap}

    @cached_property
    def settled(self) -> Sequence[str]:
        """The scales, from the bottom, that will finish nothing more."""
        settled: list[str] = []
        grows = self._may_grow
        for k, scale in enumerate(self.tree.scales):
            if self.tree.ledger.account(scale).reserved or (self._wanted(scale, grows) and not self._stuck(k, settled)):
                break
            settled.append(scale)
            grows = False
        return settled

    @cached_property
    def free(self) -> Mapping[str, int]:
        """Leases free at each scale."""
        ledger = self.tree.ledger
        released = {s: ledger.released(s, settled=self.settled) for s in self.tree.scales}
        return {s: 0 if s in self.short else released[s] - ledger.account(s).used for s in self.tree.scales}

    @cached_property
    def openings(self) -> Mapping[str, int]:
        """Those that are not kept for anyone on the way, at scales where somebody waits."""
        found = {s: self.free[s] - self._kept(k, self.settled) for k, s in enumerate(self.tree.scales)}
        return {s: n for s, n in found.items() if n > 0 and len(self.tree.waiting(s))}

    @cached_property
    def only(self) -> Mapping[str, tuple[str, ...]]:
        """For a scale, the niches that alone may use its openings."""
        found = {s: self._reserved_niches(k, self.settled) for k, s in enumerate(self.tree.scales)}
        return {scale: niches for scale, niches in found.items() if niches}

    @property
    def is_quiet(self) -> bool:
        """Whether nothing runs, and nothing new comes while the strategy waits."""
        bottom = self.tree.scales[0]
        # designers pause while designs wait at the bottom, so a strategy must not wait for more of them then
        nothing_comes = bottom in self.settled or not self._may_grow or len(self.tree.waiting(bottom))
        return bool(nothing_comes) and not self.tree.leases

    @property
    def why_shut(self) -> str:
        """The caps that leave no room for runs that are wanted now, in words; "" when no cap does."""
        shut: dict[str, list[str]] = {}
        for k, scale in enumerate(self.tree.scales):
            if scale in self.short and self._wanted(scale, self._may_grow and k == 0):
                shut.setdefault(self.short[scale], []).append(scale)
        return "; ".join(f"{cap} leaves no room for a run at {' or '.join(scales)}" for cap, scales in shut.items())

    @property
    def may_refill(self) -> bool:
        """Whether a cap holds the ladder up, and what runs may give some of it back."""
        return bool(self.why_shut and self.tree.leases)

    @property
    def _may_grow(self) -> bool:
        return self.proposals_open or bool(self.tree.in_state(DesignState.PROPOSED))

    def _wanted(self, scale: str, grows: bool) -> bool:
        """Whether a scale has quota left and designs to spend it on."""
        return bool(self.tree.ledger.account(scale).left and (grows or len(self.tree.waiting(scale))))

    def _stuck(self, k: int, settled: Sequence[str]) -> bool:
        """Whether nothing can ever start at a scale; where nothing runs, nothing comes back to a cap."""
        scale = self.tree.scales[k]
        if scale in self.short and not self.tree.leases:
            return True
        return scale in self.declined and not self._reserved_niches(k, settled)

    def _kept(self, k: int, settled: Sequence[str]) -> int:
        """Room kept at a scale for seeds in check, or for the reference on its way up."""
        tree = self.tree
        if k == 0:
            return tree.n_pending_seeds
        coming = tree.reference and tree.scales[k - 1] not in settled and tree.ratings.awaits_reference(tree.scales[k])
        return int(bool(coming) and tree.reference not in tree.ledger.runs(tree.scales[k]))

    def _reserved_niches(self, k: int, settled: Sequence[str]) -> tuple[str, ...]:
        """Protected niches that alone may use what is left at a scale, since nobody represents them there yet."""
        tree, scale = self.tree, self.tree.scales[k]
        left = tree.ledger.account(scale).left - self._kept(k, settled)
        niches = self._protected
        if k == 0 or left < 1 or (left > len(niches) and scale not in self.declined):
            return ()
        missing = [n for n in niches if not self._is_represented(scale, n)]
        if tree.scales[k - 1] in settled or scale in self.declined:
            missing = [n for n in missing if best_waiting(tree, scale, (n,)) is not None]
        return tuple(missing) if left <= len(missing) or scale in self.declined else ()

    @cached_property
    def _protected(self) -> Sequence[str]:
        """The rule's protected niches, those left out that no scale of the run has a probe for."""
        config = self.tree.run.config if self.tree.run else {}
        scales, is_on = config.get("scales"), config.get("verifiers", {}).get("probes", True)
        probed = {probe for scale in scales or () for probe in scale.get("probes", PROBES) if is_on}
        return [n for n in self.tree.rule.protected_niches if scales is None or n in probed]

    def _is_represented(self, scale: str, niche: str) -> bool:
        """Whether a design of a niche, other than the reference, runs or was measured at a scale."""
        tree = self.tree
        rated = tree.ratings.niches_by_scale[scale].get(niche, ())
        if len(rated) > (tree.reference in rated):
            return True
        # who is not rated yet: those that run, and all of them while the reference is on its way
        others: Iterable[str] = tree.running(scale)
        if tree.ratings.awaits_reference(scale):
            others = (design for design, outcome in tree.ledger.runs(scale).items() if outcome != "failed")
        return any(tree.ratings.niche(design) == niche for design in others if design != tree.reference)


def cost_at(tree: EvolutionTree, scale: str) -> Cost:
    """The most that one run at a scale can use, as the run was started with."""
    return tree.run_costs.get(scale, Cost.of())


def best_waiting(tree: EvolutionTree, scale: str, niches: Collection[str]) -> str | None:
    """The best design of these niches that waits at a scale above the first; None if there is none."""
    rated = tree.ratings.niches_by_scale[tree.scales[tree.scales.index(scale) - 1]]
    waiting = tree.waiting(scale)
    found = (next((d for d in rated.get(niche, ()) if d in waiting), None) for niche in niches)
    return max((d for d in found if d is not None), key=lambda d: waiting.key(d) or (), default=None)
