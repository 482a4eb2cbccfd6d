"""The layers between a design's code and this machine: what each is for, and which together make a level."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from genesys.errors import ConfigError

Layer = Literal[
    "pid-namespace", "user-namespace", "mount-namespace", "net-namespace", "ipc-namespace", "uid", "landlock",
    "seccomp", "no-new-privileges", "rlimits", "cgroup", "watchdog",
]  # fmt: skip
LAYERS: tuple[Layer, ...] = get_args(Layer)

Level = Literal["strict", "standard", "none"]
LEVELS: tuple[Level, ...] = get_args(Level)

OPENS: Mapping[Layer, str] = {
    "pid-namespace": "a job sees this machine's processes",
    "user-namespace": "an ordinary user's jobs get no namespaces of their own",
    "mount-namespace": "a job sees the names of all files, and its temporary files lie on the host's disk",
    "net-namespace": "network interfaces are there, behind the system call filter alone",
    "ipc-namespace": "System V memory is shared with the host, behind the system call filter alone",
    "uid": "a job runs as this very user",
    "landlock": "files and signals are guarded by namespaces alone",
    "seccomp": "every system call may be tried, the network's and execve included",
    "no-new-privileges": "a setuid program could raise a job's privileges",
    "rlimits": "open files, file sizes and CPU time are not limited",
    "cgroup": "memory is looked at 20 times a second instead of limited by the kernel, processes counted by user",
    "watchdog": "what a job writes is limited by file only",
}
"""What is open where a layer is missing."""

_REQUIRED: Mapping[Level, tuple[frozenset[Layer], ...]] = {
    "strict": tuple(
        frozenset[Layer]({layer})
        for layer in LAYERS
        if layer not in ("user-namespace", "uid", "cgroup")  # root needs no user namespace, others no other uid
    ),
    "standard": (
        frozenset({"landlock", "mount-namespace"}),
        *(frozenset[Layer]({layer}) for layer in ("seccomp", "no-new-privileges", "rlimits", "watchdog")),
    ),
    "none": (),
}
"""For each level, groups of layers of which one must be in force."""


def missing(level: Level, in_force: Iterable[Layer]) -> tuple[str, ...]:
    """What a level demands and a host does not give: names of layers, alternatives joined by "or"."""
    have = set(in_force)
    return tuple(" or ".join(sorted(group)) for group in _REQUIRED[level] if not group & have)


def reached(in_force: Iterable[Layer]) -> Level:
    """The highest level that some layers make."""
    have = set(in_force)
    return next(level for level in LEVELS if not missing(level, have))


def require(level: Level, layers: Mapping[Layer, str]) -> None:
    """Refuse to go on below a level.

    Args:
        layers: Every layer with the reason why it is not in force, "" if it is; see `ForkCage.layers`.

    Raises:
        ConfigError: A layer that the level demands is not in force; the message says which and why.
    """
    lacking = missing(level, (layer for layer, reason in layers.items() if not reason))
    if lacking:
        reasons = "; ".join(
            f"{layer}: {reason}" for layer, reason in layers.items() if reason and layer in " ".join(lacking)
        )
        raise ConfigError(
            f"Cannot run designs at sandbox level {level!r}: this host lacks {', '.join(lacking)} ({reasons}). "
            f"It reaches {reached(layer for layer, reason in layers.items() if not reason)!r}: set sandbox.require to "
            f"that, or use another host. `genesys doctor` shows what each layer is for."
        )
