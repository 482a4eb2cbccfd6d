"""Runs a SymPy program: an entry for `Cage.run`, never to be called outside one."""

from __future__ import annotations

import ast
import contextlib
import io
from collections.abc import Mapping
from typing import Any

DERIVE_ENTRY = "genesys.agents.derive:run"
MAX_OUTPUT = 4096
_MODULES = frozenset({"math", "sympy"})


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run `request["program"]` with `sympy` and `math` at hand.

    Which modules it imports is looked at to give a clear answer; what it may do, the cage decides.

    Returns:
        `{"output"}`: what it printed, its last expression's value and its exception, cut to 4 kB.
    """
    out = _Cut()
    with contextlib.redirect_stdout(out):
        try:
            _execute(request["program"])
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # generated code may raise anything, SystemExit too
            out.write(f"{type(error).__name__}: {error}\n")
    return {"output": out.getvalue() or "The program printed nothing."}


def _execute(program: str) -> None:
    import math

    import sympy  # type: ignore[import-untyped]

    tree = ast.parse(program)
    for name in _imports(tree):
        if name.partition(".")[0] not in _MODULES:
            raise ImportError(f"import of {name!r}; expected sympy and math only")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    names = {"__name__": "__main__", "sympy": sympy, "math": math}
    exec(compile(tree, "<program>", "exec"), names)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), "<program>", "eval"), names)
        if value is not None:
            print(value)


def _imports(tree: ast.AST) -> list[str]:
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append("." if node.level else node.module or ".")
    return found


class _Cut(io.StringIO):
    """Keeps the first characters written; a program that prints without end fills no memory."""

    def write(self, text: str, /) -> int:
        super().write(text[: max(0, MAX_OUTPUT - self.tell())])
        return len(text)
