"""The cage: named entries in children that die when they must."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from genesys.errors import JobFailed
from genesys.sandbox import ForkCage, Policy
from genesys.sandbox.fork_cage import child_environment

ENTRIES = "tests.sandbox.entries"


def run(entry: str, request: dict[str, Any] | None = None, *, deadline_s: float = 20.0) -> dict[str, Any]:
    async def work() -> dict[str, Any]:
        async with ForkCage(preload=(ENTRIES,)) as cage:
            return await cage.run(f"{ENTRIES}:{entry}", request or {}, Policy(deadline_s=deadline_s))

    return asyncio.run(work())


def test_an_entry_answers() -> None:
    assert run("echo", {"x": [1, 2.5, "three"]}) == {"x": [1, 2.5, "three"]}


def test_an_owner_may_have_many_open_files() -> None:
    """A number of 1,024 or more is too high for `select`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("this host lets no process open 2,048 files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    with contextlib.ExitStack() as files:
        for _ in range(1100):
            files.enter_context(open(os.devnull))
        assert run("echo", {"x": 1}) == {"x": 1}
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_environment_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    names = run("environment")["names"]
    assert "PATH" in names and not {"OPENAI_API_KEY", "RAY_ADDRESS"}.intersection(names)


@pytest.mark.parametrize(
    ("entry", "cause", "words"),
    [
        ("raise_value_error", "error", "ValueError: nonsense"),
        ("raise_system_exit", "error", "SystemExit"),
        ("raise_memory_error", "out-of-memory", "out of memory"),
        ("raise_job_failed", "non-finite", "loss is nan"),
        ("segfault", "error", "ended with code -11"),
        ("no_such_entry", "error", "AttributeError"),
    ],
)
def test_a_failure_has_a_cause(entry: str, cause: str, words: str) -> None:
    with pytest.raises(JobFailed, match=words) as failure:
        run(entry)
    assert failure.value.cause == cause


def test_a_deadline_kills_the_job_and_all_that_it_started() -> None:
    async def work() -> None:
        async with ForkCage(preload=(ENTRIES,)) as cage:
            await cage.start()
            job = asyncio.create_task(cage.run(f"{ENTRIES}:sleep_with_children", {}, Policy(deadline_s=1.5)))
            started = await family(cage)
            with pytest.raises(JobFailed, match=r"ran over its deadline of 1\.5 s") as failure:
                await job
            assert failure.value.cause == "timeout"
            assert_gone(*started)

    asyncio.run(work())


def test_jobs_run_side_by_side_and_the_server_survives_their_deaths() -> None:
    async def work() -> None:
        async with ForkCage(preload=(ENTRIES,)) as cage:
            jobs = [cage.run(f"{ENTRIES}:echo", {"n": n}, Policy(deadline_s=20)) for n in range(8)]
            deaths = [cage.run(f"{ENTRIES}:segfault", {}, Policy(deadline_s=20)) for _ in range(3)]
            answers = await asyncio.gather(*jobs, *deaths, return_exceptions=True)
            assert [a["n"] for a in answers[:8]] == list(range(8))
            assert all(isinstance(a, JobFailed) for a in answers[8:])
            assert (await cage.run(f"{ENTRIES}:echo", {"n": 9}, Policy(deadline_s=20))) == {"n": 9}

    asyncio.run(work())


def test_a_dead_server_is_replaced_and_its_jobs_fail_as_infrastructure() -> None:
    async def work() -> None:
        async with ForkCage(preload=(ENTRIES,)) as cage:
            await cage.start()
            job = asyncio.create_task(cage.run(f"{ENTRIES}:sleep", {}, Policy(deadline_s=20)))
            await asyncio.sleep(0.5)
            assert cage._server is not None
            cage._server.kill()
            with pytest.raises(JobFailed) as failure:
                await job
            assert failure.value.cause == "killed"
            assert (await cage.run(f"{ENTRIES}:echo", {"n": 1}, Policy(deadline_s=20))) == {"n": 1}

    asyncio.run(work())


def test_everything_ends_when_the_owner_is_killed() -> None:
    script = (
        "import asyncio\nfrom genesys.sandbox import ForkCage, Policy\n"
        f"cage = ForkCage(preload=({ENTRIES!r},))\nasyncio.run(cage.run('{ENTRIES}:sleep_with_children', {{}}, "
        "Policy(deadline_s=60)))"
    )
    owner = subprocess.Popen([sys.executable, "-c", script])
    below = psutil.Process(owner.pid)
    wait_for(lambda: len(below.children(recursive=True)) >= 5)
    started = below.children(recursive=True)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert_gone(*started)


def test_the_package_is_found_without_being_installed() -> None:
    root = child_environment()["PYTHONPATH"]
    assert (Path(root) / "genesys" / "sandbox" / "server.py").exists()


async def family(cage: ForkCage) -> list[psutil.Process]:
    """The keeper, the job and the grandchild of the first job, `sleep_with_children`, as soon as they are there."""
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if 1 in cage._pids:
            keeper = psutil.Process(cage._pids[1])
            found = [keeper, *keeper.children(recursive=True)]
            if len(found) >= 3:
                return found
    raise AssertionError("the job has started nothing")


def wait_for(condition: Any, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def assert_gone(*processes: psutil.Process) -> None:
    def gone(process: psutil.Process) -> bool:
        try:
            return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    wait_for(lambda: all(map(gone, processes)))
