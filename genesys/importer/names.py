"""Which names a text takes from outside itself, found without running it."""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from genesys.gau.published import class_definitions

KNOWN_NAMES = frozenset(
    {
        *("torch", "nn", "F", "Tensor", "Any", "Callable", "Dict", "List", "Optional", "Tuple", "Union"),
        *("GABBase", "GAUBase", "UnitDecl", "gau_test", "__name__", "__file__", "__doc__"),
    }
)
"""What the runtime gives every published text (`genesys.model.published`)."""


@dataclass(frozen=True, slots=True)
class Text:
    """A module's text with its syntax tree.

    Attributes:
        bound: Names that it binds at its top level.
        free: Names that it reads and neither binds nor finds among the builtins.
    """

    source: str
    module: ast.Module
    bound: frozenset[str]
    free: frozenset[str]


def read_text(source: str) -> Text:
    """Analyse a text.

    Raises:
        SyntaxError: It is not Python.
        ValueError: It holds null bytes or lone surrogates.
        RecursionError: It is nested too deeply.
    """
    module = ast.parse(source)
    top = symtable.symtable(source, "<published>", "exec")
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    bound -= set(_imported_from_design(module))
    read: set[str] = set()
    for table in _tables(top):
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                read.add(symbol.get_name())
            if symbol.is_declared_global() and symbol.is_assigned():
                bound.add(symbol.get_name())
    return Text(source, module, frozenset(bound), frozenset(read - bound - vars(builtins).keys() - KNOWN_NAMES))


def unit_class(text: Text, name: str) -> str | None:
    """The class that a unit's text is about: its namesake, or the last that derives from the published base, or the
    last module class of all."""
    classes = {cls.name: [ast.unparse(base).rpartition(".")[2] for base in cls.bases]
               for cls in class_definitions(text.module)}  # fmt: skip
    if name in classes:
        return name
    for wanted in ({"GAUBase"}, {"GABBase"}, {"Module"}):
        found = [cls for cls, bases in classes.items() if wanted & set(bases)]
        if found:
            return found[-1]
    return None


def called_as_units(text: Text) -> frozenset[str]:
    """Names that the text calls with `kwarg_all=`, as only units are called."""
    calls = (node for node in ast.walk(text.module) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    return frozenset(c.func.id for c in calls if isinstance(c.func, ast.Name)
                     and any(keyword.arg == "kwarg_all" for keyword in c.keywords))  # fmt: skip


def borrow(names: frozenset[str], others: Mapping[str, Text]) -> tuple[str, ...]:
    """Definitions of `names` in other units' texts, each after those that it needs itself."""
    found: dict[str, str] = {}
    sought: set[str] = set()

    def look(name: str) -> None:
        if name in sought:
            return
        sought.add(name)
        for text in others.values():
            definition = _definition(text, name)
            if definition is not None:
                for needed in sorted(read_text(definition).free):
                    look(needed)
                found[name] = definition
                return

    for name in sorted(names):
        look(name)
    return tuple(dict.fromkeys(found.values()))


def _definition(text: Text, name: str) -> str | None:
    """The top-level statement that binds a name, with its decorators."""
    for statement in text.module.body:
        if name in _bound_by(statement):
            lines = text.source.split("\n")
            decorators = getattr(statement, "decorator_list", [])
            first = min([statement.lineno, *(d.lineno for d in decorators)])
            return "\n".join(lines[first - 1 : statement.end_lineno])
    return None


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=aliases):
            yield from (a.asname or a.name.partition(".")[0] for a in aliases)
        case ast.ImportFrom(names=aliases, module=module) if module != "__future__":
            yield from (a.asname or a.name for a in aliases)
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
            yield name


def _imported_from_design(module: ast.Module) -> Iterator[str]:
    """Names that a text imports from the published package or relatively: other units, for all that can be known."""
    imports = (statement for statement in module.body if isinstance(statement, ast.ImportFrom))
    for statement in imports:
        if statement.level or (statement.module or "").partition(".")[0] == "model_discovery":
            yield from (alias.asname or alias.name for alias in statement.names)


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)
