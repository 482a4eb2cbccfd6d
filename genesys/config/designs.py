"""Read a user's design files into unit trees, without running them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from genesys.errors import ConfigError, UnitError, suggest
from genesys.gau import Unit, UnitTree, bind, parse_composed, parse_unit
from genesys.gau.library import BASELINE_NAMES, SEED_NAMES, shipped_design, unit_named


def load_design(reference: str) -> UnitTree:
    """Read a design.

    Args:
        reference: The name of a seed or a baseline; or a path to
            `.yaml` or `.json`: nested `{unit, hyperparameters, slots}`, where `unit` names a library unit or a
            `.py` file beside it;
            `.json` as written by `genesys show --json` (with `units` and `tree`);
            `.py` as written by an export, or a single unit without slots.

    Raises:
        ConfigError: No such file, or it holds no design; the message says why.
    """
    if reference in (*SEED_NAMES, *BASELINE_NAMES):
        return shipped_design(reference)
    path = Path(reference)
    if not path.is_file():
        near = suggest(reference, (*SEED_NAMES, *BASELINE_NAMES))
        raise ConfigError(
            f"Cannot find design {reference!r}: it is neither a file nor a seed ({', '.join(SEED_NAMES)}) "
            f"nor a baseline ({', '.join(BASELINE_NAMES)})." + (near or " Give the path of a .py, .yaml or .json file.")
        )
    text = path.read_text(encoding="utf-8")
    try:
        return _read_python(text) if path.suffix == ".py" else _read_entries(text, path)
    except UnitError as error:
        raise ConfigError(f"Cannot read design {reference!r}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        message = f"there is no key {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ConfigError(
            f"Cannot read design {reference!r}: {message}. See docs/configuration.md, 'Designs of one's own', for the forms."
        ) from error


def _read_python(text: str) -> UnitTree:
    return parse_composed(text) if "\n# --- tree " in text else UnitTree(parse_unit(text))


def _read_entries(text: str, path: Path) -> UnitTree:
    data: Any = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    if not isinstance(data, dict):
        raise ValueError("it holds no mapping with a key `unit`")
    if "tree" in data and "units" in data:
        return UnitTree.from_json(data)

    def resolve(name: str) -> Unit:
        if not name.endswith(".py"):
            return unit_named(name)
        source = path.parent / name
        if not source.is_file():
            raise ConfigError(f"Cannot find unit file {name!r} beside {str(path)!r}.")
        return parse_unit(source.read_text(encoding="utf-8"))

    return bind(data, resolve)
