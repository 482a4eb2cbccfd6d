"""The cage: named entries in children that die when they must."""

from __future__ import annotations

import asyncio
import os
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
        async with ForkCage(preload=()) as cage:
            return await cage.run(f"{ENTRIES}:{entry}", request or {}, Policy(deadline_s=deadline_s))

    return asyncio.run(work())


def test_an_entry_answers() -> None:
    assert run("echo", {"x": [1, 2.5, "three"]}) == {"x": [1, 2.5, "three"]}


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
        ("kill_itself", "killed", "ended with code -9"),
        ("no_such_entry", "error", "AttributeError"),
    ],
)
def test_a_failure_has_a_cause(entry: str, cause: str, words: str) -> None:
    with pytest.raises(JobFailed, match=words) as failure:
        run(entry)
    assert failure.value.cause == cause


def test_a_deadline_kills_the_child_and_what_it_started(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(JobFailed, match="ran over its deadline") as failure:
        run("sleep_with_child", {"pid_file": str(tmp_path / "pid")}, deadline_s=1.5)
    assert failure.value.cause == "timeout" and time.monotonic() - started < 10
    assert_gone(int((tmp_path / "pid").read_text()))


def test_jobs_run_side_by_side_and_the_server_survives_their_deaths() -> None:
    async def work() -> None:
        async with ForkCage(preload=()) as cage:
            jobs = [cage.run(f"{ENTRIES}:echo", {"n": n}, Policy(deadline_s=20)) for n in range(8)]
            deaths = [cage.run(f"{ENTRIES}:kill_itself", {}, Policy(deadline_s=20)) for _ in range(3)]
            answers = await asyncio.gather(*jobs, *deaths, return_exceptions=True)
            assert [a["n"] for a in answers[:8]] == list(range(8))
            assert all(isinstance(a, JobFailed) for a in answers[8:])
            assert (await cage.run(f"{ENTRIES}:echo", {"n": 9}, Policy(deadline_s=20))) == {"n": 9}

    asyncio.run(work())


def test_a_dead_server_is_replaced_and_its_jobs_fail_as_infrastructure() -> None:
    async def work() -> None:
        async with ForkCage(preload=()) as cage:
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


def test_everything_ends_when_the_owner_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio\nfrom genesys.sandbox import ForkCage, Policy\n"
        f"cage = ForkCage(preload=())\nasyncio.run(cage.run('{ENTRIES}:sleep_with_child', "
        f"{{'pid_file': {str(tmp_path / 'pid')!r}}}, Policy(deadline_s=60)))"
    )
    owner = subprocess.Popen([sys.executable, "-c", script])
    wait_for((tmp_path / "pid").exists)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert_gone(int((tmp_path / "pid").read_text()))


def test_the_package_is_found_without_being_installed() -> None:
    root = child_environment()["PYTHONPATH"]
    assert (Path(root) / "genesys" / "sandbox" / "server.py").exists()


def wait_for(condition: Any, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def assert_gone(pid: int) -> None:
    def gone() -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    wait_for(gone)
    assert os.getpid() != pid
