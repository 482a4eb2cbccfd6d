"""Generators side by side."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.roles.effects import Derive, Effect, Gather
from genesys.roles.together import in_parallel

Script = list[int]  # of each step: 0 for a single effect, n for a gathering of n


def part(name: int, script: Script) -> Generator[Effect, Any, list[Any]]:
    heard: list[Any] = []
    for step, size in enumerate(script):
        texts = [f"{name}.{step}.{k}" for k in range(max(1, size))]
        effects = tuple(Derive(program=text) for text in texts)
        heard.append((yield Gather(effects) if size else effects[0]))
    return heard


def answered(effect: Effect) -> Any:
    if isinstance(effect, Gather):
        return tuple(answered(single) for single in effect.effects)
    assert isinstance(effect, Derive)
    return f"answer to {effect.program}"


def driven(session: Generator[Effect, Any, Any]) -> tuple[Any, list[Effect]]:
    yielded: list[Effect] = []
    answer: Any = None
    while True:
        try:
            effect = session.send(answer)
        except StopIteration as stop:
            return stop.value, yielded
        yielded.append(effect)
        answer = answered(effect)


@given(st.lists(st.lists(st.integers(0, 3), max_size=5), max_size=4))
def test_each_hears_what_it_would_hear_alone_and_nobody_waits_twice(scripts: list[Script]) -> None:
    results, yielded = driven(in_parallel(part(i, script) for i, script in enumerate(scripts)))
    assert list(results) == [driven(part(i, script))[0] for i, script in enumerate(scripts)]
    assert len(yielded) == max(map(len, scripts), default=0)


@given(st.lists(st.integers(0, 3), max_size=5))
def test_one_alone_yields_what_it_would_without(script: Script) -> None:
    assert driven(in_parallel([part(0, script)]))[1] == driven(part(0, script))[1]


def test_an_exception_of_one_closes_all_once_they_heard_what_they_asked_for() -> None:
    heard: list[Any] = []

    def patient() -> Generator[Effect, Any, None]:
        try:
            while True:
                heard.append((yield Derive(program="1")))
        finally:
            heard.append("closed")

    def failing() -> Generator[Effect, Any, None]:
        yield Derive(program="2")
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        driven(in_parallel([patient(), failing(), patient()]))
    assert heard == ["answer to 1", "answer to 1", "closed", "closed"]
