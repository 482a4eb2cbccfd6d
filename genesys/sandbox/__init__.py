"""Child processes for generated code."""

from genesys.sandbox.cage import Cage

__all__ = ["Cage"]
