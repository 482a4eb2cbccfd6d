"""What a session has done in the cage: checks, short trainings, costs, derivations. Generated code runs there alone."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from genesys.agents.derive import DERIVE_ENTRY
from genesys.checker import (
    CHEAP_STAGES,
    EffectivenessPolicy,
    VerdictCache,
    check_request,
    check_static,
    is_sane,
    unchecked,
)
from genesys.errors import INFRASTRUCTURE_CAUSES, Finding, JobFailed
from genesys.gau import UnitTree
from genesys.ladder import Scale
from genesys.roles.effects import Check, Checked
from genesys.roles.wording import line
from genesys.sandbox import CHECK_MODULES, Cage, Policy
from genesys.verification.checking import check_design

T = TypeVar("T")

BENCH_MODULES = (*CHECK_MODULES, "genesys.agents.derive", "sympy")
"""What a cage for sessions imports once."""

SHORT_TRAINING = EffectivenessPolicy(
    d_model=64, lengths=(32, 64, 128), n_rows=4, context=64, n_steps=30, n_recall_steps=1
)
"""Enough to tell what learns from what does not, at a tenth of the checker's own measurements."""

_BLIND_GUESS_NATS = math.log(257)  # of the bytes and the end of text, on which the short training is
_CHECK_DEADLINE_S, _MEASURE_DEADLINE_S = 300.0, 120.0
_DERIVATION = Policy(deadline_s=20.0, memory_mb=1024, n_processes=4, scratch_mb=1)
_COSTS = {
    "flops_ratio": ("FLOPs of a training step", "{:.2f} times the reference's"),
    "n_elements_ratio": ("numbers written in a step", "{:.2f} times the reference's"),
    "memory_ratio": ("memory kept for the backward pass", "{:.2f} times the reference's"),
    "time_ratio": ("time of a step, on this machine", "{:.2f} times the reference's"),
    "flops_growth": ("FLOPs added with the length L grow", "as L^{:.2f}"),
    "ops_per_position": ("operators for each further position", "{:.2f}"),
}

_SIZE = ("n_params", "d_model", "n_blocks", "error")


class Workbench:
    """Performs a session's effects that touch code. Any number of sessions may share one.

    Args:
        scales: The ladder's, for the checker and the size tuner.
        verdicts: Where reports are kept, for designs that come again; nowhere by default.
        n_jobs: Children at once; who asks further waits.
    """

    def __init__(
        self,
        cage: Cage,
        scales: Sequence[Scale],
        vocab_size: int,
        *,
        verdicts: VerdictCache | None = None,
        n_jobs: int = 2,
    ) -> None:
        self._cage, self._scales, self._vocab_size, self._verdicts = cage, tuple(scales), vocab_size, verdicts
        self._room = asyncio.Semaphore(n_jobs)

    async def check(self, check: Check) -> Checked:
        """The checker's findings, as deep as asked for; a check that gives no verdict is a finding, too."""
        if check.depth == "static":
            return Checked(findings=_static(check.tree, partial=check.partial))
        partial = check.partial or check.depth == "unit"
        stages = CHEAP_STAGES if check.depth == "full" else ("static", "shape", "unit-tests")
        try:
            report = await self._report(check.tree, _CHECK_DEADLINE_S, stages=stages, partial=partial, behaviour=not partial)  # fmt: skip
        except JobFailed as failure:
            return Checked(findings=(unchecked(check.tree, failure),))
        return Checked(findings=_findings(report), report=report if check.depth == "full" else {})

    async def probe(self, tree: UnitTree) -> float | None:
        """The loss after a short training over a blind guess's; None where it could not be trained."""
        try:
            loss = (await self._measured(tree))["measures"].get("text_loss")
        except JobFailed:
            return None
        return loss / _BLIND_GUESS_NATS if isinstance(loss, float) and math.isfinite(loss) else None

    async def profile(self, tree: UnitTree) -> str:
        """Parameters at the bottom scale and costs beside the reference's, as lines for a language model."""
        try:
            report = await self._measured(tree)
        except JobFailed as failure:
            return f"Cannot measure the design: {failure}"
        return "\n".join(_profile_lines(report, self._scales[0])) or "Nothing could be measured."

    async def derive(self, program: str) -> str:
        """What a SymPy program printed, or why it gave nothing."""
        try:
            answer = await self._in_cage(lambda: self._cage.run(DERIVE_ENTRY, {"program": program}, _DERIVATION))
        except JobFailed as failure:
            return f"Cannot run the program: {failure}"
        return str(answer.get("output", ""))[:4096]  # a claim like all that comes from a cage

    async def _measured(self, tree: UnitTree) -> Mapping[str, Any]:
        return await self._report(
            tree, _MEASURE_DEADLINE_S, stages=("effectiveness",), partial=True, effectiveness=SHORT_TRAINING
        )

    async def _report(self, tree: UnitTree, deadline_s: float, **asked: Any) -> dict[str, Any]:
        request = check_request(tree, self._scales, self._vocab_size, **asked)
        return await self._in_cage(
            lambda: check_design(tree, request, self._cage, deadline_s=deadline_s, verdicts=self._verdicts)
        )

    async def _in_cage(self, job: Callable[[], Awaitable[T]]) -> T:
        """Run a job when there is room; once more when it was killed, which is its own doing the second time."""
        async with self._room:
            try:
                return await job()
            except JobFailed as failure:
                if failure.cause not in INFRASTRUCTURE_CAUSES:
                    raise
            return await job()


def _static(tree: UnitTree, *, partial: bool) -> tuple[Finding, ...]:
    """Reading alone runs no code; a text too deeply nested to be read is at fault."""
    try:
        findings = check_static(tree)
    except (RecursionError, MemoryError) as error:
        return (
            Finding(
                rule="syntax", unit=tree.unit.name, measured=f"{type(error).__name__} while reading the text",
                required="code that is not deeply nested", hint="Write it with fewer levels.",
            ),
        )  # fmt: skip
    return tuple(finding for finding in findings if not (partial and finding.rule == "open-slot"))


def _findings(report: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Those of a report, which the design's own code may have forged: names that no finding has are passed over."""
    known = Finding.__dataclass_fields__.keys()
    return tuple(Finding(**{name: f[name] for name in known & f.keys()}) for f in report["findings"])


def _figure(claim: Any) -> float | None:
    """A number that came from a cage, if it is one."""
    try:
        return float(claim) if isinstance(claim, int | float) else None
    except OverflowError:
        return None


def _profile_lines(report: Mapping[str, Any], bottom: Scale) -> list[str]:
    lines = []
    size = report["sizes"].get(bottom.name)
    figures = [_figure(size.get(name)) if isinstance(size, dict) else None for name in _SIZE]
    if None not in figures:
        n_params, width, n_blocks, error = figures
        lines.append(
            f"- at scale {bottom.name}: {n_params:,.0f} parameters, width {width:.0f}, {n_blocks:.0f} blocks; {error:.1%} off "
            f"the target of {bottom.target_block_params:,} in the blocks"
        )
    for name, (what, form) in _COSTS.items():
        if (value := _figure(report["measures"].get(name))) is not None:
            lines.append(f"- {what}: {form.format(value)}")
    loss, reference = (report["measures"].get(f"{of}text_loss") for of in ("", "reference_"))
    if isinstance(loss, float) and isinstance(reference, float):
        lines.append(
            f"- loss after {SHORT_TRAINING.n_steps} steps on text: {loss:.2f} nats, the reference's {reference:.2f}"
        )
    if not is_sane(report):
        lines += [f"- {line(str(f), 700)}" for f in _findings(report) if f.severity == "error"]
    return lines
