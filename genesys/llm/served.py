"""Where model servers of one's own listen: each is found by its name, wherever it was started last.

A model's entry `api_base: served:NAME` is looked up here at each call, so that a server which comes back on another port or host
is found again. The registry is a folder of small files in the user's cache; hosts that share a home share it.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from genesys.errors import ConfigError, suggest

_PREFIX = "served:"


def servers_folder() -> Path:
    """Where servers are registered."""
    return Path.home() / ".cache" / "genesys" / "servers"


def register(name: str, url: str, folder: Path | None = None) -> None:
    """Note that a server answers at a URL; in place of what was noted of that name."""
    place = folder or servers_folder()
    place.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=place)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"url": url}, file)
    os.replace(temporary, _file(place, name))


def deregister(name: str, url: str, folder: Path | None = None) -> None:
    """Forget a server, unless another one has taken its name meanwhile."""
    place = folder or servers_folder()
    if registered(place).get(name) == url:
        _file(place, name).unlink(missing_ok=True)


def registered(folder: Path | None = None) -> dict[str, str]:
    """URLs by name."""
    found = {}
    for path in sorted((folder or servers_folder()).glob("*.json")):
        try:
            found[path.stem] = str(json.loads(path.read_text(encoding="utf-8"))["url"])
        except FileNotFoundError:  # it ended meanwhile
            continue
    return found


def endpoint(api_base: str, folder: Path | None = None) -> str:
    """The URL that a model's `api_base` means: itself, or of `served:NAME` where that server listens now.

    Raises:
        ConfigError: No server of that name is registered.
    """
    if not api_base.startswith(_PREFIX):
        return api_base
    name, known = api_base.removeprefix(_PREFIX), registered(folder)
    if name not in known:
        raise ConfigError(
            f"Cannot ask the model served as {name!r}: no server of that name is registered.{suggest(name, known)} Start it: "
            f"genesys serve MODEL --name {name}"
        )
    return known[name]


def _file(folder: Path, name: str) -> Path:
    if not name or any(not (c.isalnum() or c in "-_.") for c in name) or name.startswith("."):
        raise ConfigError(f"Cannot register a server as {name!r}: expected letters, digits, '-', '_' and '.'.")
    return folder / f"{name}.json"
