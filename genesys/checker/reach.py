"""What a unit's text reaches for beyond tensor computation, read without running it. Standard library only.

A guard for honest reports, not for the host: a text that gets past these rules still runs in the cage. They keep out what would
make the later stages lie (patched modules, hooks, gradients of one's own, state of the process) and name it precisely.
Names are followed through imports and plain assignments, no further; what cannot be followed is rejected as computed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

from genesys.checker.rules import RULES
from genesys.errors import Finding
from genesys.gau import Unit

FORBIDDEN_CALLS = frozenset(
    {"breakpoint", "compile", "delattr", "eval", "exec", "exit", "globals", "hash", "id", "input", "locals", "memoryview",
     "open", "quit", "vars", "__import__"}
)  # fmt: skip
SPECIAL_NAMES = frozenset(
    {"__init__", "__name__", "__doc__", "__call__", "__len__", "__iter__", "__getitem__", "__contains__", "__post_init__",
     "__repr__", "__add__", "__mul__", "__all__", "__slots__"}
)  # fmt: skip
FRAME_NAMES = frozenset(
    {"f_back", "f_builtins", "f_code", "f_globals", "f_locals", "tb_frame", "tb_next", "gi_frame", "gi_code", "cr_frame", "ag_frame",
     "mro", "with_traceback", "ctypes"}
)  # fmt: skip
HOOK_NAMES = re.compile(r"^_?(register_\w*(hook|prehook)\w*|save_on_cpu|saved_tensors_hooks)$")
FORBIDDEN_METHODS = frozenset(
    {"numpy", "data_ptr", "storage", "untyped_storage", "share_memory_", "set_", "tofile", "from_file", "load_state_dict",
     "share_memory", "cache_info", "cache_clear"}
)  # fmt: skip
FORBIDDEN_TORCH = frozenset(
    {"backends", "classes", "compile", "compiler", "cpp", "cuda", "distributed", "export", "from_file", "futures", "fx", "hub",
     "jit.CompilationUnit", "jit.load", "jit.save", "library", "load", "monitor", "mps", "multiprocessing", "onnx", "ops",
     "overrides", "package", "profiler", "save", "serialization", "sys", "types", "utils", "xpu", "frombuffer", "from_numpy",
     "as_tensor_from_pointer", "DisableTorchFunctionSubclass", "nn.modules.module"}
)  # fmt: skip
ALLOWED_TORCH = frozenset({"utils.checkpoint", "cuda.is_available", "cuda.amp", "nn.utils"})
CUSTOM_GRADIENT = frozenset({"autograd.Function", "autograd.function", "autograd.graph", "library.custom_op"})
GLOBAL_STATE = frozenset(
    {"manual_seed", "seed", "random", "default_generator", "use_deterministic_algorithms", "autograd.grad_mode"}
)
CACHES = frozenset({"lru_cache", "cache", "cached_property", "singledispatch"})
NAMED_LIKE_MODULES = frozenset({"select", "signal", "math", "typing", "dataclasses", "functools", "collections", "abc"})
"""Attributes of torch that share a name with a module of the standard library, and the modules a unit may import."""

STAND_INS = frozenset({"model_discovery", "torchtune", "transformers"})
"""What imported units get from `genesys.model.stand_ins`; in any other unit its import is a finding already."""


def check_reach(unit: Unit, nodes: list[ast.AST]) -> Iterator[Finding]:
    """Findings about every name in a text, given as the statements and expressions of its tree, that leads out of tensor computation."""
    reader = _Reader(nodes)
    for node in nodes:
        if not isinstance(node, _READ):
            continue
        for rule, measured in reader.read(node):
            required = "tensor computation, with names written out"
            yield RULES[rule].finding(measured, required, unit=unit.name, line=getattr(node, "lineno", None))


_READ = (ast.Import, ast.ImportFrom, ast.Name, ast.Attribute, ast.Call)


class _Reader:
    def __init__(self, nodes: list[ast.AST]) -> None:
        self._origins = {
            name: origin for node in nodes if isinstance(node, ast.stmt) for name, origin in _imports(node)
        }
        for node in nodes:
            if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Name, ast.Attribute)):
                origin = self._origin(node.value)
                self._origins |= {t.id: origin for t in node.targets if isinstance(t, ast.Name) and origin}
        self._bases = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
        self._called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
        self._in_tests = set(_nodes_of_tests(nodes))

    def read(self, node: ast.AST) -> Iterator[tuple[str, str]]:
        """Pairs (rule, what was found)."""
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield from self._read_origin(alias.name, f"import of {alias.name}", node)
            case ast.ImportFrom():
                for _, origin in _imports(node):
                    yield from self._read_origin(origin, f"import of {origin}", node)
            case ast.Name(id=name):
                yield from self._read_name(node, name)
            case ast.Attribute(attr=attribute):
                yield from self._read_attribute(node, attribute)
            case ast.Call(func=ast.Name(id="getattr" | "setattr" | "hasattr" as function), args=[target, name, *_]):
                yield from self._read_computed(function, target, name)

    def _read_name(self, node: ast.Name, name: str) -> Iterator[tuple[str, str]]:
        if name.startswith("__") and name not in SPECIAL_NAMES and name not in FORBIDDEN_CALLS:
            yield "introspection", f"the name {name}"
        if name in FORBIDDEN_CALLS and name not in self._origins and isinstance(node.ctx, ast.Load):
            yield "forbidden-call", f"a use of {name}()"
        if name in ("getattr", "setattr") and id(node) not in self._called:
            yield "computed-name", f"{name} used as a value"
        origin = self._origins.get(name, "")
        if origin in _MODULES and id(node) not in self._bases and isinstance(node.ctx, ast.Load):
            yield "computed-name", f"the module {origin} used as a value"

    def _read_attribute(self, node: ast.Attribute, name: str) -> Iterator[tuple[str, str]]:
        root, origin = _root(node), self._origin(node)
        is_own = isinstance(node.value, ast.Name) and node.value.id == "self"
        if isinstance(node.ctx, (ast.Store, ast.Del)) and (root in self._origins or root in ("ctx", "type()")):
            yield "monkey-patch", f"an assignment to {_shown(node)}"
        if HOOK_NAMES.match(name):
            yield "hook", f"a call of {name}"
        elif (name.startswith("__") and name not in SPECIAL_NAMES) or (name in FRAME_NAMES and not is_own):
            yield "introspection", f"the attribute {name}"
        elif name.startswith("_") and not name.startswith("__") and root not in ("self", "cls", "super()"):
            if name not in ("_replace", "_asdict", "_fields"):
                yield "introspection", f"the private attribute {_shown(node)}"
        elif name in FORBIDDEN_METHODS and not is_own:
            yield "forbidden-name", f"the attribute {name}"
        if origin:
            yield from self._read_origin(origin, _shown(node), node)

    def _read_origin(self, origin: str, shown: str, node: ast.AST) -> Iterator[tuple[str, str]]:
        """What the full name `origin`, such as torch.nn.functional.relu, leads to."""
        top, _, rest = origin.partition(".")
        if top in STAND_INS:
            return
        parts = rest.split(".") if rest else []
        if top == "functools" and rest in CACHES:
            yield "cache", shown
        elif any(
            part in sys.stdlib_module_names and part not in NAMED_LIKE_MODULES for part in parts if part != "random"
        ):
            yield "forbidden-name", f"{shown}, a module of the standard library"
        if top != "torch":
            return
        if _within(rest, CUSTOM_GRADIENT):
            yield "custom-gradient", shown
        elif _within(rest, GLOBAL_STATE) or (parts and re.match(r"^set_\w+$", parts[-1])):
            if node not in self._in_tests:
                yield "global-state", shown
        elif _within(rest, FORBIDDEN_TORCH) and not _within(rest, ALLOWED_TORCH) and rest not in ("cuda", "utils"):
            yield "forbidden-name", shown
        elif any(HOOK_NAMES.match(part) for part in parts[:-1]) or (
            parts and HOOK_NAMES.match(parts[-1]) and isinstance(node, ast.ImportFrom)
        ):
            yield "hook", shown
        elif any(part.startswith("_") for part in parts):
            yield "introspection", f"the private name {shown}"

    def _read_computed(self, function: str, target: ast.expr, name: ast.expr) -> Iterator[tuple[str, str]]:
        root = _root(target)
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            ctx = ast.Store() if function == "setattr" else ast.Load()
            yield from self._read_attribute(ast.Attribute(value=target, attr=name.value, ctx=ctx), name.value)
        elif root != "self" or not _begins_public(name):
            yield "computed-name", f"{function} with the name `{_shown(name)}`"

    def _origin(self, node: ast.expr) -> str:
        """The full dotted name of an attribute chain that starts at an import; "" for anything else."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        start = self._origins.get(node.id, "") if isinstance(node, ast.Name) else ""
        return ".".join((start, *reversed(parts))) if start else ""


