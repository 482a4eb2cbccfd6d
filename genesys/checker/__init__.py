"""Proves a design sane before anything is spent on it, or says what is wrong."""

from genesys.checker.request import CHECK_ENTRY, check_request, is_sane, unchecked
from genesys.checker.static import check_static

__all__ = ["CHECK_ENTRY", "check_request", "check_static", "is_sane", "unchecked"]
