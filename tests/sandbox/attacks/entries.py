"""What the harness runs in the cage: a bare attack, honest jobs beside and after it, and the doors of a hostile unit."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from genesys.gau import UnitTree
from genesys.ladder import Scale
from genesys.model import ModelShape, build_model, tune_sizes
from genesys.model.unit_tests import run_unit_tests
from tests.sandbox.attacks import GROUPS
from tests.sandbox.attacks.prelude import mark

_ATTACKS = {group: importlib.import_module(f"tests.sandbox.attacks.{group}") for group in GROUPS}


def strike(request: dict[str, Any]) -> dict[str, Any]:
    """Make one attack, as a job of its own."""
    goal = request["goal"]
    mark(goal)
    try:
        evidence = getattr(_ATTACKS[request["group"]], request["attack"])(goal)
    except OSError as error:
        return {"denied": str(error)}
    return evidence if isinstance(evidence, dict) else {"evidence": evidence}


def neighbour(request: dict[str, Any]) -> dict[str, Any]:
    """Work beside the attack, with a secret in the scratch folder."""
    path = Path("neighbour.txt")
    path.write_text(request["secret"][::-1])
    time.sleep(request["seconds"])
    return {"n": request["n"], "kept": path.read_text() == request["secret"][::-1], "files": sorted(_scratch())}


def _scratch() -> list[str]:
    known = {"request.json", "log.txt", "neighbour.txt"}
    return [path.name for path in Path().iterdir() if path.name not in known]


def successor(request: dict[str, Any]) -> dict[str, Any]:
    """Work after the attack, in a process that must bear no trace of it."""
    started = time.monotonic()
    time.sleep(0.002)
    loss = torch.nn.functional.cross_entropy(torch.zeros(1, 8), torch.zeros(1, dtype=torch.long))
    return {
        "n": json.loads(json.dumps(request["n"])),
        "clock": time.monotonic() > started and time.time() > 1e9,
        "loss": round(float(loss), 3),
        "hooks": [type(finder).__name__ for finder in sys.meta_path if type(finder).__module__.startswith("tests")],
        "modules": [name for name in ("forged", "late", "sitecustomize") if name in sys.modules],
    }


def shape(request: dict[str, Any]) -> dict[str, Any]:
    """The size tuner on a hostile unit that no static check has seen."""
    sizes = tune_sizes(UnitTree.from_json(request["tree"]), [Scale(**request["scale"])], 257)
    return {"sizes": [size.error for size in sizes], "findings": [str(f) for size in sizes for f in size.findings]}


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Forward and backward of a hostile unit that no static check has seen."""
    torch.set_num_threads(1)
    model = build_model(UnitTree.from_json(request["tree"]), ModelShape(vocab_size=257, d_model=16, n_blocks=1))
    logits = model(torch.zeros(1, 8, dtype=torch.long))
    logits.sum().backward()
    del model
    return {"finite": bool(logits.isfinite().all())}


def unit_tests(request: dict[str, Any]) -> dict[str, Any]:
    """The tests that a hostile unit's text carries."""
    tree = UnitTree.from_json(request["tree"])
    return {"ran": list(run_unit_tests(tree.unit))}
