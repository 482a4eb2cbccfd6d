"""Run the stages that this folder's corpora are about, without size tuning and training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from genesys.checker.causality import check_causality
from genesys.checker.gradient import check_gradient
from genesys.checker.run import check_run
from genesys.checker.static import check_static
from genesys.errors import Finding
from genesys.gau import UnitTree

D_MODEL, OTHER_WIDTH = 64, 72


def first_findings(tree: UnitTree, d_model: int = D_MODEL) -> list[Finding]:
    """The findings of the first stage that has any; an exception of the design's code is one, named after the stage."""
    stages: dict[str, Callable[[], list[Finding]]] = {
        "static": partial(check_static, tree),
        "run": partial(check_run, tree, (d_model, d_model + 8)),
        "causality": partial(check_causality, tree, d_model, shapes=((d_model + 8, 4, 40),)),
        "gradient": partial(check_gradient, tree, d_model),
    }
    for name, stage in stages.items():
        try:
            with torch.random.fork_rng():
                findings = stage()
        except Exception as error:
            return [Finding(rule=f"{name}-error", measured=repr(error), required="no exception", hint="")]
        if findings:
            return findings
    return []
