"""`python -m tests.sandbox.attacks [--without LAYER]... [--doors all] [ATTACK]...`: make attacks and print what came of them."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from genesys.sandbox.layers import LAYERS
from tests.sandbox.attacks import attack_names
from tests.sandbox.attacks.judge import DOORS, cage_for_attacks, door_places, make_attack, rotate
from tests.train.data import small_shards


async def _campaign(arguments: argparse.Namespace, folder: Path) -> int:
    names, shards = list(attack_names()), small_shards(folder).path
    n_breached = n_made = 0
    cage = cage_for_attacks(folder / "cages", without=arguments.without)
    for index, name in enumerate(names):
        if arguments.attacks and name not in arguments.attacks:
            continue
        ways = {"all": door_places(), "rotate": [rotate(index + arguments.shift)], "bare": door_places()[:1]}[
            arguments.doors
        ]
        for door, place in ways:
            if arguments.door and door not in arguments.door:
                continue
            await cage.start()
            outcome = await make_attack(cage, folder / "cages", name, door=door, place=place, shards=shards)
            n_made, n_breached = n_made + 1, n_breached + bool(outcome.breaches)
            print(f"{'BREACH' if outcome.breaches else 'ok':7}{outcome.seconds:5.1f} s  {outcome}", flush=True)
            if outcome.cage_suffered:  # what it did to the cage must not count against the next
                cage.close()
                cage = cage_for_attacks(folder / "cages", without=arguments.without)
    cage.close()
    print(f"{n_breached} of {n_made} attacks were not contained")
    return n_breached


def main() -> int:
    """Run the campaign; the exit code says whether everything was contained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", action="append", default=[], choices=LAYERS)
    parser.add_argument("--doors", choices=("bare", "rotate", "all"), default="bare")
    parser.add_argument("--door", action="append", default=[], choices=DOORS, help="of the ways in, this door's alone")
    parser.add_argument("--shift", type=int, default=0, help="turns the rotation of doors on by so many")
    parser.add_argument("attacks", nargs="*")
    with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
        return bool(asyncio.run(_campaign(parser.parse_args(), Path(folder))))


if __name__ == "__main__":
    raise SystemExit(main())
