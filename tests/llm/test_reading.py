"""The object in an answer's text: found where a person would find it, in linear time, and never with an exception."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.llm.reading import read_object
from genesys.llm.schema import validated
from genesys.roles.answers import CoderTurn, ObserverTurn

KEYS = ("code", "rating")
M = 1_000_000
CODE = "```python\nclass A:\n    '''{\"a\": 1}'''\n```"


@pytest.mark.parametrize(
    "text",
    [
        '{"rating": 1}',
        '\ufeff  {"rating": 1}\n',
        'Sure! Here it is:\n```json\n{"rating": 1}\n```\nAnything else?',
        '~~~\n````json\n```\n{"rating": 1}\n```\n````',
        '<think>maybe {x} or {"a": 1}? \\frac{a}{b}</think>{"rating": 1}',
        'First {"rating": 0} , no: {"rating": 1}',
        '{"rating": 1} I hope {that} helps {"note": 3}',
        '[{"rating": 1}]',
        '{"rating": 1,}',
        '{"rating": 1,\n\n}',
        '{{"rating": 1}}',
    ],
)
def test_the_object_is_found(text: str) -> None:
    assert read_object(text, KEYS) == {"rating": 1}


@pytest.mark.parametrize("wrap", ["{}", "```json\n{}\n```", "```\n```json\n{}\n```\n```", "text {} text"])
def test_fences_and_braces_in_strings_stay(wrap: str) -> None:
    written = json.dumps({"code": CODE})
    assert read_object(wrap.replace("{}", written), KEYS) == {"code": CODE}
    assert read_object(wrap.replace("{}", written.replace("\\n", "\n")), KEYS) == {"code": CODE}  # raw line breaks


def test_commas_in_strings_stay() -> None:
    assert read_object('{"code": "f(a,)[b, ]", "rating": 1,}', KEYS) == {"code": "f(a,)[b, ]", "rating": 1}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "There is no JSON object in the answer: it is empty."),
        ("I cannot help with that.", "There is no JSON object in the answer."),
        ('{"code": "class A', "The JSON object is cut off after 17 characters."),
        ('{"code": "x", ', "The JSON object is cut off"),
        ('```\n{"code": {"a": 1}, "rating"', "The JSON object is cut off"),
        ('{"code"; 1}', "The JSON object does not parse at line 1 of the answer: Expecting ':' delimiter."),
        ('{"other": 1}', "The JSON object has none of the fields that were asked for."),
        ('{"code": ' + "9" * 5000 + "}", "The JSON object holds a number of too many digits."),
        ('{"code": ' * 5000, "The JSON object is nested too deeply."),
    ],
)
def test_what_is_wrong_is_said(text: str, wrong: str) -> None:
    found = read_object(text, KEYS)
    assert isinstance(found, str) and found.startswith(wrong)


HOSTILE = {
    "braces": "{" * M,
    "keys": '{"' * (M // 2),
    "escapes": '{"' + '\\"' * (M // 2),
    "escapes, and one of nothing": '\\"' * (M // 2) + "\\",
    "nested objects": '{"code":' * (M // 8),
    "nested lists": '{"code":' + "[" * M,
    "objects": "{}" * (M // 2),
    "commas": '{"code":1' + "," * M,
    "spaced commas": ("," + " " * 1000) * (M // 1000),
    "spaces": ("{" + " " * 100) * (M // 101),
    "open lists": ('{"code":[' + "0," * 1000) * (M // 2009),
    "digits": '{"code":' + "1" * M,
    "digits again": ('{"code":' + "1" * 5000) * (M // 5008),
    "fences": "```json\n" * (M // 8),
    "a string": '{"code":"' + "x" * M,
    "line breaks": '{"code"\n\n\n' * (M // 10),
    "NUL": "\0" * M,
}


@pytest.mark.timeout(60)  # .1 s on a quiet machine; a quadratic reading takes minutes
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_megabyte_is_read_in_linear_time(name: str) -> None:
    assert isinstance(read_object(HOSTILE[name], KEYS), str)


def test_a_megabyte_that_is_right_is_read() -> None:
    assert read_object('{"code": "' + "x" * M + '"}', KEYS) == {"code": "x" * M}


SPEECH = [
    "{",
    "}",
    '"',
    "\\",
    "[",
    "]",
    ",",
    ":",
    "```",
    "json",
    "\n",
    "null",
    "NaN",
    "1e999",
    "-",
    "\ud800",
    "\0",
    "{}",
    "rating",
    " ",
]


@given(st.lists(st.sampled_from(SPEECH), max_size=60).map("".join) | st.text())
def test_any_text_gives_an_object_or_words(text: str) -> None:
    found = read_object(text, KEYS)
    assert isinstance(found, dict | str) and found != ""


def _mutated(text: str, rng: Random) -> str:
    """A right answer spoilt as models, proxies and adversaries spoil it."""
    at, to = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    ways = [
        lambda: text[:at],
        lambda: text[at:],
        lambda: text[:at] + text[to:],
        lambda: text[:at] + rng.choice(SPEECH) + text[at:],
        lambda: text[:at] + text[at:to] * rng.randrange(2, 20) + text[to:],
        lambda: f"Here:\n```json\n{text}\n```",
        lambda: f"````\n```json\n{text}\n```\n````{{",
        lambda: text.replace('"', "'"),
        lambda: text.replace(":", rng.choice([":NaN,", ": {", ":null,", ":[[", ":true, "]), rng.randrange(1, 4)),
        lambda: text + text,
        lambda: f"{{{text}}}",
        lambda: f"<think>{text[:at]}</think>{text}",
        lambda: "".join(rng.sample(text, len(text))),
        lambda: "I'm sorry, I can't help with {that}.",
        lambda: text.replace("1", str(10**400)),
        lambda: text[:at] + "x" * 50_000 + text[at:],
    ]
    return rng.choice(ways)()


def _answers(rng: Random) -> list[tuple[type[Any], str]]:
    review = {"fidelity": 1, "quality": 1.5, "novelty": 0, "rating": 5, "review": CODE, "suggestions": "ä\n"}
    code = {"action": "submit", "code": CODE, "query": "", "explanation": 'say "{"'}
    return [(ObserverTurn, json.dumps(review, indent=rng.choice([None, 2]))), (CoderTurn, json.dumps(code))]


def _read_mutations(n: int) -> tuple[int, int]:
    rng, n_read, n_refused = Random(20), 0, 0
    for _ in range(n):
        form, text = rng.choice(_answers(rng))
        for _ in range(rng.randrange(1, 4)):
            text = _mutated(text, rng)
        found = read_object(text, form.__dataclass_fields__)
        value = found if isinstance(found, str) else validated(form, found)
        assert isinstance(value, form | str) and value != ""
        n_refused, n_read = n_refused + isinstance(value, str), n_read + isinstance(value, form)
    return n_read, n_refused


def test_a_thousand_spoilt_answers_are_read_or_refused() -> None:
    n_read, n_refused = _read_mutations(1000)
    assert n_read > 100 and n_refused > 100


@pytest.mark.slow
def test_ten_thousand_spoilt_answers_are_read_or_refused() -> None:
    n_read, n_refused = _read_mutations(10_000)
    assert n_read > 1000 and n_refused > 1000
