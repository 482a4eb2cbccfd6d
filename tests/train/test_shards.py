"""Shards: deterministic, split by document, whole or absent, whoever packs them and however often they are killed."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.errors import ConfigError, TransientError
from genesys.tokens import Tokenizer, load_tokenizer
from genesys.train.data.corpus import END_OF_TEXT, Corpus
from genesys.train.data.dataset import DatasetCorpus
from genesys.train.data.folder import TokenStream
from genesys.train.data.parts import Deal
from genesys.train.data.processes import map_in_processes
from genesys.train.data.progress import Estimate, PackProgress
from genesys.train.data.shards import _alone, find_shards, load_shards, prepare_shards, write_shards
from genesys.train.data.writing import PackTask, pack_part, split_of, writing_to
from tests.shared_data import shared_data
from tests.train.data import hub_folder, sentences


def corpus(n: int = 300, seed: int = 0) -> Corpus:
    return Corpus(name="test", documents=tuple(sentences(n, seed)))


def texts_of(shards_path: Path, split: str) -> list[str]:
    shards = load_shards(shards_path)
    tokens = np.asarray(shards.tokens(split))  # type: ignore[arg-type]
    ends = np.flatnonzero(tokens == shards.end_of_text)
    return [shards.tokenizer().decode(piece[:-1]) for piece in np.split(tokens, ends + 1)[:-1]]


def text_folder(folder: Path, n_files: int = 4) -> Path:
    folder.mkdir(exist_ok=True)
    for i in range(n_files):
        (folder / f"{i}.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in sentences(200, seed=i)))
    return folder


@pytest.fixture
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genesys.train.data.files.PART_BYTES", 1)


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe:300"])
def test_every_document_lands_in_one_split_unchanged(tokenizer: str, tmp_path: Path) -> None:
    texts = corpus(500)
    shards = write_shards(texts, tmp_path, tokenizer)
    found = [texts_of(shards.path, split) for split in ("train", "val", "test")]
    assert sorted(d for part in found for d in part) == sorted(texts.documents)
    assert sum(shards.n_bytes.values()) == texts.n_bytes
    assert shards.n_documents == {split: len(part) for split, part in zip(("train", "val", "test"), found, strict=True)}


def test_offsets_point_behind_boundaries(tmp_path: Path) -> None:
    shards = write_shards(corpus(), tmp_path)
    tokens, offsets = np.asarray(shards.tokens("test")), shards.offsets("test").astype(int)
    assert offsets[0] == 0 and offsets[-1] == len(tokens) and len(offsets) == shards.n_documents["test"] + 1
    assert (tokens[offsets[1:] - 1] == END_OF_TEXT).all() and int((tokens == END_OF_TEXT).sum()) == len(offsets) - 1


def test_equal_text_gives_equal_hash_and_one_folder(tmp_path: Path) -> None:
    one, two = write_shards(corpus(), tmp_path), write_shards(corpus(), tmp_path)
    other, pairs = write_shards(corpus(seed=1), tmp_path), write_shards(corpus(), tmp_path, "bpe:270")
    assert one == two and len({one.hash, other.hash, pairs.hash}) == 3 and one.path.name == one.hash[:16]


@given(texts=st.lists(st.text(max_size=30), max_size=30), more=st.lists(st.text(max_size=30), max_size=10))
def test_a_document_keeps_its_split_when_others_come(texts: list[str], more: list[str]) -> None:
    deals: tuple[Deal, ...] = ("all", "held-out", "train", "val", "test")
    for text in (text.encode(errors="replace") for text in texts + more):
        found = [split_of(text, deal) for deal in deals]
        assert found[1] in ("val", "test") and found[2:] == ["train", "val", "test"]
        assert found == [split_of(text, deal) for deal in deals]


def test_shares_of_the_splits_are_about_90_5_5() -> None:
    dealt = [split_of(str(i).encode(), "all") for i in range(4000)]
    assert 3500 < dealt.count("train") < 3700 and 150 < dealt.count("val") < 250
    assert 1800 < [split_of(str(i).encode(), "held-out") for i in range(4000)].count("val") < 2200


class Chopped:
    """A corpus in parts of given sizes."""

    def __init__(self, documents: Sequence[str], n_parts: int) -> None:
        self.name, self.sources, self.stamp = "chopped", dict[str, str](), ""
        self._texts = [corpus_part(documents[i::n_parts]) for i in range(n_parts)]

    def parts(self) -> Sequence[object]:
        return self._texts


def corpus_part(documents: Sequence[str]) -> object:
    return Corpus(name="", documents=documents).parts()[0]


@settings(max_examples=10, deadline=None)
@given(
    extra=st.lists(st.text(max_size=40), max_size=20),
    n_parts=st.integers(1, 4),
    file_bytes=st.integers(3000, 30_000).map(lambda n: 4 * n),
    tokenizer=st.sampled_from(["bytes", "bpe:280"]),
    context=st.integers(8, 300),
    batch_rows=st.integers(8, 50),
)
def test_nothing_is_lost_or_repeated_from_documents_to_batches(
    extra: list[str], n_parts: int, file_bytes: int, tokenizer: str, context: int, batch_rows: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    """Law 3, whole: documents, tokenizer, files that rows straddle, rows, epochs."""
    from genesys.train.data.packing import DataOrder, PackedRows

    documents = [text.encode(errors="replace").decode() for text in extra] + sentences(400)
    shards = write_shards(Chopped(documents, n_parts), tmp_path_factory.mktemp("s"), tokenizer, file_bytes=file_bytes)  # type: ignore[arg-type]
    assert sorted(t for split in ("train", "val", "test") for t in texts_of(shards.path, split)) == sorted(documents)
    assert all(f.stat().st_size <= file_bytes for f in shards.path.glob("train-*.bin"))
    rows = PackedRows(shards.tokens("train"), context)
    order = DataOrder(n_rows=rows.n_rows, batch_rows=batch_rows, seed=0)
    n_steps = -(-2 * rows.n_rows // batch_rows)
    indices = np.concatenate([order.batch(step) for step in range(n_steps)])
    stream = np.asarray(shards.tokens("train")).astype(np.int64)
    first, second = indices[: rows.n_rows], indices[rows.n_rows : 2 * rows.n_rows]
    cut = rows.rows(np.argsort(first))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(rows.n_rows))
    assert rows.n_rows < 8 or first.tolist() != second.tolist()
    targets = rows.rows(first)[np.argsort(first)][:, 1:].ravel()
    assert targets.tolist() == stream[1 : 1 + rows.n_rows * context].tolist() and 0 <= rows.n_dropped < context
    assert cut.shape == (rows.n_rows, context + 1)


@given(sizes=st.lists(st.integers(1, 9), min_size=2, max_size=6), data=st.data())
def test_a_stream_of_files_is_sliced_like_one_array(sizes: list[int], data: st.DataObject) -> None:
    whole = np.arange(sum(sizes), dtype=np.uint16)
    stream = TokenStream(np.split(whole, np.cumsum(sizes)[:-1]))
    start, stop = data.draw(st.integers(-30, 60)), data.draw(st.integers(-30, 60))
    assert len(stream) == len(whole) and np.asarray(stream).tolist() == whole.tolist()
    assert stream[start:stop].tolist() == whole[start:stop].tolist()


def test_concurrent_preparations_agree(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(corpus(1500).documents))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: prepare_shards(f"text:{tmp_path / 'a.txt'}", tmp_path / "cache"), range(4)))
    assert len({s.hash for s in found}) == 1
    assert not list((tmp_path / "cache" / "shards").glob(".[sb]*"))


def test_too_little_text_says_how_much_is_needed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Too short.")
    seen = list[PackProgress]()
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"train split has \d+ tokens .* expected at least 32,768.*200 kB"):
            prepare_shards(f"text:{tmp_path / 'a.txt'}", tmp_path / "cache", on_progress=seen.append)
        assert not list((tmp_path / "cache" / "shards").iterdir()), "a refusal leaves nothing"
    assert [p.n_done for p in seen] == [0, 1] * 2


@pytest.mark.parametrize(
    ("corpus", "tokenizer", "message"),
    [
        ("python-docs", "bpe:4k", "Cannot train a tokenizer 'bpe:4k'"),
        ("python-docs", "hf:/nowhere/at/all", "Cannot find tokenizer 'hf:/nowhere/at/all': there is no such folder"),
        ("wikipedia", "bytes", "no such corpus"),
        ("text:/nowhere/at/all", "bytes", "no such file or folder"),
        (DatasetCorpus(dataset="/nowhere/at/all"), "bytes", r"no such folder; .* Correct `corpus\.dataset`"),
    ],
)
def test_mistakes_are_met_before_anything_is_read(
    corpus: str | DatasetCorpus, tokenizer: str, message: str, tmp_path: Path
) -> None:
    for asks in (prepare_shards, find_shards):
        with pytest.raises(ConfigError, match=message):
            asks(corpus, tmp_path / "cache", tokenizer)
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("many_parts")
def test_want_of_room_keeps_what_is_packed(tmp_path: Path) -> None:
    name, cache = f"text:{text_folder(tmp_path / 'texts')}", tmp_path / "cache"

    def full(function: Callable[[PackTask], object], tasks: Sequence[PackTask]) -> Iterator[object]:
        yield from map(function, tasks[:3])
        with writing_to(tasks[0].folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ConfigError, match="No space left on device"):
        prepare_shards(name, cache, map_parts=full)  # type: ignore[arg-type]
    seen = list[PackProgress]()
    shards = prepare_shards(name, cache, map_parts=map, on_progress=seen.append)
    assert seen[0].n_done == 3
    assert not list((cache / "shards").glob(".*")) and shards.path.exists()


def test_a_removed_lock_is_not_held_twice(tmp_path: Path) -> None:
    lock, inside, most = tmp_path / ".a.lock", [0], [0]

    def work(_: int) -> None:
        with _alone(lock):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.001)
            inside[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(64)))
    assert most == [1] and not lock.exists()


@pytest.mark.parametrize(("content", "message"), [(b"", "has 0 bytes"), (None, "No such file")])
@pytest.mark.parametrize("name", ["val-00000.bin", "train-00000.bin", "train.counts.bin", "tokenizer.json"])
def test_broken_folder_is_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    shards = write_shards(corpus(), tmp_path)
    (shards.path / name).unlink()
    if content is not None:
        (shards.path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_shards(shards.path)


def test_a_split_that_is_not_asked_for_need_not_be_there(tmp_path: Path) -> None:
    shards = write_shards(corpus(), tmp_path)
    files = sorted(shards.path.glob("test*"))  # what a training cannot read: see `genesys.verification.jobs`
    assert [file.name for file in files] == ["test-00000.bin", "test.bytes.bin", "test.offsets.bin"]
    for file in files:
        file.unlink()
    opened = load_shards(shards.path, splits=("train", "val"))
    assert opened == shards and len(opened.tokens("val")) == shards.n_tokens["val"]
    (shards.path / "val-00000.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"val-00000\.bin has 0 bytes"):
        load_shards(shards.path, splits=("train", "val"))


def test_changed_content_of_equal_size_is_found_when_verified(tmp_path: Path) -> None:
    shards = write_shards(corpus(), tmp_path)
    np.zeros(shards.n_tokens["val"], dtype="<u2").tofile(shards.path / "val-00000.bin")
    with pytest.raises(ConfigError, match=r"val-00000\.bin does not have the content"):
        load_shards(shards.path, verify=True)


def test_shards_of_another_format_are_refused(tmp_path: Path) -> None:
    file = write_shards(corpus(), tmp_path).path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": 1}))
    with pytest.raises(ConfigError, match="format 1, not 2"):
        load_shards(file.parent)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:99], "manifest.json is no JSON;"),
        (lambda text: "[]", "manifest.json is no JSON object;"),
        (lambda text: "{}", "format None, not 2;"),
        (
            lambda text: json.dumps(json.loads(text) | {"files": [], "dtype": 2}),
            "manifest.json does not say dtype, files;",
        ),
        (lambda text: text.replace("sha256", "md5"), r"does not say test-00000\.bin, .*tokenizer\.json"),
    ],
)
def test_a_broken_manifest_is_one_sentence(change: Callable[[str], str], message: str, tmp_path: Path) -> None:
    file = write_shards(corpus(), tmp_path).path / "manifest.json"
    file.write_text(change(file.read_text()))
    with pytest.raises(ConfigError, match=rf"Cannot open shards '.*': .*{message}"):
        load_shards(file.parent)


def test_a_tokenizer_of_other_shards_is_refused(tmp_path: Path) -> None:
    shards, other = write_shards(corpus(), tmp_path, "bpe:290"), write_shards(corpus(), tmp_path)
    assert isinstance(shards.tokenizer().encode("river"), np.ndarray)
    (shards.path / "tokenizer.json").write_text((other.path / "tokenizer.json").read_text())
    with pytest.raises(ConfigError, match=r"are \('bytes', 257, 256\); expected \('bpe:290', 290, 0\)"):
        shards.tokenizer()


def test_a_large_vocabulary_takes_four_bytes_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wide:
        name, vocab_size, end_of_text = "wide", 70_000, 69_999

        def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
            return [np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) + 69_000 for text in texts]

    monkeypatch.setattr("genesys.train.data.writing.load_tokenizer", lambda path: Wide())
    monkeypatch.setattr("genesys.train.data.shards.load_tokenizer", lambda path: Wide())
    shards = write_shards(corpus(), tmp_path)
    assert shards.dtype == "<u4" and 69_000 < int(np.max(shards.tokens("train"))) == 69_999


def test_a_text_with_the_boundary_in_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Confused:
        name, vocab_size, end_of_text = "confused", 257, ord("q")

        def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
            return [np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) for text in texts]

    monkeypatch.setattr("genesys.train.data.writing.load_tokenizer", lambda path: Confused())
    with pytest.raises(ConfigError, match="holds the boundary token of 'confused'"):
        write_shards(corpus(), tmp_path)


def test_half_a_surrogate_pair_does_not_stop_a_packing(tmp_path: Path) -> None:
    shards = write_shards(Corpus(name="odd", documents=[*sentences(300), "odd \ud800 text"]), tmp_path)
    found = [text for split in ("train", "val", "test") for text in texts_of(shards.path, split)]
    assert "odd ? text" in found


def test_python_docs_is_large_enough_and_cached(tmp_path: Path) -> None:
    first = prepare_shards("python-docs", tmp_path)
    assert sum(first.n_bytes.values()) >= 1_500_000 and first.n_documents["test"] >= 10
    assert prepare_shards("python-docs", tmp_path) == first == find_shards("python-docs", tmp_path)


@pytest.mark.usefixtures("many_parts")
def test_what_packs_the_parts_does_not_matter(tmp_path: Path) -> None:
    name = f"text:{text_folder(tmp_path / 'texts')}"
    backwards = lambda function, tasks: [function(task) for task in reversed(tasks)]  # noqa: E731
    in_pool = lambda function, tasks: map_in_processes(function, tasks, n_processes=2)  # noqa: E731
    found = [
        prepare_shards(name, tmp_path / f"cache{i}", "bpe:300", map_parts=how)
        for i, how in enumerate((map, backwards, in_pool))
    ]
    assert len({shards.hash for shards in found}) == 1 and len(list(found[0].path.glob("train-*.bin"))) == 4
    for other in found[1:]:
        assert all((other.path / f.name).read_bytes() == f.read_bytes() for f in found[0].path.iterdir())


@pytest.mark.usefixtures("many_parts")
def test_an_interrupted_packing_goes_on(tmp_path: Path) -> None:
    name, cache = f"text:{text_folder(tmp_path / 'texts')}", tmp_path / "cache"

    def interrupted(function: Callable[[PackTask], object], tasks: Sequence[PackTask]) -> Iterator[object]:
        yield from map(function, tasks[:2])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_shards(name, cache, map_parts=interrupted)  # type: ignore[arg-type]
    assert find_shards(name, cache) is None
    packed, seen = list[int](), list[PackProgress]()

    def counted(function: Callable[[PackTask], object], tasks: Sequence[PackTask]) -> Iterator[object]:
        packed.extend(task.index for task in tasks)
        return map(function, tasks)

    shards = prepare_shards(name, cache, map_parts=counted, on_progress=seen.append)  # type: ignore[arg-type]
    assert packed == [2, 3]
    assert [p.n_done for p in seen] == [2, 3, 4] and seen[0].left_s is None and seen[-1].left_s == 0
    assert seen[-1].n_tokens == sum(shards.n_tokens.values()) and seen[-1].share == 1
    assert shards.hash == prepare_shards(name, tmp_path / "fresh").hash
    assert sorted(f.name for f in (cache / "shards").iterdir())[0] == shards.path.name


@pytest.mark.usefixtures("many_parts")
def test_a_part_that_lost_bytes_is_packed_again(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / "tokenizer.json").write_text('{"name": "bytes"}')
    task = PackTask(folder=folder, index=0, part=corpus().parts()[0])
    first = pack_part(task)
    for name in ("train-00000.bin", "val.lengths.bin", "part.json"):
        before = (first.path / name).read_bytes()
        (first.path / name).write_bytes(before[:-1])
        assert pack_part(task) == first and (first.path / name).read_bytes() == before
    assert sorted(f.name for f in folder.iterdir()) == ["part-00000", "tokenizer.json"]


PACK = """
import sys
from pathlib import Path
import genesys.train.data.files as files
from genesys.train.data.processes import map_in_processes
from genesys.train.data.shards import prepare_shards
if __name__ == "__main__":
    files.PART_BYTES = 1
    report = lambda progress: print(progress.n_done, flush=True)
    print(prepare_shards(sys.argv[1], Path(sys.argv[2]), map_parts=map_in_processes, on_progress=report).hash)
