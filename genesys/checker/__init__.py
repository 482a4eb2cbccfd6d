"""Proves a design sane before anything is spent on it, or says what is wrong."""

from genesys.checker.cache import VerdictCache, default_folder
from genesys.checker.request import (
    CHEAP_STAGES,
    CHECK_ENTRY,
    EffectivenessPolicy,
    check_request,
    checker_version,
    is_sane,
    sketch_distance,
    unchecked,
)
from genesys.checker.rules import RULES, STAGES, Rule
from genesys.checker.semantic import Judgement, Observer, observe
from genesys.checker.static import check_static

__all__ = [
    "CHEAP_STAGES",
    "CHECK_ENTRY",
    "RULES",
    "STAGES",
    "EffectivenessPolicy",
    "Judgement",
    "Observer",
    "Rule",
    "VerdictCache",
    "check_request",
    "check_static",
    "checker_version",
    "default_folder",
    "is_sane",
    "observe",
    "sketch_distance",
    "unchecked",
]
