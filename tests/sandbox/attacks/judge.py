"""Make one attack on a cage, beside an honest job and before another, and say what it achieved."""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genesys.errors import JobFailed
from genesys.gau import UnitTree, parse_unit
from genesys.ladder import Scale
from genesys.sandbox import ForkCage, Policy
from genesys.sandbox.layers import Layer, Level
from tests.sandbox.attacks import PLACES, Place, attack_names, unit_text
from tests.sandbox.attacks.bait import Bait

ENTRIES = "tests.sandbox.attacks.entries"
DOORS: Mapping[str, str] = {
    "bare": f"{ENTRIES}:strike",
    "static": "genesys.checker.job:check",
    "test": f"{ENTRIES}:unit_tests",
    "shape": f"{ENTRIES}:shape",
    "run": f"{ENTRIES}:run",
    "train": "genesys.train.job:train",
    "evaluate": "genesys.evaluate.job:states",
    "extend": "genesys.evaluate.job:extend",
    "probe": "genesys.evaluate.job:probe",
}
LIMITS = {"memory_mb": 384, "n_processes": 32, "scratch_mb": 16, "n_scratch_files": 200, "n_open_files": 128}
MAX_ANSWER_BYTES = 64 << 20
SCALE = Scale(
    name="tiny", d_model=16, n_blocks=1, context=16, batch_tokens=64, n_tokens=64 * 4, peak_lr=1e-2, embedding_std=0.1
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one attack; contained when there is no breach."""

    attack: str
    door: str
    place: str
    breaches: tuple[str, ...]
    failure: str
    seconds: float

    @property
    def cage_suffered(self) -> bool:
        """Whether the cage itself is no longer to be trusted."""
        return any(words in breach for breach in self.breaches for words in ("the job", "the owner met", "behind"))

    def __str__(self) -> str:
        return f"{self.attack} at {self.door}/{self.place}: {'; '.join(self.breaches) or 'contained'} ({self.failure[:160]})"


async def make_attack(
    cage: ForkCage,
    cages: Path,
    attack: str,
    *,
    door: str = "bare",
    place: Place = "import",
    shards: Path | None = None,
    deadline_s: float = 3.0,
) -> Outcome:
    """Run one attack through one door of a cage whose jobs' folders lie under `cages`."""
    with Bait(cages, **LIMITS, flood_mb=128) as bait:
        policy = Policy(
            deadline_s=deadline_s,
            file_mb=32,
            readable=_readable(bait, shards),
            writable=(str(bait.writable),),
            **LIMITS,
        )
        beside = asyncio.create_task(_honest(cage, "neighbour", {"n": 7, "secret": bait.secret[::-1], "seconds": 0.3}))
        await asyncio.sleep(0.1)
        started = time.monotonic()
        answer, failure, breaches = await _strike(cage, policy, _request(bait, attack, door, place, shards), door)
        seconds = time.monotonic() - started
        breaches += _untimely(failure, seconds, deadline_s) + await asyncio.to_thread(bait.breaches)
        breaches += _given_away(answer, failure, bait.secret) + _blamed(attack, failure, door)
        breaches += _unlike(await beside, {"n": 7, "kept": True, "files": []}, "the job beside it")
        after = {"n": 8, "clock": True, "loss": 2.079, "hooks": [], "modules": []}
        breaches += _unlike(await _honest(cage, "successor", {"n": 8}), after, "the job after it")
    return Outcome(
        attack=attack, door=door, place=place, breaches=tuple(breaches), failure=failure, seconds=seconds
    )  # fmt: skip


async def _strike(
    cage: ForkCage, policy: Policy, request: Mapping[str, Any], door: str
) -> tuple[dict[str, Any], str, list[str]]:
    try:
        patience = policy.deadline_s + 20
        return await asyncio.wait_for(cage.run(DOORS[door], request, policy), patience), "", []
    except JobFailed as failure:
        return {}, f"{failure.cause}: {failure}", []
    except Exception as error:  # whatever else reaches the owner was the attacker's doing
        return {}, "", [f"the owner met {type(error).__name__}: {str(error)[:200]}"]


async def _honest(cage: ForkCage, entry: str, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return await cage.run(f"{ENTRIES}:{entry}", request, Policy(deadline_s=30))
    except JobFailed as failure:
        return {"failed": str(failure)[:300]}


def _request(bait: Bait, attack: str, door: str, place: Place, shards: Path | None) -> dict[str, Any]:
    goal = bait.goal()
    if door == "bare":
        return {"attack": attack, "group": attack_names()[attack], "goal": goal}
    tree = UnitTree(parse_unit(unit_text(attack, place, goal)))
    scale, shape = asdict(SCALE), {"vocab_size": 257, "d_model": 16, "n_blocks": 1}
    rows, places = bait.folder / "rows", bait.folder / "places"
    rows.write_bytes(bytes(4 * 8))
    places.write_bytes(bytes(4))
    return {
        "tree": tree.to_json(), "scale": scale, "scales": [scale], "shape": shape, "vocab_size": 257, "seed": 0,
        "shards": str(_shards(bait, shards)), "out": os.curdir, "checkpoint_every_s": None, "n_threads": 1,
        "embedding_std": 0.1, "weights": "", "probes": ["recall"], "probe": "", "rows": str(rows), "places": str(places),
        "batches": [[1, 8, 1, False]], "states": "states", "embedding": "embedding", "lengths": [8], "n_tokens": 1,
    }  # fmt: skip


def _shards(bait: Bait, shards: Path | None) -> Path:
    """A copy of the shards where a job of another user can read them."""
    copy = bait.folder / "shards"
    if shards is not None and not copy.exists():
        shutil.copytree(shards, copy)
        copy.chmod(0o755)
    return copy


def _readable(bait: Bait, shards: Path | None) -> tuple[str, ...]:
    return str(_shards(bait, shards)), str(bait.folder / "rows"), str(bait.folder / "places")


def _untimely(failure: str, seconds: float, deadline_s: float) -> list[str]:
    if failure.startswith("timeout") and seconds < 0.9 * deadline_s:
        return ["forged the keeper's word that it ran over its deadline"]
    return [f"ended {seconds - deadline_s:.1f} s after its deadline"] if seconds > deadline_s + 2 else []


def _blamed(attack: str, failure: str, door: str) -> list[str]:
    """A unit's error must not pass for the machine's, which is tried again.

    Who writes the answer's frame itself can claim it, and who fills its scratch makes our own code meet a full disk: a
    lease that ends so three times is given up (decisions.md 22).
    """
    filled = attack_names()[attack] == "hogging" or attack.endswith("_in_checkpoints")
    known = door == "bare" or attack == "answer_blames_the_host" or filled
    return ["blamed the machine"] if failure.startswith("infrastructure") and not known else []


def _given_away(answer: Mapping[str, Any], failure: str, secret: str) -> list[str]:
    found = []
    if evidence := answer.get("evidence"):
        found.append(f"reported: {str(evidence)[:200]}")
    text = json.dumps(answer)
    for where, words in (("the answer", text), ("the failure", failure)):
        if secret in words:
            found.append(f"gave the secret away in {where}")
        if "BREACH" in words:
            found.append(f"reported in {where}: {words[words.index('BREACH') :][:200]}")
    if len(text) > MAX_ANSWER_BYTES or len(failure) > 100_000:
        found.append(f"made the owner read {max(len(text), len(failure)) >> 20} MiB")
    return found + [f"answered {value}" for value in _numbers(answer) if not math.isfinite(value)]


def _numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in _numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in _numbers(item)]
    return [value] if isinstance(value, float) else []


def _unlike(answer: Mapping[str, Any], expected: Mapping[str, Any], who: str) -> list[str]:
    return [] if dict(answer) == dict(expected) else [f"{who} answered {str(dict(answer))[:300]}"]


def rotate(index: int) -> tuple[str, Place]:
    """A door and a place for the attack of that number: every pair comes round."""
    pairs = door_places()
    return pairs[index % len(pairs)]


def door_places() -> list[tuple[str, Place]]:
    """Every way in: a bare job, and a unit that strikes where the door's entry comes by."""
    reached: Mapping[str, tuple[Place, ...]] = {
        "bare": ("import",),
        "static": ("import", "forward"),
        "test": ("test",),
        "shape": ("import", "init"),
        "run": ("forward", "backward", "destructor"),
        "train": ("import", "backward"),
        "evaluate": ("import", "forward"),
        "extend": ("init",),
        "probe": ("init",),
    }
    assert {place for places in reached.values() for place in places} == set(PLACES)
    return [(door, place) for door, places in reached.items() for place in places]


def cage_for_attacks(cages: Path, *, doors: bool = True, without: Collection[Layer] = ()) -> ForkCage:
    """A cage whose server has imported what the attacks (and the doors) need, so that a job need not read it."""
    cages.mkdir(parents=True, exist_ok=True)
    cages.chmod(0o711)
    modules = ("genesys.checker.job", "genesys.train.job", "genesys.evaluate.job") if doors else ()
    level: Level = "none" if without else "standard"
    return ForkCage(preload=(ENTRIES, *modules), scratch=cages, require=level, without=without)
