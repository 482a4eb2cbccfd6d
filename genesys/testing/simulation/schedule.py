"""What one simulated run is: a ladder, pools, strategies, a world of designs, and how much goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal, get_args

from genesys.evolution.promotion import PROMOTIONS
from genesys.evolution.selection import SELECTIONS

Fault = Literal[
    "tree-dies", "scheduler-dies", "driver-dies", "designer-dies", "verifier-dies", "power-fails", "member-sleeps",
    "service-sleeps", "is-cut-off", "answer-lost", "comes-twice", "second-driver", "asked-to-stop",
]  # fmt: skip
FAULTS: tuple[Fault, ...] = get_args(Fault)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """All that decides how a simulation goes; equal schedules go alike, step by step.

    Attributes:
        quotas: From the bottom scale up.
        n_given: Designs that stand in the run from its start; those are seeds first.
        n_seeds: How many of the given ones are seeds; the first is the reference if `has_reference`.
        is_closed: No design is invented: designers only check the given ones.
        ahead, max_failed: See `genesys.config.DesignersConfig`.
        training_seeds: Of each design at each scale; further ones are replicates with a quota of their own.
        caps: As in `RunStarted.config`; a run costs at most `n_tokens` and four times its mean in seconds of one device.
        p_reject, p_twin: Of a check.
        p_duplicate: That a designer finds nothing new.
        p_fail: That a design cannot be trained at a scale, by its own fault.
        p_killed: That a verification ends through no fault of the design, and its verifier says so.
        run_s, growth, sigma: A verification takes a lognormal time of this mean at the bottom, so many times longer a rung up.
        check_s, latency_s, write_s: Mean of a check, of a message and of a write to the disk; exponential.
        lease_ttl_s: For so long a pool's member may be silent before it is taken for dead.
        clock_spread: Clocks run wrong by a factor of up to one plus this.
        faults: What may go wrong.
        max_faults: How often in all.
        fault_gap: Mean number of the simulation's steps between two.
        snapshot_every: Events between two snapshots of the tree; 0 for none.
        p_policy_fails: Probability that the promotion strategy raises when it is asked.
    """

    seed: int
    quotas: tuple[int, ...] = (12, 4, 2)
    n_given: int = 3
    n_seeds: int = 3
    has_reference: bool = True
    is_closed: bool = False
    n_designers: int = 1
    n_verifiers: int = 3
    ahead: int = 3
    max_failed: int = 40
    selection: str = "quadrant"
    promotion: str = "successive_halving"
    training_seeds: int = 1
    caps: Mapping[str, float] = field(default_factory=dict)
    p_reject: float = 0.1
    p_twin: float = 0.05
    p_duplicate: float = 0.05
    p_fail: float = 0.05
    p_killed: float = 0.02
    run_s: float = 20.0
    growth: float = 2.0
    sigma: float = 1.0
    check_s: float = 4.0
    latency_s: float = 0.05
    write_s: float = 0.02
    lease_ttl_s: float = 60.0
    clock_spread: float = 0.0
    faults: tuple[Fault, ...] = ()
    max_faults: int = 0
    fault_gap: float = 100.0
    snapshot_every: int = 0
    p_policy_fails: float = 0.0

    @property
    def scales(self) -> tuple[str, ...]:
        return tuple(f"scale-{k}" for k in range(len(self.quotas)))

    def mean_s(self, k: int) -> float:
        """Mean seconds of a verification at rung k."""
        return self.run_s * self.growth**k

    def n_tokens(self, k: int) -> int:
        """Tokens of a run at rung k."""
        return 1000 << 2 * k


def random_schedule(seed: int) -> Schedule:
    """A schedule drawn from a seed: small ladders of all shapes, every strategy, and anything may go wrong."""
    rng = Random(f"schedule/{seed}")
    bottom = min(rng.randint(2, 40), rng.randint(4, 40))
    quotas = [bottom]
    for _ in range(rng.randint(0, 3)):
        quotas.append(rng.randint(0 if rng.random() < 0.1 else 1, max(1, quotas[-1] // rng.choice((1, 2, 3, 4)))))
    n_seeds = rng.choice((0, 1, 2, 3, 5))
    is_calm = rng.random() < 0.1
    caps = _caps(rng, quotas) if rng.random() < 0.2 else {}
    return Schedule(
        seed=seed,
        quotas=tuple(quotas),
        n_given=n_seeds + rng.choice((0, 0, 2)),
        n_seeds=n_seeds,
        has_reference=rng.random() < 0.8,
        n_designers=rng.randint(1, 3),
        n_verifiers=rng.choice((1, 2, 3, 5, 8)),
        ahead=rng.randint(1, 6),
        max_failed=rng.choice((6, 40)),
        is_closed=rng.random() < 0.05,
        caps=caps,
        selection=rng.choice(sorted(SELECTIONS)),
        promotion=rng.choice(sorted(PROMOTIONS)),
        training_seeds=rng.choice((1, 1, 1, 2)),
        p_reject=rng.choice((0.0, 0.1, 0.5)),
        p_twin=rng.choice((0.0, 0.1)),
        p_duplicate=rng.choice((0.0, 0.2)),
        p_fail=rng.choice((0.0, 0.1, 0.4)),
        p_killed=rng.choice((0.0, 0.02, 0.2)),
        sigma=rng.choice((0.0, 1.0)),
        growth=rng.choice((1.0, 3.0)),
        latency_s=rng.choice((0.001, 0.05, 1.0)),
        write_s=rng.choice((0.001, 0.1)),
        lease_ttl_s=rng.choice((10.0, 60.0)),
        clock_spread=rng.choice((0.0, 1.0)),
        faults=() if is_calm else tuple(sorted(rng.sample(FAULTS, rng.randint(1, len(FAULTS))))),
        max_faults=0 if is_calm else rng.choice((1, 4, 12)),
        fault_gap=rng.choice((20.0, 100.0)),
        snapshot_every=rng.choice((0, 0, 0, 20)),
        p_policy_fails=rng.choice((0.0, 0.0, 0.3)),
    )


def _caps(rng: Random, quotas: list[int]) -> dict[str, float]:
    """Caps of some kinds, somewhere between nothing and more than the ladder needs."""
    n_runs = sum(quotas)
    caps = {"runs": n_runs, "tokens": n_runs * 4000, "gpu_seconds": n_runs * 60.0, "usd": n_runs * 60.0 / 3600}
    chosen = rng.sample(sorted(caps), rng.randint(1, 3))
    return {name: type(caps[name])(caps[name] * rng.uniform(0.0, 2.0)) for name in chosen} | {"usd_per_gpu_hour": 1.0}
