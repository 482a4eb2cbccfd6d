"""The model (GAM) made of blocks (GABs), and the context through which units get their children.

This file needs torch and the standard library only, because `export --to py` embeds its text as it stands.
Shapes: B batch, L length, D model width, V vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EMBEDDING_STD = 0.02
Call = tuple[tuple[Any, ...], dict[str, Any]]  # positional and keyword arguments


class Context:
    """What a unit's constructor is given: its children, its place, and a mark for weights it initialises itself."""

    def __init__(
        self, model: _Assembly, entry: Mapping[str, Any], d: int, path: str, block_index: int, call: Call | None
    ) -> None:
        self._model, self._entry, self._d, self.path, self.call = model, entry, d, path, call
        self.block_index, self.n_blocks, self.d_model = block_index, model.n_blocks, model.d_model

    def child(self, slot: str, d: int | None = None, *, call: Call | None = None) -> nn.Module:
        """The unit bound to `slot`, built at width `d` (the parent's own when None).

        `call` is for units in the published convention: the arguments with which the parent's text builds the child.
        """
        return self._child(slot, slot, d, call)

    def children(self, slot: str, n: int, d: int | None = None) -> nn.ModuleList:
        """`n` units bound to `slot`, at paths `slot[0]`, `slot[1]`, ..."""
        return nn.ModuleList(self._child(slot, f"{slot}[{i}]", d) for i in range(n))

    def own_init(self, parameter: nn.Parameter) -> nn.Parameter:
        """Mark a parameter whose initial values the unit sets itself; the model then leaves it alone."""
        self._model.own_init.add(id(parameter))
        return parameter

    def units_below(self) -> Iterator[tuple[type[nn.Module], dict[str, Any]]]:
        """Class and set hyperparameters of this unit and of all below it, parents first."""
        waiting = [self._entry]
        while waiting:
            entry = waiting.pop(0)
            yield self._model.classes[entry["unit"]], _hyperparameters(entry)
            waiting = [*entry.get("slots", {}).values(), *waiting]

    def _child(self, slot: str, name: str, d: int | None, call: Call | None = None) -> nn.Module:
        bound = self._entry.get("slots", {})
        entry = bound.get(name, bound.get(slot))
        if entry is None:
            raise LookupError(f"slot {slot!r} of {self._entry['unit']!r} at {self.path!r} is open; bind a unit to it")
        path = f"{self.path}.{name}" if self.path else name
        declared = getattr(self._model.classes[self._entry["unit"]], "slots", {}).get(slot)
        tied = declared.get("tied", "") if isinstance(declared, dict) else ""
        width = self._d if d is None else d
        if not tied:
            return self._model.build(entry, width, path, self.block_index, call)
        shared_path = f"{self.path}.{slot}" if self.path else slot
        key = (shared_path, width, -1 if tied == "blocks" else self.block_index)
        if key not in self._model.shared:
            self._model.shared[key] = self._model.build(entry, width, path, self.block_index, call)
        return self._model.shared[key]


class _Assembly:
    """Builds the units of one model from nested entries `{"unit", "hyperparameters", "slots"}`."""

    def __init__(self, classes: Mapping[str, type[nn.Module]], d_model: int, n_blocks: int, seed: int) -> None:
        self.classes, self.d_model, self.n_blocks, self.seed = classes, d_model, n_blocks, seed
        self.own_init: set[int] = set()
        self.shared: dict[tuple[str, int, int], nn.Module] = {}
        self._contained = {name: _contain(cls) for name, cls in classes.items()}
        self._n_built = 0

    def build(
        self, entry: Mapping[str, Any], d: int, path: str, block_index: int, call: Call | None = None
    ) -> nn.Module:
        self._n_built += 1
        torch.default_generator.manual_seed(_stream(self.seed, self._n_built, ()))
        context = Context(self, entry, d, path, block_index, call)
        contained = self._contained[entry["unit"]](d, context, **_hyperparameters(entry))
        contained.declared_writes = self._writes(entry)
        unit: nn.Module = contained
        return unit

    def _writes(self, entry: Mapping[str, Any]) -> frozenset[str]:
        own = frozenset(getattr(self.classes[entry["unit"]], "writes", ()))
        if "*" not in own:
            return own
        return (own - {"*"}).union(*(self._writes(child) for child in entry.get("slots", {}).values()))


def _hyperparameters(entry: Mapping[str, Any]) -> dict[str, Any]:
    return dict(entry.get("hyperparameters", {}))


