"""A design with all that does not matter taken out: equal normal forms are the same program.

Out go comments, layout, docstrings, annotations, tests, the names of units, of helpers and of local variables, how an
import is spelled, and whether a hyperparameter's value is written in the tree or is the text's default. Everything else
stays, and what the renaming cannot be sure of stays too: unequal forms may still compute the same.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import lru_cache

from genesys.gau.published import default_value
from genesys.gau.tree import UnitTree
from genesys.gau.unit import CONTRACT_VERSION, Expression, Unit, Value

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def normal_form(tree: UnitTree) -> str:
    """SHA-256 of a design's normal form: its units' forms, bindings, hyperparameters and the contract version."""
    text = json.dumps([CONTRACT_VERSION, *form_lines(tree)])
    return hashlib.sha256(text.encode()).hexdigest()


def form_lines(tree: UnitTree, slot: str = "") -> Iterator[str]:
    """The normal form in lines, place by place; equal for two trees exactly when their forms are."""
    yield f"{slot}: {{"
    yield from (f"| {line}" for line in unit_form(tree.unit))
    for name, value in sorted(tree.resolved().items()):
        yield f"{name} = {value_text(value)}"
    for name, child in tree.children:
        yield from form_lines(child, name)
    yield "}"


def value_text(value: Value) -> str:
    """A hyperparameter's value in one spelling, distinct for distinct values."""
    return f"expression {value.text}" if isinstance(value, Expression) else repr(value)


@lru_cache(maxsize=4096)
def unit_form(unit: Unit) -> tuple[str, ...]:
    """A unit's text in normal form, a line for each simple statement; the text itself where Python cannot write it anew."""
    try:
        return tuple(ast.unparse(_normalised(unit)).split("\n"))
    except (ValueError, RecursionError):
        return tuple(unit.source.split("\n"))


def _normalised(unit: Unit) -> ast.AST:
    module = ast.parse(unit.source)
    if unit.published is not None:  # such a text calls its children by their classes' names
        module.body.append(ast.Expr(ast.Constant(unit.source.rstrip("\n").rpartition("\n")[2])))
        return module
    _Stripped(unit.name).visit(module)
    origins, read = _import_origins(module), _read(module)
    module.body = [s for s in module.body if not (_is_idle_import(s, origins) or _is_unread_test(s, read))]
    return ast.fix_missing_locations(_Renamed(module, origins).visit(module))


class _Stripped(ast.NodeTransformer):
    """Without docstrings, annotations of arguments, documentation of slots, and literal defaults of hyperparameters."""

    def __init__(self, unit: str) -> None:
        self._unit = unit

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(body := getattr(node, "body", None), list):
            left: list[ast.stmt] = [s for s in body if not (isinstance(s, ast.Pass) or _is_constant(s))]
            node.body = left or ([] if isinstance(node, ast.Module) else [ast.Pass()])  # type: ignore[attr-defined]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        for statement in node.body if node.name == self._unit else ():
            if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
                statement.args.kw_defaults = [_if_computed(default) for default in statement.args.kw_defaults]
            elif isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "slots":
                statement.value = _undocumented(statement.value)
        return self.generic_visit(node)


