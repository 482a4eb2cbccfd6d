"""One benchmark's figures as JSON lines, and its exit status."""

from __future__ import annotations

import json
from dataclasses import dataclass, field


@dataclass(slots=True)
class Report:
    """Prints each figure as it is measured; `exit_code` is 1 once a goal was missed."""

    benchmark: str
    missed: list[str] = field(default_factory=list)

    def add(
        self, metric: str, value: float, unit: str, *, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        """Print one figure. Without a goal it always holds; NaN never does."""
        goal = at_least if at_least is not None else at_most
        holds = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        if not holds:
            self.missed.append(metric)
        line = {"benchmark": self.benchmark, "metric": metric, "value": round(value, 4), "unit": unit, "goal": goal}
        print(json.dumps({**line, "holds": holds}), flush=True)

    @property
    def exit_code(self) -> int:
        return 1 if self.missed else 0
