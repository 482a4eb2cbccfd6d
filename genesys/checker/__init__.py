"""Proves a design sane before anything is spent on it, or says what is wrong."""

from genesys.checker.static import check_static

__all__ = ["check_static"]
