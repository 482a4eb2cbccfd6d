"""A design against itself: how often a comparison claims a difference where there is none.

`python -m benchmarks.same_design RESULTS.json`, with real replicates as `{design: {scale: {seed: metrics}}}`. Each case
draws a design and a scale, and from its replicates, with replacement, up to ten pairs; it counts as a claim when
any look from the third pair on says "better" or "worse". Expected: at most 5% of the cases.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random

from genesys.evolution.fitness import resolve_fitness
from genesys.evolution.inference import MIN_PAIRS, compare
from genesys.evolution.rating import FitnessRule
from genesys.evolution.votes import compared

Results = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]

MAX_PAIRS = 10


def aa_false_claims(
    results: Results, n: int = 200, *, reference: str = "gpt", rule: FitnessRule | None = None, seed: int = 0
) -> dict[str, float]:
    """Share of n bootstrapped comparisons of a design with itself that claim a difference, by metric; `fitness` first.

    Raises:
        ValueError: No design has three training seeds at any scale.
    """
    rule = rule or resolve_fitness()
    cells = [(d, s) for d, by_scale in results.items() for s, runs in by_scale.items() if len(runs) >= MIN_PAIRS]
    if not cells:
        raise ValueError("Cannot compare designs with themselves: none has three training seeds at a scale.")
    rng, claims, counts = Random(seed), {"fitness": 0}, {"fitness": 0}
    for _ in range(n):
        design, scale = rng.choice(cells)
        runs = list(results[design][scale].values())
        draws = [(rng.randrange(len(runs)), rng.randrange(len(runs))) for _ in range(MAX_PAIRS)]
        against = list(results.get(reference, {}).get(scale, {}).values()) or None
        columns = {"fitness": [rule.rater(against)([run]).raw for run in runs]}
        columns |= {key: [run[key] for run in runs] for key in compared(*runs) if all(key in run for run in runs)}
        for key, values in columns.items():
            verdict = compare([(values[a], values[b]) for a, b in draws]).verdict
            counts[key] = counts.get(key, 0) + 1
            claims[key] = claims.get(key, 0) + (verdict in ("better", "worse"))
    return {key: claims[key] / counts[key] for key in counts}


def main(path: Path) -> int:
    """Print the shares; exit code 1 when the fitness claims a difference in more than 5% of the cases."""
    shares = aa_false_claims(json.loads(path.read_text(encoding="utf-8")))
    for key, share in shares.items():
        print(f"{key:40} {share:6.1%}")
    return int(not shares["fitness"] <= 0.05)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
