"""A cage in which many designs compute the same."""

from __future__ import annotations

import hashlib
from typing import Any

from genesys.gau import UnitTree
from genesys.testing.null_cage import NullCage


class KindredCage(NullCage):
    """Finds that designs compute the same when they have the same mixers; `n_checks` counts."""

    n_checks = 0

    async def run(self, entry: str, request: Any, policy: Any) -> dict[str, Any]:
        answer = await super().run(entry, request, policy)
        if not entry.endswith(":check"):
            return answer
        self.n_checks += 1
        tree = UnitTree.from_json(request["tree"])
        digest = hashlib.sha256(" ".join(mixers(tree)).encode()).hexdigest()
        return answer | {"behaviour": {"fingerprint": digest, "sketch": sketch(tree)}}


def mixers(tree: UnitTree) -> list[str]:
    """Names of its mixers."""
    return sorted(place.unit.name for _, place in tree.walk() if place.unit.kind == "mixer")


def sketch(tree: UnitTree) -> list[float]:
    """What the cage says of a design's outputs."""
    return [float(len(mixers(tree))), float(len(list(tree.walk())))]