"""


@pytest.mark.usefixtures("many_parts")
def test_a_killed_packing_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    """SIGKILL while processes pack: what is there is whole, the rest is packed by the next call."""
    name, cache = f"text:{text_folder(tmp_path / 'texts', n_files=24)}", tmp_path / "cache"
    (tmp_path / "pack.py").write_text(PACK)
    command = [sys.executable, str(tmp_path / "pack.py"), name, str(cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 2:
            pass
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    deadline = time.monotonic() + 30
    while any(_runs(int(child)) for child in children):
        assert time.monotonic() < deadline, "a process outlived the one that started it"
        time.sleep(0.05)
    assert find_shards(name, cache) is None
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    lines = done.stdout.split()
    assert int(lines[0]) >= 2 and lines[-1] == prepare_shards(name, tmp_path / "fresh").hash


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _die(task: int) -> int:
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def _refuse(task: int) -> int:
    raise ConfigError(f"Cannot do {task}.")


def test_a_process_that_dies_or_refuses_ends_the_map() -> None:
    with pytest.raises(TransientError, match="a process was killed"):
        list(map_in_processes(_die, [0, 1, 2], n_processes=2))
    with pytest.raises(ConfigError, match="Cannot do"):
        list(map_in_processes(_refuse, [0, 1, 2], n_processes=2))


FULL = """
import resource, sys
from pathlib import Path
from genesys.errors import ConfigError
from genesys.train.data.shards import prepare_shards
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    prepare_shards(sys.argv[1], Path(sys.argv[2]))
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [60_000, 200])
def test_a_refused_write_is_one_sentence_and_nothing_is_taken_for_whole(limit: int, tmp_path: Path) -> None:
    name, cache = f"text:{text_folder(tmp_path / 'texts')}", tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-c", FULL, name, str(cache), str(limit)], capture_output=True, text=True, check=True
    )
    assert "Cannot write shards to" in done.stdout and "Make room and start again" in done.stdout, done.stderr
    assert len(done.stdout.splitlines()) == 1 and find_shards(name, cache) is None
    assert prepare_shards(name, cache).hash == prepare_shards(name, tmp_path / "fresh").hash


