"""The journal of a run: what every backend promises, and how a tree is opened from one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from genesys.errors import GenesysError
from genesys.evolution.events import Event
from genesys.evolution.rating import FitnessRule
from genesys.evolution.tree import EvolutionTree
from genesys.ladder.ledger import BookkeepingError


class BlobError(GenesysError, LookupError):
    """A blob is absent, or its bytes are not what its name says."""


def content_hash(data: bytes) -> str:
    """The name of a blob: SHA-256 of its bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


class Entry(NamedTuple):
    """One event as it stands in the journal; `seq` counts from 1 without gaps, `time` is in seconds since 1970 UTC."""

    seq: int
    time: float
    event: Event


class Journal(Protocol):
    """An append-only sequence of events with one writer.

    Guarantees: an append is on the disk, whole, when it returns, or not there at all; whoever opens the journal as a
    writer fences all earlier writers off for good; readers never disturb the writer.
    """

    @property
    def epoch(self) -> int:
        """This writer's number; it rises with each writer. 0 for a reader."""
        ...

    @property
    def last_seq(self) -> int:
        """The last sequence number; 0 for an empty journal."""
        ...

    def append(self, events: Sequence[Event], *, expected_seq: int, blobs: Sequence[bytes] = ()) -> int:
        """Append events, and the blobs that they name, in one step; gives the new last sequence number.

        Args:
            blobs: Stored by the SHA-256 of their bytes; storing one twice costs nothing.
            expected_seq: What the caller takes `last_seq` to be.

        Raises:
            FencedError: A later writer exists, or the journal is not where the caller takes it to be, or this is
                a reader. Nothing was written; the caller must stop, and open the journal anew.
        """
        ...

    def read(self, from_seq: int = 1) -> Iterator[Entry]:
        """The entries from a sequence number on, in order."""
        ...

    def blob(self, name: str) -> bytes:
        """The bytes of a name, verified.

        Raises:
            BlobError: No such blob, or it was damaged.
        """
        ...

    def save_snapshot(self, seq: int, state: Mapping[str, Any]) -> None:
        """Keep a tree's snapshot as of a sequence number; older ones may be dropped."""
        ...

    def load_snapshot(self) -> tuple[int, Mapping[str, Any]] | None:
        """The latest intact snapshot and its sequence number."""
        ...

    def close(self) -> None: ...


def open_tree(journal: Journal, rule: FitnessRule) -> EvolutionTree:
    """The tree that a journal describes, from its latest snapshot and the events after it.

    `tree.n_events` is then the journal's `last_seq`, what the next append expects. A snapshot that this version
    cannot use is passed over: the events alone suffice.
    """
    tree = _from_snapshot(journal, rule)
    tree.replay(map(attrgetter("event"), journal.read(tree.n_events + 1)))
    return tree


def _from_snapshot(journal: Journal, rule: FitnessRule) -> EvolutionTree:
    found = journal.load_snapshot()
    if found is None or found[0] > journal.last_seq:
        return EvolutionTree(rule)
    try:
        return EvolutionTree.from_snapshot(found[1], rule)
    except (BookkeepingError, KeyError, TypeError):
        return EvolutionTree(rule)
