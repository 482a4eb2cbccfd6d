"""Programs of designs as the blob store holds them, and how far one is from others."""

from __future__ import annotations

import json
from collections.abc import Sequence

from genesys.gau import UnitTree
from genesys.gau.distance import text_distance, tree_distance
from genesys.gau.library import SEED_NAMES, seed_design


def encode_program(tree: UnitTree) -> bytes:
    """A design's program as the bytes that the blob store holds."""
    return json.dumps(tree.to_json(), sort_keys=True).encode()


def step_sizes(tree: UnitTree, parents: Sequence[UnitTree]) -> dict[str, float]:
    """How far a design is from its nearest parent, in the tree and in the text, and from the nearest seed that is shipped."""
    steps = {"seed": min(tree_distance(tree, seed_design(name)) for name in SEED_NAMES)}
    if parents:
        steps["tree"] = min(tree_distance(tree, parent) for parent in parents)
        steps["ast"] = min(text_distance(tree, parent) for parent in parents)
    return steps
