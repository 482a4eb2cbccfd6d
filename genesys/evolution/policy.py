"""Strategies of others, met with care: found by name, called with a deadline."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from inspect import Parameter, signature
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin

from genesys.errors import ConfigError, suggest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")
Factory = Callable[..., Any]

STRATEGY_TIMEOUT_S = 5.0

KINDS = {"select": "selection strategy", "promote": "promotion strategy"}
"""By the method of a strategy, what it is."""

ENTRY_POINTS = {"select": "genesys.selection", "promote": "genesys.promotion"}
"""By the method of a strategy, the group of entry points under which other packages offer theirs."""

_PLAIN = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


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
    kind, made = KINDS[method], strategy
    if isinstance(strategy, str):
        what = f"{kind} {strategy!r}"
        factory = _factory(strategy, known, method)
        given = _checked(what, factory, dict(options or {}))
        try:
            made = factory(**given)
        except Exception as error:  # code of somebody else's, which may raise anything
            said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ConfigError(f"Cannot use {what} with options {given}: {said.rstrip('.')}.") from None
    elif options:
        raise ConfigError(
            f"Cannot give options {dict(options)} to a {kind} that is made already; set them on the object."
        )
    if isinstance(made, type) or not callable(getattr(made, method, None)):
        raise ConfigError(f"Cannot use {kind} {strategy!r}: it has no method `{method}`. See docs/strategies.md.")
    return made


def _checked(what: str, factory: Factory, options: dict[str, Any]) -> dict[str, Any]:
    """The options, held against what a factory takes and its annotations of plain kinds."""
    parameters = _parameters(factory)
    if parameters is None:
        return options
    named = {p.name: p for p in parameters if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)}
    for name in options:
        if name in named or any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
            continue
        if name == "rates" and what.startswith(KINDS["select"]):
            raise ConfigError(
                f"Cannot set operators for {what}: it takes no `rates`. Give it a field `rates: OperatorRates`, or "
                "leave operators out."
            )
        expected = f"expected {', '.join(named)}" if named else "it takes none"
        raise ConfigError(f"Cannot use option {name!r} of {what}; {expected}.{suggest(str(name), named)}")
    for name, parameter in named.items():
        if parameter.default is Parameter.empty and name not in options:
            raise ConfigError(f"Cannot do without option {name!r} of {what}: it has no default. Add it to `options`.")
    return {n: _plain(what, n, v, named[n].annotation) if n in named else v for n, v in options.items()}


def _parameters(factory: Factory) -> list[Parameter] | None:
    """What it takes, its annotations read where they can be; None where Python cannot tell."""
    for reads in (True, False):
        with suppress(Exception):  # annotations are expressions of somebody else's
            return list(signature(factory, eval_str=reads).parameters.values())
    return None


def _plain(what: str, name: str, value: Any, annotation: Any) -> Any:
    """A value of the plain kind that is asked for, if one is."""
    hints = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    if len(wanted := [plain for plain in _PLAIN if plain in hints]) != 1 or (value is None and type(None) in hints):
        return value
    if wanted[0] is float and isinstance(value, str):  # YAML reads 1e-3 as a text
        with suppress(ValueError):
            return float(value)
    is_a = isinstance(value, (int, float) if wanted[0] is float else wanted[0])
    if not is_a or isinstance(value, bool) is not (wanted[0] is bool):
        raise ConfigError(f"Cannot use option {name} = {value!r} of {what}: expected {_PLAIN[wanted[0]]}.")
    return value


def offers(known: Iterable[str], method: str) -> list[Offer]:
    """Every strategy that can be named here, ours first, with what is wrong with those of other packages.

    It imports the packages.
    """
    found = [Offer(name=name) for name in sorted(known)]
    for name, entries in sorted(_entries(method).items()):
        for entry in entries:
            problem = "its name is that of a built-in one, which is taken" if name in known else ""
            try:
                _load(name, entries, method)
            except ConfigError as error:
                problem = problem or str(error)
            found.append(Offer(name=name, package=_package(entry), problem=problem))
    return found


def _factory(strategy: str, known: Mapping[str, Factory], method: str) -> Factory:
    what = f"{KINDS[method]} {strategy!r}"
    if ":" in strategy:
        return _import(strategy, method)
    if strategy in known:
        return known[strategy]
    entries = _entries(method)
    if strategy not in entries:
        names = sorted({*known, *entries})
        raise ConfigError(
            f"Cannot use {what}: expected one of {', '.join(names)}, or `module:Class` of your own."
            f"{suggest(strategy, names)}"
        )
    return _load(strategy, entries[strategy], method)


def _entries(method: str) -> dict[str, tuple[EntryPoint, ...]]:
    """What other packages offer, by name."""
    from importlib.metadata import entry_points  # 20 ms, for those who need it

    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=ENTRY_POINTS[method]):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def _load(name: str, entries: tuple[EntryPoint, ...], method: str) -> Factory:
    what = f"{KINDS[method]} {name!r}"
    if len({entry.value for entry in entries}) > 1:
        raise ConfigError(
            f"Cannot use {what}: {' and '.join(sorted(map(_package, entries)))} both offer one of that name. "
            f"Say which, such as {entries[0].value!r}."
        )
    hint = f" It is offered by {_package(entries[0])}: ask there, or uninstall it."
    return _loaded(what, entries[0].load, hint)


def _import(path: str, method: str) -> Factory:
    """A class of the user's own, by `module:Class`."""
    what, (module_name, _, name) = f"{KINDS[method]} {path!r}", path.partition(":")
    if not module_name or not name:
        raise ConfigError(f"Cannot use {what}: it names no class; expected `module:Class`.")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # code of somebody else's, which may raise anything while it is imported
        is_lost = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}.")
        hint = " Is it on PYTHONPATH, or in the folder you are in?" if is_lost else ""
        raise ConfigError(f"Cannot use {what}: {type(error).__name__}: {str(error).rstrip('.')}.{hint}") from None
    if not hasattr(module, name):
        own = sorted(n for n, found in vars(module).items() if _is_offered(found, module_name, method))
        there = f"; it has {', '.join(own)}" if own else ""
        raise ConfigError(
            f"Cannot use {what}: module {module_name!r} has no class {name!r}{there}.{suggest(name, own)}"
        )
    return _loaded(what, lambda: getattr(module, name))


def _is_offered(found: object, module: str, method: str) -> bool:
    return isinstance(found, type) and found.__module__ == module and hasattr(found, method)


def _loaded(what: str, load: Callable[[], Any], hint: str = "") -> Factory:
    try:
        factory = load()
    except Exception as error:  # as above
        raise ConfigError(f"Cannot use {what}: {type(error).__name__}: {str(error).rstrip('.')}.{hint}") from None
    if not callable(factory):
        raise ConfigError(f"Cannot use {what}: it is a {type(factory).__name__}; expected a class.{hint}")
    return factory  # type: ignore[no-any-return]


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
