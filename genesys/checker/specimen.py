"""Small models of a design, and inputs for them: what the stages that run code look at.

Shapes: B batch, L length, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from random import Random

import torch
from torch import Tensor

from genesys.gau import UnitTree
from genesys.model import GAM, ModelShape, build_model

VOCAB_SIZE = 61
PERTURBATION_STD = 0.05
PRIMES = (17, 19, 23, 29, 31, 37, 41, 43, 47)


def small_model(tree: UnitTree, d_model: int, *, n_blocks: int = 2) -> GAM:
    """A model on weights perturbed from their initial values, since zero-initialised branches are legitimate.

    Its embedding has standard deviation 1, so that the blocks see inputs of ordinary size.
    """
    model = build_model(tree, ModelShape(vocab_size=VOCAB_SIZE, d_model=d_model, n_blocks=n_blocks), embedding_std=1.0)
    parameters = list(model.parameters())
    noise = torch.randn(sum(p.numel() for p in parameters), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter, part in zip(parameters, noise.split([p.numel() for p in parameters]), strict=True):
            parameter.add_(part.view_as(parameter) * PERTURBATION_STD)
    return model


def precise_model(tree: UnitTree, d_model: int) -> tuple[GAM, torch.dtype]:
    """The small model in float64; in float32 where a unit fixes that inside."""
    model = small_model(tree, d_model).double()
    try:
        with torch.no_grad():
            model.hidden(inputs(1, 5, d_model, torch.float64))
    except (RuntimeError, TypeError):
        return small_model(tree, d_model), torch.float32
    return model, torch.float64


def tokens(n_rows: int, length: int, *, seed: int = 0) -> Tensor:
    """Random tokens, (n_rows, length)."""
    return torch.randint(VOCAB_SIZE, (n_rows, length), generator=torch.Generator().manual_seed(seed))


def inputs(n_rows: int, length: int, d_model: int, dtype: torch.dtype, *, seed: int = 0) -> Tensor:
    """Random inputs of the blocks, N(0, 1), of shape (n_rows, length, d_model)."""
    generator = torch.Generator().manual_seed(1000 * length + seed)
    return torch.randn(n_rows, length, d_model, generator=generator).to(dtype)


def random_like(tensor: Tensor, seed: int = 3) -> Tensor:
    """N(0, 1) of the shape and type of `tensor`."""
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed)).to(tensor.dtype)


def gradient_of(outputs: Tensor, x_BLD: Tensor) -> Tensor:
    """Gradient of a random sum of `outputs` with respect to `x_BLD`; zero where nothing connects the two."""
    if not outputs.requires_grad:
        return torch.zeros_like(x_BLD)
    weighted = (outputs * random_like(outputs)).sum()
    (grad_BLD,) = torch.autograd.grad(weighted, x_BLD, retain_graph=True, allow_unused=True)
    return torch.zeros_like(x_BLD) if grad_BLD is None else grad_BLD


def secret_lengths(tree: UnitTree, n: int) -> list[int]:
    """Lengths drawn for this design alone: no text can name those it will be checked at."""
    return _draw(tree.design_id, n)


@cache
def _draw(design_id: str, n: int) -> list[int]:
    return Random(f"lengths/{design_id}").sample(PRIMES, n)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Equal random numbers inside for equal seeds; the global state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
