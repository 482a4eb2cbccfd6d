"""Strategies of others, met with care: found by name, called with a deadline."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from genesys.errors import ConfigError, suggest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")
Factory = Callable[..., Any]

STRATEGY_TIMEOUT_S = 5.0

ENTRY_POINTS = {"select": "genesys.selection", "promote": "genesys.promotion"}
"""By the method of a strategy, the group of entry points under which other packages offer theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A strategy that can be named in a config.

    Attributes:
        package: Whose it is, with its version; "" for ours.
        problem: Why it cannot be used under this name; "" when it can.
    """

    name: str
    package: str = ""
    problem: str = ""


def resolve_strategy(
    strategy: object, options: Mapping[str, Any] | None, *, known: Mapping[str, Factory], method: str
) -> Any:
    """Make a strategy from its name, its `module:Class`, or take the object itself.

    Args:
        options: Keyword arguments of its constructor; none for an object.
        known: The built-in ones by name; a name that is not among them is looked for in other packages' entry points.
        method: What it must be able to do, `select` or `promote`.

    Raises:
        ConfigError: No such name, module or class, two packages of one name, one that cannot be imported, options it does
            not take, or an object without the method.
    """
    made = strategy
    if isinstance(strategy, str):
        factory = _factory(strategy, known, method)
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
        raise ConfigError(f"Cannot use strategy {strategy!r}: it has no method `{method}`. See docs/strategies.md.")
    return made


def offers(known: Iterable[str], method: str) -> list[Offer]:
    """Every strategy that can be named here, ours first, with what is wrong with those of other packages.

    It imports the packages.
    """
    found = [Offer(name=name) for name in sorted(known)]
    for name, entries in sorted(_entries(method).items()):
        for entry in entries:
            problem = "its name is that of a built-in one, which is taken" if name in known else ""
            try:
                _load(name, entries)
            except ConfigError as error:
                problem = problem or str(error)
            found.append(Offer(name=name, package=_package(entry), problem=problem))
    return found


def _factory(strategy: str, known: Mapping[str, Factory], method: str) -> Factory:
    if ":" in strategy:
        return _imported(strategy, lambda: _import(strategy), "Is its folder on PYTHONPATH?")
    if strategy in known:
        return known[strategy]
    entries = _entries(method)
    if strategy not in entries:
        names = sorted({*known, *entries})
        raise ConfigError(
            f"Cannot use strategy {strategy!r}: expected one of {', '.join(names)}, or `module:Class` of your own."
            f"{suggest(strategy, names)}"
        )
    return _load(strategy, entries[strategy])


def _entries(method: str) -> dict[str, tuple[EntryPoint, ...]]:
    """What other packages offer, by name."""
    from importlib.metadata import entry_points  # 20 ms, for those who need it

    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=ENTRY_POINTS[method]):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def _load(name: str, entries: tuple[EntryPoint, ...]) -> Factory:
    if len({entry.value for entry in entries}) > 1:
        raise ConfigError(
            f"Cannot use strategy {name!r}: {' and '.join(sorted(map(_package, entries)))} both offer one of that name. "
            f"Say which, such as {entries[0].value!r}."
        )
    return _imported(name, entries[0].load, f"It is offered by {_package(entries[0])}: ask there, or uninstall it.")


def _imported(strategy: str, load: Callable[[], Any], hint: str) -> Factory:
    try:
        factory = load()
    except Exception as error:  # code of somebody else's, which may raise anything while it is imported
        raise ConfigError(f"Cannot use strategy {strategy!r}: {type(error).__name__}: {error}. {hint}") from None
    if not callable(factory):
        raise ConfigError(
            f"Cannot use strategy {strategy!r}: it is a {type(factory).__name__}; expected a class. {hint}"
        )
    return factory  # type: ignore[no-any-return]


def _import(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


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
