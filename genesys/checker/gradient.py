"""Stage 5: what a backward pass and a few steps show. Runs generated code: caged child processes only.

A unit may stop gradients (`detach`, `no_grad`) as part of its mathematics, so autograd is not compared with finite
differences; backward passes of the unit's own making are kept out by the static stage (`custom-gradient`, `hook`).

Shapes: B batch, L length, D model width, V vocabulary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional as F

from genesys.checker.causality import leaks
from genesys.checker.rules import RULES
from genesys.checker.run import MAX_FINDINGS
from genesys.checker.specimen import inputs, seeded, small_model, tokens
from genesys.errors import Finding
from genesys.gau import UnitTree
from genesys.model import GAM

N_STEPS, STEP_SIZE = 8, 0.025
"""Each parameter moves by that much a step, against its gradient's sign: more than twice what Adam does at the highest learning
rate of any ladder."""


def check_gradient(tree: UnitTree, d_model: int) -> list[Finding]:
    """Every parameter's role gets a gradient; the block uses its inputs and context; a few steps leave it sane."""
    model, unit = small_model(tree, d_model), tree.unit.name
    for look in (_context_findings, _training_findings, _leaks_after):  # the cause before its consequences
        findings = list(islice(look(unit, model), MAX_FINDINGS))
        if findings:
            return findings
    return []


def _context_findings(unit: str, model: GAM) -> Iterator[Finding]:
    model.eval()
    x_BLD = inputs(2, 33, model.embedding.embedding_dim, torch.float32)
    other_BLD, changed_BLD = inputs(2, 33, x_BLD.shape[-1], torch.float32, seed=1), x_BLD.clone()
    changed_BLD[0, :16], changed_BLD[1, -1] = other_BLD[0, :16], other_BLD[1, -1]
    with torch.no_grad():
        y_BLD, moved_BLD = model.hidden(x_BLD), model.hidden(changed_BLD)
    change = float((y_BLD - x_BLD).abs().max())
    by_context, by_own = (moved_BLD - y_BLD)[:, 16:].abs().amax((1, 2)).tolist()
    if not change > 1e-6:
        yield RULES["identity"].finding(f"the blocks change their input by {change:.1e}", "more than 1e-6", unit=unit)
    elif not max(by_context, by_own) > 1e-6:
        yield RULES["constant"].finding(f"other inputs move an output by {by_own:.1e}", "more than 1e-6", unit=unit)
    elif not by_context > 1e-6 * by_own:
        yield RULES["context"].finding(f"16 earlier inputs move an output by {by_context:.1e}, its own by {by_own:.1e}",
                                       "more than a millionth of that", unit=unit)  # fmt: skip


def _training_findings(unit: str, model: GAM) -> Iterator[Finding]:
    """Steps of signed gradient descent on random tokens: finite, with a gradient for each role, and other outputs than before."""
    watched_BL, norms = tokens(1, 12, seed=8), dict[str, float]()
    named = dict(model.train().named_parameters())
    with seeded(3):
        before_BLV = model(watched_BL).detach()
        for step in range(N_STEPS):
            loss = _loss(model, tokens(2, 33, seed=step) if step < 2 else tokens(1, 12, seed=step))
            if not math.isfinite(float(loss.detach())):
                break
            gradients = torch.autograd.grad(loss, [*named.values()], allow_unused=True)
            if step < 2:
                _note(norms, dict(zip(named, gradients, strict=True)))
            _step(named.values(), gradients)
        moved = float((model(watched_BL).detach() - before_BLV).abs().max())
    for role, norm in norms.items():
        if not 0.0 < norm < math.inf:
            yield RULES["gradient"].finding(
                f"largest gradient of {role} is {norm}", "finite and not zero", unit=unit, path=role
            )
    if not math.isfinite(moved):
        yield RULES["unstable"].finding(
            f"non-finite after {step} steps of {STEP_SIZE}", f"finite for {N_STEPS}", unit=unit
        )
    elif not moved > 0.0:
        yield RULES["no-step"].finding(f"{N_STEPS} steps move the outputs by {moved}", "more than 0", unit=unit)


def _note(norms: dict[str, float], gradients: dict[str, Tensor | None]) -> None:
    """Keep the largest gradient of each role: a parameter's place in the tree, whatever its block. NaN is kept once seen."""
    for name, grad in gradients.items():
        role = re.sub(r"\.\d+(?=\.|$)", ".*", name)
        norm = 0.0 if grad is None else float(grad.abs().max())
        known = norms.get(role, 0.0)
        norms[role] = known if not math.isfinite(known) or norm <= known else norm


@torch.no_grad()
def _step(parameters: Iterable[Tensor], gradients: Iterable[Tensor | None]) -> None:
    for parameter, grad in zip(parameters, gradients, strict=True):
        if grad is not None:
            parameter.sub_(grad.sign(), alpha=STEP_SIZE)


def _leaks_after(unit: str, model: GAM) -> Iterator[Finding]:
    """A design may look ahead once its weights have moved."""
    with torch.no_grad():
        for mode in ("train", "eval"):
            model.train(mode == "train")
            for leak in leaks(model, 12, torch.float32, where=f"after {N_STEPS} steps, {mode} mode, L=12"):
                yield leak.finding(unit)


def _loss(model: GAM, tokens_BL: Tensor) -> Tensor:
    logits_BLV = model(tokens_BL[:, :-1])
    return F.cross_entropy(logits_BLV.flatten(0, 1), tokens_BL[:, 1:].flatten())
