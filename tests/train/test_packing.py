"""Law 3: nothing lost, nothing repeated within an epoch, later epochs reshuffled; equal order for all designs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from genesys.evaluate.splits import validation_rows
from genesys.train.data.packing import DataOrder, PackedRows, spread_rows
from genesys.train.schedule import CosineSchedule


@given(n_tokens=st.integers(2, 500), context=st.integers(1, 40))
def test_every_token_but_the_first_is_a_target_once_or_counted_as_dropped(n_tokens: int, context: int) -> None:
    tokens = np.arange(n_tokens, dtype=np.uint16)
    if n_tokens <= context:
        return
    rows = PackedRows(tokens, context)
    cut = rows.rows(np.arange(rows.n_rows))
    assert cut[:, 1:].ravel().tolist() == list(range(1, rows.n_rows * context + 1))
    assert (cut[:, :-1] + 1 == cut[:, 1:]).all()
    assert rows.n_rows * context + rows.n_dropped == n_tokens - 1 and 0 <= rows.n_dropped < context


@given(n_rows=st.integers(1, 60), batch_rows=st.integers(1, 20), seed=st.integers(0, 5), n_epochs=st.integers(1, 4))
def test_each_epoch_is_a_permutation(n_rows: int, batch_rows: int, seed: int, n_epochs: int) -> None:
    order = DataOrder(n_rows=n_rows, batch_rows=batch_rows, seed=seed)
    n_steps = -(-n_rows * n_epochs // batch_rows)
    stream = np.concatenate([order.batch(step) for step in range(n_steps)])
    for epoch in range(n_epochs):
        assert sorted(stream[epoch * n_rows : (epoch + 1) * n_rows].tolist()) == list(range(n_rows))
    assert order.n_epochs(n_steps) == n_steps * batch_rows / n_rows


def test_epochs_and_seeds_are_shuffled_apart() -> None:
    one, other = DataOrder(n_rows=50, batch_rows=50, seed=0), DataOrder(n_rows=50, batch_rows=50, seed=1)
    assert one.batch(0).tolist() != one.batch(1).tolist()
    assert one.batch(0).tolist() != other.batch(0).tolist()


@given(n_tokens=st.integers(50, 3000), context=st.integers(1, 40))
def test_the_evaluation_reads_the_trainers_validation_rows(n_tokens: int, context: int) -> None:
    tokens = np.arange(n_tokens, dtype=np.uint16)
    rows = PackedRows(tokens, context)
    ours = rows.rows(spread_rows(rows.n_rows, 64))
    assert validation_rows(tokens.astype(np.int64), context).tolist() == ours.tolist()


@given(n_steps=st.integers(1, 500))
def test_schedule_warms_up_peaks_and_ends_at_a_tenth(n_steps: int) -> None:
    schedule = CosineSchedule(peak_lr=1.0, n_steps=n_steps)
    rates = [schedule.lr(step) for step in range(n_steps)]
    assert max(rates) == 1.0 and min(rates) > 0
    if n_steps > 100:
        assert abs(rates[-1] - 0.1) < 1e-9 and rates[0] < 0.6
