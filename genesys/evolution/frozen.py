"""Values of frozen dataclasses, made in a quarter of the time: a replay makes millions of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


def maker(cls: Callable[P, T], *, tuples: tuple[str, ...] = ()) -> Callable[P, T]:
    """What makes values of a frozen dataclass with slots, as its constructor does; fields may also be given by position.

    A frozen class sets each of its fields by a call. Here a value is filled as one of an open class with the same slots,
    and becomes one of `cls` before anybody has it. The function is written out and compiled, as `dataclasses` does it.

    Args:
        cls: Has no `__post_init__`: it would not be called.
        tuples: Fields that are given as lists.
    """
    found = fields(cast(Any, cls))
    opened = type(cls.__name__, (), {"__slots__": tuple(f.name for f in found)})
    known: dict[str, Any] = {"_cls": cls, "_new": opened.__new__, "_opened": opened, "_missing": MISSING}
    parameters, body = [], ["_value = _new(_opened)"]
    for f in found:
        given, default = f.name, f"_default_{f.name}"
        if f.default_factory is not MISSING:
            known[default], given = f.default_factory, f"{default}() if {f.name} is _missing else {f.name}"
            parameters.append(f"{f.name}=_missing")
        elif f.default is not MISSING:
            known[default] = f.default
            parameters.append(f"{f.name}={default}")
        else:
            parameters.append(f.name)
        body.append(f"_value.{f.name} = " + (f"tuple({given})" if f.name in tuples else given))
    body += ["_value.__class__ = _cls", "return _value"]
    exec(f"def make({', '.join(parameters)}):\n " + "\n ".join(body), known)
    return cast(Callable[P, T], known["make"])
