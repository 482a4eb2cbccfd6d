"""What every unit of the library must be: finite, causal, batch-independent, trainable, at any width and length.

Shapes: B batch, L length, D width.
"""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from genesys.errors import ConfigError
from genesys.gau import KINDS, Unit, UnitTree
from genesys.gau.library import library, unit_named, units_of_kind
from genesys.model import ModelShape, build_model
from genesys.model.unit_tests import filled, make_unit, run_unit_tests

torch.set_num_threads(1)
NAMES = tuple(library())
WIDTHS = (32, 48)
LENGTHS = (1, 7, 33, 128)


def perturbed(name: str, d: int, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """One unit of a second block with placeholders in its slots and all weights moved by N(0, .05)."""
    unit = make_unit(unit_named(name), d, 1, 2).to(dtype)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for p in unit.parameters():
            p.add_((torch.randn(p.shape, generator=generator) * 0.05).to(dtype))
    return unit


def inputs(B: int, L: int, d: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(B, L, d, generator=torch.Generator().manual_seed(seed)).to(dtype)


def side(B: int, L: int, d: int, *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """What an earlier block may have written into Z."""
    return {"v_first": inputs(B, L, d, seed=5, dtype=dtype)}


def test_the_library_is_rich() -> None:
    assert len(NAMES) >= 45
    for kind in KINDS:
        assert len(units_of_kind(kind)) >= 5


def test_unknown_units_get_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=re.escape("Did you mean 'Retention'?")):
        unit_named("Retentoin")


@pytest.mark.parametrize("name", NAMES)
def test_own_tests_pass_and_the_docstring_informs(name: str) -> None:
    unit = unit_named(name)
    assert run_unit_tests(unit)
    assert "Shapes:" in unit.doc and "Complexity:" in unit.doc and "Source:" in unit.doc
    assert "arameters" in unit.doc or unit.kind == "block"


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_finiteness(name: str) -> None:
    for d in WIDTHS:
        unit = perturbed(name, d)
        for L in LENGTHS:
            x = inputs(2, L, d)
            y, written = unit(x, side(2, L, d))
            assert y.shape == x.shape and y.dtype == x.dtype and y.isfinite().all()
            assert all(isinstance(value, Tensor) for value in written.values())


@pytest.mark.parametrize("name", NAMES)
def test_no_place_sees_the_future(name: str) -> None:
    for L, places in ((7, (0, 3)), (70, (0, 15, 31, 40, 63))):
        unit = perturbed(name, 32, dtype=torch.float64)
        x = inputs(1, L, 32, dtype=torch.float64).requires_grad_()
        y, _ = unit(x, {})
        weights = inputs(1, L, 32, seed=3, dtype=torch.float64)
        for t in places:
            (gradient,) = torch.autograd.grad((y[:, t] * weights[:, t]).sum(), x, retain_graph=True)
            past, future = gradient[:, : t + 1].abs().max(), gradient[:, t + 1 :].abs().max()
            assert past > 0 and future <= 1e-10 * past, f"place {t} of {L} feels the future by {future:.1e}"


@pytest.mark.parametrize("name", NAMES)
def test_a_prefix_gives_the_same_answers(name: str) -> None:
    """Lengths that cut a chunk, padded or whole, change nothing before the cut."""
    unit = perturbed(name, 32, dtype=torch.float64)
    x = inputs(1, 100, 32, dtype=torch.float64)
    whole = unit(x, {})[0]
    for L in (1, 16, 37, 64):
        torch.testing.assert_close(unit(x[:, :L], {})[0], whole[:, :L], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_batch_are_apart_and_runs_are_equal(name: str) -> None:
    unit, x = perturbed(name, 32, dtype=torch.float64), inputs(3, 33, 32, dtype=torch.float64)
    y = unit(x, {})[0]
    assert torch.equal(y, unit(x, {})[0])
    other = torch.cat([x[:1], inputs(2, 33, 32, seed=9, dtype=torch.float64)])
    torch.testing.assert_close(unit(other, {})[0][:1], y[:1], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: str) -> None:
    unit, x = perturbed(name, 32), inputs(4, 33, 32).requires_grad_()
    y, _ = unit(x, side(4, 33, 32))
    (y * inputs(4, 33, 32, seed=2)).sum().backward()
    for where, p in unit.named_parameters():
        assert p.requires_grad and p.grad is not None, f"{where} gets no gradient"
        assert p.grad.isfinite().all() and p.grad.abs().max() > 0, f"{where} gets {p.grad.abs().max()}"


@pytest.mark.parametrize("name", NAMES)
def test_meta_device_and_half_precision(name: str) -> None:
    with torch.device("meta"):
        unit = make_unit(unit_named(name), 48)
        y, _ = unit(torch.empty(2, 33, 48), {})
    assert y.shape == (2, 33, 48) and y.device.type == "meta"
    half = perturbed(name, 32, dtype=torch.bfloat16)
    y, _ = half(inputs(2, 33, 32, dtype=torch.bfloat16), side(2, 33, 32, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16 and y.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_autocast_mixes_precisions_safely(name: str) -> None:
    unit, x = perturbed(name, 32), inputs(2, 33, 32).requires_grad_()
    exact = unit(x, {})[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _ = unit(x, {})
    y.float().square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    assert (y.float() - exact).norm() <= 0.1 * exact.norm()


@pytest.mark.parametrize("name", NAMES)
def test_width_may_be_any_multiple_of_eight(name: str) -> None:
    for d in (16, 24, 40, 56, 72, 152):
        with torch.device("meta"):
            assert make_unit(unit_named(name), d)(torch.empty(1, 5, d), {})[0].shape == (1, 5, d)


@pytest.mark.parametrize("name", NAMES)
def test_every_unit_works_in_every_slot_that_takes_its_kind(name: str) -> None:
    """Parents hand out odd widths (heads, 3 D, latents): whatever fits by kind must also fit by shape."""
    child = filled(unit_named(name))
    for parent in library().values():
        for slot in parent.slots:
            if slot.accepts and child.kind not in slot.accepts and child.kind != "wrapper":
                continue
            for d in (16, 40):
                with torch.device("meta"):
                    unit = make_unit(parent, d, 1, 2, {slot.name: child})
                    assert unit(torch.empty(2, 9, d), {})[0].shape == (2, 9, d)


@pytest.mark.parametrize("name", NAMES)
def test_every_unit_serves_in_a_model(name: str) -> None:
    tree = _as_block(name)
    model = build_model(tree, ModelShape(vocab_size=16, d_model=16, n_blocks=2))
    tokens = torch.randint(0, 16, (2, 9), generator=torch.Generator().manual_seed(0))
    logits = model(tokens)
    assert logits.shape == (2, 9, 16) and logits.isfinite().all()


def _as_block(name: str) -> UnitTree:
    """The unit in the first block unit whose slot takes it."""
    tree = filled(unit_named(name))
    if tree.kind == "block":
        return tree
    if tree.kind == "position":
        tree = filled(unit_named("Attention"), {"position": tree})
    slot = {"norm": "norm_mixer", "channel": "channel"}.get(tree.kind, "mixer")
    return filled(unit_named("PreNormBlock"), {slot: tree})


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_random_trees_are_causal(data: st.DataObject) -> None:
    """Blocks filled at random from the library, as rule-based designers fill them."""
    tree = _grow(data, unit_named(data.draw(st.sampled_from([u.name for u in units_of_kind("block")]))), depth=0)
    model = build_model(tree, ModelShape(vocab_size=8, d_model=16, n_blocks=2)).double()
    x = inputs(1, 19, 16, dtype=torch.float64).requires_grad_()
    y = model.hidden(x)
    (gradient,) = torch.autograd.grad(y[:, 10].sum(), x)
    assert y.isfinite().all() and gradient[:, 11:].abs().max() <= 1e-10 * gradient.abs().max()


def _grow(data: st.DataObject, unit: Unit, depth: int) -> UnitTree:
    children: dict[str, UnitTree] = {}
    for slot in unit.slots:
        fitting = [u for u in units_of_kind(*slot.accepts) if depth < 2 or not u.slots]
        drawn = unit_named(data.draw(st.sampled_from([u.name for u in fitting]), label=slot.name))
        children[slot.name] = _grow(data, drawn, depth + 1)
    return filled(unit, children)
