"""Which design to verify at which scale next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from genesys.evolution.policy import resolve_strategy
from genesys.evolution.promotion.base import Decline, Promotion, PromotionStrategy
from genesys.evolution.promotion.decide import Decision, Finished, Verify, Wait, decide
from genesys.evolution.promotion.hurdle import Hurdle
from genesys.evolution.promotion.median import MedianStopping
from genesys.evolution.promotion.quadrant import QuadrantPromotion
from genesys.evolution.promotion.random import RandomPromotion
from genesys.evolution.promotion.successive_halving import SuccessiveHalving

PROMOTIONS = {
    "hurdle": Hurdle,
    "median": MedianStopping,
    "quadrant": QuadrantPromotion,
    "random": RandomPromotion,
    "successive_halving": SuccessiveHalving,
}


def resolve_promotion(
    strategy: str | PromotionStrategy = "successive_halving", options: Mapping[str, Any] | None = None
) -> PromotionStrategy:
    """A promotion strategy by name, by `module:Class`, or the object itself; ConfigError if there is none."""
    return cast(PromotionStrategy, resolve_strategy(strategy, options, known=PROMOTIONS, method="promote"))


__all__ = [
    "PROMOTIONS",
    "Decision",
    "Decline",
    "Finished",
    "Hurdle",
    "MedianStopping",
    "Promotion",
    "PromotionStrategy",
    "QuadrantPromotion",
    "RandomPromotion",
    "SuccessiveHalving",
    "Verify",
    "Wait",
    "decide",
    "resolve_promotion",
]
