"""`genesys serve`, with an environment in which something called vllm answers health probes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors.model_server import ModelServerSettings
from cluster.serving import serve
from genesys.errors import GenesysError
from genesys.llm.served import registered
from genesys.llm.vllm import ServeSettings
from tests.llm.test_server_process import FAKE

ROOT = Path(__file__).parents[2]
MODULE = """
import runpy, sys
said = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert said["--served-model-name"] == "tiny" and said["--dtype"] == "float32", said
sys.argv = ["fake", said["--host"], said["--port"], said["--model"]]
runpy.run_path({fake!r}, run_name="__main__")
"""


def environment(folder: Path) -> Path:
    """A virtual environment, as far as `genesys serve` looks at one, with a package called vllm."""
    package = folder / "site" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    (package / "api_server.py").write_text(MODULE.format(fake=str(FAKE)))
    (folder / "bin").mkdir()
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "site"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return folder


def test_it_serves_until_interrupted_and_says_how_to_use_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    line = [
        sys.executable, "-m", "genesys", "serve", str(tmp_path), "--gpus", "0", "--name", "tiny",
        "--python", str(environment(tmp_path / "env")), "--", "--dtype", "float32",
    ]  # fmt: skip
    env = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(line, env=env, cwd=tmp_path, stdout=out, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 180
            while not registered(home / ".cache" / "genesys" / "servers"):
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "out").read_text()
                time.sleep(0.1)
            url = registered(home / ".cache" / "genesys" / "servers")["tiny"]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    said = (tmp_path / "out").read_text()
    assert f"tiny answers at {url}" in said and "Stopped." in said and process.returncode == 0
    assert 'name: hosted_vllm/tiny, api_base: "served:tiny", input_usd: 0' in said
    assert registered(home / ".cache" / "genesys" / "servers") == {}


def test_without_vllm_it_says_what_to_do(tmp_path: Path) -> None:
    settings = ModelServerSettings(serve=ServeSettings(model="some/model", gpus=0), log_folder=tmp_path)
    with pytest.raises(GenesysError, match=r"vLLM is not installed there.* genesys serve MODEL --python VENV"):
        serve(settings)