def test_a_full_disk_is_one_sentence_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"this process may mount no small disk: {mounted.stderr.decode().strip()}")
    try:
        name = f"text:{text_folder(tmp_path / 'texts')}"
        with pytest.raises(ConfigError, match=r"Cannot write shards to .*No space left on device"):
            prepare_shards(name, disk)
        assert find_shards(name, disk) is None
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        assert load_shards(prepare_shards(name, disk).path, verify=True).n_documents["train"] > 600
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_data_set_as_on_the_hub_is_packed_in_its_shares(tmp_path: Path) -> None:
    hub = hub_folder(tmp_path / "hub")
    settings_ = {"subsets": {"stories": 3, "maths": 1}, "splits": {"train": "train", "eval": "eval"}, "tokens": 60_000}
    shards = prepare_shards(DatasetCorpus(dataset=str(hub), **settings_), tmp_path / "cache")
    found = {split: texts_of(shards.path, split) for split in ("train", "val", "test")}
    assert all(text.split()[1] == "train" for text in found["train"])
    assert all(text.split()[1] == "eval" for split in ("val", "test") for text in found[split])
    n_stories = sum(len(text) + 1 for text in found["train"] if text.startswith("stories"))
    assert 60_000 <= shards.n_tokens["train"] < 64_000 and n_stories / shards.n_tokens["train"] == pytest.approx(
        0.75, abs=0.03
    )
    assert len(found["val"]) + len(found["test"]) == 80 and shards.corpus == f"dataset:{hub}"
    (hub / "README.md").write_text((hub / "README.md").read_text() + "changed")
    os.utime(hub / "stories" / "train-00000-of-00003.parquet", (1, 1))
    assert find_shards(DatasetCorpus(dataset=str(hub), **settings_), tmp_path / "cache") is None


