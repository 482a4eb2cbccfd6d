"""Read a unit's interface from its source text, without running it."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from functools import lru_cache
from textwrap import indent
from typing import Any

from genesys.errors import Finding, UnitError
from genesys.gau.published import default_value, is_published, read_published
from genesys.gau.unit import (
    KINDS,
    Hyperparameter,
    Kind,
    Slot,
    TiedOver,
    Unit,
    normalise_source,
)

_HINTS = {
    "kind": 'Write a class attribute such as `kind = "mixer"`; known kinds: ' + ", ".join(KINDS) + ".",
    "docstring": "Say in a docstring what the unit computes, its shapes, its complexity and its source.",
    "names": 'Write a tuple of literal names, such as `reads = ("state", "mask?")`.',
    "slots": 'Write `slots = {"inner": {"doc": "what it is for", "accepts": ("mixer",)}}`.',
    "init": "Write `def __init__(self, d: int, ctx, *, name: type = default)`.",
}


@lru_cache(maxsize=4096)
def parse_unit(source: str) -> Unit:
    """Parse one unit.

    Args:
        source: Python text with exactly one class that has a `kind` attribute; or a text in the published
            convention, with the line below it that `genesys.gau.published` describes.

    Raises:
        UnitError: The text is not a unit; every finding names the line and the cure.
    """
    text = normalise_source(source)
    try:
        module = ast.parse(text)
    except SyntaxError as error:
        raise UnitError(
            [_finding("syntax", "", error.lineno, error.msg, "valid Python", "Correct the syntax.")]
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes, surrogates, endless nesting
        raise UnitError([_finding("syntax", "", None, str(error), "valid Python", "Correct the syntax.")]) from None
    if is_published(text):
        return read_published(text, module)
    if "\f" in text or "\\\n" in text:
        _check_tokens(text)
    classes = [c for c in module.body if isinstance(c, ast.ClassDef) and _attribute(c, "kind") is not None]
    if len(classes) != 1:
        names = ", ".join(c.name for c in classes) or "none"
        raise UnitError([_finding("one-unit", "", None, f"unit classes: {names}", "exactly one", _HINTS["kind"])])
    reader = _ClassReader(classes[0])
    unit = reader.read(text)
    if reader.findings:
        raise UnitError(reader.findings)
    return unit


def _check_tokens(text: str) -> None:
    """Refuse what the module `tokenize`, by which units are composed, may read otherwise than the compiler does: form feeds,
    and some lines that a backslash continues, as they stand or indented."""
    reason, line = "a form feed", text[: text.find("\f")].count("\n") + 1
    if "\f" not in text:
        try:
            for form in (text, "def _():\n" + indent(text, "    ")):
                list(tokenize.generate_tokens(io.StringIO(form).readline))
            return
        except (SyntaxError, tokenize.TokenError) as error:
            reason, line = str(error.args[0]), getattr(error, "lineno", None) or 1
    finding = _finding("syntax", "", line, reason, "lines that every tokenizer reads alike",
                       "Write no form feed, and continue lines by brackets.")  # fmt: skip
    raise UnitError([finding]) from None


class _ClassReader:
    """Collects the declarations of one class, and a finding for each that is malformed."""

    def __init__(self, cls: ast.ClassDef) -> None:
        self.cls = cls
        self.findings: list[Finding] = []

    def read(self, text: str) -> Unit:
        return Unit(
            source=text,
            name=self.cls.name,
            doc=self._doc(),
            kind=self._kind(),
            slots=tuple(self._slots()),
            reads=self._names("reads"),
            writes=self._names("writes"),
            hyperparameters=tuple(self._hyperparameters()),
            pointwise=bool(self._literal("pointwise", default=False)),
        )

    def _complain(self, rule: str, line: int | None, measured: str, required: str, hint: str = "") -> None:
        self.findings.append(_finding(rule, self.cls.name, line, measured, required, hint or _HINTS[rule]))

    def _doc(self) -> str:
        doc = ast.get_docstring(self.cls) or ""
        if not doc:
            self._complain("docstring", self.cls.lineno, "no docstring", "what it computes, shapes, complexity, source")
        return doc

    def _literal(self, name: str, default: object) -> object:
        value = _attribute(self.cls, name)
        if value is None:
            return default
        try:
            return ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            self._complain(
                "literal", value.lineno, f"`{name} = {ast.unparse(value)}`", "a literal", "Write the value out."
            )
            return default

    def _kind(self) -> Kind:
        value = self._literal("kind", default="block")
        for kind in KINDS:
            if value == kind:
                return kind
        self._complain("kind", self.cls.lineno, f"kind {value!r}", "one of " + ", ".join(KINDS), _HINTS["kind"])
        return "block"

    def _names(self, attribute: str) -> tuple[str, ...]:
        value = self._literal(attribute, default=())
        if isinstance(value, (tuple, list)) and all(isinstance(name, str) for name in value):
            return tuple(value)
        self._complain("names", self.cls.lineno, f"{attribute} = {value!r}", "a tuple of names")
        return ()

    def _slots(self) -> Iterator[Slot]:
        value = self._literal("slots", default={})
        if not isinstance(value, dict):
            self._complain(
                "slots", self.cls.lineno, f"slots = {value!r}", "a dictionary from slot name to its description"
            )
            return
        for name, declared in value.items():
            entry = {"doc": declared} if isinstance(declared, str) else declared
            if not isinstance(name, str) or not name.isidentifier() or not isinstance(entry, dict):
                self._complain(
                    "slots", self.cls.lineno, f"{name!r}: {declared!r}", "an identifier, and a text or dictionary"
                )
                continue
            unknown = set(entry) - {"doc", "accepts", "tied"}
            accepts: Any = entry.get("accepts", ())
            accepts = (accepts,) if isinstance(accepts, str) else accepts
            are_kinds = isinstance(accepts, (tuple, list)) and all(kind in KINDS for kind in accepts)
            tied: TiedOver = entry.get("tied", "")
            if unknown or not are_kinds or tied not in ("", "instances", "blocks"):
                self._complain(
                    "slots", self.cls.lineno, f"slot {name!r}: {entry!r}", "keys doc, accepts (known kinds), tied",
                    'tied is "instances" or "blocks"; kinds are ' + ", ".join(KINDS) + ".",
                )  # fmt: skip
                continue
            yield Slot(name=name, doc=str(entry.get("doc", "")), accepts=tuple(accepts), tied=tied)

    def _hyperparameters(self) -> Iterator[Hyperparameter]:
        init = next((f for f in self.cls.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
        if init is None:
            self._complain("init", self.cls.lineno, "no __init__", "__init__(self, d, ctx, *, ...)", _HINTS["init"])
            return
        positional = [a.arg for a in init.args.posonlyargs + init.args.args]
        if positional != ["self", "d", "ctx"] or init.args.vararg or init.args.kwarg:
            self._complain(
                "init",
                init.lineno,
                f"__init__({ast.unparse(init.args)})",
                "self, d, ctx, then keywords",
                _HINTS["init"],
            )
        for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
            if default is None or argument.annotation is None:
                self._complain(
                    "hyperparameter", argument.lineno, f"`{argument.arg}` without type or default",
                    "a type and a default", "Write `name: type = default`.",
                )  # fmt: skip
                continue
            yield Hyperparameter(
                name=argument.arg, annotation=ast.unparse(argument.annotation), default=default_value(default)
            )


def _attribute(cls: ast.ClassDef, name: str) -> ast.expr | None:
    for statement in cls.body:
        if isinstance(statement, ast.Assign):
            targets = [t.id for t in statement.targets if isinstance(t, ast.Name)]
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            targets = [statement.target.id]
        else:
            continue
        if name in targets:
            return statement.value
    return None


def _finding(rule: str, unit: str, line: int | None, measured: str, required: str, hint: str) -> Finding:
    return Finding(rule=rule, unit=unit, line=line, measured=measured, required=required, hint=hint)
