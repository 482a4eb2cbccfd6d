"""Units in the published convention: foreign texts that keep their own base class, read by a line below them.

Such a unit is `class Name(GAUBase)` with `_forward(self, X, **Z)`; it builds its children by their class names. Its
author's text stands unchanged; the last line, a comment, says what our contract's class attributes would say:

    # genesys-published: {"class": "Name", "kind": "mixer", "reads": [], "slots": ["Rotary"], "writes": ["*"]}

A slot is named as the class that the text calls. `borrowed` holds definitions of other units of the same design that
the text uses, since the published format put all units of a design into one file.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import Any

from genesys.errors import Finding, UnitError
from genesys.gau.unit import KINDS, Expression, Hyperparameter, Kind, Published, Slot, Unit, Value, freeze

PUBLISHED_MARK = "# genesys-published: "
ABSENT_MODULES = frozenset(
    ("apex", "bitsandbytes", "causal_conv1d", "deepspeed", "fla", "flash_attn", "liger_kernel", "mamba_ssm", "triton")
)
"""Packages that a published text may import and that are then not there, as on a machine without CUDA."""
PUBLISHED_MODULES = ABSENT_MODULES | {
    *("abc", "copy", "enum", "inspect", "itertools", "logging", "model_discovery", "numbers", "time"),
    *("torchtune", "transformers", "typing_extensions", "warnings"),
}
"""Modules that a published text may import besides those that every unit may."""
_BASE_ARGUMENTS = frozenset({"self", "embed_dim", "block_loc", "kwarg_all", "device", "dtype"})


def is_published(text: str) -> bool:
    """Whether a normalised text ends with the line that marks the published convention."""
    return text.rstrip("\n").rpartition("\n")[2].startswith(PUBLISHED_MARK)


def published_text(
    source: str,
    *,
    name: str,
    kind: Kind,
    slots: tuple[str, ...] = (),
    reads: tuple[str, ...] = (),
    writes: tuple[str, ...] = (),
    borrowed: tuple[str, ...] = (),
) -> str:
    """An author's text with the line below it that makes it a unit; the author's lines keep their numbers."""
    interface: dict[str, Any] = {"class": name, "kind": kind, "reads": reads, "slots": slots, "writes": writes}
    if borrowed:
        interface["borrowed"] = borrowed
    return f"{source.rstrip()}\n\n{PUBLISHED_MARK}{json.dumps(interface, sort_keys=True)}\n"


def read_published(text: str, module: ast.Module) -> Unit:
    """Read a published unit from its text and the syntax tree of that text.

    Raises:
        UnitError: The last line is malformed, or names a class that the text does not define.
    """
    interface = _interface(text.rstrip("\n").rpartition("\n")[2].removeprefix(PUBLISHED_MARK))
    name = interface["class"]
    cls = next((c for c in class_definitions(module) if c.name == name), None)
    if cls is None:
        raise _malformed(f"no class {name!r} in the text", "the class that the last line names")
    return Unit(
        source=text,
        name=name,
        doc=ast.get_docstring(cls) or "",
        kind=interface["kind"],
        slots=tuple(Slot(name=slot) for slot in interface["slots"]),
        reads=tuple(interface["reads"]),
        writes=tuple(interface["writes"]),
        hyperparameters=tuple(_hyperparameters(cls)),
        published=Published(borrowed=tuple(interface.get("borrowed", ()))),
    )


def class_definitions(module: ast.Module) -> Iterator[ast.ClassDef]:
    """The classes of a module, also those that stand in an `if` or a `try`."""
    waiting: list[ast.stmt] = list(module.body)
    while waiting:
        statement = waiting.pop(0)
        if isinstance(statement, ast.ClassDef):
            yield statement
        elif isinstance(statement, (ast.If, ast.Try)):
            waiting = [*statement.body, *statement.orelse, *waiting]
            if isinstance(statement, ast.Try):
                waiting = [*(s for handler in statement.handlers for s in handler.body), *waiting]


def method(cls: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    """The method of that name that the class itself defines."""
    return next((f for f in cls.body if isinstance(f, ast.FunctionDef) and f.name == name), None)


def default_value(expression: ast.expr | None) -> Value:
    """The default's value; None for an argument that has none, the author's text for what is no plain literal."""
    if expression is None:
        return None
    try:
        return freeze(ast.literal_eval(expression))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return Expression(ast.unparse(expression))


def _interface(text: str) -> dict[str, Any]:
    try:
        interface = json.loads(text)
    except (ValueError, RecursionError):
        interface = None
    if not isinstance(interface, dict):
        raise _malformed(text[:80], "a JSON object")
    if not isinstance(interface.get("class"), str) or interface.get("kind") not in KINDS:
        raise _malformed(text[:80], "a class name and a known kind")
    for key in ("slots", "reads", "writes", "borrowed"):
        names = interface.setdefault(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _malformed(f"{key} = {names!r}"[:80], "a list of texts")
    if not all(slot.isidentifier() for slot in interface["slots"]):
        raise _malformed(f"slots = {interface['slots']!r}"[:80], "identifiers")
    return interface


def _hyperparameters(cls: ast.ClassDef) -> Iterator[Hyperparameter]:
    init = method(cls, "__init__")
    if init is None:
        return
    positional = init.args.posonlyargs + init.args.args
    missing: list[ast.expr | None] = [None] * (len(positional) - len(init.args.defaults))
    defaults = [*missing, *init.args.defaults, *init.args.kw_defaults]
    for argument, default in zip([*positional, *init.args.kwonlyargs], defaults, strict=True):
        if argument.arg not in _BASE_ARGUMENTS:
            annotation = ast.unparse(argument.annotation) if argument.annotation else "Any"
            yield Hyperparameter(name=argument.arg, annotation=annotation, default=default_value(default))


def _malformed(measured: str, required: str) -> UnitError:
    hint = "Write the last line as `genesys import` does."
    return UnitError([Finding(rule="published-line", measured=measured, required=required, hint=hint)])
