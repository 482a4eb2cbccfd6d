"""One verification: a design pre-trained and evaluated at one scale, with its integrity checked."""

from genesys.verification.integrity import check_integrity
from genesys.verification.progress import VerificationProgress, read_progress
from genesys.verification.report import read_report, report_to_json, write_report
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
    "read_report",
    "recipe_hash",
    "report_to_json",
    "verify",
    "write_report",
]
