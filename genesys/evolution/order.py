"""An order that stays sorted at a million ids."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import accumulate, chain

Key = tuple[float, ...]
Entry = tuple[object, ...]
"""A key's numbers and, last, the id: ties are broken by it."""

_BLOCK = 1000


class Ranking:
    """Ids ordered by a key, ties by id; index 0 is the best.

    Entries stand in sorted blocks of at most `2 * _BLOCK`: a change costs a bisection and moves one block, the first look
    at a rank or an index after it adds up the lengths of the blocks (a thousand at a million ids). As long as nobody looks,
    nothing is sorted: filling it costs a dictionary's insertions, and the next look one sort. All keys have one length.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._blocks: list[list[Entry]] | None = None  # None: not sorted since it was filled
        self._lasts: list[Entry] = []
        self._starts: list[int] = []  # empty: a change has made them stale

    def put(self, item: str, key: Key) -> None:
        """Add, or move to a new place."""
        entry = (*key, item)
        if self._blocks is None:
            self._entries[item] = entry
        elif self._entries.get(item) != entry:
            self.discard(item)
            self._entries[item] = entry
            self._insert(self._blocks, entry)

    def fill(self, entries: dict[str, Entry]) -> None:
        """`put` for many, by id; the dictionary is the ranking's from then on. It is sorted anew at the next look."""
        self._blocks = None
        self._entries = self._entries | entries if self._entries else entries

    def discard(self, item: str) -> None:
        entry = self._entries.pop(item, None)
        if entry is not None and self._blocks is not None:
            self._remove(self._blocks, entry)

    def rank(self, item: str) -> int | None:
        """How many stand before it; None when it is not ranked."""
        entry = self._entries.get(item)
        if entry is None:
            return None
        blocks = self._sorted()
        k = bisect_left(self._lasts, entry)
        return len(self) - 1 - self._offsets(blocks)[k] - bisect_left(blocks[k], entry)

    def key(self, item: str) -> Key | None:
        entry = self._entries.get(item)
        return None if entry is None else entry[:-1]  # type: ignore[return-value]  # all but the id are numbers

    def __contains__(self, item: object) -> bool:
        return item in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, rank: int) -> str:
        n = len(self)
        if not -n <= rank < n:
            raise IndexError(rank)
        blocks = self._sorted()
        place = n - 1 - rank % n
        starts = self._offsets(blocks)
        k = bisect_right(starts, place) - 1
        return str(blocks[k][place - starts[k]][-1])

    def __iter__(self) -> Iterator[str]:
        entries = chain.from_iterable(reversed(block) for block in reversed(self._sorted()))
        return (str(entry[-1]) for entry in entries)

    # --- blocks --------------------------------------------------------------------------------------------

    def _sorted(self) -> list[list[Entry]]:
        if self._blocks is None:
            entries = sorted(self._entries.values())
            self._blocks = [entries[i : i + _BLOCK] for i in range(0, len(entries), _BLOCK)]
            self._lasts = [block[-1] for block in self._blocks]
            self._starts = []
        return self._blocks

    def _offsets(self, blocks: list[list[Entry]]) -> list[int]:
        """How many entries stand before each block."""
        if not self._starts:
            self._starts = list(accumulate(map(len, blocks), initial=0))[:-1]
        return self._starts

    def _insert(self, blocks: list[list[Entry]], entry: Entry) -> None:
        self._starts = []
        if not blocks:
            blocks.append([entry])
            self._lasts.append(entry)
            return
        k = min(bisect_left(self._lasts, entry), len(blocks) - 1)
        insort(blocks[k], entry)
        self._settle(blocks, k)

    def _remove(self, blocks: list[list[Entry]], entry: Entry) -> None:
        self._starts = []
        k = bisect_left(self._lasts, entry)
        del blocks[k][bisect_left(blocks[k], entry)]
        if len(blocks[k]) < _BLOCK // 4 and k:  # many small blocks would cost as much as their number
            blocks[k - 1] += blocks.pop(k)
            del self._lasts[k]
            k -= 1
        self._settle(blocks, k)

    def _settle(self, blocks: list[list[Entry]], k: int) -> None:
        """Split a block that grew too long, drop one that is empty, and note where it ends."""
        block = blocks[k]
        if len(block) > 2 * _BLOCK:
            blocks[k : k + 1] = block[:_BLOCK], block[_BLOCK:]
            self._lasts[k : k + 1] = blocks[k][-1], block[-1]
        elif block:
            self._lasts[k] = block[-1]
        else:
            del blocks[k], self._lasts[k]
