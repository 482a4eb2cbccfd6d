"""Stage 3: the whole model run forward, small. Runs generated code: caged child processes only.

Shapes: B batch, L length, D model width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor

from genesys.checker.held import Holdings, holdings, hooked, sizes_of_buffers
from genesys.checker.rules import RULES
from genesys.checker.specimen import VOCAB_SIZE, inputs, secret_lengths, seeded, small_model, tokens
from genesys.errors import Finding
from genesys.gau import UnitTree
from genesys.model import GAM

LARGE_INPUT = 1e3
MAX_FINDINGS = 3
MAX_BUFFER_SHARE = 0.25
TABLE_LENGTH = 512
"""A buffer with an axis at least this long, the same at another width, is a table over the length."""


def check_run(tree: UnitTree, widths: tuple[int, ...]) -> list[Finding]:
    """Forward at each width: finite, same shape, deterministic, without a trace in what the model holds."""
    unit = tree.unit.name
    models = {width: small_model(tree, width) for width in dict.fromkeys(widths)}
    first, *others = models.values()
    before = holdings(first)
    length, other_length = secret_lengths(tree, 2)
    looks: tuple[Callable[[], Iterable[Finding]], ...] = (
        lambda: _held(unit, first, before),
        lambda: _audited(first),
        lambda: _traces(unit, first, before, length),
        lambda: chain.from_iterable(_outputs(unit, first, n) for n in (1, 16, other_length)),
        lambda: chain.from_iterable(_outputs(unit, model, 16) for model in others),
        lambda: _buffers(unit, models),
        lambda: _numbers(unit, first),
    )
    for look in looks:  # the cause before its consequences: a counter also makes outputs differ
        findings = list(islice(look(), MAX_FINDINGS))
        if findings:
            return findings
    return []


def _outputs(unit: str, model: GAM, length: int) -> Iterator[Finding]:
    tokens_BL, where = tokens(2, length), f"L={length}, D={model.embedding.embedding_dim}"
    for mode in ("eval", "train"):
        model.train(mode == "train")
        with torch.no_grad(), seeded(2):
            logits_BLV = model(tokens_BL)
        if logits_BLV.shape != (*tokens_BL.shape, VOCAB_SIZE):
            yield RULES["shape"].finding(
                f"logits of shape {tuple(logits_BLV.shape)} at {where}", "(B, L, V)", unit=unit
            )
        elif not torch.isfinite(logits_BLV).all():
            yield RULES["finite"].finding(f"non-finite output in {mode} mode at {where}", "finite", unit=unit)


def _held(unit: str, model: GAM, held: Holdings) -> Iterator[Finding]:
    """What a model holds that it should not, before it was ever called."""
    for path in held.unregistered:
        yield RULES["hidden-tensor"].finding(f"{path!r} holds a tensor or module outside of the model's books",
                                             "only registered ones", unit=unit, path=path)  # fmt: skip
    for path, kind in held.opaque.items():
        yield RULES["state"].finding(f"{path!r} holds an object of type {kind}, which can count calls",
                                     "numbers, texts and containers of them", unit=unit, path=path)  # fmt: skip
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            yield RULES["frozen"].finding(f"{name} has requires_grad=False", "requires_grad=True", unit=unit, path=name)
    for name in hooked(model):
        yield RULES["hook"].finding(f"module {name!r} carries a hook", "none", unit=unit, path=name)


def _traces(unit: str, model: GAM, before: Holdings, length: int) -> Iterator[Finding]:
    """Calls at several lengths, in both modes, then with a backward pass, must change neither the model nor later outputs."""
    tokens_BL, longer_BL = tokens(2, length), tokens(1, 64 + length)
    with torch.no_grad():
        y_BLV = model.eval()(tokens_BL)
        yield from _changes(unit, model, before)  # after each call: a switch is back where it was after two
        model.train()(longer_BL)
        yield from _changes(unit, model, before)
    model(tokens_BL[:, :7]).square().mean().backward()
    model.zero_grad(set_to_none=True)
    yield from _changes(unit, model, before)
    with torch.no_grad():
        later_BLV = model.eval()(tokens_BL)
    if torch.isfinite(y_BLV).all() and not torch.equal(y_BLV, later_BLV):
        yield RULES["deterministic"].finding(
            "an output differs after other calls", "equal outputs for equal inputs", unit=unit
        )


def _changes(unit: str, model: GAM, before: Holdings) -> Iterator[Finding]:
    now = holdings(model)
    for path in before.changes(now):
        yield RULES["state"].finding(
            f"{path!r} differs after a call", "a forward pass that leaves no trace", unit=unit, path=path
        )
    yield from _held(unit, model, now)


def _numbers(unit: str, model: GAM) -> Iterator[Finding]:
    """Finite for large inputs, and in bfloat16; the model stays in that."""
    x_BLD = inputs(2, 33, model.embedding.embedding_dim, torch.float32)
    with torch.no_grad():
        if not torch.isfinite(model.hidden(x_BLD * LARGE_INPUT)).all():
            yield RULES["finite"].finding(
                f"non-finite output for inputs of size {LARGE_INPUT:.0f}", "finite", unit=unit
            )
        model.to(torch.bfloat16)
        if not torch.isfinite(model(tokens(2, 33))).all():
            yield RULES["bfloat16"].finding("non-finite output in bfloat16", "finite", unit=unit)


def _buffers(unit: str, models: dict[int, GAM]) -> Iterator[Finding]:
    """Floating-point buffers, tables over the length apart, against the parameters of the blocks."""
    model, *others = models.values()
    elsewhere = [dict(sizes_of_buffers(other)) for other in others]
    n_params = sum(p.numel() for p in model.blocks.parameters())
    n_held, largest = 0, ("", 0)
    for name, shape in sizes_of_buffers(model):
        lengths = [size for size in shape if size >= TABLE_LENGTH]
        if lengths and all(set(lengths) <= set(sizes.get(name, ())) for sizes in elsewhere):
            continue
        n_held += math.prod(shape)
        largest = max(largest, (name, math.prod(shape)), key=lambda entry: entry[1])
    if n_held > MAX_BUFFER_SHARE * n_params:
        measured = (
            f"{n_held:,} numbers in buffers beside {n_params:,} parameters of the blocks; the largest is {largest[0]!r}"
        )
        yield RULES["buffer-size"].finding(
            measured, f"at most {MAX_BUFFER_SHARE:.0%} of them", unit=unit, path=largest[0]
        )


def _audited(model: GAM) -> list[Finding]:
    """Run each unit under watch: its X and Z must stay as they were, its dZ holds declared names only."""
    audit = _Audit(model)
    model.eval()
    with torch.no_grad(), audit:
        model(tokens(2, 7))
    return audit.findings


class _Audit:
    """Watches the calls of all units of a model, from within a `with` block."""

    def __init__(self, model: GAM) -> None:
        self._units = {name: m for name, m in model.named_modules() if hasattr(m, "declared_writes")}
        self.findings: list[Finding] = []

    def __enter__(self) -> None:
        for name, module in self._units.items():
            module.forward = self._watched(name, module)

    def __exit__(self, *_: object) -> None:
        for module in self._units.values():
            del module.forward

    def _watched(self, name: str, module: Any) -> Any:
        raw = type(module).__mro__[1].forward  # type: ignore[attr-defined]
        known = frozenset().union(*(m.declared_writes for m in module.modules() if hasattr(m, "declared_writes")))

        def forward(X: Tensor, Z: dict[str, Tensor]) -> Any:
            x_BLD = X.clone()  # an imported design's Z may hold other things than tensors
            entries = {key: value.clone() if isinstance(value, Tensor) else value for key, value in Z.items()}
            Y, dZ = raw(module, X, Z)
            self._compare(name, type(module).__name__, X, Z, x_BLD, entries)
            for key in sorted(set(dZ or ()) - known):
                self._report(
                    "undeclared-write", f"dZ holds {key!r}", f"one of {sorted(known)}", name, type(module).__name__
                )
            return Y, {key: value for key, value in sorted((dZ or {}).items()) if key in module.declared_writes}

        return forward

    def _compare(
        self, name: str, unit: str, X: Tensor, Z: dict[str, Tensor], x_BLD: Tensor, entries: dict[str, Tensor]
    ) -> None:
        if not _same(X, x_BLD):
            self._report("in-place", "X was changed in place", "an X that stays", name, unit)
        for key in Z.keys() | entries.keys():
            if key not in Z or key not in entries or not _same(Z[key], entries[key]):
                self._report(
                    "in-place", f"Z[{key!r}] was changed in place", "a Z that stays; new entries go into dZ", name, unit
                )

    def _report(self, rule: str, measured: str, required: str, path: str, unit: str) -> None:
        self.findings.append(RULES[rule].finding(measured, required, path=path, unit=unit))


def _same(a: object, b: object) -> bool:
    """Equal, where NaN equals NaN: it is met by another rule."""
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return a is b
    return torch.equal(a, b) or (torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num()))
