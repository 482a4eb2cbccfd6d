"""A model server behind an actor: on reserved resources, started again with its actor, ended with its keeper."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import ray

from actors.model_server import ModelServer, ModelServerSettings
from cluster.serving import keep_actor
from genesys.errors import ConfigError, TransientError
from genesys.llm.served import registered
from genesys.llm.server_process import answers
from genesys.llm.vllm import ServeSettings
from tests.llm.test_server_process import FAKE, QUICK


def settings_in(folder: Path, **changes: object) -> ModelServerSettings:
    return ModelServerSettings(
        **{"serve": ServeSettings(model="fake", gpus=0), "log_folder": folder, "registry": folder / "servers",
           "patience": QUICK, "command": (sys.executable, str(FAKE), "{host}", "{port}", str(folder))} | changes
    )  # fmt: skip


async def wait_for(what: Callable[[], object]) -> None:
    async with asyncio.timeout(150):
        while not what():
            await asyncio.sleep(0.05)


async def test_its_keeper_starts_and_ends_it(tmp_path: Path) -> None:
    keeper = ModelServer(settings_in(tmp_path), host="127.0.0.1")
    await wait_for(lambda: registered(tmp_path / "servers"))
    status = await keeper.status()
    assert status.is_ready and not status.failure
    assert registered(tmp_path / "servers") == {"fake": status.url}
    await keeper.stop()
    assert registered(tmp_path / "servers") == {}
    assert not answers(status.url.removesuffix("/v1") + "/health", 1.0)


async def test_what_keeps_it_from_starting_is_a_status(tmp_path: Path) -> None:
    serve = ServeSettings(model="fake", gpus=0, python=sys.executable)
    keeper = ModelServer(settings_in(tmp_path, serve=serve, command=()), host="127.0.0.1")
    failures: list[str] = []
    async with asyncio.timeout(150):
        while not failures:
            await asyncio.sleep(0.05)
            failures += filter(None, [(await keeper.status()).failure])
    assert "vLLM is not installed there" in failures[0]
    await keeper.stop()


@asynccontextmanager
async def kept(settings: ModelServerSettings, told: list[str]) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_actor(settings, lambda what, _: told.append(what)))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def answers_again(registry: Path) -> bool:
    """Whether the server answers where it is registered; for a moment it may not be."""
    url = registered(registry).get("fake")
    return url is not None and answers(url.removesuffix("/v1") + "/health", 0.5)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
async def test_an_actor_that_dies_comes_back_with_its_server(tmp_path: Path) -> None:
    told: list[str] = []
    settings = settings_in(tmp_path)
    async with kept(settings, told):
        await wait_for(lambda: "ready" in told)
        first = registered(tmp_path / "servers")["fake"].removesuffix("/v1")
        ray.kill(ray.get_actor("ModelServer-fake"), no_restart=False)
        await wait_for(lambda: not answers(f"{first}/health", 0.5))  # its process died with it
        await wait_for(lambda: answers_again(tmp_path / "servers"))
        with pytest.raises(ConfigError, match=r"a model is served as 'fake' already"):
            await keep_actor(settings, lambda what, why: None)
    assert registered(tmp_path / "servers") == {}
    with pytest.raises(ValueError, match="ModelServer-fake"):
        ray.get_actor("ModelServer-fake")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
async def test_what_a_cluster_cannot_serve(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Cannot reserve 4 GPUs for 'fake': no host of this cluster has as many"):
        await keep_actor(settings_in(tmp_path, serve=ServeSettings(model="fake", gpus=4)), lambda what, why: None)
    (tmp_path / "die").touch()
    with pytest.raises(TransientError, match=r"it ended with code 1, 3 times in a row"):
        await keep_actor(settings_in(tmp_path), lambda what, why: None)
