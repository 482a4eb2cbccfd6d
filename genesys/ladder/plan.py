"""Predict what a run takes: time, device-hours, money, memory and disk. Standard library only.

The time is that of a simulation which grants leases as a run does, so what idles at the ladder's end is in it. Not
covered: designs that the checker refuses, verifications that fail, and what designers cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from heapq import heappop, heappush
from typing import Any, Literal

from genesys.ladder.budget import Caps
from genesys.ladder.cost import Questions, VerificationCost, verification_cost
from genesys.ladder.hardware import Hardware
from genesys.ladder.ledger import Ledger, RunKey
from genesys.ladder.scale import Ladder, Probe, Scale

HOUR_S = 3600.0
CapName = Literal["runs", "tokens", "gpu_hours", "usd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a run asks for, whatever it runs on.

    Attributes:
        questions: What each scale's suite asks, by the scale's name; scales not named ask nothing.
        training_seeds: Seeds that each design is trained with at a scale, one where not named.
        cards, cores: Devices of one verifier, on cards and on a CPU; cards may be shared.
        probes: Whether the scales' probes are asked.
        corpus_tokens: What is packed of the corpus; None for no more than the longest training reads.
    """

    ladder: Ladder
    vocab_size: int
    n_verifiers: int
    questions: Mapping[str, Questions] = field(default_factory=dict)
    training_seeds: Mapping[str, int] = field(default_factory=dict)
    cards: float = 1.0
    cores: int = 1
    probes: bool = True
    corpus_tokens: int | None = None

    def seeds(self, scale: str) -> int:
        return self.training_seeds.get(scale, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RungPlan:
    """One rung on one hardware; seconds are those of one verification, on `n_devices` devices."""

    scale: str
    n_designs: int
    n_replicates: int
    cost: VerificationCost
    n_devices: float
    train_s: float
    eval_s: float
    probe_s: float
    start_s: float
    fits: bool

    @property
    def seconds(self) -> float:
        return self.train_s + self.eval_s + self.probe_s + self.start_s

    @property
    def n_runs(self) -> int:
        return self.n_designs + self.n_replicates

    @property
    def device_hours(self) -> float:
        """Of all runs of the rung."""
        return self.seconds * self.n_runs * self.n_devices / HOUR_S

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"seconds": self.seconds, "device_hours": self.device_hours}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A run on one hardware.

    Attributes:
        makespan_s: From the first lease to the last result.
        critical_path_s: One verification of each rung after the other: no number of verifiers is faster.
        device_hours: Of work; what idles is not in it, nor in `usd`.
        without_ladder_hours: Device-hours if all designs of the bottom rung were verified at the top one alone.
        shards_bytes, weights_bytes, checkpoint_bytes: Tokens on a host; all weights kept; the checkpoints of all
            verifiers at the top rung.
    """

    hardware: str
    unit: str
    n_devices: float
    rungs: tuple[RungPlan, ...]
    makespan_s: float
    critical_path_s: float
    busy_share: float
    device_hours: float
    usd: float
    without_ladder_hours: float
    shards_bytes: int
    weights_bytes: int
    checkpoint_bytes: int

    @property
    def disk_bytes(self) -> int:
        return self.shards_bytes + self.weights_bytes + self.checkpoint_bytes

    @property
    def n_runs(self) -> int:
        return sum(rung.n_runs for rung in self.rungs)

    @property
    def n_tokens(self) -> int:
        """Trained on in all."""
        return sum(rung.n_runs * rung.cost.n_tokens for rung in self.rungs)

    @property
    def fits(self) -> bool:
        return all(rung.fits for rung in self.rungs)

    def to_json(self) -> dict[str, Any]:
        rungs = [rung.to_json() for rung in self.rungs]
        return asdict(self) | {"rungs": rungs, "disk_bytes": self.disk_bytes, "fits": self.fits}


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingCap:
    """A cap, by its name in `budget:`, that is below what the quotas take."""

    cap: CapName
    at_most: float
    takes: float


def binding_caps(plan: RunPlan, caps: Caps) -> list[BindingCap]:
    """The caps that end a run before its quotas do; on a CPU no GPU time is counted."""
    gpu_hours = plan.device_hours if plan.unit == "card" else 0.0
    found: tuple[tuple[CapName, float | None, float], ...] = (
        ("runs", caps.runs, plan.n_runs),
        ("tokens", caps.tokens, plan.n_tokens),
        ("gpu_hours", None if caps.gpu_seconds is None else caps.gpu_seconds / HOUR_S, gpu_hours),
        ("usd", caps.usd, gpu_hours * caps.usd_per_gpu_hour),
    )
    return [
        BindingCap(cap=c, at_most=most, takes=takes) for c, most, takes in found if most is not None and takes > most
    ]


def plan_run(work: Workload, hardware: Hardware) -> RunPlan:
    """What a run takes on one hardware."""
    devices = work.cards if hardware.unit == "card" else float(work.cores)
    rungs, probed = [], set[Probe]()
    for scale, quota in work.ladder:
        rungs.append(_rung(work, hardware, scale, quota, devices, set(scale.probes) - probed))
        probed |= set(scale.probes)
    seconds, seeds = [rung.seconds for rung in rungs], [work.seeds(rung.scale) for rung in rungs]
    span = makespan_s(seconds, work.ladder.quotas, work.n_verifiers, seeds)
    busy_s = sum(rung.seconds * rung.n_runs for rung in rungs)
    hours = sum(rung.device_hours for rung in rungs)
    n_stored = work.corpus_tokens or max(scale.n_tokens for scale in work.ladder.scales)
    used = [rung for rung in rungs if rung.n_runs]
    return RunPlan(
        hardware=hardware.name,
        unit=hardware.unit,
        n_devices=devices * work.n_verifiers,
        rungs=tuple(rungs),
        makespan_s=span,
        critical_path_s=sum(rung.seconds for rung in used),
        busy_share=busy_s / (span * work.n_verifiers) if span else 0.0,
        device_hours=hours,
        usd=hours * hardware.usd_per_hour,
        without_ladder_hours=work.ladder.quotas[0] * seconds[-1] * devices / HOUR_S,
        shards_bytes=n_stored * (2 if work.vocab_size <= 2**16 else 4),
        weights_bytes=sum(rung.n_runs * rung.cost.weights_bytes for rung in rungs),
        checkpoint_bytes=work.n_verifiers * max((rung.cost.checkpoint_bytes for rung in used), default=0),
    )


def _rung(
    work: Workload, hardware: Hardware, scale: Scale, quota: int, devices: float, new_probes: set[Probe]
) -> RungPlan:
    questions = work.questions.get(scale.name, Questions())
    cost = verification_cost(scale, work.vocab_size, questions)
    tokens_per_s = devices * hardware.pretraining_tokens_per_s(scale, work.vocab_size) / hardware.slowdown
    train_s, eval_s = cost.n_tokens / tokens_per_s, 0.0
    if hardware.questions_per_s is not None:  # a forward pass is a third of a step
        eval_s = cost.eval_tokens / (3 * tokens_per_s) + cost.n_questions / hardware.questions_per_s
    return RungPlan(
        scale=scale.name,
        n_designs=quota,
        n_replicates=quota * (work.seeds(scale.name) - 1),
        cost=cost,
        n_devices=devices,
        train_s=train_s,
        eval_s=eval_s,
        probe_s=hardware.probe_s * len(new_probes) * work.probes,
        start_s=hardware.start_s,
        fits=cost.memory_bytes <= hardware.memory_gb * 1e9 * min(1.0, devices),
    )


def makespan_s(
    seconds: Sequence[float], quotas: Sequence[int], n_verifiers: int, training_seeds: Sequence[int] = ()
) -> float:
    """How long `n_verifiers` take for a ladder, from the bottom up, when none idles while a lease may be granted.

    The highest rung that is open goes first, as the built-in promotions have it; further seeds of a design that has
    finished at a rung fill what is left. It is at least `max(work / n, critical path)`.

    Args:
        seconds: Of one verification at each rung.
        training_seeds: Of each design at each rung; one by default.
    """
    scales = [str(k) for k in range(len(quotas))]
    further = [seeds - 1 for seeds in training_seeds] or [0] * len(quotas)
    extra = {scale: quota * more for scale, quota, more in zip(scales, quotas, further, strict=True)}
    ledger = Ledger(dict(zip(scales, quotas, strict=True)), extra)
    now, n_free, running = 0.0, n_verifiers, list[tuple[float, RunKey]]()
    while True:
        while n_free and (key := _next_run(ledger, further)) is not None:
            ledger.reserve(key)
            heappush(running, (now + seconds[int(key.scale)], key))
            n_free -= 1
        if not running:
            return now
        now, key = heappop(running)
        ledger.commit(key)
        n_free += 1


def _next_run(ledger: Ledger, further: Sequence[int]) -> RunKey | None:
    for scale in reversed(ledger.scales):
        n = ledger.account(scale).used
        if n < ledger.released(scale):
            return RunKey(str(n), scale)
    for scale, more in zip(reversed(ledger.scales), reversed(further), strict=True):
        n = ledger.account(scale, replicates=True).used
        if n < ledger.account(scale).committed * more:
            return RunKey(str(n // more), scale, seed=1 + n % more)
    return None
