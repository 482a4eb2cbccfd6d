"""The events of a run as long as you like, without any work done: what the books' benchmarks are fed with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import Any

from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    Event,
    LeaseGranted,
    RunStarted,
    VerificationRecorded,
)

SCALES = ("14M", "31M", "70M", "125M", "350M")
SHARES = (1.0, 0.4, 0.15, 0.04, 0.005)
"""Of the designs, those verified at each scale, as in the paper: 5.2 events a design, of 660 bytes as JSON."""
N_SEEDS = 5
_TASKS = ("arc_easy", "blimp", "sciq")
_PROBES = ("recall", "mqar", "copy")


class LongRun:
    """Designs one after the other, each with its whole life; the better ones climb. Deterministic."""

    def __init__(self, n_designs: int) -> None:
        self._n = n_designs
        self._rng = Random(0)
        self._lease = 0

    def start(self) -> Event:
        config = {
            "caps": {"gpu_seconds": 1e15, "usd": 1e15, "usd_per_gpu_hour": 2.5},
            "run_costs": {scale: {"n_tokens": 10**8, "gpu_seconds": 600.0} for scale in SCALES},
        }
        quotas = tuple(math.ceil(share * self._n) + 20 for share in SHARES)
        return RunStarted(run="long", scales=SCALES, quotas=quotas, reference=_hash("design", 0), config=config)

    def life(self, i: int) -> Iterator[Event]:
        """All events of design i."""
        design, quality = _hash("design", i), i * 0.6180339887498949 % 1.0  # spread evenly, so that the shares are kept
        yield self._proposed(i, design)
        sizes = {
            s: {"d_model": 64 * (k + 1), "n_block": 6 + k, "n_params": 14_000_001 + i} for k, s in enumerate(SCALES)
        }
        yield DesignImplemented(
            design=design, sizes=sizes, checker="checker-2", fingerprint=_hash("print", i), steps={"behaviour": quality}
        )
        for k, share in enumerate(SHARES):
            if i < N_SEEDS or quality >= 1.0 - share:
                yield from self._verified(design, k, quality)

    def _proposed(self, i: int, design: str) -> Event:
        if i < N_SEEDS:
            return DesignProposed(
                design=design,
                name=f"Seed{i}",
                program=_hash("program", i),
                operator="seed",
                is_seed=True,
                parts=("Block",),
            )
        parents = tuple(_hash("design", p) for p in {self._rng.randrange(i) for _ in range(1 + i % 3 // 2)})
        return DesignProposed(
            design=design, name=f"Design{i}", program=_hash("program", i), designer=f"Designer-{i % 8}", parents=parents,
            operator="mutation" if len(parents) == 1 else "crossover", parts=("Block", "GatedMixer", "SwiGLU", "RMSNorm"),
            edit="swap", target="Block/GatedMixer", odds={"mutation": 0.75, "crossover": 0.2, "scratch": 0.05},
            steps={"tree": 2.0, "ast": 31.0, "seed": 4.0}, normal_form=_hash("form", i), reason="exploit: 24 candidates",
        )  # fmt: skip

    def _verified(self, design: str, k: int, quality: float) -> Iterator[Event]:
        self._lease += 1
        run: dict[str, Any] = {"lease": self._lease, "design": design, "scale": SCALES[k], "recipe": _hash("recipe", k)}
        run["n_tokens"] = 10**8
        holder = f"Verifier-{self._lease % 64}"
        yield LeaseGranted(**run, holder=holder, reason="place 17 of 4,711 at 14M", gpu_seconds=600.0)
        yield VerificationRecorded(
            **run,
            metrics=self._metrics(k, quality),
            report=_hash("report", self._lease),
            seconds=500.0,
            gpu_seconds=480.0,
        )

    def _metrics(self, k: int, quality: float) -> dict[str, float]:
        found = {
            "test_bpb": 3.0 - quality - 0.1 * k + 0.01 * self._rng.random(), "test_bpb_se": 0.01, "unigram_bpb": 4.0,
            "n_params": 14e6 * (k + 1), "flops_per_token": 8e7 * (1.0 + quality) * (k + 1),
        }  # fmt: skip
        for key in (*[f"probe_{p}" for p in _PROBES], *[f"task_{t}" for t in _TASKS]):
            chance = 0.125 if key.startswith("probe") else 0.25
            found |= {key: chance + (1.0 - chance) * quality * self._rng.random() ** 0.1, f"{key}_se": 0.01}
            found[f"{key}_chance"] = chance
        return found


def _hash(what: str, i: int) -> str:
    """64 digits that no two things share; a real hash would cost as much as the event."""
    return f"{sum(what.encode()):08x}{i * 0x9E3779B97F4A7C15 % 2**64:016x}{i:040x}"
