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
    if _url(_file(place, name)) == url:
        _file(place, name).unlink(missing_ok=True)


def registered(folder: Path | None = None) -> dict[str, str]:
    """URLs by name."""
    found = {path.stem: _url(path) for path in sorted((folder or servers_folder()).glob("*.json"))}
    return {name: url for name, url in found.items() if url}


def endpoint(api_base: str, folder: Path | None = None) -> str:
    """The URL that a model's `api_base` means: itself, or of `served:NAME` where that server listens now.

    Raises:
        ConfigError: No server of that name is registered.
    """
    if not api_base.startswith(_PREFIX):
        return api_base
    name = api_base.removeprefix(_PREFIX)
    url = _url(_file(folder or servers_folder(), name))
    if not url:
        raise ConfigError(
            f"Cannot ask the model served as {name!r}: no server of that name is registered."
            f"{suggest(name, registered(folder))} Start it: genesys serve MODEL --name {name}"
        )
    return url


def _url(path: Path) -> str:
    """What a file of the registry says; "" for none that can be read: its server ended meanwhile, or others write there, too."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _file(folder: Path, name: str) -> Path:
    if not name or any(not (c.isalnum() or c in "-_.") for c in name) or name.startswith("."):
        raise ConfigError(f"Cannot take {name!r} for the name of a server: expected letters, digits, '-', '_' and '.'.")
    return folder / f"{name}.json"
