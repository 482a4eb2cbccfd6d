"""Stage 6: what a design costs and whether it learns, against the reference transformer in the same job.

Costs are counted (`genesys.checker.cost`); times are medians of interleaved steps and only ever warn, since a check
shares its machine with others. Runs generated code: caged child processes only.

Not covered: what shows only in long trainings or at large sizes; verification finds that. Shapes: B batch, L length,
D width, V vocabulary.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genesys.checker.cost import StepCost, growth_place, n_rises, ops_by_place, step_cost
from genesys.checker.lessons import BYTE_VOCABULARY, N_PAIRS, RECALL_CHANCE, RECALL_VOCABULARY, recall_batch, text_batch
from genesys.checker.request import EffectivenessPolicy
from genesys.checker.rules import RULES
from genesys.errors import Finding, Severity
from genesys.gau import UnitTree
from genesys.gau.library import seed_design
from genesys.model import GAM, ModelShape, build_model

REFERENCE = "gpt"
_N_SINGLE_STEPS = 16
_PEAK_LR, _N_WARM = 3e-3, 10
_TEXT_EMBEDDING_STD, _RECALL_EMBEDDING_STD = 0.1, 0.3
_RECALL_WIDTH_SHARE, _RECALL_ROWS = 2, 32
_RECALL_MARGIN = 0.97  # of a blind guess's loss, which none that sees nothing gets below but by luck
_TAIL = 10

Loss = Callable[[GAM, torch.Generator], Tensor]


@dataclass(slots=True, kw_only=True)
class Effectiveness:
    """What the stage found: findings, and every figure behind them."""

    findings: list[Finding] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)


def check_effectiveness(tree: UnitTree, policy: EffectivenessPolicy, widths: Sequence[int] = ()) -> Effectiveness:
    """Count a step, then train shortly on text and on recall; the next part runs only when the one before found no error.

    Args:
        widths: Where the design is known to build, for one that does not at the policy's width.
    """
    result = Effectiveness()
    fitting = replace(policy, d_model=_buildable(tree, policy.d_model, widths))
    for part in (_check_cost, _check_text, _check_recall):
        if not result.failed:
            part(tree, fitting, result)
    return result


def _buildable(tree: UnitTree, wanted: int, others: Sequence[int]) -> int:
    """The width wanted, or the nearest of the others at which the design and the reference build; else the one wanted."""
    for d_model in (wanted, *sorted(others, key=lambda width: abs(width - wanted))):
        shape = ModelShape(vocab_size=1, d_model=d_model, n_blocks=1)
        try:
            with torch.device("meta"):
                build_model(tree, shape), build_model(seed_design(REFERENCE), shape)
        except (
            Exception
        ):  # generated code may raise anything; where it builds at no width, the stage fails with its error
            continue
        return d_model
    return wanted


# --- cost ------------------------------------------------------------------------------------------------------


def _check_cost(tree: UnitTree, policy: EffectivenessPolicy, result: Effectiveness) -> None:
    model, reference = _text_model(tree, policy), _text_model(seed_design(REFERENCE), policy)
    costs = [step_cost(model, _tokens(length)) for length in policy.lengths]
    result.findings += _growth_findings(tree, policy, costs, result.measures)
    result.findings += _ratio_findings(tree, policy, costs[-1], step_cost(reference, _tokens(policy.lengths[-1])), result.measures)  # fmt: skip
    if not result.failed:
        result.findings += _parallel_findings(tree, policy, model, costs, result.measures)


def _growth_findings(
    tree: UnitTree, policy: EffectivenessPolicy, costs: list[StepCost], measures: dict[str, float]
) -> Iterator[Finding]:
    for name, what in (("flops", "FLOPs"), ("n_elements", "elements written")):
        growth = measures[f"{name}_growth"] = growth_exponent([getattr(cost, name) for cost in costs[-3:]])
        severity = _severity(growth, policy.warn_growth, policy.max_growth)
        if severity:
            bound = policy.max_growth if severity == "error" else policy.warn_growth
            yield RULES["flops-growth"].finding(
                f"added {what} grow as L^{growth:.2f} from L={policy.lengths[-3]} to {policy.lengths[-1]}",
                f"at most L^{bound}", unit=tree.unit.name, severity=severity,
            )  # fmt: skip


def growth_exponent(work: Sequence[int]) -> float:
    """The exponent at which work grows, from three lengths of which each is twice the one before.

    Taken of what each doubling adds: what does not depend on the length drops out, and a polynomial of degree two
    never gets above 2, whatever its coefficients, while a cubic term shows before it dominates.
    """
    first, second, third = work
    return math.log2((third - second) / (second - first)) if third > second > first else 0.0


def _ratio_findings(
    tree: UnitTree, policy: EffectivenessPolicy, cost: StepCost, reference: StepCost, measures: dict[str, float]
) -> Iterator[Finding]:
    for name, what in (("flops", "FLOPs"), ("n_elements", "elements written")):
        ratio = measures[f"{name}_ratio"] = getattr(cost, name) / getattr(reference, name)
        severity = _severity(ratio, policy.warn_work, policy.max_work)
        if severity:
            bound = policy.max_work if severity == "error" else policy.warn_work
            yield RULES["flops"].finding(f"{ratio:.1f} times the reference's {what}", f"at most {bound:g} times",
                                         unit=tree.unit.name, severity=severity)  # fmt: skip
    ratio = measures["memory_ratio"] = cost.memory_bytes / reference.memory_bytes
    if not ratio <= policy.warn_memory:
        yield RULES["memory"].finding(
            f"{ratio:.1f} times the reference's memory", f"at most {policy.warn_memory:g} times", unit=tree.unit.name
        )


def _parallel_findings(
    tree: UnitTree, policy: EffectivenessPolicy, model: GAM, costs: list[StepCost], measures: dict[str, float]
) -> Iterator[Finding]:
    """Look step by step at the longest length, where operators grow by as many as a loop over positions adds at least."""
    longest, n_added = policy.lengths[-1], policy.lengths[-1] - policy.lengths[-2]
    per_position = measures["ops_per_position"] = (costs[-1].n_ops - costs[-2].n_ops) / n_added
    if per_position < 1:
        return
    lengths = range(longest - _N_SINGLE_STEPS, longest + 1)
    counts = [ops_by_place(model, _tokens(length)) for length in lengths]
    rises = measures["op_rises"] = n_rises([sum(count.values()) for count in counts])
    if rises > policy.max_rises:
        file, line = growth_place(counts[0], counts[-1])
        yield RULES["not-parallel"].finding(
            f"{rises} of {_N_SINGLE_STEPS} single steps in length add operators", f"at most {policy.max_rises}",
            unit=file.removeprefix("<unit ").partition(" ")[0] or tree.unit.name, line=line or None,
        )  # fmt: skip


def _severity(value: float, warn: float, error: float) -> Severity | None:
    """Which bound a value passes; one that is no number passes all."""
    return "error" if not value <= error else "warning" if not value <= warn else None


# --- short trainings -------------------------------------------------------------------------------------------


def _check_text(tree: UnitTree, policy: EffectivenessPolicy, result: Effectiveness) -> None:
    loss = partial(_text_loss, policy=policy)
    runs = [_Training(_text_model(t, policy), loss) for t in (tree, seed_design(REFERENCE))]
    for _ in range(policy.n_steps):  # turn by turn, so that both meet the same load of the machine
        for run in runs:
            if run.is_finite:
                run.step()
    own, reference = runs
    measures = result.measures
    measures |= {"text_loss": own.final_loss, "reference_text_loss": reference.final_loss}
    measures["time_ratio"] = statistics.median(own.seconds) / statistics.median(reference.seconds)
    result.findings += _learning_findings(tree, policy, own)
    if not measures["time_ratio"] <= policy.warn_time:
        result.findings.append(
            RULES["slow"].finding(f"{measures['time_ratio']:.1f} times the reference's time for a step",
                                  f"at most {policy.warn_time:g} times", unit=tree.unit.name)
        )  # fmt: skip


def _learning_findings(tree: UnitTree, policy: EffectivenessPolicy, run: _Training) -> Iterator[Finding]:
    if not run.is_finite:
        yield RULES["diverged"].finding(
            f"loss or gradient {run.broken} at step {len(run.losses)} of {policy.n_steps}", "finite numbers",
            unit=tree.unit.name,
        )  # fmt: skip
    elif not run.final_loss <= policy.max_loss_share * run.losses[0]:
        yield RULES["no-learning"].finding(
            f"the loss goes from {run.losses[0]:.2f} to {run.final_loss:.2f} nats in {policy.n_steps} steps",
            f"at most {policy.max_loss_share:.0%} of what it was", unit=tree.unit.name,
        )  # fmt: skip


def _check_recall(tree: UnitTree, policy: EffectivenessPolicy, result: Effectiveness) -> None:
    d_model = _buildable(tree, policy.d_model // _RECALL_WIDTH_SHARE, [policy.d_model])
    for name, design in (("", tree), ("reference_", seed_design(REFERENCE))):
        shape = ModelShape(vocab_size=RECALL_VOCABULARY, d_model=d_model, n_blocks=policy.n_blocks)
        run = _Training(build_model(design, shape, embedding_std=_RECALL_EMBEDDING_STD), _recall_loss)
        for _ in range(policy.n_recall_steps):
            if run.is_finite:
                run.step()
        if not run.is_finite and design is tree:
            result.findings += _learning_findings(tree, policy, run)
        result.measures[f"{name}recall_loss"] = run.final_loss
    bound = _RECALL_MARGIN * math.log(1 / RECALL_CHANCE)
    if not result.measures["recall_loss"] <= bound:
        result.findings.append(
            RULES["recall"].finding(f"{result.measures['recall_loss']:.2f} nats after {policy.n_recall_steps} steps",
                                    f"at most {bound:.2f}, below a blind guess", unit=tree.unit.name)
        )  # fmt: skip


class _Training:
    """One model in a short training; stops being finite once a loss or a gradient was not."""

    def __init__(self, model: GAM, loss: Loss) -> None:
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self.broken = ""
        self._model, self._loss = model.train(), loss
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=_PEAK_LR, betas=(0.9, 0.98), weight_decay=0.0)
        self._data = torch.Generator().manual_seed(0)

    @property
    def is_finite(self) -> bool:
        return not self.broken

    @property
    def final_loss(self) -> float:
        """Mean of the last steps, in nats."""
        return statistics.fmean(self.losses[-_TAIL:])

    def step(self) -> None:
        started = time.perf_counter()
        loss = self._loss(self._model, self._data)
        self._optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.param_groups[0]["lr"] = _PEAK_LR * min(1.0, (len(self.losses) + 1) / _N_WARM)
        self._optimizer.step()
        self.losses.append(loss.item())
        self.seconds.append(time.perf_counter() - started)
        self.broken = next((str(x) for x in (self.losses[-1], float(norm)) if not math.isfinite(x)), "")


def _text_loss(model: GAM, generator: torch.Generator, *, policy: EffectivenessPolicy) -> Tensor:
    tokens_BL, next_BL = text_batch(policy.n_rows, policy.context, generator)
    return F.cross_entropy(model(tokens_BL).flatten(0, 1).float(), next_BL.flatten())


def _recall_loss(model: GAM, generator: torch.Generator) -> Tensor:
    """Each token comes with the one before it: joining neighbours takes long to learn, and is not what is asked here."""
    tokens_BL, answers_BP = recall_batch(_RECALL_ROWS, generator)
    x_BLD = model.embedding(tokens_BL)
    x_BLD = x_BLD + F.pad(x_BLD, (0, 0, 1, 0))[:, :-1].roll(1, dims=-1)
    logits_BPV = model.head(model.hidden(x_BLD)[:, -N_PAIRS:])
    return F.cross_entropy(logits_BPV.flatten(0, 1).float(), answers_BP.flatten())


def _text_model(tree: UnitTree, policy: EffectivenessPolicy) -> GAM:
    shape = ModelShape(vocab_size=BYTE_VOCABULARY, d_model=policy.d_model, n_blocks=policy.n_blocks)
    return build_model(tree, shape, embedding_std=_TEXT_EMBEDDING_STD)


def _tokens(length: int) -> Tensor:
    return torch.randint(BYTE_VOCABULARY, (1, length), generator=torch.Generator().manual_seed(length))


def measures_as_json(result: Effectiveness) -> dict[str, Any]:
    """The figures, those that are no numbers as null."""
    return {name: round(value, 4) if math.isfinite(value) else None for name, value in result.measures.items()}
