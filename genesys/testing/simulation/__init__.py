"""A deterministic simulator of a whole run: virtual time, stub designers and verifiers, faults from a seed."""

from genesys.testing.simulation.audit import AuditError, Auditor
from genesys.testing.simulation.fleet import FleetReport, barrier_busy_share, run_fleet
from genesys.testing.simulation.schedule import FAULTS, Fault, Schedule, random_schedule
from genesys.testing.simulation.simulator import Outcome, simulate, trace

__all__ = [
    "FAULTS",
    "AuditError",
    "Auditor",
    "Fault",
    "FleetReport",
    "Outcome",
    "Schedule",
    "barrier_busy_share",
    "random_schedule",
    "run_fleet",
    "simulate",
    "trace",
]
