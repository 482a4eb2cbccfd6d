"""The checker as one job: stages in order of cost, ending at the first that finds an error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
import torch._dynamo  # the first operation on the meta device imports it: a second in every child, unless it is here

from genesys.checker.causality import Shape, check_causality
from genesys.checker.effectiveness import check_effectiveness, measures_as_json
from genesys.checker.failures import failure_finding
from genesys.checker.fingerprint import Behaviour, behaviour
from genesys.checker.gradient import check_gradient
from genesys.checker.partial import excuse, fill_open_slots
from genesys.checker.request import CHEAP_STAGES, EffectivenessPolicy, checker_version, policy_hash
from genesys.checker.rules import STAGES, Stage
from genesys.checker.run import check_run
from genesys.checker.static import check_static
from genesys.errors import Finding
from genesys.gau import UnitTree
from genesys.ladder import Scale
from genesys.model import TunedSize, tune_sizes
from genesys.model.unit_tests import run_unit_tests

MAX_CHECKED_WIDTH, MAX_CHECKED_DEPTH, MAX_CHECKED_LENGTH = 128, 12, 256
Outcome = Literal["passed", "failed", "skipped"]


def check(request: Mapping[str, Any]) -> dict[str, Any]:
    """Check one design. Runs its code: an entry for `Cage.run`.

    Args:
        request: As `check_request` makes it; of it `tree`, `scales` and `vocab_size` are required.

    Returns:
        `{"design", "checker", "policy", "findings": [...], "sizes": {scale: {...}}, "stages": {name: {"seconds",
        "outcome"}}, "measures": {...}, "behaviour": {"fingerprint", "sketch"}}`; sane when no finding is an error. The figures
        were made beside generated code, which could have forged them.
    """
    torch.set_num_threads(1)
    return _Check(request).report()


@dataclass(frozen=True, slots=True, kw_only=True)
class _StageResult:
    seconds: float = 0.0
    outcome: Outcome = "skipped"


@dataclass(slots=True)
class _Check:
    """One check under way."""

    request: Mapping[str, Any]
    findings: list[Finding] = field(default_factory=list)
    sizes: tuple[TunedSize, ...] = ()
    measures: dict[str, Any] = field(default_factory=dict)
    tree: UnitTree = field(init=False)

    def report(self) -> dict[str, Any]:
        """Run the stages and say what came of them."""
        design = self.tree = UnitTree.from_json(self.request["tree"])
        if self.request.get("partial", False):
            self.tree, self.findings = fill_open_slots(design)
        stages = self._run_stages()
        return {
            "design": design.design_id,
            "checker": checker_version(),
            "policy": policy_hash(self.request),
            "findings": [finding.to_json() for finding in self.findings],
            "sizes": {s.scale: asdict(s.shape) | {"n_params": s.n_params, "error": s.error} for s in self.sizes},
            "stages": {name: asdict(result) for name, result in stages.items()},
            "measures": self.measures,
            "behaviour": self._behaviour().to_json(),
        }

    def _run_stages(self) -> dict[Stage, _StageResult]:
        results = dict.fromkeys(STAGES, _StageResult())
        checks: Mapping[Stage, Callable[[], Iterable[Finding]]] = {
            "static": lambda: check_static(self.tree),
            "shape": self._shape,
            "unit-tests": self._unit_tests,
            "run": lambda: check_run(self.tree, self._widths()),
            "causality": lambda: check_causality(self.tree, self._widths()[0], shapes=self._trained_shapes()),
            "gradient": lambda: check_gradient(self.tree, self._widths()[0]),
            "effectiveness": self._effectiveness,
        }
        is_filled = bool(self.findings)
        for name, stage in checks.items():
            if name not in self.request.get("stages", CHEAP_STAGES):
                continue
            started = time.perf_counter()
            found = list(self._guarded(name, stage))
            self.findings += excuse(found) if is_filled else found
            failed = any(finding.severity == "error" for finding in self.findings)
            seconds = round(time.perf_counter() - started, 6)
            results[name] = _StageResult(seconds=seconds, outcome="failed" if failed else "passed")
            if failed:
                break
        return results

    def _guarded(self, name: Stage, stage: Callable[[], Iterable[Finding]]) -> Iterable[Finding]:
        try:
            return list(stage())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # generated code may raise anything, SystemExit too: its failure is a finding
            return [failure_finding(f"{name}-error", error, self.tree, f"the {name} stage runs through")]

    def _shape(self) -> list[Finding]:
        scales = [Scale(**fields) for fields in self.request["scales"]]
        self.sizes = tune_sizes(self.tree, scales, self.request["vocab_size"])
        return [finding for size in self.sizes for finding in size.findings]

    def _widths(self) -> tuple[int, int]:
        """The two widths at which the design runs for real: those of the lowest scales, or one step apart."""
        tuned = sorted({min(size.shape.d_model, MAX_CHECKED_WIDTH) for size in self.sizes})
        return tuned[0], (tuned[1] if len(tuned) > 1 else tuned[0] + self.request["scales"][0]["width_step"])

    def _trained_shapes(self) -> list[Shape]:
        """What will be trained at each scale, as far as a check can afford it: a design may behave well at other sizes only."""
        contexts = {fields["name"]: fields["context"] for fields in self.request["scales"]}
        return [
            (
                min(s.shape.d_model, MAX_CHECKED_WIDTH),
                min(s.shape.n_blocks, MAX_CHECKED_DEPTH),
                min(contexts[s.scale], MAX_CHECKED_LENGTH),
            )
            for s in self.sizes
        ]

    def _unit_tests(self) -> Iterable[Finding]:
        for unit in self.tree.units():
            try:
                run_unit_tests(unit)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                yield failure_finding("unit-test", error, self.tree, f"the tests in the text of {unit.name} pass")

    def _behaviour(self) -> Behaviour:
        """Of a sane design, where it is asked for; it is no part of the verdict."""
        if not self.request.get("behaviour", False) or any(f.severity == "error" for f in self.findings):
            return Behaviour()
        try:
            return behaviour(self.tree, self.sizes, [Scale(**fields) for fields in self.request["scales"]])
        except KeyboardInterrupt:
            raise
        except BaseException:  # generated code at sizes of our choice
            return Behaviour()

    def _effectiveness(self) -> list[Finding]:
        policy = EffectivenessPolicy(**self.request.get("effectiveness", {}))
        result = check_effectiveness(self.tree, policy, [size.shape.d_model for size in self.sizes])
        self.measures |= measures_as_json(result)
        return result.findings
