"""The quickstart as a Ray job, against a head that has only the dependencies installed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]
CONFIG = """
name: job
ladder:
  - {name: tiny-1, d_model: 32, n_blocks: 1, context: 64, batch_tokens: 512, n_tokens: 8192, peak_lr: 6.0e-3,
     width_step: 8, size_tolerance: 0.1, embedding_std: 0.1}
quotas: [2]
seeds: [gpt]
corpus: "text:%s"
verifiers: {n: 1, probes: false}
storage: {url: %s}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def ray_head(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """A Ray head on loopback, as a child of this test, ended by its process id."""
    folder = tempfile.mkdtemp(prefix="gh-", dir="/tmp")
    dashboard = free_port()
    ports = {flag: free_port() for flag in ("--port", "--dashboard-agent-listen-port", "--metrics-export-port")}
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--node-ip-address", "127.0.0.1",
        "--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard), "--num-cpus", "6",
        "--object-store-memory", "200000000", "--temp-dir", folder, "--disable-usage-stats",
        *(word for flag, port in ports.items() for word in (flag, str(port))),
    ]  # fmt: skip
    log = (Path(folder) / "head.log").open("wb")
    head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=folder)
    log.close()
    try:
        deadline = time.monotonic() + 60
        while not listens(dashboard):
            assert head.poll() is None and time.monotonic() < deadline, (Path(folder) / "head.log").read_text()
            time.sleep(0.3)
        yield environment | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            head.wait(timeout=20)
        with suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("mode", ["disabled", "token"])
def test_a_run_submitted_as_a_job_leaves_its_leaderboard(mode: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(
        "\n\n".join(f"Paragraph {i}: the quick brown fox jumps over the lazy dog {i} times." for i in range(3000))
    )
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for part in ("genesys", "actors", "cluster"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "job.yaml").write_text(CONFIG % (text, tmp_path / "runs"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "RAY_AUTH_MODE": mode, "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path),
    }  # fmt: skip
    if mode == "token":
        (tmp_path / "token").write_text("f" * 64)
        environment["RAY_AUTH_TOKEN_PATH"] = str(tmp_path / "token")
    with ray_head(environment) as submitting:
        job = [
            sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--working-dir", ".", "--",
            sys.executable, "-m", "genesys", "evolve", "job.yaml", "--json",
        ]  # fmt: skip
        done = subprocess.run(job, env=submitting, cwd=checkout, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "succeeded" in done.stdout + done.stderr
    board = subprocess.run(
        [sys.executable, "-m", "genesys", "leaderboard", str(tmp_path / "runs" / "job-1"), "--json"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    rows = json.loads(board.stdout)
    assert len(rows) == 2 and {row["name"] for row in rows} > {"gpt"}
