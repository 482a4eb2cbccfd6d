"""Journals of runs, and the blobs that they name."""

from genesys.storage.journal import BlobError, Entry, Journal, content_hash, open_tree
from genesys.storage.postgres_journal import PostgresJournal
from genesys.storage.run_store import RunStore
from genesys.storage.sqlite_journal import SqliteJournal

__all__ = ["BlobError", "Entry", "Journal", "PostgresJournal", "RunStore", "SqliteJournal", "content_hash", "open_tree"]
