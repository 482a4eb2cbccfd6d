"""Virtual time: coroutines of processes that can be killed, paused and set to a wrong clock. One thread, no real waiting.

What is ready runs in the order in which it became ready, as in an asyncio loop; what has the same time runs in the order
in which it was asked for. Two runs of the same coroutines are therefore the same, step by step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from heapq import heappop, heappush
from typing import Any, Generic, TypeVar

from genesys.errors import GenesysError, TransientError

T = TypeVar("T")


class Clock:
    """Runs actions at their times. `n_steps` counts them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.n_steps = 0
        self._ready: deque[Callable[[], None]] = deque()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._n_asked = 0

    def soon(self, action: Callable[[], None]) -> None:
        """After all that is ready."""
        self._ready.append(action)

    def first(self, action: Callable[[], None]) -> None:
        """Before all that is ready."""
        self._ready.appendleft(action)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self._n_asked += 1
        heappush(self._later, (self.now + seconds, self._n_asked, action))

    def sleep(self, seconds: float) -> Promise[None]:
        """Settled after so many seconds."""
        promise: Promise[None] = Promise(self)
        self.after(seconds, lambda: promise.resolve(None))
        return promise

    def step(self) -> bool:
        """Do one action; False when there is none."""
        if self._ready:
            action = self._ready.popleft()
        elif self._later:
            self.now, _, action = heappop(self._later)
        else:
            return False
        self.n_steps += 1
        action()
        return True


class Promise(Generic[T]):
    """A value, or an error, to come. Settled once; settling it again changes nothing."""

    __slots__ = ("_clock", "_error", "_value", "_waiting", "is_settled")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.is_settled = False
        self._value: T | None = None
        self._error: GenesysError | None = None
        self._waiting: list[Callable[[], None]] = []

    def resolve(self, value: T) -> None:
        self._settle(value, None)

    def reject(self, error: GenesysError) -> None:
        self._settle(None, error)

    def _settle(self, value: T | None, error: GenesysError | None) -> None:
        if self.is_settled:
            return
        self.is_settled, self._value, self._error = True, value, error
        for action in self._waiting:
            self._clock.soon(action)

    @property
    def error(self) -> GenesysError | None:
        return self._error

    def when_settled(self, action: Callable[[], None]) -> None:
        if self.is_settled:
            self._clock.soon(action)
        else:
            self._waiting.append(action)

    def __await__(self) -> Generator[Promise[T], None, T]:
        if not self.is_settled:
            yield self
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # a settled promise without an error holds a T


class Process:
    """A set of coroutines that live, sleep and die together.

    Attributes:
        body: The object whose methods others may call.
        rate: Its clock's seconds in a true second; what it sleeps and measures is wrong by that.
        frozen_until: Nothing of it runs before that time, though what it waits for goes on.
        cut_until: No message reaches or leaves it before that time.
    """

    def __init__(self, clock: Clock, name: str, *, rate: float = 1.0) -> None:
        self.clock, self.name, self.rate = clock, name, rate
        self.body: Any = None
        self.is_alive = True
        self.frozen_until = self.cut_until = 0.0
        self._open: dict[Coroutine[Any, Any, Any], Promise[Any]] = {}

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Promise[T]:
        """Run a coroutine here; the promise is its outcome, rejected with TransientError when the process dies."""
        outcome: Promise[T] = Promise(self.clock)
        if not self.is_alive:
            coroutine.close()
            outcome.reject(TransientError(f"{self.name} is gone"))
            return outcome
        self._open[coroutine] = outcome
        self.clock.soon(lambda: self._step(coroutine))
        return outcome

    def _step(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        outcome = self._open.get(coroutine)
        if outcome is None:
            return  # killed meanwhile
        if self.frozen_until > self.clock.now:
            self.clock.after(self.frozen_until - self.clock.now, lambda: self._step(coroutine))
            return
        try:
            awaited = coroutine.send(None)
        except StopIteration as end:
            del self._open[coroutine]
            outcome.resolve(end.value)
        except (
            GenesysError
        ) as error:  # an answer like any other; whatever else is raised is a bug and ends the simulation
            del self._open[coroutine]
            outcome.reject(error)
        else:
            awaited.when_settled(lambda: self._step(coroutine))

    def sleep(self, seconds: float) -> Promise[None]:
        """Wait for so many seconds of this process' clock."""
        return self.clock.sleep(seconds / self.rate)

    def kill(self) -> None:
        """End it now. Whoever waits for an answer is told that it is gone."""
        self.is_alive = False
        while self._open:
            coroutine, outcome = self._open.popitem()
            coroutine.close()
            outcome.reject(TransientError(f"{self.name} is gone"))


class Lock:
    """Held by one coroutine at a time, served in order. All its users belong to one process and die with it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.is_held = False
        self._waiting: deque[Promise[None]] = deque()

    async def __aenter__(self) -> None:
        if self.is_held or self._waiting:
            turn: Promise[None] = Promise(self._clock)
            self._waiting.append(turn)
            await turn
            self._waiting.popleft()
        self.is_held = True

    async def __aexit__(self, *_: object) -> None:
        self.is_held = False
        if self._waiting:
            self._waiting[0].resolve(None)


class Signal:
    """Wakes whoever waits for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: list[Promise[None]] = []

    def wait(self, at_most_s: float) -> Promise[None]:
        promise = self._clock.sleep(at_most_s)
        self._waiting.append(promise)
        return promise

    def fire(self) -> None:
        waiting, self._waiting = self._waiting, []
        for promise in waiting:
            promise.resolve(None)
