"""Journals and blobs of a run."""

from genesys.storage.blobs import BlobError, BlobStore, content_hash
from genesys.storage.journal import Entry, Journal, open_tree
from genesys.storage.run_store import RunStore
from genesys.storage.sqlite_journal import SqliteJournal

__all__ = ["BlobError", "BlobStore", "Entry", "Journal", "RunStore", "SqliteJournal", "content_hash", "open_tree"]
