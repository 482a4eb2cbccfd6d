"""Whatever text arrives, `parse_unit` gives a unit or findings: no other exception, no hang."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from genesys.errors import UnitError
from genesys.gau import parse_unit
from genesys.gau.library import library
from genesys.gau.published import published_text

PUBLISHED = published_text(
    "class A(GAUBase):\n    def __init__(self, embed_dim, rate=math.log(2), *, n: int = 3, **kwargs):\n        pass\n",
    name="A", kind="mixer", slots=("B",), reads=("x?",), writes=("*",), borrowed=("import math",),
)  # fmt: skip
PIECES = (
    *"={}()[]'\",:*\n\\\t\x00\x0c\ud800", "kind", "slots", "accepts", "tied", "doc", "None", "1", "-", "lambda", "...", "**", "1j",
    "[[]]", "{[]: 1}", "b'x'", "f'{x}'", "reads", "writes", "pointwise", '"""', "class ", "# genesys-published: ", "null",
    "def __init__(self, d, ctx, *, a: int = {}):", "(" * 120, "-" * 300, "if x:\n" * 30,
)  # fmt: skip
SLOWEST_S = 5.0
TELLING = ("kind", "slots", "reads", "writes", "class", "def __init__", "genesys-published")


def mutants(seed: int, n: int) -> Iterator[str]:
    """Units of the library and one published, cut down to their declarations now and then, with pieces put in or over."""
    rng = random.Random(seed)
    texts = [*(unit.source for unit in library().values()), *[PUBLISHED] * 8]
    for _ in range(n):
        text = rng.choice(texts)
        if rng.random() < 0.2:
            text = "\n".join(line for line in text.split("\n") if any(word in line for word in TELLING))
        for _ in range(rng.randint(1, 4)):
            start = rng.randrange(len(text) + 1)
            text = text[:start] + rng.choice(PIECES) + text[start + rng.choice((0, 0, 1, 3, 10)) :]
        yield text


def outcomes(seed: int, n: int) -> dict[str, int]:
    counts = {"unit": 0, "findings": 0}
    for text in mutants(seed, n):
        started = time.monotonic()
        try:
            parse_unit.__wrapped__(text)
            counts["unit"] += 1
        except UnitError as error:
            assert error.findings and all(finding.rule and finding.required for finding in error.findings)
            counts["findings"] += 1
        assert time.monotonic() - started < SLOWEST_S, text
    return counts


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("seed", "n"),
    [
        (1, 1_500),
        pytest.param(2, 20_000, marks=pytest.mark.slow),
        pytest.param(3, 1_000_000, marks=[pytest.mark.campaign, pytest.mark.timeout(7200)]),
    ],
)
def test_any_text_gives_a_unit_or_findings(seed: int, n: int) -> None:
    counts = outcomes(seed, n)
    assert counts["unit"] > n // 50 and counts["findings"] > n // 2
