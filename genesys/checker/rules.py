"""The catalogue of rules: what each means, and how to repair what it rejects. `docs/rules.md` is made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from genesys.errors import Finding, Severity

Stage = Literal["static", "shape", "run", "causality", "gradient", "effectiveness", "semantic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of the checker.

    Attributes:
        means: What must hold, as a sentence.
        hint: What to do about a finding; a finding may carry a better one.
    """

    id: str
    stage: Stage
    means: str
    hint: str
    severity: Severity = "error"

    def finding(
        self, measured: str, required: str, *, unit: str = "", path: str = "", line: int | None = None, hint: str = ""
    ) -> Finding:
        """A finding of this rule."""
        return Finding(
            rule=self.id, measured=measured, required=required, hint=hint or self.hint, unit=unit, path=path,
            line=line, severity=self.severity,
        )  # fmt: skip


_RULES: tuple[Rule, ...] = (
    Rule(id="causality", stage="causality", means="No output depends on a later input.", hint="Mask or shift what looks ahead."),
)  # fmt: skip

RULES: Mapping[str, Rule] = {rule.id: rule for rule in _RULES}
