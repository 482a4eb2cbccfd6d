"""Stand-ins for the modules that texts in the published convention import.

Needs torch and the standard library only, because exports embed its text as it stands. Nothing here touches
`sys.modules`: a text that runs with `importer(...)` as its `__import__` sees the stand-ins, everybody else the real thing.
"""

from __future__ import annotations

import ast
import builtins
import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StandIn(ModuleType):
    """A package of which each name that is asked for is looked up in one table; its submodules are itself.

    A name that it lacks can be imported and derived from, since texts import more than they use; making one raises.
    """

    def __init__(self, name: str, table: Mapping[str, Any], submodules: tuple[str, ...] = ()) -> None:
        super().__init__(name)
        self.__dict__.update(table)
        self.__dict__.update(dict.fromkeys(submodules, self))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.startswith("is_") and name.endswith("available"):
            return _never
        return type(name, (_Lacking,), {"package": self.__name__})


class _Lacking:
    """What a stand-in gives for a name that it lacks."""

    package = ""

    def __init__(self, *args: object, **kwargs: object) -> None:
        if _Lacking in type(self).__bases__:
            raise NotImplementedError(
                f"Cannot use {self.package}.{type(self).__name__}: Genesys has no stand-in for it. Write it with torch."
            )


class Nothing(ModuleType):
    """An absent package whose import the text does not guard: each of its names is None."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


def _nothing(name: str) -> Nothing:
    top, *submodules = name.split(".")
    package = Nothing(top)
    package.__dict__.update(dict.fromkeys(submodules, package))
    return package


def _never(*args: object, **kwargs: object) -> bool:
    return False


class Activation(nn.Module):
    """An activation function as a module, as `transformers.activations` has them."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


_GELU_TANH = functools.partial(F.gelu, approximate="tanh")
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": F.elu,
    "gelu": F.gelu,
    "gelu_fast": _GELU_TANH,
    "gelu_new": _GELU_TANH,
    "gelu_python": F.gelu,
    "gelu_pytorch_tanh": _GELU_TANH,
    "hardswish": F.hardswish,
    "leaky_relu": F.leaky_relu,
    "linear": lambda x: x,
    "mish": F.mish,
    "prelu": F.relu,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": F.softplus,
    "swish": F.silu,
    "tanh": torch.tanh,
}


class _ActivationTable(dict[str, Callable[[Tensor], Tensor]]):
    def __getitem__(self, name: str) -> Any:
        return Activation(super().__getitem__(name))

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401


ACT2FN = _ActivationTable(_ACTIVATIONS)


class RotaryPositionalEmbeddings(nn.Module):
    """Rotary embedding of (B, L, heads, D_head), neighbouring channels paired. Source: Su et al. 2021."""

    def __init__(self, dim: int, max_seq_len: int = 4096, base: int = 10_000) -> None:
        super().__init__()
        self.dim, self.base = dim, base

    def forward(self, x: Tensor, *, input_pos: Tensor | None = None) -> Tensor:
        position = torch.arange(x.shape[1], device=x.device) if input_pos is None else input_pos
        rate = self.base ** (-torch.arange(0, self.dim, 2, device=x.device)[: self.dim // 2].float() / self.dim)
        angle = (position[..., None] * rate).to(x.dtype).unsqueeze(-2)
        even, odd = x[..., 0::2], x[..., 1::2]
        turned = (even * angle.cos() - odd * angle.sin(), odd * angle.cos() + even * angle.sin())
        return torch.stack(turned, dim=-1).flatten(-2)


class RMSNorm(nn.Module):
    """Root mean square norm with a scale. Source: Zhang & Sennrich 2019."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.scale, self.eps = nn.Parameter(torch.ones(dim)), eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.scale.shape, self.scale, self.eps)


class _Output:
    """What `transformers.utils.ModelOutput` is for dataclasses that derive from it: a plain base."""


class Silence:
    """A logger that says nothing and remembers nothing: a real one holds open streams, which the checker calls state."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _never


def _silence(*args: object, **kwargs: object) -> Silence:
    return Silence()


_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
_LOGGING = StandIn(
    "logging",
    {
        **_LEVELS,
        **dict.fromkeys(("getLogger", "get_logger", "Formatter", "Logger", "StreamHandler"), _silence),
        **dict.fromkeys(("basicConfig", "critical", "debug", "error", "exception", "info", "log", "warning"), _never),
        **dict.fromkeys(("set_verbosity", "set_verbosity_error", "set_verbosity_info"), _never),
    },
)
_TRANSFORMERS = StandIn(
    "transformers",
    {
        "ACT2CLS": {name: functools.partial(Activation, f) for name, f in _ACTIVATIONS.items()},
        "ACT2FN": ACT2FN,
        "ALL_LAYERNORM_LAYERS": [nn.LayerNorm],
        "FastGELUActivation": functools.partial(Activation, _GELU_TANH),
        "GELUActivation": functools.partial(Activation, F.gelu),
        "ModelOutput": _Output,
        "NewGELUActivation": functools.partial(Activation, _GELU_TANH),
        "QuickGELUActivation": functools.partial(Activation, _ACTIVATIONS["quick_gelu"]),
        "SiLUActivation": functools.partial(Activation, F.silu),
        "get_activation": ACT2FN.__getitem__,
        "logging": _LOGGING,
    },
    ("activations", "file_utils", "generic", "import_utils", "modeling_outputs", "pytorch_utils", "utils"),
)
_TORCHTUNE = StandIn(
    "torchtune",
    {"RMSNorm": RMSNorm, "RotaryPositionalEmbeddings": RotaryPositionalEmbeddings},
    ("modules", "position_embeddings", "rms_norm"),
)


def importer(
    source: str, provided: Mapping[str, ModuleType], absent: frozenset[str], own_package: str = "model_discovery"
) -> Callable[..., ModuleType]:
    """What a published text calls for `import`.

    Args:
        source: The text. What it imports of `absent` outside any `try`, it gets with None for each name.
        provided: Modules by top-level name that come before all others; `own_package` also serves relative imports.
        absent: Top-level names of packages that are not there, installed or not.
    """
    served = {"logging": _LOGGING, "transformers": _TRANSFORMERS, "torchtune": _TORCHTUNE, **provided}
    unguarded = {name for name in _unguarded_imports(source) if name in absent}

    def serve(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: tuple[str, ...] = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0] if not level else own_package
        if top in served:
            return served[top]
        if top in unguarded:
            return _nothing(name)
        if top in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return builtins.__import__(name, globals, locals, fromlist, level)

    return serve


def _unguarded_imports(source: str) -> set[str]:
    """Top-level names of the modules that a text imports outside `try`, `if` and functions."""
    names: set[str] = set()
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names.add(statement.module.partition(".")[0])
    return names
