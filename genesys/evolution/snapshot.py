"""Records and leases as plain data, and back. The tree's snapshot is made of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from genesys.evolution.design import DesignRecord, DesignState, Lease, Run

SNAPSHOT_VERSION = 1


def plain(value: Any) -> Any:
    """Mappings as dictionaries, tuples as lists, values and enums as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value.value if isinstance(value, DesignState) else value


def value_to_json(value: DesignRecord | Lease | Run) -> dict[str, Any]:
    """One frozen value, field by field, nested runs included."""
    found = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, DesignRecord):
        found["runs"] = [value_to_json(run) for run in value.runs]
    return {name: plain(item) for name, item in found.items()}


def record_from_json(data: Mapping[str, Any]) -> DesignRecord:
    """Read what `value_to_json` wrote of a record."""
    listed = {name: tuple(data[name]) for name in ("parents", "references", "parts", "findings")}
    runs = tuple(Run(**run) for run in data["runs"])
    return DesignRecord(**{**data, **listed, "runs": runs, "state": DesignState(data["state"])})
