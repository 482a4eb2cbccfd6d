"""Typed clients of the actors, and the object store behind references.

The protocols are what actors and the driver call. A plain instance of the actor's class satisfies its protocol, so
that everything also runs without Ray; `remote` gives the same methods over a Ray actor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayTaskError

from actors.messages import (
    Appended,
    CheckTask,
    DesignerTask,
    Outcome,
    Parent,
    Progress,
    ProposeTask,
    Ref,
    Submission,
    VerifierTask,
    VerifyTask,
)
from genesys.errors import GenesysError, TransientError
from genesys.evolution.events import Event, RunStarted
from genesys.evolution.status import RunStatus

CALL_TIMEOUT_S = 120.0
RETRY_S = 60.0


class Objects(Protocol):
    """Where big values stay while references to them travel."""

    def put(self, value: bytes) -> Ref: ...
    async def get(self, ref: Ref) -> bytes: ...


class RayObjects:
    """The cluster's object store. An object lives as long as the process that put it."""

    def put(self, value: bytes) -> Ref:
        return ray.put(value)

    async def get(self, ref: Ref) -> bytes:
        """Raises TransientError when the object was lost with its owner."""
        try:
            return cast(bytes, await asyncio.wait_for(ref, CALL_TIMEOUT_S))
        except (ray.exceptions.ObjectLostError, TimeoutError) as error:
            raise TransientError(f"an object was lost: {error}") from error


class TreeHandle(Protocol):
    async def start(self, started: RunStarted, seeds: tuple[Submission, ...]) -> int: ...
    async def append(self, event: Event, since: int) -> Appended: ...
    async def settle(self, outcome: Outcome) -> Appended: ...
    async def news(self, since: int) -> tuple[Event, ...]: ...
    async def next_task(self, designer: str) -> DesignerTask: ...
    async def claim(self, design: str, designer: str) -> bool: ...
    async def submit(self, submission: Submission) -> bool: ...
    async def release(self, designer: str) -> None: ...
    async def program(self, design: str) -> Ref: ...
    async def status(self) -> RunStatus: ...


class SchedulerHandle(Protocol):
    async def lease(self, holder: str) -> VerifierTask: ...
    async def close_proposals(self) -> None: ...
    async def release(self, holder: str, cause: str, reason: str) -> int: ...


class DesignerHandle(Protocol):
    async def ready(self) -> str: ...
    async def design(self, task: ProposeTask | CheckTask) -> None: ...


class VerifierHandle(Protocol):
    async def ready(self) -> str: ...
    async def verify(self, task: VerifyTask) -> None: ...
    async def progress(self) -> Progress: ...


class _RemoteMethod:
    """One method of a remote actor as a coroutine function, with a deadline and a retry while the actor restarts."""

    def __init__(self, handle: RemoteHandle, name: str) -> None:
        self._handle, self._name = handle, name

    async def __call__(self, *args: Any) -> Any:
        return await self._handle.call(self._name, *args)


class RemoteHandle:
    """Any attribute is a method of the actor.

    Args:
        name: The actor's name in the run's namespace, under which a copy of this handle finds it in other processes.
        timeout_s: Deadline of one call; None for calls that last as long as the work.
        retries: Whether a call is repeated while the actor is away, for up to a minute. Only for idempotent methods.
        label: Names a call for the dashboard's task list from its arguments.
    """

    def __init__(
        self, actor: Any, *, name: str = "", timeout_s: float | None = CALL_TIMEOUT_S, retries: bool = True,
        label: Callable[..., str] | None = None,
    ) -> None:  # fmt: skip
        self.actor, self._name, self._timeout_s, self._retries, self._label = actor, name, timeout_s, retries, label

    def __getattr__(self, name: str) -> _RemoteMethod:
        if name.startswith("_"):
            raise AttributeError(name)
        return _RemoteMethod(self, name)

    def __reduce__(self) -> Any:
        assert self._name, "only a handle to a named actor travels: its name outlives the actor's restarts"
        return _rebuild, (self._name, self._timeout_s, self._retries)

    async def call(self, name: str, *args: Any) -> Any:
        """Call a method by name.

        Raises:
            TransientError: The actor is gone or did not answer in time.
            GenesysError: What the method itself raised.
        """
        deadline = asyncio.get_running_loop().time() + RETRY_S
        while True:
            try:
                return await self._once(name, *args)
            except (ActorDiedError, ActorUnavailableError, GetTimeoutError, TimeoutError) as error:
                over = asyncio.get_running_loop().time() > deadline or "creation task" in str(error)
                if over or not self._retries:
                    raise TransientError(f"actor call {name}() failed: {_why(error)}") from error
                await asyncio.sleep(0.25)
            except RayTaskError as error:
                if isinstance(error.cause, GenesysError):
                    raise error.cause from None
                raise

    async def _once(self, name: str, *args: Any) -> Any:
        method = getattr(self.actor, name)
        if self._label is not None:
            method = method.options(name=self._label(name, *args))
        return await asyncio.wait_for(method.remote(*args), self._timeout_s)


def _why(error: Exception) -> str:
    """The first and the last line of Ray's long messages: what happened, and the exception inside the actor."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"


def _rebuild(name: str, timeout_s: float | None, retries: bool) -> RemoteHandle:
    return RemoteHandle(ray.get_actor(name), name=name, timeout_s=timeout_s, retries=retries)


def remote(actor: Any, **options: Any) -> Any:
    """A client of a Ray actor; annotate what receives it with the protocol it serves."""
    return RemoteHandle(actor, **options)


__all__ = [
    "DesignerHandle", "Objects", "Parent", "RayObjects", "Ref", "SchedulerHandle", "TreeHandle", "VerifierHandle", "remote",
]  # fmt: skip
