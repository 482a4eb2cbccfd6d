"""Genesys: language models that discover better language models.

    import genesys

    run = genesys.evolve("configs/quickstart.yaml")
    print(run.leaderboard())

Heavy parts are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genesys.api import Run, check, evolve, open_run, reproduce, verify

__version__ = "0.1.0.dev0"

__all__ = ["Run", "check", "evolve", "open_run", "reproduce", "verify"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'genesys' has no attribute {name!r}")
    from genesys import api

    return getattr(api, name)
