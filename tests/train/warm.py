"""Trainings in forked children of one warm process, as the cage's server does it: each starts in milliseconds.

Run as a program it is that process: a line of JSON with the request and where to write the answer comes in, the child's
process id and then its exit status go out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from genesys.errors import JobFailed

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "DS_ACCELERATOR": "cuda" if Path("/dev/nvidia0").exists() else "cpu",  # asking torch would spoil the fork
}


class Trainings:
    """Starts one training at a time."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.train.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ENVIRONMENT,
            cwd=Path(__file__).parents[2],
            text=True,
        )
        self._answer = Path()

    def start(self, ask: dict[str, Any]) -> int:
        """Start a training; gives its process."""
        self._answer = Path(ask["out"]).with_suffix(".answer")
        self._answer.unlink(missing_ok=True)
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps({"ask": ask, "answer": str(self._answer)}) + "\n")
        self._server.stdin.flush()
        return self._read()

    def wait(self) -> dict[str, Any] | None:
        """The training's answer; None if it was killed.

        Raises:
            JobFailed: As the training did.
        """
        if self._read():
            return None
        answer: dict[str, Any] = json.loads(self._answer.read_text())
        if "cause" in answer:
            raise JobFailed(answer["cause"], answer["message"])
        return answer

    def run(self, ask: dict[str, Any]) -> dict[str, Any]:
        self.start(ask)
        answer = self.wait()
        assert answer is not None
        return answer

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(60)

    def _read(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())


def _serve() -> None:
    import deepspeed  # noqa: F401

    import genesys.train.job  # noqa: F401

    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # DeepSpeed writes to the standard output
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _train(**json.loads(line))
        print(pid, file=say, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=say, flush=True)
    os._exit(0)  # torch takes its time to go


def _train(ask: dict[str, Any], answer: str) -> None:
    from genesys.train.job import train

    status = 1
    try:
        Path(answer).write_text(json.dumps(train(ask)))
        status = 0
    except JobFailed as failure:
        Path(answer).write_text(json.dumps({"cause": failure.cause, "message": str(failure)}))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    _serve()
