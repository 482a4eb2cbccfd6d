"""Rungs, recipes and quotas. Standard library only."""

from genesys.ladder.presets import CPU_SCALES, LADDERS, PAPER_SCALES
from genesys.ladder.scale import Ladder, Scale, quotas_for_target

__all__ = ["CPU_SCALES", "LADDERS", "PAPER_SCALES", "Ladder", "Scale", "quotas_for_target"]
