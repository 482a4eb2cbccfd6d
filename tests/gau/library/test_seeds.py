"""The five seeds and the baselines as whole models: size, causality, determinism, learning, and the file an export writes.

Shapes: B batch, L length, V vocabulary.
"""

from __future__ import annotations

import re
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from genesys.errors import ConfigError
from genesys.gau import compose, parse_composed
from genesys.gau.library import BASELINE_NAMES, SEED_NAMES, seed_design, shipped_design
from genesys.model import GAM, ModelShape, build_model, to_source

torch.set_num_threads(1)
SHAPE = ModelShape(vocab_size=32, d_model=32, n_blocks=2)
# Parameters of one block at width 128 in the published implementation (docs: facts and figures of the paper).
PUBLISHED = {"gpt": 213_760, "mamba2": 236_556, "retnet": 229_664, "rwkv6": 251_904, "ttt": 194_708}

designs = pytest.mark.parametrize("name", (*SEED_NAMES, *BASELINE_NAMES))


def tokens(L: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, SHAPE.vocab_size, (2, L), generator=torch.Generator().manual_seed(seed))


def shaken(model: nn.Module) -> nn.Module:
    """Move every weight by N(0, .05), so that nothing rests on an initial zero."""
    generator = torch.Generator().manual_seed(13)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.05)
    return model


def test_unknown_seeds_get_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=re.escape("Did you mean 'retnet'?")):
        seed_design("retnets")
    assert "rwkv7" not in SEED_NAMES, "a baseline is no seed"


@pytest.mark.parametrize("name", SEED_NAMES)
def test_a_block_has_about_the_published_size(name: str) -> None:
    with torch.device("meta"):
        model = build_model(seed_design(name), ModelShape(vocab_size=8, d_model=128, n_blocks=1))
    n_params = sum(p.numel() for p in model.blocks.parameters())
    assert abs(n_params / PUBLISHED[name] - 1) <= 0.08


@designs
def test_the_model_never_looks_ahead(name: str) -> None:
    model = shaken(build_model(shipped_design(name), SHAPE).double())
    assert isinstance(model, GAM)
    x = model.embedding(tokens(90)).detach().requires_grad_()
    y = model.head(model.hidden(x))
    for t in (0, 16, 40, 64):
        (gradient,) = torch.autograd.grad(y[:, t].square().sum(), x, retain_graph=True)
        assert gradient[:, t + 1 :].abs().max() <= 1e-10 * gradient.abs().max()
        assert t == 0 or gradient[:, :t].abs().max() > 0, "context is ignored"


@designs
def test_every_parameter_of_the_model_learns(name: str) -> None:
    model = shaken(build_model(shipped_design(name), SHAPE))
    F.cross_entropy(model(tokens(40)).flatten(0, 1), tokens(40, seed=1).flatten()).backward()
    for where, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 0, where


@designs
def test_ten_steps_lower_the_loss(name: str) -> None:
    model, x = build_model(shipped_design(name), SHAPE), tokens(33)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    losses = []
    for _ in range(10):
        loss = F.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.2, losses


@designs
def test_equal_seeds_give_equal_weights_and_others_do_not(name: str) -> None:
    one, same, other = (build_model(shipped_design(name), SHAPE, seed=s)(tokens(9)) for s in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


@designs
def test_generation_equals_teacher_forcing(name: str) -> None:
    model = build_model(shipped_design(name), SHAPE)
    written = model.generate(tokens(5), 20)
    assert torch.equal(model(written)[:, 4:-1].argmax(-1), written[:, 5:])


@designs
def test_composition_round_trips_and_the_export_agrees(name: str) -> None:
    tree = shipped_design(name)
    assert parse_composed(compose(tree)) == tree
    exported = ModuleType("exported")
    exec(compile(to_source(tree, SHAPE), f"<{name}>", "exec"), exported.__dict__)
    copy, model = exported.__dict__["build"](seed=3), build_model(tree, SHAPE, seed=3)
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy(tokens(21)), model(tokens(21)))


@designs
def test_a_wide_and_deep_seed_builds_on_the_meta_device(name: str) -> None:
    with torch.device("meta"):
        model = build_model(shipped_design(name), ModelShape(vocab_size=32_000, d_model=768, n_blocks=3))
        assert model(torch.zeros(1, 130, dtype=torch.long)).shape == (1, 130, 32_000)
