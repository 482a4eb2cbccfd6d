"""Rungs, recipes, quotas, and what they cost. Standard library only."""

from genesys.ladder.hardware import Hardware, load_hardware
from genesys.ladder.plan import RunPlan, Workload, plan_run
from genesys.ladder.presets import CPU_SCALES, LADDERS, PAPER_SCALES
from genesys.ladder.scale import Ladder, Scale, quotas_for_target

__all__ = [
    "CPU_SCALES",
    "LADDERS",
    "PAPER_SCALES",
    "Hardware",
    "Ladder",
    "RunPlan",
    "Scale",
    "Workload",
    "load_hardware",
    "plan_run",
    "quotas_for_target",
]
