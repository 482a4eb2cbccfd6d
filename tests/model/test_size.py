"""The size tuner: every seed at every scale, within tolerance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import SEED_NAMES, seed_design, unit_named
from genesys.ladder import CPU_SCALES, LADDERS, PAPER_SCALES, Scale
from genesys.model import ModelShape, build_model, tune_sizes


@pytest.mark.parametrize("seed", SEED_NAMES)
def test_seeds_fit_every_scale(seed: str) -> None:
    scales = (*LADDERS["paper"].scales, *CPU_SCALES)
    for size, scale in zip(tune_sizes(seed_design(seed), scales, 32_000), scales, strict=True):
        assert size.error <= scale.size_tolerance, size
        assert not size.findings
        aspect = size.shape.d_model / size.shape.n_blocks
        assert 0.5 <= aspect / (scale.d_model / scale.n_blocks) <= 2.0
        assert size.shape.d_model % scale.width_step == 0


@pytest.mark.parametrize(
    "scale", [scale for ladder in LADDERS.values() for scale in ladder.scales], ids=lambda s: s.name
)
def test_the_target_is_the_gpt_seed_s_count(scale: Scale) -> None:
    with torch.device("meta"):
        model = build_model(
            seed_design("gpt"), ModelShape(vocab_size=1, d_model=scale.d_model, n_blocks=scale.n_blocks)
        )
    assert scale.target_block_params == model.n_params() - 2 * scale.d_model


def test_gpt_sits_at_the_papers_reference_sizes() -> None:
    published = (5_280_384, 12_920_064, 35_277_312, 109_566_720, 334_906_368)
    for size, reference in zip(tune_sizes(seed_design("gpt"), PAPER_SCALES[:5], 32_000), published, strict=True):
        assert abs(size.n_params - reference) / reference < 0.002


@given(d_model=st.integers(8, 4096), n_blocks=st.integers(1, 40), width_step=st.integers(1, 64), off=st.integers(-3, 3))
def test_no_depth_is_tried_wider_than_the_widest(d_model: int, n_blocks: int, width_step: int, off: int) -> None:
    scale = replace(CPU_SCALES[0], d_model=d_model, n_blocks=n_blocks, width_step=width_step)
    lowest, highest = scale.widths(max(1, n_blocks + off))
    assert lowest <= highest <= scale.max_width


def test_a_thin_design_on_a_shallow_rung_grows_beyond_four_times_the_width() -> None:
    scale = replace(CPU_SCALES[0], d_model=16, n_blocks=1)
    tree = seed_design("gpt").replace("mixer", unit_named("Identity")).replace("channel", unit_named("Identity"))
    shape = tune_sizes(tree, [scale], 257)[0].shape
    assert 4 * scale.d_model < shape.d_model <= scale.max_width


def test_the_count_is_that_of_the_real_model() -> None:
    for seed in SEED_NAMES:
        size = tune_sizes(seed_design(seed), CPU_SCALES[1:2], 257)[0]
        assert build_model(seed_design(seed), size.shape).n_params() == size.n_params


def test_depth_dependent_designs_are_counted_in_full() -> None:
    source = unit_named("SwiGLU").source.replace("expansion * d)", "expansion * d * (1 + ctx.block_index % 3))")
    tree = seed_design("gpt").replace("channel", parse_unit(source))
    size = tune_sizes(tree, CPU_SCALES[2:], 257)[0]
    assert build_model(tree, size.shape).n_params() == size.n_params


def test_a_design_that_cannot_be_sized_says_so() -> None:
    source = unit_named("SwiGLU").source.replace("int(expansion * d)", "100_000")
    size = tune_sizes(seed_design("gpt").replace("channel", parse_unit(source)), CPU_SCALES[:1], 257)[0]
    assert [(f.rule, f.severity) for f in size.findings] == [("size-coarse", "error")]


def test_a_design_that_builds_at_no_width_raises_its_own_error() -> None:
    source = unit_named("RMSNorm").source.replace("self.eps = eps", "raise ValueError('no width suits me')")
    tree: UnitTree = seed_design("gpt").replace("norm_mixer", parse_unit(source))
    with pytest.raises(ValueError, match="no width suits me"):
        tune_sizes(tree, CPU_SCALES[:1], 257)


def test_initial_weights_depend_on_seed_and_order_only() -> None:
    shape = ModelShape(vocab_size=257, d_model=32, n_blocks=2)
    one, same, other = (build_model(seed_design("gpt"), shape, seed=s).state_dict() for s in (0, 0, 1))
    assert all(one[k].equal(same[k]) for k in one)
    assert not one["embedding.weight"].equal(other["embedding.weight"])
    renamed = seed_design("gpt").replace("channel", parse_unit(unit_named("SwiGLU").source.replace("SwiGLU", "Gate")))
    again = build_model(renamed, shape, seed=0).state_dict()
    assert all(one[k].equal(again[k]) for k in one)
