"""Values of frozen dataclasses, made in a third of the time: a replay makes millions of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, field, fields, make_dataclass
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


def maker(cls: Callable[P, T], *, tuples: tuple[str, ...] = ()) -> Callable[P, T]:
    """What makes values of a frozen dataclass with slots, as its constructor does; fields may also be given by position.

    A frozen class sets each of its fields by a call. Here a value is filled as one of an open class with the same slots,
    and becomes one of `cls` before anybody has it.

    Args:
        cls: Has no `__post_init__`: it would not be called.
        tuples: Fields that are given as lists.
    """

    def close(value: Any) -> None:
        for name in tuples:
            setattr(value, name, tuple(getattr(value, name)))
        value.__class__ = cls

    specs = [
        (f.name, f.type, field() if _is_required(f) else field(default=f.default, default_factory=f.default_factory))
        for f in fields(cast(Any, cls))
    ]
    opened = make_dataclass(cls.__name__, specs, namespace={"__post_init__": close}, slots=True, eq=False)
    return cast(Callable[P, T], opened)


def _is_required(found: Any) -> bool:
    return found.default is MISSING and found.default_factory is MISSING
