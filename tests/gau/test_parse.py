"""Reading a unit's interface, and the findings when there is none."""

from __future__ import annotations

import pytest

from genesys.errors import UnitError
from genesys.gau import Expression, parse_unit

GOOD = '''
import math

class Gate:
    """A gate."""
    kind = "channel"
    slots = {"inner": {"doc": "what is gated", "accepts": ("mixer",), "tied": "blocks"}}
    reads = ("v_first?",)
    writes = ("*",)
    def __init__(self, d: int, ctx, *, rate: float = math.log(2), n: int = 4): ...
'''


def test_interface_is_read_without_running() -> None:
    unit = parse_unit(GOOD + "\nraise SystemExit('never run')\n")
    assert (unit.name, unit.kind, unit.reads, unit.writes) == ("Gate", "channel", ("v_first?",), ("*",))
    assert unit.slots[0].accepts == ("mixer",) and unit.slots[0].tied == "blocks"
    assert [h.default for h in unit.hyperparameters] == [Expression("math.log(2)"), 4]


@pytest.mark.parametrize(
    ("text", "rule", "words"),
    [
        ("def f(:", "syntax", "valid Python"),
        ("x = 1", "one-unit", "unit classes: none"),
        (GOOD + GOOD.replace("Gate", "Gate2"), "one-unit", "Gate, Gate2"),
        (GOOD.replace('"channel"', '"chanel"'), "kind", "kind 'chanel'"),
        (GOOD.replace('"""A gate."""', ""), "docstring", "no docstring"),
        (GOOD.replace("d: int, ctx, *,", "d: int, *,"), "init", "self, d, ctx"),
        (GOOD.replace("n: int = 4", "n: int"), "hyperparameter", "without type or default"),
        (GOOD.replace("n: int = 4", "n=4"), "hyperparameter", "without type or default"),
        (GOOD.replace('("mixer",)', '("mixr",)'), "slots", "mixr"),
        (GOOD.replace('writes = ("*",)', "writes = names()"), "literal", "writes = names()"),
        (GOOD.replace('writes = ("*",)', "writes = {[]: 1}"), "literal", "writes = {[]: 1}"),
        (GOOD.replace('("mixer",)', "[[]]"), "slots", "[[]]"),
        (GOOD.replace('("mixer",)', "7"), "slots", "'accepts': 7"),
        (GOOD + "\x00", "syntax", "null bytes"),
        (GOOD + "'\ud800'", "syntax", "surrogates not allowed"),
    ],
)
def test_what_is_no_unit_is_said_with_rule_and_cure(text: str, rule: str, words: str) -> None:
    with pytest.raises(UnitError) as failure:
        parse_unit(text)
    finding = failure.value.findings[0]
    assert finding.rule == rule
    assert words in str(finding)


def test_a_default_that_is_no_plain_value_is_kept_as_text() -> None:
    unit = parse_unit(GOOD.replace("n: int = 4", "n: dict = {}, z: complex = 1j"))
    assert [h.default for h in unit.hyperparameters][1:] == [Expression("{}"), Expression("1j")]
