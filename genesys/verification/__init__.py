"""One verification: a design pre-trained and evaluated at one scale, with its integrity checked."""

from genesys.verification.integrity import check_integrity
from genesys.verification.progress import VerificationProgress, read_progress
from genesys.verification.types import VerificationReport, VerificationRequest, recipe_hash
from genesys.verification.verify import Scorer, StateScorer, verify

__all__ = [
    "Scorer",
    "StateScorer",
    "VerificationProgress",
    "VerificationReport",
    "VerificationRequest",
    "check_integrity",
    "read_progress",
    "recipe_hash",
    "verify",
]
