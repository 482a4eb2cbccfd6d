"""Designs that tests compare with the seeds."""

from __future__ import annotations

from genesys.gau import UnitTree, bind
from genesys.gau.library import seed_design, unit_named


def convolution_only() -> UnitTree:
    """The GPT seed with a gated convolution of four taps in attention's place: two blocks reach six tokens back."""
    return seed_design("gpt").graft("mixer", bind({"unit": "GatedConv", "slots": {"conv": "ShortConv"}}, unit_named))
