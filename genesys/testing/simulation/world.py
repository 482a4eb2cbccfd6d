"""Stub designers' and verifiers' work: designs with a hidden quality, checks that reject, noisy metrics, durations."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, tanh
from random import Random

from genesys.evolution.events import DesignImplemented, DesignProposed, DesignRejected, DesignTwinned, Event
from genesys.storage import content_hash
from genesys.testing.books import metrics_for
from genesys.testing.simulation.schedule import Schedule

SPREAD = 0.3  # of the quality of designs made from nothing
STEP = 0.1  # of a child's quality around its parents'
NOISE = 0.02  # of what a verification measures
BEST = 2.5  # what it measures stays below this, however good a lineage grows: bits per byte end above 0


def lognormal(rng: Random, mean: float, sigma: float) -> float:
    """A duration of this mean; `sigma` is the deviation of its logarithm."""
    return mean * exp(rng.gauss(0.0, sigma) - sigma * sigma / 2) if sigma else mean


class World:
    """What is true of the designs of one simulation, whoever has measured it.

    A check's verdict and a verification's metrics depend on the design, the scale and the training seed alone.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.quality: dict[str, float] = {}
        self._twin_of: dict[str, str] = {}

    def _rng(self, *names: object) -> Random:
        return Random("/".join(map(str, (self.schedule.seed, *names))))

    def given(self) -> list[DesignProposed]:
        """The proposals that a run starts with."""
        found = []
        for i in range(self.schedule.n_given):
            design = f"given-{i}"
            self.quality[design] = self._rng("quality", design).gauss(0.5, SPREAD)
            is_seed = i < self.schedule.n_seeds
            found.append(proposal(design, "seed" if is_seed else "given", (), "", is_seed=is_seed))
        return found

    def invent(self, parents: Sequence[str], seed: int) -> str | None:
        """A design made from these parents by a designer with this seed; None when it finds nothing new."""
        rng = Random(seed)
        if rng.random() < self.schedule.p_duplicate:
            return None
        design = content_hash(f"{seed}".encode())[:12]
        mean = sum(self.quality[p] for p in parents) / len(parents) if parents else 0.5
        self.quality[design] = rng.gauss(mean, STEP if parents else SPREAD)
        if parents and rng.random() < self.schedule.p_twin:
            self._twin_of[design] = parents[0]
            self.quality[design] = self.quality[parents[0]]
        return design

    def verdict(self, design: str, is_seed: bool = False) -> Event:
        """What the checker says of it. Seeds are sound."""
        if design in self._twin_of:
            return DesignTwinned(design=design, inherited_from=self._twin_of[design], checker="stub")
        if not is_seed and self._rng("check", design).random() < self.schedule.p_reject:
            return DesignRejected(design=design, findings=({"rule": "stub"},), checker="stub")
        return DesignImplemented(design=design, checker="stub")

    def failure(self, design: str, scale: str, seed: int) -> str:
        """Why it cannot be trained there; "" if it can."""
        return "non-finite" if self._rng("failure", design, scale, seed).random() < self.schedule.p_fail else ""

    def metrics(self, design: str, scale: str, seed: int) -> dict[str, float]:
        rng = self._rng("metrics", design, scale, seed)
        measured = BEST * tanh((self.quality[design] + rng.gauss(0.0, NOISE)) / BEST)
        return metrics_for(measured, recall=self.quality[design] > 0.4)

    def seconds(self, rng: Random, k: int) -> float:
        """How long a verification at rung k takes this time."""
        return lognormal(rng, self.schedule.mean_s(k), self.schedule.sigma)


def proposal(
    design: str, operator: str, parents: tuple[str, ...], designer: str, *, is_seed: bool = False
) -> DesignProposed:
    return DesignProposed(
        design=design, name=design, program=content_hash(program_of(design)), operator=operator, parents=parents,
        designer=designer, is_seed=is_seed, parts=("Block",),
    )  # fmt: skip


def program_of(design: str) -> bytes:
    """The blob that stands for its program."""
    return design.encode()
