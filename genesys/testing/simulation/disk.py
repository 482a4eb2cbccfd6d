"""A journal in memory that keeps what a disk would keep when its writer dies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from genesys.errors import FencedError
from genesys.evolution.events import Event, event_to_json
from genesys.storage import BlobError, Entry, Journal, content_hash


class Disk:
    """What is durable of a run, whoever dies.

    Guarantees, as `Journal` demands them: an append is whole once it has returned; a later writer fences an earlier one. An
    append that was under way when its writer died leaves any number of its first events, or half of one more, which the
    next writer drops.

    Args:
        on_durable: Called with each event once it is durable.
    """

    def __init__(self, on_durable: Callable[[Event], None] = lambda _: None) -> None:
        self.entries: list[Entry] = []
        self.blobs: dict[str, bytes] = {}
        self.snapshot: tuple[int, str] | None = None
        self.epoch = 0
        self.is_torn = False
        self.n_torn = 0
        self._on_durable = on_durable

    def open(self, now: Callable[[], float]) -> DiskJournal:
        """Take the next epoch, and cut off what is torn."""
        self.n_torn += self.is_torn
        self.is_torn = False
        self.epoch += 1
        return DiskJournal(self, self.epoch, now)

    def write(self, events: Sequence[Event], blobs: Sequence[bytes], now: float) -> None:
        self.blobs.update((content_hash(blob), blob) for blob in blobs)
        for event in events:
            self.entries.append(Entry(len(self.entries) + 1, now, event))
            self._on_durable(event)


class DiskJournal(Journal):
    """One writer's hold of a disk."""

    def __init__(self, disk: Disk, epoch: int, now: Callable[[], float]) -> None:
        self.disk, self._epoch, self._now = disk, epoch, now

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def last_seq(self) -> int:
        return len(self.disk.entries)

    @property
    def is_fenced(self) -> bool:
        return self.disk.epoch != self._epoch

    def append(self, events: Sequence[Event], *, expected_seq: int, blobs: Sequence[bytes] = ()) -> int:
        self._check(expected_seq)
        self.disk.write(events, blobs, self._now())
        return self.last_seq

    def abandon(self, events: Sequence[Event], blobs: Sequence[bytes], *, n_kept: int) -> None:
        """The writer died in an append: its first `n_kept` events stand, and a torn one after them if there are more."""
        if self.is_fenced:
            return
        self.disk.write(events[:n_kept], blobs if n_kept else (), self._now())
        self.disk.is_torn = n_kept < len(events)

    def read(self, from_seq: int = 1) -> Iterator[Entry]:
        return iter(self.disk.entries[max(1, from_seq) - 1 :])

    def blob(self, name: str) -> bytes:
        if name not in self.disk.blobs:
            raise BlobError(f"Cannot read blob {name[:12]!r}: this disk has none.")
        return self.disk.blobs[name]

    def save_snapshot(self, seq: int, state: Mapping[str, Any]) -> None:
        self._check(self.last_seq)
        self.disk.snapshot = (seq, json.dumps(state))

    def load_snapshot(self) -> tuple[int, Mapping[str, Any]] | None:
        found = self.disk.snapshot
        return None if found is None else (found[0], json.loads(found[1]))

    def close(self) -> None:
        pass

    def _check(self, expected_seq: int) -> None:
        if self.is_fenced:
            raise FencedError(f"Cannot append: writer {self.disk.epoch} took over from writer {self._epoch}.")
        if expected_seq != self.last_seq:
            raise FencedError(f"Cannot append: the journal stands at {self.last_seq}; expected {expected_seq}.")


def encoded(entries: Sequence[Entry]) -> list[str]:
    """The events as text, one line each: how a file would hold them."""
    return [json.dumps(event_to_json(entry.event), separators=(",", ":"), allow_nan=False) for entry in entries]
