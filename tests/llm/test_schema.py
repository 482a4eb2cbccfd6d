"""Forms of answers: what providers are sent, and what comes back into a dataclass."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.llm.schema import schema_of, validated
from genesys.roles import answers
from genesys.roles.answers import DirectTurn, ObserverTurn, ProposerTurn

FORMS = [form for name, form in vars(answers).items() if name.endswith("Turn")]
GOOD = {"fidelity": 4, "quality": 3.5, "novelty": 2, "rating": 4, "review": "fine", "suggestions": ""}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_in_the_dialect_of_strict_modes(form: type[Any]) -> None:
    schema = schema_of(form)
    assert json.loads(schema.text) == schema.json and schema.name == form.__name__
    assert schema.json["required"] == list(schema.json["properties"]) == [field.name for field in fields(form)]
    assert schema.json["additionalProperties"] is False
    for said in schema.json["properties"].values():
        assert said.keys() <= {"type", "description", "enum", "items"} and said["description"]


def test_bounds_are_said_in_words() -> None:
    properties = schema_of(ObserverTurn).json["properties"]
    assert properties["rating"]["description"].endswith("(from 0 to 5)")
    assert properties["review"]["description"].endswith("(at most 4000 characters)")


def test_an_answer_becomes_the_dataclass_and_fields_nobody_asked_for_go() -> None:
    assert validated(ObserverTurn, GOOD | {"thoughts": "hm"}) == ObserverTurn(**GOOD)
    direct = validated(DirectTurn, {"title": "t", "abstract": "", "units": ["a", "b"], "tree": "{}"})
    assert direct.units == ("a", "b")


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"rating": "4"}, "`rating`: Input should be a valid number"),
        ({"rating": True}, "`rating`: Input should be a valid number"),
        ({"rating": None}, "`rating`: Input should be a valid number"),
        ({"rating": 5.01}, "`rating`: Input should be less than or equal to 5"),
        ({"rating": -1}, "`rating`: Input should be greater than or equal to 0"),
        ({"rating": float("nan")}, "`rating`: Input should be a finite number"),
        ({"rating": float("inf")}, "`rating`: Input should be a finite number"),
        ({"rating": 10**400}, "`rating`: Input should be a"),
        ({"review": "x" * 4001}, "`review`: String should have at most 4000 characters"),
        ({"review": "\ud800"}, "`review`: Input should be a valid string"),
        ({"review": "a\0b"}, "`review`: holds the character NUL"),
        ({"review": ["a"]}, "`review`: Input should be a valid string"),
    ],
)
def test_what_is_wrong_is_said_by_field(change: dict[str, Any], wrong: str) -> None:
    found = validated(ObserverTurn, GOOD | change)
    assert isinstance(found, str) and found.startswith(wrong)


def test_many_wrongs_are_said_shortly() -> None:
    found = validated(ProposerTurn, {"action": "dance"})
    assert "`action`: Input should be 'search' or 'propose'" in found and "and 1 more" in found and len(found) < 1000
    assert "should be a valid list" in validated(DirectTurn, {"title": "t", "abstract": "", "units": "a", "tree": ""})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.characters(categories=["Cs"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200)
@given(st.sampled_from(FORMS), st.data())
def test_any_values_give_the_form_or_words(form: type[Any], data: st.DataObject) -> None:
    value = {field.name: data.draw(VALUES) for field in fields(form) if data.draw(st.booleans())}
    found = validated(form, value)
    assert isinstance(found, form | str)
    if not isinstance(found, str):
        json.dumps(asdict(found), allow_nan=False).encode()
