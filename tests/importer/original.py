"""Run a published design without trees: its classes as they are, each in a namespace that holds its children's classes."""

from __future__ import annotations

import builtins
import hashlib
import json
import linecache
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from genesys.gau.published import ABSENT_MODULES
from genesys.model.published import GAUBase, UnitDecl, gau_test
from genesys.model.stand_ins import importer

DESIGNS = Path(__file__).parent / "designs"
BROKEN = {"malformed": "failed", "unfinished": "unfinished"}
WHOLE = sorted(folder.name for folder in DESIGNS.iterdir() if folder.name not in BROKEN)


def published_tree(name: str) -> dict[str, Any]:
    """The tree of a fixture as its file has it."""
    tree: dict[str, Any] = json.loads((DESIGNS / name / "implementation.json").read_text())["implementation"]
    return tree


def original_blocks(name: str, d_model: int, n_blocks: int, kwarg_all: dict[str, Any]) -> list[nn.Module]:
    """The blocks of a fixture, built by its own constructors."""
    tree = published_tree(name)
    namespaces = {unit: _namespace(entry["code"]) for unit, entry in tree["units"].items()}
    for unit, namespace in namespaces.items():
        children = {child: namespaces[child][child] for child in tree["units"][unit]["children"]}
        for other in (children, *namespaces.values()):
            namespace.update({key: value for key, value in other.items() if key not in namespace or other is children})
    root = namespaces[tree["root"]][tree["root"]]
    return [_build(root, d_model, (i, n_blocks), dict(kwarg_all)) for i in range(n_blocks)]


def run_blocks(blocks: list[nn.Module], x_BLD: Tensor) -> Tensor:
    """The residual stream after the last block."""
    Z: dict[str, Any] = {}
    for block in blocks:
        x_BLD, Z = block(x_BLD, **Z)
    return x_BLD


def _build(root: type[nn.Module], d_model: int, place: tuple[int, int], kwarg_all: dict[str, Any]) -> nn.Module:
    return root(embed_dim=d_model, block_loc=place, kwarg_all=kwarg_all, device=None, dtype=None, **kwarg_all)


def _namespace(code: str) -> dict[str, Any]:
    base = ModuleType("model_discovery")
    base.__dict__.update(GAUBase=GAUBase, UnitDecl=UnitDecl, gau_test=gau_test)
    serve = importer(code, {"model_discovery": base}, ABSENT_MODULES)
    namespace: dict[str, Any] = {"__name__": __name__, "__builtins__": {**vars(builtins), "__import__": serve}}
    filename = f"<original {hashlib.sha256(code.encode()).hexdigest()}>"
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)  # TorchScript reads it
    exec(compile(code, filename, "exec", dont_inherit=True), namespace)
    return namespace
