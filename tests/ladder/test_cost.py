"""The closed forms against what torch counts, and the hardware that a user may add."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from genesys.errors import ConfigError
from genesys.gau.library import seed_design
from genesys.ladder import CPU_SCALES, PAPER_SCALES, load_hardware
from genesys.ladder.cost import (
    bytes_per_token,
    forward_flops_per_token,
    n_params,
    questions_of,
    verification_cost,
)
from genesys.model import ModelShape, build_model

SMALL = replace(CPU_SCALES[0], d_model=32, n_blocks=2, context=24, batch_tokens=24)


@pytest.mark.parametrize(("d_model", "n_blocks", "context", "vocab_size"), [(32, 2, 24, 50), (48, 3, 40, 257)])
def test_flops_are_those_that_torch_counts(d_model: int, n_blocks: int, context: int, vocab_size: int) -> None:
    scale = replace(SMALL, d_model=d_model, n_blocks=n_blocks, context=context, batch_tokens=context)
    model = build_model(seed_design("gpt"), ModelShape(vocab_size=vocab_size, d_model=d_model, n_blocks=n_blocks))
    tokens = torch.zeros(3, context, dtype=torch.long)
    forward, step = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH):  # torch counts nothing for the fused attention of the CPU
        with forward:
            model(tokens)
        with step:
            model(tokens).logsumexp(-1).mean().backward()
    expected = forward_flops_per_token(scale, vocab_size) * tokens.numel()
    assert forward.get_total_flops() == expected
    assert step.get_total_flops() == 3 * expected


@pytest.mark.parametrize("scale", (*CPU_SCALES, *PAPER_SCALES), ids=lambda scale: scale.name)
def test_parameters_are_those_of_the_seed(scale) -> None:  # type: ignore[no-untyped-def]
    with torch.device("meta"):
        shape = ModelShape(vocab_size=257, d_model=scale.d_model, n_blocks=scale.n_blocks)
        assert build_model(seed_design("gpt"), shape).n_params() == n_params(scale, 257)


def test_a_verification_counts_every_entry_of_the_grid() -> None:
    one = verification_cost(SMALL, 257)
    three = verification_cost(replace(SMALL, lr_grid=(0.5, 1.0, 2.0)), 257)
    assert (three.n_tokens, three.train_flops) == (3 * one.n_tokens, 3 * one.train_flops)
    assert three.weights_bytes == one.weights_bytes == 4 * one.n_params
    assert one.memory_bytes > 16 * one.n_params and one.eval_flops == 0


def test_questions_are_counted_by_task_member_and_limit() -> None:
    asked = questions_of({"blimp": 10, "cola": None, "nonsense": 3})
    assert asked.n_questions == 67 * 10 * 2 + 1043 * 2 and asked.unknown == ("nonsense",)
    assert questions_of({"cola": 10_000}) == questions_of({"cola": None})
    cost = verification_cost(SMALL, 257, asked)
    assert cost.eval_tokens == asked.n_bytes and cost.eval_flops == cost.eval_tokens * forward_flops_per_token(
        SMALL, 257
    )
    assert verification_cost(SMALL, 32_000, asked).eval_tokens == pytest.approx(asked.n_bytes / 4.28, rel=0.01)
    assert bytes_per_token(257) == 1.0 < bytes_per_token(8192) < bytes_per_token(32_000)


@pytest.mark.parametrize("name", load_hardware())
def test_every_figure_of_ours_has_a_source(name: str) -> None:
    hardware = load_hardware()[name]
    assert {"memory", "peak", "price", "mfu", "slowdown"} <= set(hardware.sources)
    assert hardware.what and hardware.unit in ("card", "core")


def test_mfu_is_interpolated_within_the_widths_known() -> None:
    h100 = load_hardware()["H100"]
    assert h100.mfu_at(64) == h100.mfu[128] and h100.mfu_at(4096) == h100.mfu[1024]
    assert h100.mfu_at(128) == h100.mfu[128]
    assert h100.mfu_at(362) == pytest.approx((h100.mfu[256] + h100.mfu[512]) / 2, abs=1e-3)


def test_measured_figures_go_before_ours(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    path.write_text(json.dumps({"H200": {"tokens_per_s": {"14M": 5e6}}, "mine": {
        "what": "a box", "unit": "card", "memory_gb": 8, "peak_tflops": 10, "usd_per_hour": 0, "mfu": {"128": 0.1},
    }}))  # fmt: skip
    found = load_hardware(path)
    assert found["H200"].pretraining_tokens_per_s(PAPER_SCALES[0], 32_000) == 5e6
    assert found["H200"].peak_tflops == load_hardware()["H200"].peak_tflops
    flops = 3 * forward_flops_per_token(PAPER_SCALES[0], 32_000)
    assert found["mine"].pretraining_tokens_per_s(PAPER_SCALES[0], 32_000) == pytest.approx(1e12 / flops)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "Cannot read measured figures"),
        ("[1]", "Cannot read measured figures"),
        ('{"H100": {"mfus": {}}}', "no figure 'mfus'. Did you mean 'mfu'"),
        ('{"H100": {"mfu": {"wide": 0.3}}}', "expected shares by width"),
        ('{"H100": {"peak_tflops": 0}}', r"peak_tflops is 0; expected numbers above 0"),
        ('{"H100": {"peak_tflops": "fast"}}', "expected numbers"),
        ('{"H100": {"mfu": {"128": "high"}}}', "expected numbers"),
        ('{"H100": {"tokens_per_s": 3}}', "tokens_per_s by the name of the scale"),
        ('{"H100": {"start_s": -1}}', "start_s is -1; expected numbers from 0 up"),
        ('{"mine": {"what": "a box"}}', "it lacks unit, memory_gb, peak_tflops, usd_per_hour, mfu"),
    ],
)
def test_what_cannot_be_measured_figures_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "measured.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_hardware(tmp_path / "measured.json")
