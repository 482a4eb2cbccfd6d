"""A configuration that names only what differs from another one: `base: base.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from genesys.errors import ConfigError, suggest


def read_layered(path: Path | str, base: Path | str | None = None) -> Any:
    """The plain data of a YAML file, laid over that of the file which it names as its `base`, if it names one.

    Mappings are laid over each other key by key; a list or a plain value takes the whole place of the other.

    Args:
        base: Taken in place of the one that the file names.

    Raises:
        ConfigError: No such file, not YAML, or a base that names a base: there is one level.
    """
    data = _read_yaml(Path(path))
    if not isinstance(data, Mapping) or (base is None and "base" not in data):
        return data
    named = base or data["base"]
    if not isinstance(named, str | Path):
        raise ConfigError(f"Cannot use base = {named!r} of {str(path)!r}: expected the name of a file beside it.")
    below = _read_yaml(Path(path).parent / named if base is None else Path(named))
    if not isinstance(below, Mapping) or "base" in below:
        raise ConfigError(
            f"Cannot lay {str(path)!r} over {str(named)!r}: that names a base itself, or holds no keys and values. Name a "
            "file that stands by itself."
        )
    return lay_over(below, {key: value for key, value in data.items() if key != "base"})


def lay_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The settings below, but for those that stand above."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        merged[key] = lay_over(under, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return merged


def _read_yaml(path: Path) -> Any:
    if not path.is_file():
        near = suggest(path.name, (p.name for p in path.parent.glob("*.yaml") if suggest(path.stem, [p.stem])))
        raise ConfigError(f"Cannot read configuration {str(path)!r}: there is no such file.{near}")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ConfigError(
            f"Cannot read configuration {str(path)!r}: it is not YAML. {' '.join(str(error).split())}"
        ) from None
