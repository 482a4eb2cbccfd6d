"""Where one run lives on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from genesys.errors import ConfigError
from genesys.storage.sqlite_journal import SqliteJournal


class RunStore:
    """The folder of a run: the journal with its blobs, the configuration it was started with, and artifacts."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def journal_path(self) -> Path:
        return self.root / "journal.sqlite"

    @property
    def config_path(self) -> Path:
        return self.root / "config.yaml"

    @property
    def artifacts(self) -> Path:
        """Weights and other large files, one folder per design and scale."""
        return self.root / "artifacts"

    @property
    def exists(self) -> bool:
        return self.journal_path.exists()

    def journal(self, *, mode: Literal["writer", "reader"] = "writer", any_thread: bool = False) -> SqliteJournal:
        """Open the journal; as a writer this creates it where there is none, and fences earlier writers.

        Raises:
            ConfigError: Nothing to read there.
        """
        if mode == "reader" and not self.exists:
            raise ConfigError(
                f"Cannot read run {str(self.root)!r}: it has no journal.sqlite. `genesys runs` lists the runs."
            )
        return SqliteJournal(self.journal_path, mode=mode, any_thread=any_thread)
