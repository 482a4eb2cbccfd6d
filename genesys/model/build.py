"""Turn a unit tree into a torch model. Runs the units' code: call it in a caged child process only."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from types import ModuleType
from typing import Any

from torch import nn

from genesys.errors import InterfaceError
from genesys.gau import Unit, UnitTree, compose
from genesys.gau.compose import factory_names
from genesys.gau.published import ABSENT_MODULES
from genesys.model.gam import EMBEDDING_STD, GAM
from genesys.model.published import published_class


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The size of a model around a design's block."""

    vocab_size: int
    d_model: int
    n_blocks: int


def build_model(tree: UnitTree, shape: ModelShape, *, seed: int = 0, embedding_std: float = EMBEDDING_STD) -> GAM:
    """Build the model of a design, freshly initialised.

    Raises:
        InterfaceError: A slot is still open.
        Exception: Whatever the units' own code raises.
    """
    if tree.open_slots():
        raise InterfaceError(
            f"Cannot build a design with open slots: {', '.join(tree.open_slots())}. Bind a unit to each."
        )
    classes = {unit.id: unit_class(unit) for unit in tree.units()}
    return GAM(
        entries(tree),
        classes,
        vocab_size=shape.vocab_size,
        d_model=shape.d_model,
        n_blocks=shape.n_blocks,
        seed=seed,
        embedding_std=embedding_std,
    )


def entries(tree: UnitTree) -> Mapping[str, Any]:
    """The nested entries that `GAM` takes, with units named by their ids."""
    return {
        "unit": tree.unit.id,
        "hyperparameters": dict(tree.hyperparameters),
        "slots": {slot: entries(child) for slot, child in tree.children},
    }


@lru_cache(maxsize=4096)
def unit_class(unit: Unit) -> type[nn.Module]:
    """Execute a unit's source in a module namespace of its own and give its class."""
    name = f"genesys_unit_{unit.id[:16]}"
    filename = f"<unit {unit.name} {unit.id[:8]}>"
    if unit.published is not None:
        slots = tuple(slot.name for slot in unit.slots)
        borrowed = unit.published.borrowed
        return published_class(
            unit.source, name=unit.name, slots=slots, writes=unit.writes, borrowed=borrowed, filename=filename
        )
    module = ModuleType(name)
    linecache.cache[filename] = (len(unit.source), None, unit.source.splitlines(keepends=True), filename)
    sys.modules[name] = module  # torch.compile looks a function's module up by its name
    exec(compile(unit.source, filename, "exec"), module.__dict__)
    cls = module.__dict__[unit.name]
    assert isinstance(cls, type) and issubclass(cls, nn.Module), f"unit {unit.name!r} is not an nn.Module"
    return cls


def to_source(tree: UnitTree, shape: ModelShape, *, embedding_std: float = EMBEDDING_STD) -> str:
    """Write a design as one self-contained Python file that needs only torch (and einops if a unit imports it).

    The file offers `build(seed=0) -> GAM`; with equal weights its outputs equal those of `build_model`.
    """
    is_published = any(unit.published is not None for unit in tree.units())
    runtime = _module_text("gam") + (_published_runtime() if is_published else "")
    factories = ", ".join(f'"{name}": unit_{name}()' for name in sorted(factory_names(tree).values()))
    return (
        f"{runtime}\n\n{compose(tree)}\n\n"
        f"def build(*, vocab_size={shape.vocab_size}, d_model={shape.d_model}, n_blocks={shape.n_blocks}, seed=0):\n"
        f'    """The model of design {tree.design_id[:12]}."""\n'
        f"    classes = {{{factories}}}\n"
        f"    return GAM(\n        TREE, classes, vocab_size=vocab_size, d_model=d_model, n_blocks=n_blocks, seed=seed, "
        f"embedding_std={embedding_std}\n    )\n"
    )


def _module_text(name: str) -> str:
    return (resources.files("genesys.model") / f"{name}.py").read_text(encoding="utf-8")


def _published_runtime() -> str:
    """The runtime of published units as it may stand below `gam.py`: no imports from the package or the future."""
    lines = (_module_text("stand_ins") + "\n\n" + _module_text("published")).splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith(("from genesys.", "from __future__")))
    return f"\n\nABSENT_MODULES = frozenset({sorted(ABSENT_MODULES)})\n\n{text}"
