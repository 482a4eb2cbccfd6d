"""A selection strategy of one's own: build on the best half, a little more often on the young.

python examples/my_strategy.py
"""

from __future__ import annotations

from random import Random

import genesys
from genesys.evolution import Population
from genesys.evolution.selection import OperatorRates, Selection


class YoungAndGood:
    """Draw a parent from the better half of the rated designs, in favour of those proposed last."""

    def select(self, population: Population, *, rng: Random) -> Selection:
        def pick():
            rated = population.top(max(1, len(population.rated) // 2)) or population.eligible
            return max((rng.choice(rated) for _ in range(2)), key=lambda design: design.order)

        return OperatorRates().plan(population, rng, pick, reason="young among the better half")


if __name__ == "__main__":
    run = genesys.evolve("examples/tiny.yaml", selection=YoungAndGood())
    for row in run.leaderboard():
        print(f"{row['name']:32} {row['scale']:6} fitness {row['fitness']:+.2f}  {row['val_bpb']:.3f} bits per byte")
