"""Proposals known to be bad, put before a reviewer now and then to see whether they pass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from random import Random

from genesys.roles.answers import ProposerTurn
from genesys.roles.brief import Brief


def planted(brief: Brief) -> ProposerTurn | None:
    """A bad proposal for the share `brief.planted` of sessions that have a reviewer, drawn by session and seed."""
    random = Random(f"planted {brief.session} {brief.seed}")
    if not brief.limits.reviewer or random.random() >= brief.planted:
        return None
    bad = random.choice(planted_proposals())
    mixers = [path for path, at in brief.parents[0].walk() if path and at.kind == "mixer"] if brief.parents else []
    return ProposerTurn(
        action="propose", query="", title=bad["title"], abstract=bad["abstract"], motivation=bad["motivation"],
        mathematics=bad["mathematics"], algorithm=bad["algorithm"], risks=bad["risks"],
        target=mixers[0] if brief.operator == "mutation" and mixers else "",
    )  # fmt: skip


@cache
def planted_proposals() -> tuple[Mapping[str, str], ...]:
    """All of them, each with its `flaw`, which nobody is shown."""
    text = (resources.files(__package__) / "planted.json").read_text(encoding="utf-8")
    return tuple(json.loads(text))
