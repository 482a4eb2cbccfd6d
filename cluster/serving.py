"""Serves a model until it is stopped: a child process on a laptop, an actor on reserved GPUs in a Ray cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError

from actors.model_server import ModelServerActor, ModelServerSettings, ServerStatus, open_server
from cluster.session import is_job, ray_session
from genesys.errors import ConfigError, TransientError

SERVER_CPUS = 1
GLANCE_S, ANSWER_S = 2.0, 30.0
OnChange = Callable[[str, str], None]


def serve(
    settings: ModelServerSettings, *, host: str = "127.0.0.1", on_change: OnChange = lambda what, why: None
) -> None:
    """Serve a model until interrupted; its URL is registered while it answers.

    Args:
        host: To listen on; of an actor, its host's own address.
        on_change: Told `ready`, `died` or `silent`, and why.

    Raises:
        ConfigError: There is no vLLM, or there are not so many GPUs.
        TransientError: The server does not come up.
    """
    if is_job() or ray.is_initialized():
        with ray_session(namespace="genesys-serving", n_cpus=SERVER_CPUS):
            asyncio.run(keep_actor(settings, on_change))
        return
    server = open_server(settings, host, on_change)
    server.run()


async def keep_actor(settings: ModelServerSettings, on_change: OnChange) -> None:
    """Watch a server's actor until interrupted, and end it.

    Raises:
        ConfigError: No host of the cluster has so many GPUs.
        TransientError: The server was given up.
    """
    gpus = settings.serve.gpus
    if gpus and not any(node["Resources"].get("GPU", 0) >= gpus for node in ray.nodes() if node["Alive"]):
        raise ConfigError(
            f"Cannot reserve {gpus} GPUs for {settings.serve.served_as!r}: no host of this cluster has as many. Lower --gpus."
        )
    options = {"num_gpus": gpus, "num_cpus": SERVER_CPUS, "max_restarts": -1}
    try:
        actor = ModelServerActor.options(name=f"ModelServer-{settings.serve.served_as}", **options).remote(settings)
    except ValueError:
        raise ConfigError(
            f"Cannot serve: a model is served as {settings.serve.served_as!r} already in this cluster. Choose another --name."
        ) from None
    before: ServerStatus | None = None
    try:
        while True:
            before = await _glance(actor, before, on_change)
            await asyncio.sleep(GLANCE_S)
    finally:
        with contextlib.suppress(RayError, TimeoutError):
            await asyncio.wait_for(actor.stop.remote(), ANSWER_S)
        with contextlib.suppress(RayError):
            ray.kill(actor)


async def _glance(actor: Any, before: ServerStatus | None, on_change: OnChange) -> ServerStatus | None:
    """Look once, and tell what is new; an actor that does not answer is starting, waiting for cards or coming back."""
    try:
        now: ServerStatus = await asyncio.wait_for(actor.status.remote(), ANSWER_S)
    except (TimeoutError, ActorUnavailableError):
        return None
    except RayActorError as error:  # its construction failed: Ray gives the cause
        raise TransientError(f"Cannot serve: {error}") from None
    if now.failure:
        raise TransientError(now.failure)
    if now.is_ready and not (before and before.is_ready and before.url == now.url):
        on_change("ready", now.url)
    elif before and before.is_ready and not now.is_ready:
        on_change("died", f"restart {now.n_restarts}")
    return now
