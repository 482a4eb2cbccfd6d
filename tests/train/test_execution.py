"""How a host carries a training out: what is tried, chosen and refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genesys.errors import ConfigError, JobFailed
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import seed_design
from genesys.model import ModelShape, build_model
from genesys.train.compilation import pays_back
from genesys.train.engine import zero_stage
from genesys.train.execution import Execution, Means, choose_execution, micro_batch_sizes, rows_of_rank
from genesys.train.loss import NextTokenLoss
from genesys.train.world import Rank

SHAPE = ModelShape(vocab_size=61, d_model=16, n_blocks=2)
ROWS = torch.randint(61, (8, 17), generator=torch.Generator().manual_seed(0))


def choose(loss: NextTokenLoss, means: Means) -> Execution:
    return choose_execution(loss, ROWS, Rank(), means, batch_rows=8, n_steps=10)


def gpt() -> NextTokenLoss:
    return NextTokenLoss(build_model(seed_design("gpt"), SHAPE, seed=0), "fp32")


@given(st.integers(1, 4096))
def test_micro_batches_divide_the_batch_and_end_at_one(n: int) -> None:
    sizes = list(micro_batch_sizes(n))
    assert sizes[0] == n and sizes[-1] == 1 and sizes == sorted(set(sizes), reverse=True)
    assert all(n % size == 0 for size in sizes)


@given(st.integers(1, 10**10), st.integers(1, 8), st.floats(1e6, 1e12))
def test_zero_takes_the_lowest_stage_that_fits(n_params: int, n_ranks: int, memory: float) -> None:
    stage = zero_stage(n_params, n_ranks, memory)
    assert stage == 0 or n_ranks > 1
    if n_ranks > 1 and 16 * n_params <= memory / 2:
        assert stage == 0
    assert stage <= zero_stage(n_params, n_ranks, memory / 2)


def test_less_memory_means_smaller_micro_batches() -> None:
    loss = gpt()
    chosen = [choose(loss, Means(memory_mb=mb)) for mb in (100, 0.6, 0.3)]
    rows = [execution.micro_batch_rows for execution in chosen]
    assert rows[0] == 8 and sorted(rows, reverse=True) == rows and rows[-1] < 8
    assert all(execution.micro_batch_rows * execution.n_accumulation == 8 for execution in chosen)
    with pytest.raises(JobFailed, match="one row does not fit into 0 MB") as caught:
        choose(loss, Means(memory_mb=0.1))
    assert caught.value.cause == "out-of-memory"


def test_flops_are_those_of_the_products() -> None:
    """Two blocks of attention and gated MLP, and the tied head, counted by hand; torch counts scores twice backwards."""
    execution, model = choose(gpt(), Means()), gpt().model
    L, d = 16, 16
    weights = sum(p.numel() for p in model.parameters() if p.dim() == 2)  # the embedding counts once, as the head
    scores = SHAPE.n_blocks * 4 * L * L * d
    assert execution.model_flops_per_row == 3 * (2 * weights * L + scores)
    assert execution.flops_per_row == 3 * 2 * weights * L + scores + int(2.5 * scores)


def test_what_bf16_cannot_do_is_done_in_float32() -> None:
    tree = UnitTree(
        parse_unit('''
import torch
from torch import nn

class Solver(nn.Module):
    """Shapes: X (B, L, D) -> Y (B, L, D)."""
    kind = "block"
    def __init__(self, d: int, ctx):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
    def forward(self, X, Z):
        factors, _ = torch.linalg.lu_factor((X.transpose(1, 2) @ X).detach())
        return X * self.weight + 0 * factors[..., :1, :], {}
''')
    )
    loss = NextTokenLoss(build_model(tree, SHAPE, seed=0), "bf16")
    assert choose(loss, Means(precision="bf16")).dtype == loss.precision == "fp32"


def test_compiling_has_to_pay_back() -> None:
    assert not pays_back(1e10, "cpu") and pays_back(1e16, "cpu")
    assert not pays_back(1e12, "cuda", 989e12) and pays_back(1e18, "cuda", 989e12)
    assert choose(gpt(), Means(compile="off")).compiled == "no: switched off"
    assert choose(gpt(), Means()).compiled == "no: it would take longer than it saves"


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ConfigError, match="dtype 'fp8'; expected one of auto, fp32, bf16"):
        Means(precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="compile 'maybe'"):
        Means(compile="maybe")  # type: ignore[arg-type]
    for share in (0.0, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="expected a number above 0 and up to 1"):
            Means(gpu_share=share)
    with pytest.raises(ConfigError, match="on 3 processes: a batch has 8 rows"):
        rows_of_rank(8, 3)
