"""Rule-based operators on unit trees; with `fitness`, the only part of the evolution that knows its domain."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from genesys.evolution.operators.bandit import AdaptiveRates, adaptive_focus, with_adaptive_rates
from genesys.evolution.operators.crossover import crossover
from genesys.evolution.operators.grow import fill, grow, scratch
from genesys.evolution.operators.mutation import mutate
from genesys.evolution.operators.proposal import Change, Focus, Proposal, design_name
from genesys.evolution.operators.twins import known_twin
from genesys.gau import Unit, UnitTree


def propose(
    operator: str, parents: Sequence[UnitTree], alphabet: Sequence[Unit], rng: Random, focus: Focus | None = None
) -> Proposal:
    """Apply an operator by name: mutation (1 parent), crossover (2), scratch (none).

    Args:
        focus: Which edits and places to prefer; the operators' own rates by default.

    Raises:
        ValueError: Unknown operator, wrong number of parents, or nothing new came out.
    """
    match operator, tuple(parents):
        case "mutation", (tree,):
            return mutate(tree, alphabet, rng, focus)
        case "crossover", (a, b):
            return crossover(a, b, rng, focus)
        case "scratch", ():
            return scratch(alphabet, rng)
    raise ValueError(
        f"Cannot propose by {operator!r} from {len(parents)} parents; "
        "expected mutation of 1, crossover of 2 or scratch of 0."
    )


__all__ = [
    "AdaptiveRates",
    "Change",
    "Focus",
    "Proposal",
    "adaptive_focus",
    "crossover",
    "design_name",
    "fill",
    "grow",
    "known_twin",
    "mutate",
    "propose",
    "scratch",
    "with_adaptive_rates",
]
