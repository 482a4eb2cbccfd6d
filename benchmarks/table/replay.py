"""The evolution replayed on the table: real books, ladder and strategies; verifications looked up, time virtual.

    python -m benchmarks.table.replay
    python -m benchmarks.table.replay --selection my_strategies:LeastUsed       # one's own, beside the baselines

A child is a design of the table that was not drawn yet: for a mutation one of the few nearest to its parent, for a crossover
to both parents together, from scratch any. So a strategy can only gain from parents if near designs are alike in value. A
replay starts from the reference alone: the other seeds are designs like others, or the best would often be there at once.
"""

from __future__ import annotations

import argparse
import heapq
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.table.contestants import Contestant, challengers, contestants
from benchmarks.table.designs import ALPHABETS
from benchmarks.table.landscape import REFERENCE, RULE, Landscape, Place, extent, landscape
from benchmarks.table.rows import TABLE, Row, read_rows
from genesys.errors import ConfigError
from genesys.evolution import EvolutionTree
from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    LeaseGranted,
    PolicyFailed,
    RunStarted,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.evolution.promotion import Finished, Verify, Wait, decide
from genesys.evolution.selection import Selection, select_safely

N_NEAR = 3
"""Undrawn designs among which a child is drawn by lot."""
QUOTA_SHARES = (0.6, 0.2, 0.07)
"""Of the alphabet's designs, from the bottom rung up: with all of them drawn nothing could be told apart."""

Cost = Callable[[Row], float]
COSTS: Mapping[str, Cost] = {"flops": lambda row: row.flops, "seconds": lambda row: row.seconds}


@dataclass(frozen=True, slots=True)
class Curve:
    """The leader's true value, the reference's at first, and after each verification; by the cost of all that ended.

    Attributes:
        makespan: Virtual time at the end, with all verifiers at work side by side.
    """

    costs: tuple[float, ...]
    values: tuple[float, ...]
    makespan: float

    def at(self, cost: float) -> float:
        """The value at a cost."""
        return [value for spent, value in zip(self.costs, self.values, strict=True) if spent <= cost][-1]


class Replay:
    """One evolution on a landscape.

    Args:
        budget: Ends it once the verifications that ended have cost so much.
        n_verifiers: At work side by side; each takes as long as its verification costs.
    """

    def __init__(
        self, land: Landscape, contestant: Contestant, *, seed: int, quotas: Sequence[int], budget: float,
        cost: Cost = COSTS["flops"], n_verifiers: int = 4,
    ) -> None:  # fmt: skip
        self._land, self._seed, self._budget, self._cost, self._n = land, seed, budget, cost, n_verifiers
        self._name, self._selection, self._promotion = contestant.name, contestant.selection(), contestant.promotion()
        self._rng = Random(f"{seed}")
        self._rungs = tuple(range(land.n_rungs)) if contestant.has_ladder else (land.n_rungs - 1,)
        quotas = quotas if contestant.has_ladder else (len(land.places),)
        self.tree = EvolutionTree(RULE)
        scales = tuple(f"rung-{rung}" for rung in self._rungs)
        self.tree.apply(RunStarted(run="replay", scales=scales, quotas=tuple(quotas), reference=REFERENCE))
        self._undrawn = set(land.places) - {REFERENCE}
        self._running: list[tuple[float, int]] = []
        self._add(land.places[REFERENCE], Selection(operator="scratch", parents=()))

    def run(self) -> Curve:
        """Run it to its end.

        Raises:
            ConfigError: A strategy failed; in a run a choice by lot would have stood in for it.
        """
        now = spent = 0.0
        costs, values = [0.0], [self._leader()]
        while spent < self._budget:
            while self._undrawn and not len(self.tree.waiting(self.tree.scales[0])):
                self._propose()
            decision = decide(self.tree, self._promotion, self._rng, proposals_open=bool(self._undrawn))
            self._require(getattr(decision, "failure", None))
            match decision:
                case Finished():
                    break
                case Verify() as verify if len(self._running) < self._n:
                    self._grant(verify, now)
                case Verify() | Wait():
                    now, lease = heapq.heappop(self._running)
                    spent += self._settle(lease)
                    costs.append(spent)
                    values.append(self._leader())
        return Curve(tuple(costs), tuple(values), now)

    def _propose(self) -> None:
        chosen, failure = select_safely(self._selection, self.tree.population(), self._rng)
        self._require(failure)
        drawn = child(self._land, sorted(self._undrawn), chosen, self._rng)
        self._undrawn.discard(drawn)
        self._add(self._land.places[drawn], chosen)

    def _require(self, failure: PolicyFailed | None) -> None:
        """Make sure that what is measured is the strategy, not its replacement."""
        if failure is not None:
            raise ConfigError(
                f"Cannot replay {self._name!r}: {failure.policy} strategy {failure.strategy} failed ({failure.reason})."
            )

    def _add(self, place: Place, chosen: Selection) -> None:
        is_seed = place.id == REFERENCE
        operator = "seed" if is_seed else chosen.operator
        self.tree.apply(
            DesignProposed(
                design=place.id, name=place.name, program=place.id, operator=operator, parents=chosen.parents,
                is_seed=is_seed, parts=tuple(unit.name for unit in place.tree.units()), odds={str(o): p for o, p in chosen.odds.items()},
            )
        )  # fmt: skip
        self.tree.apply(DesignImplemented(design=place.id))

    def _grant(self, verify: Verify, now: float) -> None:
        lease = self.tree.last_lease + 1
        self.tree.apply(LeaseGranted(lease=lease, design=verify.design, scale=verify.scale, holder="v"))
        heapq.heappush(self._running, (now + self._cost(self._row(lease)[0]), lease))

    def _settle(self, number: int) -> float:
        """End a verification as the table says it ended; gives what it cost."""
        lease = self.tree.leases[number]
        row, has_failed = self._row(number)
        ended: VerificationFailed | VerificationRecorded = VerificationRecorded(
            lease=number, design=lease.design, scale=lease.scale, metrics=row.metrics, report=""
        )
        if has_failed:
            ended = VerificationFailed(lease=number, design=lease.design, scale=lease.scale, cause=row.cause)
        self.tree.apply(ended)
        return self._cost(row)

    def _row(self, number: int) -> tuple[Row, bool]:
        """The row that answers a lease, and whether the design fails there: on the rung from which it has no value."""
        lease = self.tree.leases[number]
        place = self._land.places[lease.design]
        rung = min(self._rungs[self.tree.scales.index(lease.scale)], len(place.runs) - 1)
        rows = place.runs[rung]
        which = Random(f"{self._seed}/{place.id}").randrange(self._land.n_seeds)
        has_failed = rung == len(place.runs) - 1 and place.id not in self._land.values
        return rows[min(which, len(rows) - 1)], has_failed

    def _leader(self) -> float:
        """True value of the leaderboard's first; the reference's while there is none, the worst for one without a value."""
        standing, values = self.tree.ratings.standing, self._land.values
        return values.get(standing[0] if len(standing) else REFERENCE, min(values.values()))