class _Renamed(ast.NodeTransformer):
    """Names bound in the text numbered by first use: `%` where the whole text sees them, `$` in one function or method.

    One injective renaming keeps what is bound to what. A name stays if more than its bindings could know it: as a keyword,
    in a string, as an attribute of a class, in a statement that spells it out.
    """

    def __init__(self, module: ast.Module, origins: dict[str, str]) -> None:
        self._origins = origins
        self._fixed = _fixed_names(module) | origins.keys()
        outside = [node for statement in module.body for node in _outside_of_functions(statement)]
        self._shared = dict.fromkeys(sorted(_bound(outside) - self._fixed), "")
        self._local: dict[str, str] | None = None

    def visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, _FUNCTIONS) or self._local is not None:
            visited: ast.AST = super().visit(node)
            return visited
        inside = _bound(n for n in ast.walk(node) if n is not node)
        self._local = dict.fromkeys(sorted(inside - self._fixed - self._shared.keys()), "")
        visited = super().visit(node)
        self._local = None
        return visited

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._origins.get(node.id) or self._new_name(node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg = self._new_name(node.arg)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._new_name(node.name)
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = self._new_name(node.name)
        return self.generic_visit(node)

    def _new_name(self, name: str) -> str:
        for names, mark in ((self._shared, "%"), (self._local or {}, "$")):
            if name in names:
                names[name] = names[name] or f"{mark}{sum(map(bool, names.values()))}"
                return names[name]
        return name


def _is_constant(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _if_computed(default: ast.expr | None) -> ast.expr:
    """A default that the tree does not hold as a value."""
    is_computed = default is not None and isinstance(default_value(default), Expression)
    return default if default is not None and is_computed else ast.Constant(...)


def _undocumented(slots: ast.expr) -> ast.expr:
    """The declaration of slots without their documentation, which is a slot's bare text or stands under `doc`."""
    if not isinstance(slots, ast.Dict):
        return slots
    return ast.Dict(slots.keys, [_without_doc(declared) for declared in slots.values])


def _without_doc(declared: ast.expr) -> ast.expr:
    if not isinstance(declared, ast.Dict):
        return ast.Constant("")
    pairs = zip(declared.keys, declared.values, strict=True)
    kept = [(key, value) for key, value in pairs if not (isinstance(key, ast.Constant) and key.value == "doc")]
    return ast.Dict([key for key, _ in kept], [value for _, value in kept])


def _import_origins(module: ast.Module) -> dict[str, str]:
    """What the module's own imports bind, by the full names; without names that are bound in another way too."""
    origins: dict[str, set[str]] = {}
    for statement in ast.walk(module):
        own = statement in module.body
        for alias in statement.names if isinstance(statement, (ast.Import, ast.ImportFrom)) else ():
            name = alias.asname or alias.name.partition(".")[0]
            origin = alias.name if alias.asname else name
            if isinstance(statement, ast.ImportFrom):
                origin = f"{statement.module}.{alias.name}"
            origins.setdefault(name, set()).add(origin if own and alias.name != "*" else "")
    taken = _bound(ast.walk(module)) | {"*"}
    return {
        name: min(found) for name, found in origins.items() if len(found) == 1 and "" not in found and name not in taken
    }


def _is_idle_import(statement: ast.stmt, origins: dict[str, str]) -> bool:
    """Whether all that an import binds is known by its full name."""
    if not isinstance(statement, (ast.Import, ast.ImportFrom)):
        return False
    return all((alias.asname or alias.name.partition(".")[0]) in origins for alias in statement.names)


def _is_unread_test(statement: ast.stmt, read: set[str]) -> bool:
    if not isinstance(statement, ast.FunctionDef):
        return False
    return statement.name.startswith("test_") and statement.name not in read


def _read(module: ast.Module) -> set[str]:
    return {n.id for n in ast.walk(module) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _outside_of_functions(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it that stands in the scope of the module."""
    yield node
    if not isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.Lambda)):
        for child in ast.iter_child_nodes(node):
            yield from _outside_of_functions(child)


def _bound(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that nodes bind, as far as they can be renamed."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            found.add(node.name)
    return found


def _fixed_names(module: ast.Module) -> set[str]:
    """Names that are known by more than their bindings, and those of Python."""
    fixed = set(dir(builtins))
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            fixed |= _bound(n for s in node.body for n in _outside_of_functions(s))
        elif isinstance(node, ast.arguments):
            fixed |= {a.arg for a in node.kwonlyargs}
        elif isinstance(node, ast.Constant):
            fixed |= {node.value} if isinstance(node.value, str) else set()
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            fixed |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif not isinstance(node, (ast.Name, ast.arg, *_FUNCTIONS)):
            fixed |= _spelled(node)
    return fixed


def _spelled(node: ast.AST) -> set[str]:
    """Names in a node's own fields: a keyword's, an exception's, those of `global`."""
    found = [value for name, value in ast.iter_fields(node) if name in ("arg", "name", "names", "rest")]
    return {
        name for value in found for name in (value if isinstance(value, list) else [value]) if isinstance(name, str)
    }
