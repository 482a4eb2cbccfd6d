"""The designs of the table: distinct, made by rules alone, the seeds among them.

    python -m benchmarks.table.designs --n 50

Two alphabets: `full` is the whole library; in `mixers` only what fills the mixer's slot of the GPT seed differs. GPT is in
both. The list depends on a seed and on the checker's verdicts alone, and a longer list begins with the shorter ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, get_args

from genesys.evolution.operators import design_name, grow, propose
from genesys.evolution.operators.mutation import slot_at
from genesys.gau import UnitTree, bind, parse_unit
from genesys.gau.library import SEED_NAMES, library, seed_design

Alphabet = Literal["full", "mixers"]
ALPHABETS: tuple[Alphabet, ...] = get_args(Alphabet)

DESIGNS = Path(__file__).with_name("designs.json")
OPERATORS, SHARES = ("mutation", "crossover", "scratch"), (0.5, 0.2, 0.3)
"""More from scratch than an evolution draws, so that the table spans its alphabets."""
SLOT = "mixer"
_ATTEMPTS = 200

IsSane = Callable[[UnitTree], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDesign:
    """One design of the table; `parents` are the ids of those of its alphabet that it was made from."""

    name: str
    tree: UnitTree
    alphabets: tuple[Alphabet, ...]
    operator: str
    detail: str = ""
    parents: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.tree.design_id


def starting_designs(alphabet: Alphabet) -> tuple[TableDesign, ...]:
    """The seeds; in `mixers` GPT with their mixers."""
    gpt = seed_design("gpt")
    found = []
    for name in SEED_NAMES:
        tree = seed_design(name) if alphabet == "full" else gpt.graft(SLOT, seed_design(name).at(SLOT))
        label = name if alphabet == "full" or name == "gpt" else f"gpt-{name}"
        found.append(
            TableDesign(name=label, tree=tree, alphabets=ALPHABETS if name == "gpt" else (alphabet,), operator="seed")
        )
    return tuple(found)


def draw(alphabet: Alphabet, made: Sequence[TableDesign], rng: Random) -> TableDesign:
    """A design made from those that there are, new or not.

    Raises:
        ValueError: The operator drawn gave none of this alphabet.
    """
    operator = rng.choices(OPERATORS, SHARES)[0]
    parents = rng.sample(made, {"mutation": 1, "crossover": 2, "scratch": 0}[operator])
    units = tuple(library().values())
    gpt = seed_design("gpt")
    if operator == "scratch" and alphabet == "mixers":
        tree, detail = gpt.graft(SLOT, grow(slot_at(gpt, SLOT), units, rng, depth=1)), "a mixer grown for GPT"
    else:
        proposal = propose(operator, [parent.tree for parent in parents], units, rng)
        tree, detail = proposal.tree, proposal.detail
    if alphabet == "mixers" and (tree.unit != gpt.unit or gpt.graft(SLOT, tree.at(SLOT)) != tree):
        raise ValueError("it differs from GPT outside of the mixer")
    return TableDesign(
        name=design_name(tree), tree=tree, alphabets=(alphabet,), operator=operator, detail=detail,
        parents=tuple(parent.id for parent in parents),
    )  # fmt: skip


async def make_designs(alphabet: Alphabet, n: int, is_sane: IsSane, *, seed: int = 0) -> list[TableDesign]:
    """The first n designs of an alphabet.

    Raises:
        ValueError: The alphabet has no n sane designs within reach.
    """
    rng, made = Random(f"{alphabet}/{seed}"), list(starting_designs(alphabet))
    seen = {design.id for design in made}
    attempts = 0
    while len(made) < n:
        attempts += 1
        if attempts > _ATTEMPTS * n:
            raise ValueError(
                f"Cannot make {n} designs of alphabet {alphabet!r}: {attempts - 1} tries gave {len(made)}."
            )
        try:
            design = draw(alphabet, made, rng)
        except ValueError:
            continue
        if design.id in seen:
            continue
        seen.add(design.id)
        if await is_sane(design.tree):
            made.append(design)
    return made[:n]


def write_designs(designs: Sequence[TableDesign], path: Path = DESIGNS) -> None:
    """Write the list; each unit's source stands in it once."""
    units = {unit.id: unit.source for design in designs for unit in design.tree.units()}
    listed = [
        {
            "name": d.name, "id": d.id, "alphabets": d.alphabets, "operator": d.operator, "detail": d.detail,
            "parents": d.parents, "tree": d.tree.to_json()["tree"],
        }
        for d in designs
    ]  # fmt: skip
    path.write_text(json.dumps({"units": units, "designs": listed}, indent=1, sort_keys=True) + "\n")


def read_designs(path: Path = DESIGNS) -> list[TableDesign]:
    """Read what `write_designs` wrote.

    Raises:
        ValueError: A design is not the one that its id names.
    """
    data = json.loads(path.read_text())
    units = {name: parse_unit(source) for name, source in data["units"].items()}
    designs = []
    for entry in data["designs"]:
        design = TableDesign(
            name=entry["name"], tree=bind(entry["tree"], units.__getitem__), alphabets=tuple(entry["alphabets"]),
            operator=entry["operator"], detail=entry["detail"], parents=tuple(entry["parents"]),
        )  # fmt: skip
        if design.id != entry["id"]:
            raise ValueError(f"Cannot read design {design.name!r} of {str(path)!r}: it is not {entry['id'][:12]}.")
        designs.append(design)
    return designs


async def sane_designs(n: int) -> list[TableDesign]:
    """The first n designs of each alphabet that pass the checker, in a cage, at every CPU scale; GPT once."""
    from genesys.checker import VerdictCache, check_request, default_folder, is_sane
    from genesys.ladder import CPU_SCALES
    from genesys.sandbox import CHECK_MODULES, ForkCage
    from genesys.verification.checking import check_design

    verdicts = VerdictCache(default_folder())
    async with ForkCage(preload=CHECK_MODULES) as cage:

        async def passes(tree: UnitTree) -> bool:
            request = check_request(tree, CPU_SCALES, vocab_size=257)
            report = await check_design(tree, request, cage, deadline_s=600.0, verdicts=verdicts)
            sane = is_sane(report)
            said = "sane" if sane else "rejected by " + ", ".join(dict.fromkeys(f["rule"] for f in report["findings"]))
            print(f"{design_name(tree)}: {said}", flush=True)
            return sane

        made = [design for alphabet in ALPHABETS for design in await make_designs(alphabet, n, passes)]
    return list({design.id: design for design in made}.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=50, help="designs of each alphabet")
    parser.add_argument("--out", type=Path, default=DESIGNS)
    arguments = parser.parse_args()
    designs = asyncio.run(sane_designs(arguments.n))
    write_designs(designs, arguments.out)
    print(f"{len(designs)} designs in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
