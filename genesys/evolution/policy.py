"""Strategies of others, met with care: found by name, called with a deadline."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from genesys.errors import ConfigError, suggest

T = TypeVar("T")

STRATEGY_TIMEOUT_S = 5.0


def resolve_strategy(
    strategy: object, options: Mapping[str, Any] | None, *, known: Mapping[str, Callable[..., Any]], method: str
) -> Any:
    """Make a strategy from its name, its `module:Class`, or take the object itself.

    Args:
        options: Keyword arguments of its constructor; none for an object.
        known: The built-in ones by name.
        method: What it must be able to do, `select` or `promote`.

    Raises:
        ConfigError: No such name, module or class, options it does not take, or an object without the method.
    """
    made = strategy
    if isinstance(strategy, str):
        factory = _import(strategy) if ":" in strategy else known.get(strategy)
        if factory is None:
            raise ConfigError(
                f"Cannot use strategy {strategy!r}: expected one of {', '.join(sorted(known))}, or `module:Class` of "
                f"your own.{suggest(strategy, known)}"
            )
        try:
            made = factory(**(options or {}))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"Cannot use strategy {strategy!r} with options {dict(options or {})}: {error}."
            ) from None
    elif options:
        raise ConfigError(
            f"Cannot give options {dict(options)} to a strategy that is made already; set them on the object."
        )
    if isinstance(made, type) or not callable(getattr(made, method, None)):
        raise ConfigError(
            f"Cannot use strategy {strategy!r}: it has no method `{method}`. See examples/my_strategy.py."
        )
    return made


def _import(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    try:
        return cast(Callable[..., Any], getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"Cannot use strategy {path!r}: {error}. Is its folder on PYTHONPATH?") from None


def call_with_deadline(function: Callable[[], T], timeout_s: float | None) -> T:
    """Call a strategy.

    It does not stop what overruns: Python cannot end a thread, so that such a strategy goes on in a daemon thread,
    on a population that is soon invalid.

    Raises:
        TimeoutError: No answer in time.
        Exception: Whatever the strategy raised.
    """
    if timeout_s is None:
        return function()
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(function())
        except BaseException as error:  # handed to the caller, whatever it is
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="strategy")
    thread.start()
    thread.join(timeout_s)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"no answer within {timeout_s:g} s")
    return answers[0]


def is_built_in(strategy: object) -> bool:
    """Whether a strategy is one of ours, which needs no deadline."""
    return type(strategy).__module__.startswith("genesys.evolution.")
