"""What a model holds beyond its parameters, and whether a forward pass leaves a trace in it.

Everything that a unit can reach from its instance, its class and its text is walked: attributes, containers, defaults,
closures, globals. Not covered: state inside compiled objects of torch, and whatever the static stage must keep out.
"""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

MAX_DEPTH = 8
UNIT_MODULES = "genesys_unit_"
"""The names of the modules in which `genesys.model` executes units begin with this."""
HOOK_TABLES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_OF_NN_MODULE = frozenset(vars(nn.Module()))
_PLAIN = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    range,
    slice,
    type(...),
    torch.dtype,
    torch.device,
    torch.Size,
)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What was found, by path: `Block.mixer.calls`.

    Attributes:
        values: A fingerprint of each plain value and tensor; equal before and after a call that leaves no trace.
        unregistered: Paths of tensors and modules that are no registered parameter, buffer or child.
        opaque: Paths of objects that cannot be compared, with their types: iterators, generators, random states.
    """

    values: dict[str, object] = field(default_factory=dict)
    unregistered: list[str] = field(default_factory=list)
    opaque: dict[str, str] = field(default_factory=dict)

    def changes(self, later: Holdings) -> list[str]:
        """Paths whose values differ later, in order."""
        paths = self.values.keys() | later.values.keys()
        return sorted(path for path in paths if self.values.get(path, Holdings) != later.values.get(path, Holdings))


def holdings(model: nn.Module) -> Holdings:
    """Walk a model, its units' classes and the namespaces of their texts."""
    walk = _Walk(model)
    classes: dict[type, None] = {Tensor: None, nn.Parameter: None}
    for name, module in model.named_modules():
        walk.visit_members({n: v for n, v in vars(module).items() if n not in _OF_NN_MODULE}, name)
        classes |= dict.fromkeys(type(module).__mro__[:-1])
    for cls in classes:
        walk.visit_members(vars(cls), cls.__name__)
        if cls.__module__.startswith(UNIT_MODULES):
            walk.visit_namespace(cls)
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        walk.found.values[name] = _fingerprint(tensor)
        walk.visit_members(vars(tensor), name)
    return walk.found


def hooked(model: nn.Module) -> list[str]:
    """Names of modules that carry hooks."""
    return [
        name for name, module in model.named_modules() if any(getattr(module, table, None) for table in HOOK_TABLES)
    ]


class _Walk:
    def __init__(self, model: nn.Module) -> None:
        self.found = Holdings()
        registered: list[object] = [*model.modules(), *model.parameters(), *model.buffers()]
        self._registered = {id(thing) for thing in registered}
        self._seen: dict[int, object] = {}  # by id; holding each object keeps its id from being given away

    def visit_namespace(self, cls: type) -> None:
        init = cls.__init__  # type: ignore[misc]
        members = {n: v for n, v in getattr(init, "__globals__", {}).items() if not n.startswith("__")}
        self.visit_members({n: v for n, v in members.items() if not isinstance(v, types.ModuleType)}, "global")

    def visit_members(self, members: Mapping[Any, Any], path: str, depth: int = 0) -> None:
        for name, value in list(members.items()):
            if not (isinstance(name, str) and name.startswith("__")):
                self.visit(value, f"{path}.{name}", depth + 1)

    def visit(self, value: object, path: str, depth: int = 0) -> None:
        if isinstance(value, _PLAIN):
            self.found.values[path] = repr(value)
        elif id(value) in self._registered or id(value) in self._seen or depth > MAX_DEPTH:
            return
        else:
            self._seen[id(value)] = value
            self._visit_object(value, path, depth)

    def _visit_object(self, value: object, path: str, depth: int) -> None:
        if isinstance(value, (Tensor, nn.Module)):
            self.found.unregistered.append(path)
            if isinstance(value, Tensor):
                self.found.values[path] = _fingerprint(value)
        elif isinstance(value, Mapping):
            self.found.values[path] = sorted(map(repr, value))
            self.visit_members({repr(name): item for name, item in value.items()}, path, depth)
        elif isinstance(value, (list, tuple, deque, set, frozenset)):
            self.found.values[path] = len(value)
            self.visit_members({str(i): item for i, item in enumerate(value)}, path, depth)
        elif isinstance(value, (types.FunctionType, types.MethodType, partial, staticmethod, classmethod, property)):
            self.visit_members(_parts_of_function(value), path, depth)
        elif isinstance(value, type):
            if value.__module__.startswith(UNIT_MODULES):
                self.visit_members(vars(value), path, depth)
        elif isinstance(value, (torch.Generator, Iterator)):
            self.found.opaque[path] = type(value).__name__
        elif not type(value).__module__.startswith(("torch", "typing", "einops")):
            self.visit_members(_attributes(value), path, depth)


def _attributes(value: object) -> dict[str, object]:
    """Those of the instance, in its dictionary or in slots."""
    slots = [name for cls in type(value).__mro__ for name in vars(cls).get("__slots__", ())]
    return {name: getattr(value, name, None) for name in slots if name != "__dict__"} | getattr(value, "__dict__", {})


def _parts_of_function(function: object) -> dict[str, object]:
    """What a function of a unit's text carries from call to call."""
    if isinstance(function, partial):
        return {"func": function.func, "args": function.args, "keywords": function.keywords}
    if isinstance(function, property):
        return {"get": function.fget}
    inner = getattr(function, "__func__", function)
    if not isinstance(inner, types.FunctionType) or not str(inner.__module__).startswith(UNIT_MODULES):
        return {"attributes": getattr(inner, "__dict__", {})}
    closure = zip(inner.__code__.co_freevars, map(_content, inner.__closure__ or ()), strict=True)
    return {
        "defaults": inner.__defaults__ or (),
        "keywords": inner.__kwdefaults__ or {},
        "closure": dict(closure),
        "attributes": inner.__dict__,
    }


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _fingerprint(tensor: Tensor) -> tuple[object, ...]:
    """The values' bytes: neither `.data` nor a view gets round them. NaN equals itself here."""
    flat = tensor.detach().contiguous().flatten()
    content = hash(flat.view(torch.uint8).numpy().tobytes()) if flat.numel() else 0
    return tuple(tensor.shape), str(tensor.dtype), tensor.requires_grad, content


def sizes_of_buffers(model: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each floating-point buffer."""
    return ((name, tuple(buffer.shape)) for name, buffer in model.named_buffers() if buffer.is_floating_point())
