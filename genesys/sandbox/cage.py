"""The one interface through which generated code is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Cage(Protocol):
    """Runs named entries in child processes.

    An entry is a module-level function of one argument, a JSON object, that returns a JSON object.
    """

    async def run(self, entry: str, request: Mapping[str, Any], *, deadline_s: float) -> dict[str, Any]:
        """Run `package.module:function` on a request in a fresh child.

        Raises:
            JobFailed: The child raised, ran over its deadline or was killed; the cause says whose fault it was.
        """
        ...
