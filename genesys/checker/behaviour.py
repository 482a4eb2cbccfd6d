"""Stages 3 to 5: what a design's whole model does when run small. Runs generated code: caged child processes only.

Shapes: B batch, L length, D model width, V vocabulary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import torch
from torch import Tensor

from genesys.errors import Finding
from genesys.gau import UnitTree
from genesys.model import GAM, ModelShape, build_model

VOCAB_SIZE = 61
LENGTHS = (1, 16, 33)
PERTURBATION_STD = 0.05
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def check_run(tree: UnitTree, widths: tuple[int, ...]) -> list[Finding]:
    """Forward at each width, even and odd lengths, float32 and bfloat16: finite, same shape, deterministic, stateless."""
    findings: list[Finding] = []
    for d_model in widths:
        model = _model(tree, d_model)
        for length in LENGTHS:
            tokens_BL = _tokens(length)
            logits_BLV = model(tokens_BL)
            if logits_BLV.shape != (*tokens_BL.shape, VOCAB_SIZE):
                findings.append(
                    _finding(tree, "shape", f"hidden shape changed at L={length}", "(B, L, D)", "Keep the shape of X.")
                )
            elif not torch.isfinite(logits_BLV).all():
                findings.append(
                    _finding(tree, "finite", f"non-finite output at L={length}, D={d_model}", "finite", "Bound it.")
                )
            elif not torch.equal(logits_BLV, model(tokens_BL)):
                findings.append(_finding(tree, "deterministic", "two calls on one input differ", "equal outputs",
                                         "Keep no state between calls, draw no random numbers."))  # fmt: skip
    low = _model(tree, widths[0]).to(torch.bfloat16)
    if not torch.isfinite(low(_tokens(LENGTHS[-1]))).all():
        findings.append(
            _finding(tree, "bfloat16", "non-finite output in bfloat16", "finite", "Compute sums in float32.")
        )
    return findings


def check_causality(tree: UnitTree, d_model: int) -> list[Finding]:
    """Outputs must not depend on later inputs, nor on other rows of the batch; whole model, train and eval mode."""
    model, dtype = _precise_model(tree, d_model)
    for training in (True, False):
        model.train(training)
        for length in LENGTHS[1:]:
            leak = _future_leak(model, length, dtype)
            if not leak <= TOLERANCE[dtype]:
                mode = "train" if training else "eval"
                return [_finding(tree, "causality", f"the future moves an output by {leak:.1e} of what the past does ({mode} "
                                 f"mode, L={length})", f"at most {TOLERANCE[dtype]:.0e}", "Mask or shift what looks ahead.")]  # fmt: skip
    return []


def check_gradient(tree: UnitTree, d_model: int) -> list[Finding]:
    """Every parameter's role gets a finite, non-zero gradient; the block uses its context and is not the identity."""
    model, dtype = _precise_model(tree, d_model)
    findings = [*_context_findings(tree, model, dtype)]
    norms: dict[str, float] = {}
    for seed in range(2):
        model.zero_grad()
        tokens_BL = _tokens(LENGTHS[-1], seed=seed)
        logits_BLV = model(tokens_BL[:, :-1])
        torch.nn.functional.cross_entropy(logits_BLV.flatten(0, 1), tokens_BL[:, 1:].flatten()).backward()
        for name, parameter in model.named_parameters():
            role = re.sub(r"\.\d+(?=\.|$)", ".*", name)
            grad = parameter.grad
            norm = 0.0 if grad is None else float(grad.abs().max())
            known = norms.get(role, 0.0)
            norms[role] = known if not math.isfinite(known) or norm <= known else norm  # NaN is kept once seen
    for role, norm in norms.items():
        if not 0.0 < norm < float("inf"):
            findings.append(_finding(tree, "gradient", f"largest gradient of {role} is {norm}", "finite and not zero",
                                     "Use the parameter in the output, or remove it.", path=role))  # fmt: skip
    return findings


