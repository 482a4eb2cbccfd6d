"""Where a run keeps its journal when not in its folder: a database's URL, and the run's schema there."""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from genesys.errors import ConfigError


class JournalAddress(NamedTuple):
    """A database, and the schema of one run in it; written as `URL#SCHEMA`."""

    url: str
    schema: str

    def __str__(self) -> str:
        return f"{self.url}#{self.schema}"


def new_address(url: str, run: str) -> JournalAddress:
    """An address in a database for a run of some name; runs of equal names get different ones."""
    name = re.sub(r"[^a-z0-9]+", "_", run.lower()).strip("_")[:40]
    return JournalAddress(url, f"genesys_{name}_{secrets.token_hex(4)}")


def read_address(text: str) -> JournalAddress:
    """What `str` of an address gave."""
    url, _, schema = text.strip().partition("#")
    check_url(url)
    return JournalAddress(url, schema)


def check_url(url: str) -> None:
    """Refuse what is no database's URL, and a URL with a password: it would be written into the run's folder and books.

    Raises:
        ConfigError: One of these.
    """
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or any("password" in key for key, _ in parse_qsl(parts.query))
    except ValueError as error:
        raise ConfigError(f"Cannot use storage.journal: {error}; expected postgresql://USER@HOST/DATABASE.") from None
    if secret:
        raise ConfigError(
            "Cannot use storage.journal with a password in it: the run's folder and its books would hold it in clear. "
            "Leave it out, and set PGPASSWORD or write it to ~/.pgpass."
        )
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/") or parts.fragment:
        raise ConfigError(
            f"Cannot keep a journal at {url!r}; expected postgresql://USER@HOST/DATABASE, or '' for a file in the "
            f"run's folder. Correct storage.journal."
        )
