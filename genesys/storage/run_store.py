"""Where one run lives: its folder, and its journal there or in a database."""

from __future__ import annotations

import os
from pathlib import Path

from genesys.errors import ConfigError
from genesys.storage.address import JournalAddress, new_address, read_address
from genesys.storage.journal import Journal
from genesys.storage.postgres_journal import PostgresJournal, require_database
from genesys.storage.sql_journal import Mode
from genesys.storage.sqlite_journal import SqliteJournal


class RunStore:
    """The folder of a run: the journal with its blobs, the configuration it was started with, and artifacts.

    The journal is the file `journal.sqlite`, unless the folder has a file `journal.url` with the address of one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def journal_path(self) -> Path:
        return self.root / "journal.sqlite"

    @property
    def address_path(self) -> Path:
        return self.root / "journal.url"

    @property
    def config_path(self) -> Path:
        return self.root / "config.yaml"

    @property
    def artifacts(self) -> Path:
        """Weights and other large files, one folder per design and scale."""
        return self.root / "artifacts"

    @property
    def exists(self) -> bool:
        return self.journal_path.exists() or self.address_path.exists()

    @property
    def address(self) -> JournalAddress | None:
        """Where the journal is, if not in the folder."""
        return read_address(self.address_path.read_text(encoding="utf-8")) if self.address_path.exists() else None

    def require_place(self, url: str) -> None:
        """Make sure that the journal can be where a configuration wants it; "" is the folder.

        Raises:
            ConfigError: It is elsewhere already, or the database does not take it.
            TransientError: No server answers.
        """
        if self.exists:
            stands = self.address.url if self.address else ""
            if url != stands:
                asked, is_in = (repr(place) if place else "its folder" for place in (url, stands))
                raise ConfigError(
                    f"Cannot keep the journal of run {self.root.name!r} in {asked}: it is in {is_in}. Restore "
                    f"storage.journal."
                )
        elif url:
            require_database(url)

    def take_place(self, url: str) -> None:
        """Give a new run's journal its place; a run that has one keeps it."""
        if not url or self.exists:
            return
        address = new_address(url, self.root.name)
        PostgresJournal(*address).close()  # first the journal, then its address: no run without a journal
        self.root.mkdir(parents=True, exist_ok=True)
        with self.address_path.open("x", encoding="utf-8") as file:
            file.write(f"{address}\n")
            file.flush()
            os.fsync(file.fileno())

    def journal(self, *, mode: Mode = "writer", any_thread: bool = False) -> Journal:
        """Open the journal; as a writer this creates it where there is none, and fences earlier writers.

        Raises:
            ConfigError: Nothing to read there.
            TransientError: Its database does not answer.
        """
        if mode == "reader" and not self.exists:
            raise ConfigError(f"Cannot read run {str(self.root)!r}: {self._why_none()}")
        if self.address is not None:
            return PostgresJournal(*self.address, mode=mode)
        return SqliteJournal(self.journal_path, mode=mode, any_thread=any_thread)

    def _why_none(self) -> str:
        if self.config_path.exists():
            return "its run never began. Start it: genesys evolve CONFIG."
        return "it has neither journal.sqlite nor journal.url. `genesys runs` lists the runs."
