"""A table without training: designs made by the real rules, their results by a formula."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from benchmarks.table.designs import Alphabet, TableDesign, make_designs
from benchmarks.table.rows import Row, tree_text
from genesys.gau import UnitTree
from genesys.gau.distance import tree_distance
from genesys.gau.library import seed_design

GPT = seed_design("gpt").design_id


async def _always(tree: UnitTree) -> bool:
    return True


def made_up_designs(alphabet: Alphabet, n: int) -> list[TableDesign]:
    return asyncio.run(make_designs(alphabet, n, _always))


def smooth_value(tree: UnitTree) -> float:
    """In 0..1, the mean worth of a design's units: near designs are alike."""
    worth = [Random(place.unit.name).random() for _, place in tree.walk()]
    return sum(worth) / len(worth)


def hill(top: UnitTree) -> Callable[[UnitTree], float]:
    """Values that fall with the distance from one design."""
    return lambda tree: 1.0 - 0.05 * tree_distance(tree, top)


def rugged_value(tree: UnitTree) -> float:
    """In 0..1, with no relation between near designs."""
    return Random(tree.design_id).random()


def synthetic_rows(
    designs: list[TableDesign], *, value: Callable[[UnitTree], float] = smooth_value, n_rungs: int = 2, n_seeds: int = 2, noise: float = 0.02,
    failing: tuple[str, ...] = (),
) -> list[Row]:  # fmt: skip
    """Rows of designs; those named in `failing` fail on the second rung."""
    rows = []
    for design in designs:
        worth = value(design.tree)
        for rung in range(n_rungs):
            for seed in range(n_seeds):
                has_failed = design.id in failing and rung == 1
                if design.id in failing and rung > 1:
                    continue
                error = noise * Random(f"{design.id}/{rung}/{seed}").gauss(0.0, 1.0)
                metrics = {
                    "test_bpb": 3.0 - 0.3 * rung - worth - error, "test_bpb_se": 0.01, "unigram_bpb": 4.6,
                    "probe_recall": 0.95, "probe_recall_se": 0.01, "probe_recall_chance": 0.0625, "n_params": 1e5,
                }  # fmt: skip
                rows.append(
                    Row(
                        design=design.id, name=design.name, alphabets=design.alphabets, operator=design.operator,
                        detail=design.detail, parents=design.parents, tree=tree_text(design.tree.to_json()), rung=rung,
                        scale=f"cpu-{rung + 1}", seed=seed, outcome="failed" if has_failed else "committed",
                        cause="non-finite" if has_failed else "", metrics={} if has_failed else metrics,
                        n_params=0 if has_failed else 100_000, flops=0.0 if has_failed else 1e11 * 4**rung,
                        curve_tokens=(0, 512), curve_nats=(5.5, 3.0), seconds=30.0 * (1 + rung),
                    )
                )  # fmt: skip
    return rows
