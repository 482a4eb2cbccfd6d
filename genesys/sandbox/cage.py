"""The one interface through which generated code is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from genesys.sandbox.layers import Layer
from genesys.sandbox.policy import Policy


class Cage(Protocol):
    """Runs named entries in child processes.

    An entry is a module-level function of one argument, a JSON object, that returns a JSON object. Tensors cross as
    safetensors files in a folder that the policy lets the job write; pickle never crosses.
    """

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        """Run `package.module:function` on a request in a fresh child.

        Raises:
            JobFailed: The child raised, passed a limit of the policy or was killed; the cause says whose fault it was.
        """
        ...

    async def layers(self) -> Mapping[Layer, str]:
        """Every layer of `genesys.sandbox.layers` with the reason why it is not in force, "" if it is."""
        ...
