"""A journal's texts read at once give what they give one by one."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest

from genesys.errors import ConfigError
from genesys.evolution.events import (
    EVENT_VERSION,
    DesignImplemented,
    DesignProposed,
    Event,
    RunDraining,
    event_from_json,
    event_to_json,
)
from genesys.storage.reading import JsonMapping, read_events

JOURNALS = sorted((Path(__file__).parents[1] / "golden").glob("journal_v*.jsonl"))


@pytest.mark.parametrize("journal", JOURNALS, ids=lambda path: path.stem)
def test_every_kind_and_version_reads_as_one_by_one(journal: Path) -> None:
    texts = journal.read_text(encoding="utf-8").splitlines()
    events, expected = [*read_events(texts)], [event_from_json(json.loads(text)) for text in texts]
    assert events == expected and [*map(type, events)] == [*map(type, expected)]
    assert [*map(event_to_json, events)] == [*map(event_to_json, expected)]


def test_an_event_that_lacks_later_fields_has_their_defaults() -> None:
    text = json.dumps({"kind": "design_implemented", "version": 1, "design": "d", "of no use": 1})
    assert [*read_events([text, text])] == [DesignImplemented(design="d")] * 2


def test_halves_of_surrogates_are_read() -> None:
    events: list[Event] = [RunDraining(reason="torn \ud83d"), RunDraining(reason="whole \U0001f600")]
    assert [*read_events(json.dumps(event_to_json(event)) for event in events)] == events


@pytest.mark.parametrize(
    "data", [{"kind": "run_finished", "version": EVENT_VERSION + 1}, {"kind": "moon_landed", "version": 1}]
)
def test_what_this_version_does_not_know_is_refused(data: dict[str, object]) -> None:
    good = RunDraining(reason="stop")
    events = iter(read_events([json.dumps(event_to_json(good)), json.dumps(data | {"reason": ""})]))
    assert next(events) == good
    with pytest.raises(ConfigError, match=f"Cannot read event '{data['kind']}' of version"):
        next(events)


def test_sizes_stay_json_and_behave_as_a_mapping() -> None:
    sizes = {"14M": {"d_model": 64, "error": 0.5}, "31M": {}}
    (event,) = read_events([json.dumps(event_to_json(DesignImplemented(design="d", sizes=sizes)))])
    assert isinstance(event, DesignImplemented) and isinstance(event.sizes, JsonMapping)
    assert event.sizes == sizes == dict(event.sizes) and str(event.sizes) == str(sizes)
    assert copy.deepcopy(event.sizes) == pickle.loads(pickle.dumps(event.sizes)) == sizes
    assert event.sizes.get("70M", 1) == 1 and "14M" in event.sizes and len(event.sizes) == 2


def test_odds_of_the_same_text_are_one_mapping_and_an_integer_stays_one() -> None:
    event = DesignProposed(design="d", name="n", program="p", operator="mutation", odds={"mutation": 1.0})
    texts = [json.dumps(event_to_json(event)), json.dumps(event_to_json(event) | {"odds": {"mutation": 1}})]
    first, other, again = read_events([*texts, texts[0]])
    assert isinstance(first, DesignProposed) and isinstance(other, DesignProposed) and isinstance(again, DesignProposed)
    assert first.odds is again.odds and str(first.odds) == "{'mutation': 1.0}" and str(other.odds) == "{'mutation': 1}"
