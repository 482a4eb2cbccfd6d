"""Each limit of a policy ends a job that passes it, with a cause that says so; also where a layer is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Any

import psutil
import pytest

from genesys.errors import JobFailed
from genesys.sandbox import ForkCage, Policy, filesystem
from genesys.sandbox.layers import Layer
from tests.sandbox.test_fork_cage import ENTRIES, family, wait_for

WITHOUT_CGROUP: Collection[Layer] = ("cgroup",)


def run(
    entry: str, policy: Policy, without: Collection[Layer] = (), *, request: dict[str, Any] | None = None
) -> dict[str, Any]:
    async def work() -> dict[str, Any]:
        async with ForkCage(preload=(ENTRIES,), require="none", without=without) as cage:
            return await cage.run(f"{ENTRIES}:{entry}", request or {}, policy)

    return asyncio.run(work())


@pytest.mark.parametrize("without", [(), WITHOUT_CGROUP, ("cgroup", "rlimits")], ids=["all", "no-cgroup", "watchdog"])
def test_memory(without: Collection[Layer]) -> None:
    with pytest.raises(JobFailed, match=r"memory|MemoryError") as failure:
        run("take_memory", Policy(deadline_s=20, memory_mb=200), without)
    assert failure.value.cause == "out-of-memory"


def test_cpu_seconds() -> None:
    with pytest.raises(JobFailed, match="used more than 1 s of CPU") as failure:
        run("spin", Policy(deadline_s=20, cpu_s=1))
    assert failure.value.cause == "timeout"


@pytest.mark.parametrize("without", [(), ("mount-namespace",)], ids=["memory-disk", "watchdog"])
@pytest.mark.parametrize("entry", ["fill_scratch", "fill_scratch_with_files"])
def test_scratch(entry: str, without: Collection[Layer]) -> None:
    with pytest.raises(JobFailed, match=r"wrote more than|No space left") as failure:
        run(entry, Policy(deadline_s=20, scratch_mb=20, n_scratch_files=100), without)
    assert failure.value.cause in ("over-limit", "infrastructure")


@pytest.mark.parametrize("without", [(), WITHOUT_CGROUP], ids=["cgroup", "rlimit"])
def test_processes(without: Collection[Layer]) -> None:
    started = run("start_processes", Policy(deadline_s=20, n_processes=20), without)["n"]
    assert 10 < started <= 20


def test_open_files_and_file_size() -> None:
    policy = Policy(deadline_s=20, n_open_files=40, file_mb=1)
    assert run("open_files", policy)["n"] < 40
    assert run("write_one_file", policy)["n_bytes"] <= 1 << 20


def test_answer_without_end() -> None:
    with pytest.raises(JobFailed, match=r"answered without end|more than 16 MiB") as failure:
        run("answer_without_end", Policy(deadline_s=20))
    assert failure.value.cause == "over-limit"


def test_log_is_capped() -> None:
    with pytest.raises(JobFailed) as failure:
        run("flood_log", Policy(deadline_s=20))
    assert len(str(failure.value)) < 5000


@pytest.mark.parametrize("without", [(), ("pid-namespace", "mount-namespace")], ids=["all", "no-namespaces"])
def test_a_job_cannot_pass_for_killed_by_the_host(without: Collection[Layer]) -> None:
    with pytest.raises(JobFailed) as failure:
        run("end_itself_by_every_signal", Policy(deadline_s=2), without)
    assert failure.value.cause in ("error", "timeout")


def test_a_folder_deeper_than_paths_ends_the_job_and_can_be_removed(tmp_path: Path) -> None:
    policy = Policy(deadline_s=20, writable=(str(tmp_path),))
    with pytest.raises(JobFailed, match="wrote more than") as failure:
        run("dig_deep", policy, request={"folder": str(tmp_path)})
    assert failure.value.cause == "over-limit"
    filesystem.remove_tree(tmp_path)
    assert not tmp_path.exists()


def test_files_without_a_name_count(tmp_path: Path) -> None:
    policy = Policy(deadline_s=20, writable=(str(tmp_path),), scratch_mb=20)
    with pytest.raises(JobFailed, match="wrote more than 20 MiB"):
        run("fill_nameless_files", policy, request={"folder": str(tmp_path)})


def test_a_cancelled_job_leaves_nothing() -> None:
    async def work() -> None:
        async with ForkCage(preload=(ENTRIES,)) as cage:
            await cage.start()
            job = asyncio.create_task(cage.run(f"{ENTRIES}:sleep_with_children", {}, Policy(deadline_s=60)))
            started = await family(cage)
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
            assert not psutil.wait_procs(started, timeout=5)[1]

    asyncio.run(work())


@pytest.mark.parametrize(
    ("n_runs", "without"),
    [
        pytest.param(24, (), id="all-layers"),
        pytest.param(24, ("pid-namespace", "mount-namespace", "cgroup"), id="no-pid-namespace"),
        pytest.param(200, (), marks=pytest.mark.slow, id="200-runs"),
    ],
)
def test_deadlines_kill(n_runs: int, without: Collection[Layer]) -> None:
    """Jobs that refuse to die are gone, with all they started, within their deadline and one second."""

    async def one(cage: ForkCage, gate: asyncio.Semaphore) -> float:
        async with gate:
            started = asyncio.get_running_loop().time()
            with pytest.raises(JobFailed, match="ran over its deadline"):
                await cage.run(f"{ENTRIES}:sleep_with_children", {}, Policy(deadline_s=0.5))
            return asyncio.get_running_loop().time() - started

    async def work() -> list[float]:
        async with ForkCage(preload=(ENTRIES,), require="none", without=without) as cage:
            await cage.start()
            assert cage._server is not None
            server, gate = psutil.Process(cage._server.pid), asyncio.Semaphore(4)
            took = await asyncio.gather(*(one(cage, gate) for _ in range(n_runs)))
            spare = 2  # the keeper that stands ready, and its process
            wait_for(lambda: len(server.children(recursive=True)) <= spare, timeout_s=5)
            return list(took)

    assert max(asyncio.run(work())) < 1.5