def _contain(cls: type[nn.Module]) -> type[Any]:
    """A subclass whose writes to Z are cut down to those it declares."""

    class Contained(cls):  # type: ignore[misc, valid-type]
        declared_writes: frozenset[str] = frozenset()

        def forward(self, X: Tensor, Z: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            Y, dZ = super().forward(X, Z)
            if dZ:
                dZ = {name: dZ[name] for name in sorted(dZ) if name in self.declared_writes}
            return Y, dZ

    Contained.__name__ = Contained.__qualname__ = cls.__name__
    return Contained


class FinalNorm(nn.Module):
    """Root mean square norm before the head. Source: Zhang & Sennrich 2019."""

    def __init__(self, d: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.eps = eps

    def forward(self, x_BLD: Tensor) -> Tensor:
        return F.rms_norm(x_BLD, self.weight.shape, self.weight, self.eps)


class GAM(nn.Module):
    """Token embedding, `n_blocks` blocks, final norm, head tied to the embedding.

    Args:
        tree: Nested entries `{"unit": name, "hyperparameters": {...}, "slots": {...}}` of the block.
        classes: The unit classes by the names that the entries use.
        seed: Of the initial weights; the global random state is left as it was.
        embedding_std: Standard deviation of the initial embedding; the probes use another one than pre-training.
    """

    def __init__(
        self,
        tree: Mapping[str, Any],
        classes: Mapping[str, type[nn.Module]],
        *,
        vocab_size: int,
        d_model: int,
        n_blocks: int,
        seed: int = 0,
        embedding_std: float = EMBEDDING_STD,
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            assembly = _Assembly(classes, d_model, n_blocks, seed)
            self.embedding = nn.Embedding(vocab_size, d_model)
            self.blocks = nn.ModuleList(assembly.build(tree, d_model, "", i) for i in range(n_blocks))
            self.norm = FinalNorm(d_model)
        initialise(self, seed=seed, embedding_std=embedding_std, own_init=assembly.own_init)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Logits (B, L, V) of the next token at every place of `tokens_BL`."""
        return self.head(self.hidden(self.embedding(tokens_BL)))

    def hidden(self, x_BLD: Tensor) -> Tensor:
        """Run the blocks on embedded tokens; shape kept."""
        Z: dict[str, Tensor] = {}
        for block in self.blocks:
            x_BLD, dZ = block(x_BLD, Z)
            if dZ:
                Z = Z | dZ
        return x_BLD

    def head(self, x_BLD: Tensor) -> Tensor:
        return F.linear(self.norm(x_BLD), self.embedding.weight)

    def n_params(self) -> int:
        """All trained numbers; the tied head counts once."""
        return sum(p.numel() for p in self.parameters())

    @torch.no_grad()
    def generate(self, tokens_BL: Tensor, n_tokens: int) -> Tensor:
        """Append `n_tokens` greedily chosen tokens to each row."""
        for _ in range(n_tokens):
            tokens_BL = torch.cat([tokens_BL, self(tokens_BL)[:, -1:].argmax(-1)], dim=1)
        return tokens_BL


def build_unit(
    entry: Mapping[str, Any],
    classes: Mapping[str, type[nn.Module]],
    d: int,
    *,
    block_index: int = 0,
    n_blocks: int = 1,
    seed: int = 0,
) -> nn.Module:
    """Build one unit with its children outside a model, initialised as a model would."""
    with torch.random.fork_rng(devices=[]):
        assembly = _Assembly(classes, d, n_blocks, seed)
        unit = assembly.build(entry, d, "", block_index)
    initialise(unit, seed=seed, embedding_std=EMBEDDING_STD, own_init=assembly.own_init)
    return unit


@torch.no_grad()
def initialise(model: nn.Module, *, seed: int, embedding_std: float, own_init: set[int]) -> None:
    """Set the initial weights by one rule for every design.

    Linear and convolution weights N(0, 1 / (4 fan_in)), their biases 0, embeddings N(0, embedding_std^2). Each
    draw has a stream of its own, from the seed, the order of the module and the shape. Parameters in `own_init`
    (by `id`) keep what their unit gave them.
    """
    for order, module in enumerate(model.modules()):
        if not isinstance(module, (nn.Embedding, nn.Linear, nn.Conv1d)):
            continue
        weight = module.weight
        std = embedding_std if isinstance(module, nn.Embedding) else 0.5 / math.sqrt(weight[0].numel())
        if weight.device.type != "meta" and id(weight) not in own_init:
            generator = torch.Generator().manual_seed(_stream(seed, order, tuple(weight.shape)))
            weight.copy_(torch.randn(weight.shape, generator=generator) * std)
        bias = getattr(module, "bias", None)
        if bias is not None and id(bias) not in own_init:
            bias.zero_()


def _stream(seed: int, order: int, shape: tuple[int, ...]) -> int:
    digest = hashlib.sha256(repr((seed, order, shape)).encode()).digest()
    return int.from_bytes(digest[:7], "big")
