"""The guard: what ends a training, and what must not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.errors import ConfigError, JobFailed
from genesys.train.guard import SPIKE_STEPS, Guard, require_finite

N_STEPS = 200


def descent(seed: int, noise: float = 0.1, *, outliers: bool = False) -> list[float]:
    """Losses that fall from 5.5 towards 2.2 nats, with noise and now and then a bad batch."""
    rng = np.random.default_rng(seed)
    losses = 2.2 + 3.3 * np.exp(-np.arange(N_STEPS) / 30) + noise * rng.standard_normal(N_STEPS)
    if outliers:
        losses[rng.integers(0, N_STEPS, 8)] += 5
    return [float(loss) for loss in losses]


def end(losses: list[float], guard: Guard) -> tuple[str, int] | None:
    """Cause and step of the failure, as a training would meet it."""
    for step in range(len(losses)):
        try:
            guard.check(losses[: step + 1], 1.0)
        except JobFailed as failure:
            return failure.cause, step
    return None


GUARD = Guard(n_steps=N_STEPS, batch_tokens=64)


@given(st.integers(0, 10**6), st.floats(0, 0.4))
def test_noise_and_bad_batches_are_no_spike(seed: int, noise: float) -> None:
    assert end(descent(seed, noise, outliers=True), GUARD) is None


@given(st.integers(0, 10**6), st.integers(60, N_STEPS - SPIKE_STEPS), st.floats(2.5, 50))
def test_a_blow_up_that_lasts_is_a_spike(seed: int, at: int, height: float) -> None:
    losses = descent(seed)
    losses[at:] = [loss + height for loss in losses[at:]]
    assert end(losses, GUARD) == ("spike", at + SPIKE_STEPS - 1)


def test_a_training_that_levels_off_above_the_reference_has_diverged() -> None:
    reference = tuple((64.0 * (step + 1), loss) for step, loss in enumerate(descent(0)))
    with_reference = Guard(n_steps=N_STEPS, batch_tokens=64, reference_curve=reference)
    assert end(descent(1), with_reference) is None
    assert end([loss + 0.5 for loss in descent(1)], with_reference) is None
    cause, step = end([max(loss, 4.8) for loss in descent(1)], with_reference) or ("", 0)
    assert cause == "diverged" and step >= N_STEPS // 4 - 1


@pytest.mark.parametrize(
    "n_done, n_timed, seconds, before, stops",
    [(50, 50, 30.0, 0.0, True), (50, 50, 20.0, 0.0, False), (19, 19, 500.0, 0.0, False), (120, 20, 10.0, 60.0, True)],
)
def test_time_is_projected(n_done: int, n_timed: int, seconds: float, before: float, stops: bool) -> None:
    guard = Guard(n_steps=N_STEPS, batch_tokens=64, limit_s=100.0)
    times = {"n_done": n_done, "n_timed": n_timed, "seconds": seconds, "seconds_before": before}
    Guard(n_steps=N_STEPS, batch_tokens=64).check_time(**times)  # type: ignore[arg-type]
    if not stops:
        return guard.check_time(**times)  # type: ignore[arg-type]
    with pytest.raises(JobFailed, match="expected at most 100") as caught:
        guard.check_time(**times)  # type: ignore[arg-type]
    assert caught.value.cause == "slow"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_guard_refuses_what_is_not_finite(value: float) -> None:
    with pytest.raises(JobFailed, match="gradient norm of step 7") as caught:
        require_finite("gradient norm", value, 7)
    assert caught.value.cause == "non-finite"
    assert end([1.0, value], GUARD) == ("non-finite", 1)
    with pytest.raises(JobFailed, match="gradient norm of step 0"):
        GUARD.check([1.0], value)


@pytest.mark.parametrize("at", [0, 40])
def test_a_rule_that_cannot_be_computed_is_not_met(at: int) -> None:
    """Losses that another process left behind come unchecked: NaN before the recent ones, and among them."""
    losses = [1.0] * (SPIKE_STEPS + 40)
    losses[at] = float("nan")
    with pytest.raises(JobFailed) as caught:
        GUARD.check(losses, 1.0)
    assert caught.value.cause == "spike"
    guard = Guard(n_steps=40, batch_tokens=64, reference_curve=[(64, 1.0)])
    with pytest.raises(JobFailed) as caught:
        guard.check([float("nan")] * 20 + [1.0], 1.0)
    assert caught.value.cause == "diverged"


@pytest.mark.parametrize("point", [(64.0, float("nan")), (float("inf"), 1.0)])
def test_a_reference_that_is_not_finite_is_refused(point: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="reference_curve: it has the point"):
        Guard(n_steps=N_STEPS, batch_tokens=64, reference_curve=[(32.0, 2.0), point])


def test_guard_lets_large_numbers_pass() -> None:
    require_finite("loss", 1e300, 0)