def child(land: Landscape, undrawn: Sequence[str], chosen: Selection, rng: Random) -> str:
    """The table's answer to an operator: one of the undrawn designs nearest to all parents together, else any."""
    if not chosen.parents:
        return rng.choice(undrawn)
    near = sorted(undrawn, key=lambda d: (sum(land.distances[d, p] for p in chosen.parents), rng.random()))
    return rng.choice(near[:N_NEAR])


def quotas_of(land: Landscape) -> tuple[int, ...]:
    """The ladder's quotas on a landscape."""
    return tuple(max(2, round(share * len(land.places))) for share in QUOTA_SHARES[: land.n_rungs])


def budget_of(land: Landscape, quotas: Sequence[int], cost: Cost) -> float:
    """What the quotas cost with designs of average cost: the same for all contestants."""
    budget = 0.0
    for rung, quota in enumerate(quotas):
        rows = [row for p in land.places.values() if rung < len(p.runs) for row in p.runs[rung]]
        budget += quota * sum(map(cost, rows)) / len(rows)
    return budget


def replay_all(
    land: Landscape, compared: Sequence[Contestant], *, n_seeds: int = 40, cost: str = "flops", n_verifiers: int = 4
) -> dict[str, tuple[Curve, ...]]:
    """Curves of each contestant, one a seed; equal seeds of different contestants see the same chance results."""
    quotas = quotas_of(land)
    budget = budget_of(land, quotas, COSTS[cost])
    return {
        contestant.name: tuple(
            Replay(
                land, contestant, seed=seed, quotas=quotas, budget=budget, cost=COSTS[cost], n_verifiers=n_verifiers
            ).run()
            for seed in range(n_seeds)
        )
        for contestant in compared
    }


def main() -> int:
    from benchmarks.table.report import write_report

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--rungs", type=int, help="the most that the table has by default")
    parser.add_argument("--training-seeds", type=int, help="likewise")
    for kind in ("selection", "promotion"):
        parser.add_argument(
            f"--{kind}", action="append", default=[], metavar="NAME_OR_MODULE:CLASS",
            help="strategy to compare with the baselines, may be repeated; all built-in ones by default",
        )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=40, help="replays of each strategy")
    parser.add_argument("--verifiers", type=int, default=4)
    parser.add_argument("--cost", choices=tuple(COSTS), default="flops")
    parser.add_argument("--out", type=Path, help="folder for table.md and table.svg, such as docs; none by default")
    arguments = parser.parse_args()
    rows, started = read_rows(arguments.table), time.monotonic()
    n_rungs, n_seeds = extent(rows, ALPHABETS)
    n_rungs, n_seeds = arguments.rungs or n_rungs, arguments.training_seeds or n_seeds
    try:
        lands = [landscape(rows, a, n_rungs=n_rungs, n_seeds=n_seeds) for a in ALPHABETS]
    except ValueError as error:
        parser.error(f"{error} The table has {len(rows)} rows; try fewer --rungs or --training-seeds.")
    named = arguments.selection or arguments.promotion
    try:
        compared = challengers(arguments.selection, arguments.promotion) if named else contestants()
        curves = {
            land.alphabet: replay_all(
                land, compared, n_seeds=arguments.seeds, cost=arguments.cost, n_verifiers=arguments.verifiers
            )
            for land in lands
        }  # fmt: skip
    except ConfigError as error:
        parser.error(str(error))
    n_replays = sum(len(found) for by_name in curves.values() for found in by_name.values())
    print(f"{n_replays} replays in {time.monotonic() - started:.1f} s", file=sys.stderr)
    print(write_report(lands, curves, cost=arguments.cost, out=arguments.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
