"""The runtime of units in the published convention: their base class, and an adapter to our contract.

Needs torch and the standard library only, because exports embed its text (below that of `gam.py` and `stand_ins.py`).
The convention: `Name(embed_dim, block_loc, kwarg_all, device=None, dtype=None, **hyperparameters)` builds a unit,
`unit(X, **Z)` gives (Y, Z) with what the unit wrote, and of Z only the names in `_forward`'s signature arrive there.
Children stand in slots named as their classes. Between published units the convention stays as it is, so that a child
which overrides `forward` is called as its author meant; our contract begins at the adapter.
"""

from __future__ import annotations

import builtins
import hashlib
import inspect
import linecache
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genesys.gau.published import ABSENT_MODULES
from genesys.model.gam import Context
from genesys.model.stand_ins import StandIn, importer

_under_construction: list[Context] = []  # contexts of the published units whose constructors run right now


class GAUBase(nn.Module):
    """The base class of published units."""

    def __init__(
        self,
        embed_dim: int | None = None,
        block_loc: tuple[int, int] = (0, 2),
        kwarg_all: dict[str, Any] | None = None,
        **unused: object,
    ) -> None:
        super().__init__()
        self.embed_dim, self.block_loc = embed_dim, block_loc
        self.kwarg_all = {} if kwarg_all is None else kwarg_all

    def _forward(self, X: Tensor, **Z: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no _forward")

    def forward(self, X: Tensor, **Z: Any) -> tuple[Tensor, dict[str, Any]]:
        names, _ = _parameters(type(self)._forward)
        Y, written = _split(self._forward(X, **{name: value for name, value in Z.items() if name in names}))
        return Y, {**Z, **written}


class UnitDecl:
    """A declaration of a child in a published text; nothing reads it."""

    def __init__(self, *args: object, **fields: object) -> None:
        self.__dict__.update(fields)


def gau_test(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a test of a published unit; it stays a plain function."""
    return function


class PublishedUnit(nn.Module):
    """A published unit seen by our contract: `(X, Z) -> (Y, dZ)`."""

    original: type[nn.Module]
    slots: Mapping[str, str] = {}
    writes: tuple[str, ...] = ()
    declared_writes: frozenset[str] = frozenset()  # set by the model, `writes` with "*" spelt out

    def __init__(self, d: int, ctx: Context, **hyperparameters: Any) -> None:
        super().__init__()
        args, kwargs = ctx.call or ((), _first_call(self.original, d, ctx))
        kwargs = {**kwargs, **hyperparameters}
        kwargs |= _missing(self.original, ctx, len(args), kwargs)
        with _constructing(ctx):
            self.unit = self.original(*args, **kwargs)

    def forward(self, X: Tensor, Z: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        cls = type(self.unit)
        names, takes_all = _parameters(cls.forward if cls.__call__ is nn.Module.__call__ else cls.__call__)
        given = {name: value for name, value in Z.items() if takes_all or name in names}
        Y, written = _split(self.unit(X, **given))
        new = {name: value for name, value in written.items() if value is not Z.get(name)}
        return Y, {name: value for name, value in new.items() if name in self.declared_writes}


class _Bridge(GAUBase):
    """One of our units as the child of a published one."""

    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, X: Tensor, **Z: Any) -> tuple[Tensor, dict[str, Any]]:
        Y, written = self.unit(X, Z)
        return Y, {**Z, **written}


class _Child:
    """The name of a child's class in its parent's text: called in a constructor, it gives the unit in that slot."""

    def __init__(self, slot: str) -> None:
        self.slot = self.__name__ = self.__qualname__ = slot

    def __call__(self, *args: Any, **kwargs: Any) -> nn.Module:
        if not _under_construction:
            raise RuntimeError(f"Cannot build child {self.slot!r}: no constructor is running. Build it in __init__.")
        width = kwargs.get("embed_dim", args[0] if args else None)
        call = (args, kwargs)
        unit = _under_construction[-1].child(self.slot, width if isinstance(width, int) else None, call=call)
        return unit.unit if isinstance(unit, PublishedUnit) else _Bridge(unit)

    def __instancecheck__(self, thing: object) -> bool:
        return type(thing).__name__ == self.slot


class Arguments(dict[str, Any]):
    """The `kwarg_all` of a block: what units set in it; read, also the value that any unit of the block has.

    Only what was set is passed on by `**kwarg_all`, so that two units with one name for different values keep their own.
    """

    def __init__(self, of_units: Mapping[str, Any]) -> None:
        super().__init__()
        self._of_units = of_units

    def __missing__(self, name: str) -> Any:
        return self._of_units[name]

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._of_units

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401


def published_class(
    source: str,
    *,
    name: str,
    slots: tuple[str, ...] = (),
    writes: tuple[str, ...] = (),
    borrowed: tuple[str, ...] = (),
    filename: str = "",
) -> type[PublishedUnit]:
    """Run a published text in a module of its own and give its class behind an adapter.

    Args:
        slots: Names that stand for children in the text.
        borrowed: Definitions that run before the text.
        filename: Shown in tracebacks.

    Raises:
        Exception: Whatever the text raises.
    """
    digest = hashlib.sha256(source.encode()).hexdigest()
    module = ModuleType(f"genesys_unit_{digest[:16]}")
    filename = filename or f"<unit {name} {digest[:8]}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    sys.modules[module.__name__] = module  # dataclasses and torch look a class's module up by its name
    children = {slot: _Child(slot) for slot in slots}
    serve = importer(source, {"model_discovery": _BASE_MODULE}, ABSENT_MODULES)
    module.__dict__.update(_KNOWN_NAMES, **children, __builtins__={**vars(builtins), "__import__": serve})
    for number, text in enumerate(borrowed):
        exec(compile(text, f"<borrowed {number} of {name}>", "exec"), module.__dict__)
    exec(compile(source, filename, "exec"), module.__dict__)
    module.__dict__.update(children)  # a star import may have put another class there
    original = module.__dict__[name]
    assert isinstance(original, type) and issubclass(original, nn.Module), f"unit {name!r} is not an nn.Module"
    body = {"original": original, "slots": dict.fromkeys(slots, ""), "writes": writes, "__doc__": original.__doc__}
    return type(name, (PublishedUnit,), body)


def _first_call(cls: type[nn.Module], d: int, ctx: Context) -> dict[str, Any]:
    """The arguments for a unit that no published parent builds. One block counts as the first of two, since texts
    divide by `n_blocks - 1`."""
    names, takes_all = _parameters(cls.__init__)
    place = (ctx.block_index, max(ctx.n_blocks, 2))
    call = {"embed_dim": d, "block_loc": place, "kwarg_all": Arguments(_of_units(ctx)), "device": None, "dtype": None}
    return {name: value for name, value in call.items() if takes_all or name in names}


def _missing(cls: type[nn.Module], ctx: Context, n_positional: int, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Values for arguments without default that the call leaves out, from the units of the block that have one."""
    named = list(inspect.signature(cls.__init__).parameters.values())[1 + n_positional :]
    required = [p.name for p in named if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    lacking = [name for name in required if name not in kwargs]
    values = _of_units(_under_construction[0] if _under_construction else ctx) if lacking else {}
    return {name: values[name] for name in lacking if name in values}


def _of_units(ctx: Context) -> dict[str, Any]:
    """Every hyperparameter of this unit and of all below it; the first unit that has a name decides."""
    values: dict[str, Any] = {}
    for cls, chosen in ctx.units_below():
        published = getattr(cls, "original", None)
        own = _defaults(published.__init__) if published is not None else {}
        values = {**own, **chosen, **values}
    return values


@contextmanager
def _constructing(ctx: Context) -> Iterator[None]:
    _under_construction.append(ctx)
    try:
        yield
    finally:
        _under_construction.pop()


def _split(output: Any) -> tuple[Tensor, dict[str, Any]]:
    Y, written = output if isinstance(output, tuple) else (output, None)
    return Y, written or {}


@lru_cache(maxsize=1024)
def _parameters(function: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """The names of a function's parameters, and whether it takes any keyword."""
    parameters = inspect.signature(function).parameters.values()
    named = frozenset(p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in ("device", "dtype")}


_BASE_MODULE = StandIn(
    "model_discovery",
    {"GABBase": GAUBase, "GAUBase": GAUBase, "UnitDecl": UnitDecl, "UnitSpec": UnitDecl, "gau_test": gau_test},
    ("model", "modules", "utils"),
)
_KNOWN_NAMES = {
    **{name: getattr(typing, name) for name in ("Any", "Callable", "Dict", "List", "Optional", "Tuple", "Union")},
    **{"torch": torch, "nn": nn, "F": F, "Tensor": Tensor},
    **{"GABBase": GAUBase, "GAUBase": GAUBase, "UnitDecl": UnitDecl, "gau_test": gau_test},
}
"""Names that a published text finds even where it forgot to import them, since its design was one file."""