_MODULES = frozenset(
    {"torch", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.fft", "torch.linalg", "torch.special", "torch.autograd",
     "torch.func", "torch.utils", "torch.utils.checkpoint", "torch.cuda", "torch.jit", "math", "typing", "dataclasses",
     "functools", "collections", "einops"}
)  # fmt: skip


def _imports(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Pairs (local name, full name) that an import binds."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
    elif isinstance(node, ast.ImportFrom):
        yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _root(node: ast.expr) -> str:
    """The name that an attribute chain starts at; "super()" and "type()" for calls of those."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("super", "type"):
        return f"{node.func.id}()"
    return node.id if isinstance(node, ast.Name) else ""


def _begins_public(name: ast.expr) -> bool:
    """Whether a computed name starts with a literal that is no underscore, as in f"layer_{i}"."""
    while isinstance(name, ast.BinOp):
        name = name.left
    if isinstance(name, ast.JoinedStr) and name.values:
        name = name.values[0]
    text = name.value if isinstance(name, ast.Constant) else None
    return isinstance(text, str) and text[:1] not in ("", "_")


def _shown(node: ast.expr) -> str:
    """The author's text, as far as it helps to find it."""
    try:
        return ast.unparse(node)[:80]
    except RecursionError:
        return "an expression too deep to show"


def _within(name: str, families: frozenset[str]) -> bool:
    return any(name == family or name.startswith(f"{family}.") for family in families)


def _nodes_of_tests(nodes: list[ast.AST]) -> Iterator[ast.AST]:
    """All nodes inside of `test_*` functions that nothing in the text calls: they may seed, for they run apart."""
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    for function in nodes:
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test_") and function.name not in used:
            yield from ast.walk(function)
