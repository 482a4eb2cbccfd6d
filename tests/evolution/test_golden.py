"""Journals of every version that was ever released replay to the state that they always gave."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from genesys.errors import ConfigError
from genesys.evolution import DesignState, EvolutionTree
from genesys.evolution.events import EVENT_TYPES, EVENT_VERSION, Event, event_from_json, event_to_json
from genesys.evolution.fitness import RelativeFitness

GOLDEN = Path(__file__).parents[1] / "golden"
DIGESTS = {
    1: "69698cd0fb31f58f5ec466cd0259ac9f2c0d00a9864003705b2f4655e7347b47",
    2: "be9d0eaec6c446ff371e4786c466087e3aa7329203a3f9523d61ea07875d55a8",
    3: "07521de43bdf25e5c3efca6d4c29a7a49b283d49c037b3d187f9b75a43bbc545",
}


def golden(version: int) -> list[dict[str, Any]]:
    lines = (GOLDEN / f"journal_v{version}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def replayed(events: list[Event]) -> EvolutionTree:
    tree = EvolutionTree(RelativeFitness())
    for event in events:
        tree.apply(event)
    return tree


def test_every_version_has_its_journal() -> None:
    assert set(DIGESTS) == set(range(1, EVENT_VERSION + 1))


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_an_old_journal_gives_the_state_it_always_gave(version: int) -> None:
    lines = golden(version)
    assert {line["version"] for line in lines} == {version}
    tree = replayed([event_from_json(line) for line in lines])
    assert tree.digest() == DIGESTS[version]
    again = EvolutionTree.from_snapshot(json.loads(json.dumps(tree.to_snapshot())), RelativeFitness())
    assert again.digest() == DIGESTS[version]


def test_this_version_s_journal_holds_every_kind_and_uses_every_field() -> None:
    events = [event_from_json(line) for line in golden(EVENT_VERSION)]
    assert {event.kind for event in events} == set(EVENT_TYPES)
    assert [event_to_json(event) for event in events] == golden(EVENT_VERSION)
    unused = {
        f"{kind}.{field.name}"
        for kind, cls in EVENT_TYPES.items()
        for field in fields(cls)
        if field.default is not MISSING or field.default_factory is not MISSING
        if not any(getattr(event, field.name) for event in events if event.kind == kind)
    }
    assert not unused, "an event that gained a field shows it here: add to the journal of a version not yet released"


def test_this_version_s_journal_reaches_every_state() -> None:
    tree = replayed([event_from_json(line) for line in golden(EVENT_VERSION)])
    assert {state for state in DesignState if tree.in_state(state)} == set(DesignState)
    assert tree.caps.runs == 60, "the caps of the resumed run hold"
    twin = next(iter(tree.in_state(DesignState.TWIN)))
    assert tree.by_fingerprint[tree.record(twin).fingerprint] == tree.record(twin).inherited_from
    assert tree.record(twin).normal_form not in tree.by_normal_form


def test_this_version_s_journal_has_sessions_of_every_end() -> None:
    tree = replayed([event_from_json(line) for line in golden(EVENT_VERSION)])
    assert (list(tree.open_sessions), list(tree.authored)) == (["session-4"], ["design-13"])
    assert [event.session for event in tree.failed_sessions] == ["session-2"]
    assert [lessons.text for lessons in tree.lessons] == ["Gates help (design-13)."]
    assert tree.out_of_money == "the cap of 1.00 USD leaves no room"


def test_a_journal_of_a_later_version_is_refused() -> None:
    with pytest.raises(ConfigError, match=f"this Genesys knows versions up to {EVENT_VERSION}"):
        event_from_json({"kind": "run_resumed", "version": EVENT_VERSION + 1})


def test_an_event_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="Cannot read event 'moon_landed' of version 1"):
        event_from_json({"kind": "moon_landed", "version": 1})
