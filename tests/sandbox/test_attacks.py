"""Hostile code is contained (laws 15 and 16): each attack of the corpus, judged by bait that lies outside the cage.

Three tiers: the most telling attacks by default; every attack at one rotating door in `slow`; in `campaign` every attack
at every door, as root and as an ordinary user (about an hour on one thread):

    python -m pytest tests/sandbox/test_attacks.py -m campaign

One attack at one door, or without one layer, as it is tried by hand:

    python -m tests.sandbox.attacks --doors all environ_of_ancestors
    python -m tests.sandbox.attacks --without seccomp netlink_socket
    python -m tests.sandbox.attacks.ordinary_user -m tests.sandbox.attacks --doors rotate
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from genesys.gau import parse_unit
from genesys.sandbox import ForkCage
from genesys.sandbox.layers import LAYERS, Layer
from tests.sandbox.attacks import PLACES, Place, attack_names, unit_text
from tests.sandbox.attacks.judge import Outcome, cage_for_attacks, door_places, make_attack, rotate
from tests.train.data import small_shards

ATTACKS = tuple(attack_names())
TELLING = (
    "environ_of_ancestors", "key_file_of_root", "memory_of_victim", "scratch_of_sibling", "overwrite_file",
    "user_namespace_then_mount", "abstract_socket", "tcp_connect", "kill_victim", "fork_bomb", "memory_hog",
    "daemon_past_the_deadline", "stdout_flood", "pickle_as_answer", "answer_is_a_symlink", "patched_clocks",
)  # fmt: skip


ALONE: dict[Layer, tuple[str, tuple[Layer, ...]]] = {
    "pid-namespace": ("kill_victim", ("landlock", "seccomp", "uid")),
    "mount-namespace": ("ordinary_file_of_home", ("landlock",)),
    "net-namespace": ("udp_send", ("seccomp",)),
    "ipc-namespace": ("shared_memory_segment", ("seccomp", "uid")),
    "uid": ("kill_victim", ("landlock", "pid-namespace", "seccomp")),
    "landlock": ("ordinary_file_of_home", ("mount-namespace",)),
    "seccomp": ("bpf_program", ()),
    "no-new-privileges": ("setuid_program", ("landlock", "seccomp")),
    "rlimits": ("descriptor_bomb", ()),
    "cgroup": ("memory_hog_in_children", ("watchdog",)),
    "watchdog": ("memory_hog_in_children", ("cgroup",)),
}
"""For each layer an attack that it stops, and the layers that would stop it too."""


STOPPED_BY_PROCESSES = {name for name, group in attack_names().items() if group == "deceiving"} | {
    "own_environment", "inherited_descriptors", "ray_address", "write_to_inherited_descriptors", "kill_parent",
    "stdout_flood", "stderr_flood", "sleep_for_ever", "busy_loop_in_c", "catastrophic_pattern", "ignores_every_signal",
    "stops_itself", "daemon", "daemon_past_the_deadline", "session_of_its_own", "program_left_behind", "forks_for_ever",
    "raised_limits", "terminal_injection",
}  # fmt: skip
"""Attacks that fail without any layer: a keeper for each job, capped pipes and a scrubbed environment stop them."""

NEED_THEIR_KERNEL = {
    "crypto_socket", "vsock_socket", "kernel_module", "other_kernel", "input_ports", "other_numbering", "system_request",
    "image_of_memory", "device_node", "performance_counters", "quota_control", "accounting", "page_faults_by_hand",
}  # fmt: skip
"""Attacks on what a kernel may have been built without."""


@dataclass(slots=True)
class Range:
    """Makes attacks on one cage after another: a cage that suffered is not used again."""

    folder: Path
    without: tuple[Layer, ...] = ()
    shards: Path | None = None
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    cage: ForkCage | None = None

    def attack(self, name: str, door: str = "bare", place: Place = "import") -> Outcome:
        outcome = self.runner.run(self._attack(name, door, place))
        if outcome.cage_suffered:
            self.close_cage()
        return outcome

    async def _attack(self, name: str, door: str, place: Place) -> Outcome:
        if self.cage is None:
            self.cage = cage_for_attacks(self.folder / "cages", doors=self.shards is not None, without=self.without)
        await self.cage.start()
        return await make_attack(self.cage, self.folder / "cages", name, door=door, place=place, shards=self.shards)

    def close_cage(self) -> None:
        async def close() -> None:
            if self.cage is not None:
                self.cage.close()

        self.runner.run(close())
        self.cage = None


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Range]:
    folder = tmp_path_factory.mktemp("attacks")
    made = Range(folder, shards=small_shards(folder).path)
    yield made
    made.close_cage()
    made.runner.close()


def test_the_corpus_is_large_and_each_attack_makes_a_unit() -> None:
    assert len(ATTACKS) >= 150 and set(TELLING) <= set(ATTACKS)
    for index, name in enumerate(ATTACKS):
        place = PLACES[index % len(PLACES)]
        assert parse_unit(unit_text(name, place, {"comm": "x"})).name == "Hostile"


@pytest.mark.parametrize("name", TELLING)
def test_a_telling_attack_is_contained(name: str, attacked: Range) -> None:
    outcome = attacked.attack(name)
    assert outcome.breaches == (), str(outcome)


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_is_contained_at_one_door(name: str, attacked: Range) -> None:
    outcome = attacked.attack(name, *rotate(ATTACKS.index(name)))
    assert outcome.breaches == (), str(outcome)


@pytest.mark.slow
@pytest.mark.parametrize("layer", ALONE)
def test_a_layer_alone_stops_what_succeeds_without_it(layer: Layer, tmp_path: Path) -> None:
    name, siblings = ALONE[layer]
    if reason := asyncio.run(why_not(tmp_path, layer, siblings)):
        pytest.skip(f"this host does not offer {layer}: {reason}")
    assert once(tmp_path / "with", name, siblings).breaches == (), f"{layer} alone does not stop {name}"
    assert once(tmp_path / "without", name, (layer, *siblings)).breaches, f"{name} fails without {layer} as well"


@pytest.mark.slow
def test_an_ordinary_user_needs_the_user_namespace() -> None:
    """Without it no other namespace is to be had, and Landlock hides no process."""
    if os.geteuid() == 0:
        campaign("ordinary", "--without", "landlock", "cmdline_of_victim", timeout_s=60)
    with pytest.raises(AssertionError, match="cmdline_of_victim"):
        campaign("ordinary", "--without", "landlock", "--without", "user-namespace", "cmdline_of_victim", timeout_s=60)


@pytest.mark.slow
def test_each_door_lets_an_attack_in_when_no_layer_is_in_force(tmp_path: Path) -> None:
    """So that what is contained at a door was really tried there. The static check alone runs nothing."""
    made = Range(tmp_path, without=LAYERS, shards=small_shards(tmp_path).path)
    try:
        entered = {(d, p): bool(made.attack("create_in_home", d, p).breaches) for d, p in door_places()}
    finally:
        made.close_cage()
        made.runner.close()
    assert entered == {(door, place): door != "static" for door, place in door_places()}


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.geteuid() != 0, reason="some attacks need root's privileges to succeed")
def test_every_attack_succeeds_when_no_layer_is_in_force() -> None:
    """So that none of them is contained because it does not work."""
    without = [word for layer in LAYERS for word in ("--without", layer)]
    contained = {line.split()[3] for line in made_by("root", *without, timeout_s=1700).splitlines() if line[:2] == "ok"}
    assert contained - STOPPED_BY_PROCESSES - NEED_THEIR_KERNEL == set()


def test_each_layer_has_its_attack() -> None:
    assert {*ALONE, "user-namespace"} == set(LAYERS)


@pytest.mark.campaign
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("user", ["root", "ordinary"])
def test_every_attack_is_contained_at_every_door(user: str) -> None:
    campaign(user, "--doors", "all", timeout_s=7200)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_attack_is_contained_at_one_door_for_an_ordinary_user() -> None:
    campaign("ordinary", "--doors", "rotate", "--shift", "5", timeout_s=880)


async def why_not(folder: Path, layer: Layer, without: tuple[Layer, ...]) -> str:
    """The reason why a layer is not in force here, "" if it is."""
    async with ForkCage(preload=(), scratch=folder, require="none", without=without) as cage:
        return (await cage.layers())[layer]


def once(folder: Path, name: str, without: tuple[Layer, ...]) -> Outcome:
    made = Range(folder, without=without)
    try:
        return made.attack(name)
    finally:
        made.close_cage()
        made.runner.close()


def campaign(user: str, *arguments: str, timeout_s: float) -> None:
    """Make attacks in a process of that user's; all of them must be contained."""
    if os.geteuid() != 0 and user == "root":
        pytest.skip("root's campaign needs root")
    told = made_by(user, *arguments, timeout_s=timeout_s)
    breaches = [line for line in told.splitlines() if line.startswith("BREACH")]
    assert "\n0 of " in told and not breaches, "\n".join(breaches) or told[-3000:]


def made_by(user: str, *arguments: str, timeout_s: float) -> str:
    """What `python -m tests.sandbox.attacks` prints."""
    command = ["-m", "tests.sandbox.attacks", *arguments]
    if os.geteuid() == 0 and user == "ordinary":
        command = ["-m", "tests.sandbox.attacks.ordinary_user", *command]
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, *command], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", timeout=timeout_s, check=False,
    )  # fmt: skip
    return ended.stdout
