"""A cage for tests: each job in a fresh interpreter, without a fork server and without confinement."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genesys.errors import JobFailed
from genesys.sandbox import Policy

_RUN = """
import importlib, json, sys
from genesys.errors import JobFailed
from genesys.sandbox import Policy
module, _, function = sys.argv[1].partition(":")
try:
    answer = {"answer": getattr(importlib.import_module(module), function)(json.load(open(sys.argv[2])))}
except JobFailed as error:
    answer = {"cause": error.cause, "message": str(error)}
json.dump(answer, open(sys.argv[3], "w"))
"""


class SubprocessCage:
    """Runs each entry in a fresh interpreter; `tamper` may change an answer, to play a job that lies."""

    def __init__(self, tamper: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.entries: list[str] = []
        self._tamper = dict(tamper or {})

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        self.entries.append(entry)
        with tempfile.TemporaryDirectory() as folder:
            asked, answered = Path(folder, "request.json"), Path(folder, "answer.json")
            asked.write_text(json.dumps(request))
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _RUN, entry, str(asked), str(answered),
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            try:
                _, stderr = await asyncio.wait_for(process.communicate(), policy.deadline_s)
            except TimeoutError:
                process.kill()
                await process.wait()
                raise JobFailed("timeout", f"{entry} ran over {policy.deadline_s:g} s") from None
            if process.returncode:
                raise JobFailed("error", stderr.decode()[-2000:])
            said: dict[str, Any] = json.loads(answered.read_text())
        if "cause" in said:
            raise JobFailed(said["cause"], said["message"])
        return {**said["answer"], **self._tamper.get(entry, {})}
