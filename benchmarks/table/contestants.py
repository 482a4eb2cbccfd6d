"""Who is compared on the table: the built-in strategies, baselines without them, and strategies of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from genesys.errors import ConfigError
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


def default_selection() -> str:
    """The name of the selection strategy of a run that names none."""
    default = type(resolve_selection())
    return next(name for name, kind in SELECTIONS.items() if kind is default)


def contestants() -> tuple[Contestant, ...]:
    """Independent draws, no ladder at all, and every built-in strategy: selections under the default promotion, and
    promotions and adaptive operators under the default selection."""
    default, default_promotion = default_selection(), type(resolve_promotion())
    return (
        Contestant(name="iid", selection=_by_lot),
        Contestant(name="iid, no ladder", selection=_by_lot, has_ladder=False),
        Contestant(name=f"{default}, no ladder", selection=_selecting(default), has_ladder=False),
        Contestant(
            name=f"{default}, adaptive operators", selection=lambda: with_adaptive_rates(_selecting(default)())
        ),
        *(Contestant(name=name, selection=_selecting(name)) for name in sorted(SELECTIONS)),
        *(
            contestant(default, name)
            for name, kind in sorted(PROMOTIONS.items())
            if kind is not default_promotion
        ),
    )  # fmt: skip


def contestant(selection: str = "", promotion: str = "") -> Contestant:
    """Strategies by name or `module:Class`, the default for "".

    Raises:
        ConfigError: There is no such strategy.
    """
    selection = selection or default_selection()
    selecting = _selecting(selection)

    def promoting() -> PromotionStrategy:
        return resolve_promotion(promotion) if promotion else resolve_promotion()

    selecting(), promoting()  # mistakes at the door
    name = f"{selection}, promotion {promotion}" if promotion else selection
    return Contestant(name=name, selection=selecting, promotion=promoting)


def challengers(selections: Sequence[str], promotions: Sequence[str]) -> tuple[Contestant, ...]:
    """Each of these selections under each of these promotions, beside independent draws, parents by lot and the defaults.

    Raises:
        ConfigError: There is no such strategy.
    """
    known = {each.name: each for each in contestants()}
    baselines = (known["iid"], known["random"], known[default_selection()])
    own = (contestant(s, p) for s in selections or ("",) for p in promotions or ("",))
    return tuple({each.name: each for each in (*baselines, *own)}.values())


def _by_lot() -> SelectionStrategy:
    return resolve_selection("random", {"rates": SCRATCH_ONLY})


def _selecting(name: str) -> Callable[[], SelectionStrategy]:
    def make() -> SelectionStrategy:
        try:
            return resolve_selection(name, {"rates": RATES})
        except ConfigError:
            return resolve_selection(name)  # one of somebody's own, which draws its operators itself

    return make