def _context_findings(tree: UnitTree, model: GAM, dtype: torch.dtype) -> Iterator[Finding]:
    x_BLD = _inputs(model, LENGTHS[-1], dtype).requires_grad_()
    y_BLD = model.hidden(x_BLD)
    change = float((y_BLD - x_BLD).detach().abs().max() / x_BLD.detach().abs().max())
    if not change > 1e-6:
        yield _finding(
            tree, "identity", f"the blocks change their input by {change:.1e}", "more than 1e-6", "Compute something."
        )
        return
    (grad_BLD,) = torch.autograd.grad((y_BLD[:, -1] * _like(y_BLD[:, -1])).sum(), x_BLD)
    before, own = grad_BLD[:, :-1].abs().max(), grad_BLD.abs().max()
    if not before > 1e-9 * own:
        yield _finding(
            tree, "context", "an output depends on its own input only", "on earlier inputs too", "Add a mixer."
        )


def _future_leak(model: GAM, length: int, dtype: torch.dtype) -> float:
    """Largest effect of later inputs, or of the other row, on an output, relative to that of its past."""
    x_BLD = _inputs(model, length, dtype).requires_grad_()
    y_BLD = model.hidden(x_BLD)
    return max(
        _leak_into(model, x_BLD, y_BLD, row, t)
        for row in range(len(x_BLD))
        for t in sorted({0, length // 2, length - 2})
    )


def _leak_into(model: GAM, x_BLD: Tensor, y_BLD: Tensor, row: int, t: int) -> float:
    """The leak into the output at `row` and `t`: by gradient, and by random content in the place of the future."""
    past = (row, slice(0, t + 1))
    (grad_BLD,) = torch.autograd.grad((y_BLD[row, t] * _like(y_BLD[row, t])).sum(), x_BLD, retain_graph=True)
    foreign_BLD = grad_BLD.clone()
    foreign_BLD[past] = 0
    changed_BLD = _like(x_BLD, seed=7)
    changed_BLD[past] = x_BLD.detach()[past]
    moved = model.hidden(changed_BLD)[past] - y_BLD[past]
    return max(_ratio(foreign_BLD, grad_BLD[past]), _ratio(moved, y_BLD[past]))


def _ratio(effect: Tensor, scale: Tensor) -> float:
    """Largest |effect| over largest |scale|; infinite where that is no number."""
    ratio = float(effect.detach().abs().max()) / max(float(scale.detach().abs().max()), 1e-300)
    return ratio if math.isfinite(ratio) else math.inf


def _model(tree: UnitTree, d_model: int, n_blocks: int = 2) -> GAM:
    """A small model on weights perturbed from their initial values, since zero-initialised branches are legitimate."""
    model = build_model(tree, ModelShape(vocab_size=VOCAB_SIZE, d_model=d_model, n_blocks=n_blocks), embedding_std=1.0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * PERTURBATION_STD)
    return model


def _precise_model(tree: UnitTree, d_model: int) -> tuple[GAM, torch.dtype]:
    model = _model(tree, d_model).double()
    try:
        model.hidden(_inputs(model, LENGTHS[1], torch.float64))
    except (RuntimeError, TypeError):  # a unit that fixes float32 inside is checked there, at a wider tolerance
        return _model(tree, d_model), torch.float32
    return model, torch.float64


def _tokens(length: int, *, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB_SIZE, (2, length), generator=torch.Generator().manual_seed(seed))


def _inputs(model: GAM, length: int, dtype: torch.dtype) -> Tensor:
    d_model = model.embedding.embedding_dim
    return torch.randn(2, length, d_model, generator=torch.Generator().manual_seed(length)).to(dtype)


def _like(tensor: Tensor, seed: int = 3) -> Tensor:
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed)).to(tensor.dtype)


def _finding(tree: UnitTree, rule: str, measured: str, required: str, hint: str, path: str = "") -> Finding:
    return Finding(rule=rule, unit=tree.unit.name, path=path, measured=measured, required=required, hint=hint)
