"""Levels: what they demand, what a host without some layers reaches, and the refusal to start below."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

import pytest

from genesys.errors import ConfigError, JobFailed
from genesys.sandbox import ForkCage, Policy, filesystem, open_cage
from genesys.sandbox.layers import LAYERS, LEVELS, OPENS, Layer, missing, reached, require

ENTRIES = "tests.sandbox.entries"
NAMESPACES: tuple[Layer, ...] = (
    "pid-namespace", "user-namespace", "mount-namespace", "net-namespace", "ipc-namespace",
)  # fmt: skip


def test_every_layer_says_what_is_open_without_it() -> None:
    assert set(OPENS) == set(LAYERS)


def test_all_layers_are_strict_and_none_are_none() -> None:
    assert reached(LAYERS) == "strict" and reached(()) == "none"
    for level in LEVELS:
        assert missing(level, LAYERS) == ()


@pytest.mark.parametrize("layer", [x for x in LAYERS if x not in ("user-namespace", "uid", "cgroup")])
def test_strict_needs_each_layer(layer: Layer) -> None:
    assert missing("strict", set(LAYERS) - {layer}) == (layer,)


def test_a_container_without_namespaces_is_standard() -> None:
    """Where user namespaces are forbidden the cage degrades to Landlock, system call filter and limits, by name."""

    async def work() -> None:
        async with ForkCage(preload=(ENTRIES,), without=NAMESPACES) as cage:
            layers = await cage.layers()
            assert reached(layer for layer, reason in layers.items() if not reason) == "standard"
            assert all(layers[layer] for layer in NAMESPACES)
            assert await cage.run(f"{ENTRIES}:echo", {"n": 1}, Policy(deadline_s=20)) == {"n": 1}

    asyncio.run(work())


@pytest.mark.parametrize("without", [("seccomp",), ("landlock", "mount-namespace")])
def test_below_standard_nothing_runs(without: Collection[Layer]) -> None:
    async def work() -> None:
        async with ForkCage(preload=(ENTRIES,), without=without) as cage:
            with pytest.raises(ConfigError):
                await cage.run(f"{ENTRIES}:echo", {}, Policy(deadline_s=20))
            await cage.run(f"{ENTRIES}:echo", {}, Policy(deadline_s=20))  # refused once, refused again

    with pytest.raises(
        ConfigError, match=r"Cannot run designs at sandbox level 'standard': this host lacks .*"
    ) as error:
        asyncio.run(work())
    assert "switched off" in str(error.value) and "set sandbox.require" in str(error.value)


def test_require_names_the_reason() -> None:
    layers: dict[Layer, str] = dict.fromkeys(LAYERS, "") | {"landlock": "Function not implemented"}
    with pytest.raises(ConfigError, match="landlock: Function not implemented"):
        require("strict", layers)
    require("standard", layers)


def test_doctor_s_view_is_the_cage_s() -> None:
    layers = asyncio.run(open_cage("none"))
    assert set(layers) == set(LAYERS)


def test_a_layer_that_fails_later_fails_the_job_instead_of_leaving_it_open(tmp_path: Path) -> None:
    """A folder that cannot be bound: the job is not run at all, and the host is to blame."""

    async def work() -> None:
        async with ForkCage(preload=(ENTRIES,)) as cage:
            policy = Policy(deadline_s=20, writable=(str(tmp_path / "absent"),))
            await cage.run(f"{ENTRIES}:echo", {}, policy)

    with pytest.raises(JobFailed, match="absent") as failure:
        asyncio.run(work())
    assert failure.value.cause == "infrastructure"


def test_a_checkout_is_not_readable_as_a_whole() -> None:
    package = Path(filesystem.__file__).resolve().parents[1]
    paths = filesystem.interpreter_paths()
    assert str(package.parent) not in paths
    assert any(package.is_relative_to(path) for path in paths)


def test_outermost() -> None:
    assert filesystem.outermost(["/a/b", "/a", "/ab", "/a/b/c"]) == ["/a", "/ab"]
