"""What every journal backend must do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from genesys.errors import FencedError
from genesys.evolution import EvolutionTree
from genesys.evolution.events import Event, ProposalFailed, RunDraining
from genesys.evolution.fitness import RelativeFitness
from genesys.storage import BlobError, Journal, content_hash, open_tree
from genesys.testing.books import add_design, start_tree, verify

OpenJournal = Callable[[Literal["writer", "reader"]], Journal]


class JournalTestCase:
    """Conformance of a journal: override `opened` with a function that opens the same journal at each call."""

    @pytest.fixture
    def opened(self) -> OpenJournal:
        raise NotImplementedError("override this fixture with a function that opens your journal")

    def test_reads_what_was_appended(self, opened: OpenJournal) -> None:
        journal, events = opened("writer"), some_events()
        assert journal.last_seq == 0
        assert journal.append(events[:2], expected_seq=0) == 2
        assert journal.append(events[2:], expected_seq=2) == len(events) == journal.last_seq
        entries = list(journal.read())
        assert [entry.event for entry in entries] == events
        assert [entry.seq for entry in entries] == list(range(1, len(events) + 1))
        assert [entry.event for entry in journal.read(3)] == events[2:]

    def test_stands_where_it_stood_when_opened_again(self, opened: OpenJournal) -> None:
        events = some_events()
        first = opened("writer")
        first.append(events, expected_seq=0)
        first.close()
        assert [entry.event for entry in opened("writer").read()] == events

    def test_keeps_the_blobs_that_events_name(self, opened: OpenJournal) -> None:
        journal, events, blob = opened("writer"), some_events(), b"program " * 1000
        journal.append(events[:1], expected_seq=0, blobs=(blob, blob, b""))
        journal.append(events[1:2], expected_seq=1, blobs=(blob,))
        for reader in (journal, opened("reader")):
            assert reader.blob(content_hash(blob)) == blob
            assert reader.blob(content_hash(b"")) == b""
        with pytest.raises(BlobError, match="has none"):
            journal.blob(content_hash(b"another"))

    def test_a_refused_append_leaves_no_blob(self, opened: OpenJournal) -> None:
        journal = opened("writer")
        with pytest.raises(FencedError):
            journal.append(some_events()[:1], expected_seq=7, blobs=(b"lost",))
        with pytest.raises(BlobError, match="has none"):
            journal.blob(content_hash(b"lost"))

    def test_a_second_writer_fences_the_first(self, opened: OpenJournal) -> None:
        events = some_events()
        first = opened("writer")
        first.append(events[:1], expected_seq=0)
        second = opened("writer")
        assert second.epoch > first.epoch
        with pytest.raises(FencedError, match="took over"):
            first.append(events[1:2], expected_seq=1)
        with pytest.raises(FencedError, match="took over"):
            first.save_snapshot(1, {})
        second.append(events[1:2], expected_seq=1)
        assert [entry.event for entry in second.read()] == events[:2]

    def test_refuses_a_writer_that_is_out_of_step(self, opened: OpenJournal) -> None:
        journal, events = opened("writer"), some_events()
        journal.append(events[:2], expected_seq=0)
        for expected_seq in (0, 1, 3):
            with pytest.raises(FencedError, match="it stands at 2"):
                journal.append(events[2:3], expected_seq=expected_seq)
        assert journal.last_seq == 2

    def test_a_refused_append_leaves_nothing(self, opened: OpenJournal) -> None:
        journal = opened("writer")
        journal.append(some_events()[:1], expected_seq=0)
        bad = ProposalFailed(designer="d", operator="o", reason=float("nan"))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="not JSON compliant"):
            journal.append([RunDraining(reason="x"), bad], expected_seq=1)
        assert len(list(journal.read())) == journal.last_seq == 1

    def test_readers_disturb_nobody_and_follow_the_writer(self, opened: OpenJournal) -> None:
        writer, events = opened("writer"), some_events()
        writer.append(events[:1], expected_seq=0)
        reader = opened("reader")
        assert reader.epoch == 0 and len(list(reader.read())) == 1
        writer.append(events[1:2], expected_seq=1)
        assert len(list(reader.read())) == 2
        with pytest.raises(FencedError, match="opened to read"):
            reader.append(events[2:3], expected_seq=2)

    def test_a_tree_from_a_snapshot_equals_one_from_all_events(self, opened: OpenJournal) -> None:
        journal, events = opened("writer"), some_events()
        journal.append(events[:6], expected_seq=0)
        journal.save_snapshot(6, open_tree(journal, RelativeFitness()).to_snapshot())
        journal.append(events[6:], expected_seq=6)
        tree = open_tree(journal, RelativeFitness())
        assert journal.load_snapshot() is not None and tree.n_events == len(events)
        assert tree.digest() == replayed(events)


def some_events() -> list[Event]:
    """A short life of a run."""
    events: list[Event] = []
    tree = start_tree(reference="a", events=events)
    for design, quality in (("a", 0.5), ("b", 0.7)):
        add_design(tree, design, is_seed=design == "a", events=events)
        verify(tree, design, "small", quality, events=events)
    return events


def replayed(events: list[Event]) -> str:
    """The digest of a tree that lived through these events."""
    tree = EvolutionTree(RelativeFitness())
    for event in events:
        tree.apply(event)
    return tree.digest()
