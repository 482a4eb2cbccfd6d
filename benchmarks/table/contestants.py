"""Who is compared on the table: the built-in strategies, and baselines without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from genesys.evolution.operators import with_adaptive_rates
from genesys.evolution.promotion import PROMOTIONS, PromotionStrategy, resolve_promotion
from genesys.evolution.selection import SELECTIONS, OperatorRates, SelectionStrategy, resolve_selection

RATES = OperatorRates(crossover_from=0, scratch_from=0, seed_until=0)
"""The default shares without the warm-up, which would outlast a table of some dozen designs."""
SCRATCH_ONLY = OperatorRates(mutation=0.0, crossover=0.0, scratch=1.0, crossover_from=0, scratch_from=0, restart=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """Strategies under a name, made anew for each replay; without the ladder all is verified on the top rung."""

    name: str
    selection: Callable[[], SelectionStrategy]
    promotion: Callable[[], PromotionStrategy] = resolve_promotion
    has_ladder: bool = True


def contestants() -> tuple[Contestant, ...]:
    """Independent draws, no ladder at all, and every built-in strategy: selections under the default promotion, and
    promotions and adaptive operators under the default selection."""

    def by_lot() -> SelectionStrategy:
        return resolve_selection("random", {"rates": SCRATCH_ONLY})

    def selecting(name: str) -> Callable[[], SelectionStrategy]:
        return lambda: resolve_selection(name, {"rates": RATES})

    default = type(resolve_selection())
    default_name = next(name for name, kind in SELECTIONS.items() if kind is default)
    default_promotion = type(resolve_promotion())
    return (
        Contestant(name="iid", selection=by_lot),
        Contestant(name="iid, no ladder", selection=by_lot, has_ladder=False),
        Contestant(name=f"{default_name}, no ladder", selection=selecting(default_name), has_ladder=False),
        Contestant(
            name=f"{default_name}, adaptive operators",
            selection=lambda: with_adaptive_rates(selecting(default_name)()),
        ),
        *(Contestant(name=name, selection=selecting(name)) for name in sorted(SELECTIONS)),
        *(
            Contestant(
                name=f"{default_name}, promotion {name}",
                selection=selecting(default_name),
                promotion=lambda name=name: resolve_promotion(name),  # type: ignore[misc]
            )
            for name, kind in sorted(PROMOTIONS.items())
            if kind is not default_promotion
        ),
    )
