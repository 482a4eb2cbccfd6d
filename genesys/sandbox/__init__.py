"""Child processes for generated code."""

from genesys.sandbox.cage import Cage
from genesys.sandbox.fork_cage import CHECK_MODULES, VERIFY_MODULES, ForkCage, isolation
from genesys.sandbox.policy import Policy

__all__ = ["CHECK_MODULES", "VERIFY_MODULES", "Cage", "ForkCage", "Policy", "isolation"]
