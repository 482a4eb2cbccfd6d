"""Keeps a model server alive on the GPUs that were reserved for it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import ray
from ray.util import get_node_ip_address

from genesys.errors import GenesysError
from genesys.llm.server_process import Patience, ServerProcess
from genesys.llm.vllm import ServeSettings, clean_environment, free_port, interpreter, require_vllm, vllm_command

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """How a server is; `failure` says why it was given up."""

    url: str = ""
    is_ready: bool = False
    n_restarts: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelServerSettings:
    """What a server's keeper is told at construction.

    Attributes:
        registry: Where its URL is noted; the user's cache by default.
        command: In place of vLLM's; `{host}` and `{port}` are put in.
    """

    serve: ServeSettings
    log_folder: Path
    registry: Path | None = None
    patience: Patience = field(default_factory=Patience)
    command: tuple[str, ...] = ()


def open_server(
    settings: ModelServerSettings, host: str, on_change: Callable[[str, str], None] = lambda what, why: None
) -> ServerProcess:
    """A server that is not started yet.

    Raises:
        ConfigError: There is no vLLM here.
    """
    port = free_port(host, settings.serve.port)
    if settings.command:
        command = [part.format(host=host, port=port) for part in settings.command]
    else:
        python = interpreter(settings.serve.python)
        require_vllm(python)
        command = vllm_command(settings.serve, python=python, host=host, port=port)
    name = settings.serve.served_as
    return ServerProcess(
        name=name, command=command, root=f"http://{host}:{port}", log_file=settings.log_folder / f"{name}.log",
        env=clean_environment(os.environ), patience=settings.patience, registry=settings.registry, on_change=on_change,
    )  # fmt: skip


class ModelServer:
    """A supervised server behind an actor's mailbox. Its process dies with the actor; Ray starts the actor anew, wherever
    there are cards, and the registry learns the new address."""

    def __init__(self, settings: ModelServerSettings, *, host: str = "") -> None:
        self._settings, self._host = settings, host or get_node_ip_address()
        self._server: ServerProcess | None = None
        self._failure = ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return "ModelServer"

    def _run(self) -> None:
        try:
            self._server = open_server(self._settings, self._host)
            self._server.run()
        except GenesysError as error:  # no vLLM here, or it does not come up
            log.error("%s", error)
            self._failure = str(error)

    async def status(self) -> ServerStatus:
        """How it is now."""
        server = self._server
        if server is None:
            return ServerStatus(failure=self._failure)
        return ServerStatus(
            url=server.url, is_ready=server.is_ready, n_restarts=server.n_restarts, failure=self._failure
        )  # fmt: skip

    async def stop(self) -> None:
        """End the server, and wait until it has ended."""
        if self._server is not None:
            self._server.stop()
        await asyncio.to_thread(self._thread.join)


ModelServerActor = ray.remote(ModelServer)
