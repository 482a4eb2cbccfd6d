"""The scripted model keeps its word: answers of the forms asked for, units that pass, books that add up."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import pytest

from genesys.errors import UnitError
from genesys.gau import parse_unit
from genesys.gau.library import seed_design
from genesys.llm.schema import schema_of, validated
from genesys.roles import answers as forms
from genesys.testing._answers import DEFECTS, spoil, write_unit
from genesys.testing._answers.units import FLAWS, Flaw
from genesys.testing.scripted_model import Charged, Script, ScriptedModel
from tests.checker.stages import first_findings

PROMPTS = {
    forms.ProposerTurn: "Mode: mutation\nPlaces of parent 1:\n- (root): PreNormBlock (block)\n- mixer: Attention (mixer)\n",
    forms.ReviewerTurn: "The bar is 4.0 of 5.",
    forms.PlannerTurn: "Open slots:\n- mixer.position; accepts: position; order\n- channel; accepts: channel, mixer; rest\n",
    forms.CoderTurn: "Slot: mixer.position; accepts: position",
    forms.ObserverTurn: "The bar is 3 of 5.",
    forms.DirectTurn: "Write the whole block.",
    forms.LessonsTurn: "Design 0123456789abcdef reached 0.5.",
}
PLACES = {"": "block", "norm_mixer": "norm", "mixer": "mixer", "channel": "channel", "mixer.position": "position"}


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedModel]:
    with ScriptedModel(Script(seed=1)) as server:
        yield server


def post(server: ScriptedModel, body: Mapping[str, Any], route: str = "chat/completions") -> dict[str, Any]:
    request = urllib.request.Request(
        f"{server.url}/{route}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def body(form: type[Any], text: str, **more: Any) -> dict[str, Any]:
    schema = schema_of(form)
    asked = {"type": "json_schema", "json_schema": {"name": schema.name, "schema": schema.json, "strict": True}}
    messages = [{"role": "system", "content": "common to all"}, {"role": "user", "content": text}]
    return {"model": "scripted", "messages": messages, "response_format": asked, **more}


@pytest.mark.parametrize("form", PROMPTS)
def test_answers_have_the_form_asked_for(server: ScriptedModel, form: type[Any]) -> None:
    for seed in range(10):
        answer = post(server, body(form, PROMPTS[form], seed=seed))
        assert isinstance(validated(form, json.loads(answer["choices"][0]["message"]["content"])), form)


def test_answers_fit_the_prompt(server: ScriptedModel) -> None:
    def turn(form: type[Any]) -> Any:
        text = post(server, body(form, PROMPTS[form], seed=11))["choices"][0]["message"]["content"]
        return validated(form, json.loads(text))

    assert turn(forms.PlannerTurn).slot in ("mixer.position", "channel")
    assert turn(forms.ReviewerTurn).rating >= 4.0
    assert "0123456789abcdef" in turn(forms.LessonsTurn).lessons


def test_the_form_is_known_without_a_name(server: ScriptedModel) -> None:
    bare = body(forms.ObserverTurn, f"The bar is 3 of 5. Answer by {schema_of(forms.ObserverTurn).text}")
    for asked in ({"type": "text"}, {"type": "json_object", "schema": schema_of(forms.ObserverTurn).json}):
        text = post(server, bare | {"response_format": asked})["choices"][0]["message"]["content"]
        assert isinstance(validated(forms.ObserverTurn, json.loads(text)), forms.ObserverTurn)


@pytest.mark.parametrize("place", PLACES)
def test_units_pass_the_checker(place: str) -> None:
    unit = parse_unit(write_unit((PLACES[place],), 2 if place else 0, Random(5)))
    design = seed_design("gpt").replace(place, unit)
    if not design.open_slots():
        assert list(map(str, first_findings(design))) == []
    assert unit.name not in {other.name for other in seed_design("gpt").units()}


@pytest.mark.slow
@pytest.mark.parametrize("place", [place for place in PLACES if place])
@pytest.mark.parametrize("seed", range(12))
def test_many_units_pass_the_checker(place: str, seed: int) -> None:
    design = seed_design("gpt").replace(place, parse_unit(write_unit((PLACES[place],), 2, Random(seed))))
    assert list(map(str, first_findings(design))) == []


@pytest.mark.parametrize("flaw", FLAWS)
def test_flaws_are_found(flaw: Flaw) -> None:
    source = write_unit(("mixer",), 2, Random(1), flaw=flaw)
    try:
        findings = first_findings(seed_design("gpt").replace("mixer", parse_unit(source)))
    except UnitError as error:
        findings = list(error.findings)
    expected = {
        "looks-ahead": "causality",
        "syntax": "syntax",
        "shape": "run-error",
        "no-unit": "one-unit",
        "dead-parameter": "gradient",
    }
    assert findings[0].rule == expected[flaw]


def test_the_books_add_up() -> None:
    with ScriptedModel(Script(seed=3, p_malformed=0.3, p_refusal=0.1)) as server:
        answers = [post(server, body(forms.CoderTurn, PROMPTS[forms.CoderTurn], seed=seed)) for seed in range(20)]
        post(server, {"model": "scripted", "input": ["a gate", "a norm"]}, "embeddings")
        charged = server.charged
    usages = [answer["usage"] for answer in answers]
    assert charged.n_requests == charged.n_charged == 21
    assert charged.n_output == sum(usage["completion_tokens"] for usage in usages)
    assert charged.n_cached == sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in usages) > 0
    assert charged.nano == sum(served.nano for served in server.served) > 0
    assert charged.nano == (
        1000 * (charged.n_input - charged.n_cached) + 100 * charged.n_cached + 4000 * charged.n_output
    )  # fmt: skip


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (Script(p_rate_limited=1.0, retry_after_s=7), 429),
        (Script(p_server_error=1.0), 500),
        (Script(modes=("text",)), 400),
        (Script(key="right"), 401),
    ],
)
def test_errors_are_free(script: Script, status: int) -> None:
    with ScriptedModel(script) as server, pytest.raises(urllib.error.HTTPError) as error:
        post(server, body(forms.ObserverTurn, "x"))
    assert error.value.code // 100 == status // 100
    assert error.value.headers.get("Retry-After") == ("7" if status == 429 else None)
    assert server.charged == Charged(n_requests=1, n_charged=0, n_input=0, n_cached=0, n_output=0, nano=0)


def test_a_dropped_connection_may_be_charged() -> None:
    with ScriptedModel(Script(seed=2, p_dropped=1.0)) as server:
        for seed in range(12):
            with pytest.raises((http.client.HTTPException, OSError)):
                post(server, body(forms.ObserverTurn, "x", seed=seed))
    assert 0 < server.charged.n_charged < 12 == server.charged.n_requests


def test_an_answer_is_cut_at_its_bound(server: ScriptedModel) -> None:
    answer = post(server, body(forms.CoderTurn, PROMPTS[forms.CoderTurn], max_tokens=50))
    assert answer["choices"][0]["finish_reason"] == "length" and answer["usage"]["completion_tokens"] == 50


def test_equal_requests_get_equal_answers_from_a_new_server() -> None:
    def said() -> list[str]:
        with ScriptedModel(Script(seed=4)) as server:
            asked = body(forms.CoderTurn, PROMPTS[forms.CoderTurn])
            return [post(server, asked)["choices"][0]["message"]["content"] for _ in range(3)]

    first = said()
    assert first == said() and len(set(first)) == 3


def test_every_defect_gives_text() -> None:
    good = json.dumps({"action": "submit", "code": "x", "rating": 4.0})
    for seed in range(300):
        assert isinstance(spoil(good, Random(seed)), str)
    for defect in DEFECTS.values():
        assert isinstance(defect("", Random(0)), str) and isinstance(defect(good, Random(0)), str)
