"""The cage: generated code runs in confined child processes, and nowhere else."""

from genesys.sandbox.cage import Cage
from genesys.sandbox.fork_cage import CHECK_MODULES, VERIFY_MODULES, ForkCage, open_cage
from genesys.sandbox.policy import Policy

__all__ = ["CHECK_MODULES", "VERIFY_MODULES", "Cage", "ForkCage", "Policy", "open_cage"]
