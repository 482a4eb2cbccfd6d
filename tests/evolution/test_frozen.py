"""Values that are made fast are those that the constructors make."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from genesys.evolution.design import DesignRecord
from genesys.evolution.events import EVENT_TYPES, EVENT_VERSION, DesignProposed, Event, event_from_json, event_to_json
from genesys.evolution.frozen import maker

REQUIRED: dict[str, Any] = {"design": "d", "name": "D", "program": "p", "operator": "mutation"}
RECORD: dict[str, Any] = {"id": "d", "name": "D", "program": "p", "operator": "seed", "order": 3}


def test_a_value_is_of_its_class_equal_frozen_and_travels() -> None:
    made, built = maker(DesignRecord)(**RECORD), DesignRecord(**RECORD)
    assert type(made) is DesignRecord and made == built
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == built
    with pytest.raises(FrozenInstanceError):
        made.name = "E"  # type: ignore[misc]
    with pytest.raises(TypeError, match="order"):
        maker(DesignRecord)(**{name: value for name, value in RECORD.items() if name != "order"})


def test_defaults_that_are_made_are_made_for_each() -> None:
    make = maker(DesignRecord)
    assert make(**RECORD).odds is not make(**RECORD).odds


@pytest.mark.parametrize("cls", EVENT_TYPES.values())
def test_every_event_reads_as_its_constructor_makes_it(cls: type[Event]) -> None:
    given: dict[str, Any] = {
        f.name: (f"{f.name} 1", f"{f.name} 2") if str(f.type).startswith("tuple") else f.name for f in fields(cls)
    }
    event = cls(**given)
    read = event_from_json({"left over": 1} | event_to_json(event))
    assert read == event and type(read) is cls


def test_an_event_without_later_fields_has_their_defaults() -> None:
    read = event_from_json({"kind": "design_proposed", "version": EVENT_VERSION, "parents": ["a", "b"], **REQUIRED})
    assert read == DesignProposed(**REQUIRED, parents=("a", "b"))