def test_an_estimate_is_about_right_or_says_that_it_does_not_know(tmp_path: Path) -> None:
    seen = list[Estimate]()
    shards = prepare_shards(f"text:{text_folder(tmp_path / 'texts')}", tmp_path, on_estimate=seen.append)
    assert seen[0].n_tokens == pytest.approx(sum(shards.n_tokens.values()), rel=0.1) and seen[0].n_parts == 1
    assert seen[0].disk_bytes == 2 * seen[0].n_tokens and seen[0].bytes_per_token == pytest.approx(1, rel=0.01)
    assert seen[0].process_s is not None and seen[0].process_s > 0
    prepare_shards(f"text:{tmp_path / 'texts'}", tmp_path, on_estimate=seen.append)
    assert len(seen) == 1, "what is there takes nothing"
    hub = DatasetCorpus(dataset=str(hub_folder(tmp_path / "hub", 150)), subsets=("maths",))
    prepare_shards(hub, tmp_path, map_parts=map, on_estimate=seen.append)
    assert (seen[1].n_parts, seen[1].n_tokens, seen[1].disk_bytes, seen[1].process_s) == (3, None, None, None)


def test_a_hugging_face_tokenizer_comes_along_with_the_shards(tmp_path: Path) -> None:
    trained = write_shards(corpus(), tmp_path, "bpe:290")
    folder = tmp_path / "hf"
    folder.mkdir()
    pieces = json.loads((trained.path / "tokenizer.json").read_text())["pieces"]
    (folder / "tokenizer.json").write_text(json.dumps(pieces))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"})
    )
    shards = write_shards(corpus(), tmp_path, f"hf:{folder}")
    for file in folder.iterdir():
        file.unlink()
    again: Tokenizer = load_tokenizer(shards.path)
    assert again.decode(again.encode("walks under")) == "walks under"
    assert np.asarray(shards.tokens("val")).tolist() == np.asarray(trained.tokens("val")).tolist()


def test_wikitext_is_packed_with_its_own_splits(tmp_path: Path) -> None:
    folder = shared_data("corpora/wikitext-2")
    shards = prepare_shards(f"text:{folder}", tmp_path)
    assert shards.n_bytes["train"] == pytest.approx(10_800_000, rel=0.02)
    assert shards.n_bytes["val"] == pytest.approx(1_121_681, rel=0.02)
    assert random.Random(0).choice(texts_of(shards.path, "test")).strip()
