"""The work of `genesys ablate`: replacements that pass the checker, and verifications that go on where they stopped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genesys.errors import ConfigError, JobFailed
from genesys.evolution.ablation import Ablation, Results, ablations, report
from genesys.gau import UnitTree
from genesys.ladder import Scale

if TYPE_CHECKING:
    from genesys.config import RunConfig
    from genesys.verification import VerificationProgress

ABLATION_FILE = "ablation.json"

OnProgress = Callable[["VerificationProgress"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One verification of an ablation, the `place`-th of n; `without` says of which unit, "" for the design itself."""

    tree: UnitTree
    seed: int
    without: str
    place: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablating:
    """An ablation of one design at one scale.

    Args:
        out: Folder of its results, one file a scale, and of its verifications, each in `<design>/<scale>-seed<k>` as
            `genesys verify --out` leaves it.
        display: Shows one verification while it runs.
    """

    tree: UnitTree
    name: str
    scale: Scale
    config: RunConfig
    out: Path
    display: Callable[[Task], AbstractContextManager[OnProgress]]
    n_seeds: int = 3

    def run(self) -> dict[str, Any]:
        """Verify the design and its ablations with every seed, and write what came out.

        Raises:
            ConfigError: The design itself does not pass the checker, or has nothing to take out.
            JobFailed: The design itself fails, or infrastructure does; what has ended is kept.
        """
        from genesys.evolution.fitness import resolve_fitness

        taken, kept = asyncio.run(self._sound())
        if not taken:
            raise ConfigError(f"Cannot ablate {self.name!r}: none of its units can be replaced by a simpler one.")
        found = report(
            self.tree.design_id, self.name, taken, self._verify_all(taken), scale=self.scale.name,
            rule=resolve_fitness(self.config.fitness), kept=kept,
        )  # fmt: skip
        path = self.out / self.scale.name / ABLATION_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return found

    async def _sound(self) -> tuple[list[Ablation], dict[str, str]]:
        """For each unit the first ablation that passes the checker and has a size at the scale, or why there is none."""
        from cluster.spawn import cache_folder
        from genesys.gau.library import library
        from genesys.sandbox import CHECK_MODULES, ForkCage
        from genesys.train import prepare_shards
        from genesys.verification.alone import size_at

        vocab_size = prepare_shards(self.config.corpus, cache_folder(), self.config.tokenizer).vocab_size
        taken, kept = [], {}
        async with ForkCage(preload=CHECK_MODULES, require=self.config.sandbox.require) as cage:
            await size_at(self.tree, self.scale, vocab_size, cage)
            for path, options in ablations(self.tree, tuple(library().values())).items():
                kept[path] = "nothing is simpler"
                for ablation in options:
                    try:
                        await size_at(ablation.tree, self.scale, vocab_size, cage)
                    except (ConfigError, JobFailed) as failure:
                        kept[path] = f"{ablation.replacement}: {failure}"
                        continue
                    taken.append(ablation)
                    del kept[path]
                    break
        return taken, kept

    def _verify_all(self, taken: Sequence[Ablation]) -> dict[str, Results]:
        """Seed by seed, so that an interrupted ablation is whole as far as it goes; who fails once is not tried again."""
        trees = {self.tree.design_id: (self.tree, "")} | {
            a.tree.design_id: (a.tree, f"{a.unit} at {a.path}") for a in taken
        }
        runs = {design: Results(metrics={}, failed={}) for design in trees}
        place = 0
        for seed in range(self.n_seeds):
            for design, (tree, without) in trees.items():
                place += 1
                if runs[design].failed:
                    continue
                task = Task(tree=tree, seed=seed, without=without, place=place, n=len(trees) * self.n_seeds)
                found = self._verify(task, is_own=not without)
                if isinstance(found, JobFailed):
                    runs[design] = Results(metrics=runs[design].metrics, failed={seed: found.cause})
                else:
                    runs[design] = Results(metrics={**runs[design].metrics, seed: found}, failed={})
        return runs

    def _verify(self, task: Task, *, is_own: bool) -> dict[str, float] | JobFailed:
        """Metrics, or a failure by the design's own fault."""
        from genesys.api import verify
        from genesys.errors import INFRASTRUCTURE_CAUSES

        folder = self.out / task.tree.design_id[:16]
        folder.mkdir(parents=True, exist_ok=True)
        design = folder / "design.json"
        design.write_text(json.dumps(task.tree.to_json(), sort_keys=True), encoding="utf-8")
        out = folder / f"{self.scale.name}-seed{task.seed}"
        try:
            with self.display(task) as show:
                found = verify(
                    str(design), self.scale.name, config=self.config, seed=task.seed, out=out, on_progress=show
                )
        except JobFailed as failure:
            if is_own or failure.cause in INFRASTRUCTURE_CAUSES:
                raise
            return failure
        return dict(found.metrics)
