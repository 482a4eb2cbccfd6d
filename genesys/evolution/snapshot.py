"""Records and leases as plain data, and back. The tree's snapshot is made of these.

Fields that stand at their default are left out: a million records are a third smaller, and a field that is added later
does not change the digest of an old journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from genesys.evolution.design import DesignRecord, DesignState, Lease, Run

SNAPSHOT_VERSION = 2


def plain(value: Any) -> Any:
    """Mappings as dictionaries, tuples as lists, values and enums as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value.value if isinstance(value, DesignState) else value


def value_to_json(value: DesignRecord | Lease | Run) -> dict[str, Any]:
    """One frozen value without what stands at its default, nested runs included."""
    found = {name: item for name, default in _FIELDS[type(value)] if (item := getattr(value, name)) != default}
    if isinstance(value, DesignRecord) and value.runs:
        found["runs"] = [value_to_json(run) for run in value.runs]
    return {name: item if type(item) in (str, int, float, bool) else plain(item) for name, item in found.items()}


def record_from_json(data: Mapping[str, Any]) -> DesignRecord:
    """Read what `value_to_json` wrote of a record."""
    listed = {name: tuple(data[name]) for name in ("parents", "references", "parts", "findings") if name in data}
    runs = tuple(Run(**run) for run in data.get("runs", ()))
    state = DesignState(data.get("state", DesignState.PROPOSED))
    return DesignRecord(**{**data, **listed, "runs": runs, "state": state})


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


_FIELDS = {cls: tuple((f.name, _default(f)) for f in fields(cls)) for cls in (DesignRecord, Lease, Run)}
