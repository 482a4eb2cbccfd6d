"""Several sessions' parts side by side: what all of them wait for is asked at once."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, TypeVar

from genesys.roles.effects import Effect, Gather, Single

T = TypeVar("T")


def in_parallel(parts: Iterable[Generator[Effect, Any, T]]) -> Generator[Effect, Any, tuple[T, ...]]:
    """Run generators in lock-step, in the order given; gives what each of them returned.

    One alone yields what it would have yielded without this. If one raises, the others still hear what they asked for at
    the same time, since that was paid; then all are closed.
    """
    running = list(parts)
    waiting: dict[int, Effect] = {}
    results: dict[int, T] = {}
    raised: list[Exception] = []

    def advance(index: int, answer: Any) -> None:
        try:
            waiting[index] = running[index].send(answer)
        except StopIteration as stop:
            waiting.pop(index, None)
            results[index] = stop.value
        except Exception as error:  # raised below, once all are told
            raised.append(error)

    try:
        for index in range(len(running)):
            advance(index, None)
        while waiting and not raised:
            if len(waiting) == 1:
                ((index, effect),) = waiting.items()
                advance(index, (yield effect))
                continue
            asked = {index: _singles(effect) for index, effect in waiting.items()}
            answers = iter((yield Gather(tuple(single for singles in asked.values() for single in singles))))
            for index, singles in asked.items():
                told = tuple(next(answers) for _ in singles)
                advance(index, told if isinstance(waiting[index], Gather) else told[0])
        if raised:
            raise raised[0]
    finally:
        for part in running:
            part.close()
    return tuple(results[index] for index in range(len(running)))


def _singles(effect: Effect) -> tuple[Single, ...]:
    return effect.effects if isinstance(effect, Gather) else (effect,)
