"""What every journal backend must do."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

import pytest

from genesys.errors import ConfigError, FencedError
from genesys.evolution import EvolutionTree
from genesys.evolution.events import Event, ProposalFailed, RunDraining, RunResumed
from genesys.evolution.fitness import RelativeFitness
from genesys.storage import BlobError, Journal, content_hash, open_tree
from genesys.testing.books import add_design, start_tree, verify

OpenJournal = Callable[..., Journal]
Spoil = Callable[[int], None]
_PATIENCE_S = 120.0  # of a test for another process, on a busy machine


class JournalTestCase:
    """Conformance of a journal. Override the two fixtures; everything is tried, also with processes that are killed."""

    @pytest.fixture
    def opener(self) -> OpenJournal:
        """Opens the same journal at each call, given `mode="writer"` or `"reader"`; other processes get it pickled."""
        raise NotImplementedError("override this fixture with a function, such as functools.partial(YourJournal, path)")

    @pytest.fixture
    def spoil(self) -> Spoil:
        """Changes a byte of the stored record of a sequence number behind the journal's back."""
        raise NotImplementedError("override this fixture with a function that damages a record of your journal")

    @pytest.fixture
    def opened(self, opener: OpenJournal) -> Iterator[OpenJournal]:
        """As `opener`; closed after the test."""
        with ExitStack() as stack:
            yield lambda mode: stack.enter_context(closing(opener(mode=mode)))

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

    def test_damage_before_the_last_record_is_an_error(self, opened: OpenJournal, spoil: Spoil) -> None:
        opened("writer").append(some_events(), expected_seq=0)
        spoil(2)
        for mode in ("writer", "reader"):
            with pytest.raises(ConfigError, match="record 2 is damaged"):
                list(opened(mode).read())

    def test_a_damaged_last_record_is_dropped(self, opened: OpenJournal, spoil: Spoil) -> None:
        events = some_events()
        opened("writer").append(events, expected_seq=0)
        spoil(len(events))
        with pytest.warns(RuntimeWarning, match=f"the last record, {len(events)}, is damaged and was dropped"):
            assert [entry.event for entry in opened("reader").read()] == events[:-1]
        with pytest.warns(RuntimeWarning, match="was dropped"):
            writer = opened("writer")
        assert writer.append(events[-1:], expected_seq=len(events) - 1) == len(events)
        assert open_tree(writer, RelativeFitness()).digest() == replayed(events)

    def test_a_journal_of_a_later_version_is_refused(
        self, opened: OpenJournal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal = opened("writer")
        with monkeypatch.context() as later:
            later.setattr("genesys.evolution.events.EVENT_VERSION", 1000)
            journal.append(some_events()[:1], expected_seq=0)
        with pytest.raises(ConfigError, match="of version 1000: this Genesys knows versions up to"):
            open_tree(opened("reader"), RelativeFitness())

    def test_a_writer_killed_in_the_middle_of_an_append_leaves_whole_records(
        self, opener: OpenJournal, opened: OpenJournal
    ) -> None:
        for name in ("a", "b"):
            before = opened("writer").last_seq
            with _process(_append, opener, name) as (process, told):
                seen = [told.recv() for _ in range(20)]
                process.kill()
                process.join()
                seen += _rest(told)
            journal = opened("writer")
            events = [entry.event for entry in journal.read(before + 1)]
            assert events == [RunResumed(reason=f"{name}{i}") for i in range(len(events))]
            assert len(seen) <= len(events) <= len(seen) + 1, "an append that returned is lost, or one was made twice"
            assert all(journal.blob(content_hash(f"{name}{i}".encode())) for i in range(len(events)))

    def test_two_writers_that_fence_each_other_lose_and_double_nothing(
        self, opener: OpenJournal, opened: OpenJournal
    ) -> None:
        opened("writer")
        with _process(_append, opener, "a") as (one, told_a), _process(_append, opener, "b") as (two, told_b):
            a, b = ([told.recv() for _ in range(30)] for told in (told_a, told_b))
            one.kill()
            a, b = a + _rest(told_a), b + [told_b.recv() for _ in range(30)]
            two.kill()
            one.join(), two.join()
            b += _rest(told_b)
        reasons = [entry.event.reason for entry in opened("writer").read() if isinstance(entry.event, RunResumed)]
        for seen, name in ((a, "a"), (b, "b")):
            kept = [reason for reason in reasons if reason.startswith(name)]
            assert kept == [f"{name}{i}" for i in range(len(kept))] and len(seen) <= len(kept) <= len(seen) + 1

    def test_a_reader_beside_a_writer_sees_whole_beginnings(self, opener: OpenJournal, opened: OpenJournal) -> None:
        opened("writer")
        reader = opened("reader")
        lengths = [0]
        with _process(_append, opener, "a") as (process, told):
            told.recv()
            while lengths[-1] < 30:
                events = [entry.event for entry in reader.read()]
                assert events == [RunResumed(reason=f"a{i}") for i in range(len(events))]
                assert not events or reader.blob(content_hash(f"a{len(events) - 1}".encode()))
                lengths.append(len(events))
            process.kill()
        assert lengths == sorted(lengths)


@contextmanager
def _process(work: Callable[..., None], opener: OpenJournal, name: str) -> Iterator[tuple[Any, Connection]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(opener, name, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        assert ours.poll(_PATIENCE_S), "the process does not begin"
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()


def _append(opener: OpenJournal, name: str, told: Connection) -> None:
    """Append numbered events, each with a blob, and tell of each that returned; open the journal anew when fenced."""
    n = 0
    while True:
        with closing(opener(mode="writer")) as journal, suppress(FencedError):
            while True:
                event = RunResumed(reason=f"{name}{n}")
                journal.append([event], expected_seq=journal.last_seq, blobs=[event.reason.encode()])
                told.send(n)
                n += 1
        time.sleep(0.02)  # a turn for whoever fenced this one


def _rest(told: Connection) -> list[int]:
    """What a killed process still told."""
    rest = []
    try:
        while True:
            rest.append(told.recv())
    except EOFError:
        return rest


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
