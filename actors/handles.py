"""Typed clients of the actors, and the object store behind references.

The protocols are what actors and the driver call. A plain instance of the actor's class satisfies its protocol, so
that everything also runs without Ray; `ServiceHandle` and `MemberHandle` give the same methods over a Ray actor.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayTaskError

from actors.batching import Answer, Call, Coalescer
from actors.messages import (
    Appended,
    CheckTask,
    DesignerTask,
    DesignSession,
    Outcome,
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
from genesys.llm.calls import Treasury
from genesys.llm.spending import Totals

CALL_TIMEOUT_S = 120.0
RETRY_S = 60.0
SMALL_BYTES = 32_768


class Objects(Protocol):
    """Where big values stay while references to them travel."""

    def put(self, value: bytes) -> Ref: ...
    async def get(self, ref: Ref) -> bytes: ...


class RayObjects:
    """The cluster's object store. An object lives as long as the process that put it.

    A value of up to 32 kB is its own reference: in a message it costs less than an entry in the store would.
    """

    def put(self, value: bytes) -> Ref:
        return value if len(value) <= SMALL_BYTES else ray.put(value)

    async def get(self, ref: Ref) -> bytes:
        """Raises TransientError when the object was lost with its owner."""
        if isinstance(ref, bytes):
            return ref
        try:
            return cast(bytes, await asyncio.wait_for(ref, CALL_TIMEOUT_S))
        except (ray.exceptions.ObjectLostError, TimeoutError) as error:
            raise TransientError(f"an object was lost: {error}") from error


class TreeHandle(Protocol):
    async def start(self, started: RunStarted, seeds: tuple[Submission, ...]) -> int: ...
    async def append(self, event: Event) -> Appended: ...
    async def settle(self, outcome: Outcome) -> Appended: ...
    async def news(self, since: int) -> tuple[Event, ...]: ...
    async def next_task(self, designer: str) -> DesignerTask: ...
    async def claim(self, design: str, normal_form: str, designer: str) -> str: ...
    async def submit(self, submission: Submission) -> bool: ...
    async def release(self, designer: str) -> None: ...
    async def program(self, design: str) -> Ref: ...
    async def status(self) -> RunStatus: ...


class SchedulerHandle(Protocol):
    async def lease(self, holder: str, proposals_open: bool) -> VerifierTask: ...
    async def release(self, holder: str, cause: str, reason: str) -> int: ...


class TreasurerHandle(Treasury, Protocol):
    async def totals(self) -> Totals: ...
    async def prices(self) -> dict[str, Any]: ...


class DesignerHandle(Protocol):
    async def ready(self) -> str: ...
    async def ping(self) -> None: ...
    async def design(self, task: ProposeTask | DesignSession | CheckTask) -> None: ...


class VerifierHandle(Protocol):
    async def ready(self) -> str: ...
    async def ping(self) -> None: ...
    async def verify(self, task: VerifyTask) -> None: ...
    async def progress(self) -> Progress: ...


class _RemoteMethod:
    """One method of a remote actor as a coroutine function."""

    def __init__(self, handle: MemberHandle, name: str) -> None:
        self._handle, self._name = handle, name

    async def __call__(self, *args: Any) -> Any:
        return await self._handle.call(self._name, *args)


class MemberHandle:
    """A client of a pool's member: any attribute is a method of the actor.

    Calls last as long as the work and are made once; the driver replaces a member that dies. `label` names a call for
    the dashboard's task list from its arguments.
    """

    def __init__(self, actor: Any, label: Callable[..., str] | None = None) -> None:
        self.actor, self._label = actor, label

    def __getattr__(self, name: str) -> _RemoteMethod:
        if name.startswith("_"):
            raise AttributeError(name)
        return _RemoteMethod(self, name)

    async def call(self, name: str, *args: Any) -> Any:
        """Call a method by name.

        Raises:
            TransientError: The actor is gone.
            GenesysError: What the method itself raised.
        """
        method = getattr(self.actor, name)
        if self._label is not None:
            method = method.options(name=self._label(name, *args))
        with _translated(name):
            return await method.remote(*args)


class ServiceHandle(MemberHandle):
    """A client of a service actor, which Ray restarts when it dies, and whose methods are short and idempotent.

    Calls that would wait go out together; one that meets a restart is repeated for up to a minute. A copy in another
    process finds the actor by its name, so a handle outlives its actor's restarts.
    """

    def __init__(self, actor: Any, name: str = "") -> None:
        super().__init__(actor)
        self._name = name
        self._coalescer = Coalescer(self._send_many)

    def __reduce__(self) -> Any:
        assert self._name, "only a handle to a named actor travels"
        return _service_named, (self._name,)

    async def call(self, name: str, *args: Any) -> Any:
        """Call a method by name, again and again while the actor is away; see `MemberHandle.call`."""
        deadline, clock = math.inf, asyncio.get_running_loop().time
        while True:
            try:
                return await self._coalescer.call(name, args)
            except TransientError as error:
                deadline = min(deadline, clock() + RETRY_S)  # from the first failure: it may have taken long to come
                if clock() >= deadline or "creation task" in str(error):
                    raise
                await asyncio.sleep(0.25)

    async def _send_many(self, calls: tuple[Call, ...]) -> list[Answer]:
        with _translated(", ".join(sorted({name for name, _ in calls}))):
            answers: list[Answer] = await asyncio.wait_for(self.actor.many.remote(calls), CALL_TIMEOUT_S)
        return answers


def _service_named(name: str) -> ServiceHandle:
    return ServiceHandle(ray.get_actor(name), name)


@contextmanager
def _translated(method: str) -> Iterator[None]:
    """Ray's errors in our words: infrastructure is transient, and what a method raised comes out as it was."""
    try:
        yield
    except (ActorDiedError, ActorUnavailableError, GetTimeoutError, TimeoutError) as error:
        raise TransientError(f"actor call {method}() failed: {_why(error)}") from error
    except RayTaskError as error:
        if isinstance(error.cause, GenesysError):
            raise error.cause from None
        raise


def _why(error: Exception) -> str:
    """The first and the last line of Ray's long messages: what happened, and the exception inside the actor."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"
