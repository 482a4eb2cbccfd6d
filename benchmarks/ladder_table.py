"""The five seeds and a convolution-only control on the `cpu` ladder, several training seeds each: `python -m benchmarks.ladder_table`.

Prints, for each rung, bits per byte and recall with 95% intervals over training seeds, and the paired difference to GPT. About
an hour on two cores; goes on where it was interrupted. No goal but decisions.md 11: recall separates GPT from the control.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks._verifications import Case, Results, verify_all
from genesys.evolution.inference import t_quantile
from genesys.gau import UnitTree, bind
from genesys.gau.library import SEED_NAMES, seed_design, unit_named
from genesys.ladder import CPU_SCALES
from genesys.train import prepare_shards

RECALL_PASS, CONTROL_BELOW = 0.9, 0.7


def designs() -> dict[str, UnitTree]:
    """The seeds, and GPT with a gated convolution of four taps in attention's place."""
    control = bind({"unit": "GatedConv", "slots": {"conv": "ShortConv"}}, unit_named)
    return {name: seed_design(name) for name in SEED_NAMES} | {"conv": seed_design("gpt").graft("mixer", control)}


def interval(values: Sequence[float]) -> str:
    """Mean and half width of its 95% interval."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    half = t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):.3f} ± {half:.3f}"


def table(results: Results) -> str:
    """The table in Markdown."""
    lines = ["| design | scale | seeds | bits/byte | minus GPT, paired | recall |", "|---|---|---|---|---|---|"]
    for scale in CPU_SCALES:
        for name in results:
            runs, gpt = results[name].get(scale.name, {}), results["gpt"].get(scale.name, {})
            if not runs:
                continue
            bits = [m["test_bpb"] for m in runs.values()]
            gaps = [m["test_bpb"] - gpt[s]["test_bpb"] for s, m in runs.items() if s in gpt and name != "gpt"]
            recall = [m["probe_recall"] for m in runs.values()]
            lines.append(
                f"| {name} | {scale.name} | {len(runs)} | {interval(bits)} | {interval(gaps) if gaps else ''} | {interval(recall)} |"
            )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="training seeds of each design")
    parser.add_argument("--corpus", default="python-docs")
    parser.add_argument("--out", type=Path, default=Path("runs/ladder-table"))
    arguments = parser.parse_args()
    scales = [replace(scale, probes=("recall",)) for scale in CPU_SCALES]
    cases = [
        Case(name=name, tree=tree, scale=scale, seed=seed)
        for seed in range(arguments.seeds) for scale in scales for name, tree in designs().items()
    ]  # fmt: skip
    shards = prepare_shards(arguments.corpus, Path.home() / ".cache" / "genesys")
    results = asyncio.run(verify_all(cases, shards, arguments.out))
    print(table(results))
    separated = all(
        run["probe_recall"] >= RECALL_PASS for runs in results["gpt"].values() for run in runs.values()
    ) and all(run["probe_recall"] < CONTROL_BELOW for runs in results["conv"].values() for run in runs.values())
    print(f"recall separates GPT from the control at every rung and seed: {separated}")
    return not separated


if __name__ == "__main__":
    sys.exit(main())
