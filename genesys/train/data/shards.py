"""Shards prepared from a corpus: packed once, part by part, and found again.

The parts are packed side by side by whatever maps a function over them. A folder of shards comes into being by one
rename, as does each part in the folder of a build: what is killed leaves no half, and goes on from the parts there are.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from genesys.errors import ConfigError
from genesys.tokens import Tokenizer, check_tokenizer, load_tokenizer, make_tokenizer
from genesys.train.data.assembling import assemble
from genesys.train.data.corpus import open_corpus
from genesys.train.data.dataset import DatasetCorpus
from genesys.train.data.folder import SHARDS_VERSION, Shards, load_shards, sha256_of
from genesys.train.data.parts import SPLITS, Part, Source, Split
from genesys.train.data.processes import map_in_processes
from genesys.train.data.progress import Meter, OnEstimate, OnProgress, estimate
from genesys.train.data.writing import (
    FILE_BYTES,
    PackedPart,
    PackTask,
    WriteRefused,
    find_packed,
    pack_part,
    split_of,
    writing_to,
)

MIN_TOKENS: Mapping[Split, int] = {"train": 32_768, "val": 1_024, "test": 1_024}
TOKENIZER_TEXT_BYTES = 32 * 2**20
"""How much of the train split a tokenizer is trained on, from the beginnings of its parts."""
_TOKENIZER_PARTS = 32
_SHORT = 32_000_000  # bytes or tokens; processes take seconds to start

MapParts = Callable[[Callable[[PackTask], PackedPart], Sequence[PackTask]], Iterable[PackedPart]]
"""Applies the function to each task, anywhere that sees the folder; gives the results as they come, in any order."""


def prepare_shards(
    corpus: str | DatasetCorpus, cache_dir: Path, tokenizer: str = "bytes", *, map_parts: MapParts | None = None,
    on_estimate: OnEstimate | None = None, on_progress: OnProgress = lambda progress: None,
) -> Shards:  # fmt: skip
    """Give the shards of a corpus, packing it on first use.

    Safe against a kill, after which the next call goes on, and against another process that does the same at the same
    time, for which this one waits. What is refused leaves nothing; for want of room, what is packed is kept.

    Args:
        corpus: See `open_corpus`.
        cache_dir: Shards lie in its subfolder `shards`.
        tokenizer: See `make_tokenizer`.
        map_parts: By default processes of this machine, or this one alone where the text is short.
        on_estimate: Told what the packing will take, before it begins; what it raises ends the packing.
        on_progress: Told how far it is, after each part.

    Raises:
        ConfigError: The corpus cannot be read, holds too little text (the message says how much it needs), or what was
            prepared is broken.
        TransientError: The corpus cannot be reached now.
    """
    check_tokenizer(tokenizer)  # first: to open a corpus may take long
    source = open_corpus(corpus, cache_dir)
    folder, key = cache_dir / "shards", _key(source, tokenizer)
    pointer, work = folder / f"{key}.json", folder / f".building-{key}"
    found = _follow(pointer)
    if found is not None:
        return found
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / f".{key}.lock"):
        found = _follow(pointer)
        if found is None:
            with _removed_at_the_end(work):
                found = _build(
                    source, tokenizer, work, map_parts=map_parts, on_estimate=on_estimate, on_progress=on_progress
                )
                _write_whole(pointer, json.dumps({"path": found.path.name}))
        return found


def find_shards(corpus: str | DatasetCorpus, cache_dir: Path, tokenizer: str = "bytes") -> Shards | None:
    """The shards of a corpus, if they are prepared.

    Raises:
        ConfigError: There is no such corpus or tokenizer, or what was prepared is broken.
    """
    check_tokenizer(tokenizer)
    return _follow(cache_dir / "shards" / f"{_key(open_corpus(corpus, cache_dir), tokenizer)}.json")


def write_shards(corpus: Source, folder: Path, tokenizer: str = "bytes", *, file_bytes: int = FILE_BYTES) -> Shards:
    """Pack a corpus in this process, into a subfolder of `folder` that is named by the shards' hash.

    Args:
        file_bytes: The most that one file of tokens holds; a multiple of 4.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as work:
        return _build(source=corpus, tokenizer=tokenizer, work=Path(work), map_parts=map, file_bytes=file_bytes)


def training_texts(parts: Sequence[Part]) -> Iterator[str]:
    """What a tokenizer is trained on: documents of the train split from the beginnings of parts spread over the corpus."""
    chosen = [part for part in parts if part.deal in ("train", "all")]
    chosen = chosen[:: -(-len(chosen) // _TOKENIZER_PARTS)] if chosen else []
    for part in chosen:
        left = TOKENIZER_TEXT_BYTES // len(chosen)
        for text in part.documents():
            raw = text.encode(errors="replace")
            if split_of(raw, part.deal) == "train":
                yield raw.decode()
                left -= len(raw)
            if left <= 0:
                break


def _build(
    source: Source, tokenizer: str, work: Path, *, map_parts: MapParts | None, file_bytes: int = FILE_BYTES,
    on_estimate: OnEstimate | None = None, on_progress: OnProgress = lambda progress: None,
) -> Shards:  # fmt: skip
    parts = source.parts()
    with writing_to(work):
        work.mkdir(exist_ok=True)
    made = _tokenizer(tokenizer, parts, work)
    if on_estimate is not None:
        on_estimate(estimate(parts, made))
    tasks = [PackTask(folder=work, index=i, part=part, file_bytes=file_bytes) for i, part in enumerate(parts)]
    packed = _pack(tasks, map_parts or _map_for(parts), on_progress)
    _check_enough(source.name, packed)
    with writing_to(work.parent):
        return assemble(source, made, packed, work)


def _tokenizer(name: str, parts: Sequence[Part], work: Path) -> Tokenizer:
    file = work / "tokenizer.json"
    if not file.exists():
        made = make_tokenizer(name, lambda: training_texts(parts))
        _write_whole(file, made.to_json())
    return load_tokenizer(file)


def _pack(tasks: Sequence[PackTask], map_parts: MapParts, on_progress: OnProgress) -> list[PackedPart]:
    """Pack what is not yet packed; the parts in their order."""
    found = {task.index: part for task in tasks if (part := find_packed(task.folder, task.index))}
    meter = Meter([task.part for task in tasks], found)
    on_progress(meter.read())
    for packed in map_parts(pack_part, [task for task in tasks if task.index not in found]):
        meter.add(packed)
        on_progress(meter.read())
    there = [find_packed(task.folder, task.index) for task in tasks]
    parts = [part for part in there if part is not None]
    if len(parts) < len(tasks):
        raise ConfigError(
            f"Cannot find part {there.index(None)} of the corpus, which was packed, in {str(tasks[0].folder)!r}; "
            f"expected a folder that all hosts share."
        )
    return parts


def _map_for(parts: Sequence[Part]) -> MapParts:
    sizes = [part.max_tokens or part.text_bytes for part in parts]
    return map if all(sizes) and sum(sizes) < _SHORT else map_in_processes


def _check_enough(name: str, packed: Sequence[PackedPart]) -> None:
    n_documents = sum(sum(part.n_documents.values()) for part in packed)
    for split, minimum in MIN_TOKENS.items():
        n = sum(part.n_tokens[split] for part in packed)
        if n < minimum:
            raise ConfigError(
                f"Cannot train on corpus {name!r}: its {split} split has {n:,} tokens in "
                f"{sum(part.n_documents[split] for part in packed)} of {n_documents} documents; expected at least "
                f"{minimum:,}. Add text: about 200 kB in 50 or more documents (blank-line separated paragraphs in one "
                f"file, or several files) is a good start."
            )


def _key(source: Source, tokenizer: str) -> str:
    """A name for the shards of a corpus, before it is read."""
    slug = "".join(c if c.isalnum() else "-" for c in f"{source.name} {tokenizer}")[:60]
    stamp = json.dumps([SHARDS_VERSION, source.name, source.stamp, _tokenizer_stamp(tokenizer)])
    return f"{slug}-{hashlib.sha256(stamp.encode()).hexdigest()[:8]}"


def _tokenizer_stamp(name: str) -> list[Any]:
    """The name, and what a folder of a tokenizer holds."""
    folder = Path(name.partition(":")[2] or os.devnull).expanduser()
    return [name, [sha256_of(f) for f in sorted(folder.glob("*.json"))] if folder.is_dir() else []]


def _follow(pointer: Path) -> Shards | None:
    """The shards that a pointer names, unless they were deleted."""
    try:
        path = pointer.parent / json.loads(pointer.read_text(encoding="utf-8"))["path"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return load_shards(path) if path.exists() else None


@contextmanager
def _removed_at_the_end(work: Path) -> Iterator[None]:
    """Remove a build's folder when it is packed or refused; what an interruption or want of room leaves is gone on from."""
    try:
        yield
    except ConfigError as error:
        if not (isinstance(error, WriteRefused) and any(work.glob("part-*"))):
            shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock that ends with its process; its file goes with it."""
    while True:
        with writing_to(lock.parent):
            file = lock.open("w")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_file_at(file, lock):
                continue  # who held it has removed it, and another may hold the next by now
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _is_file_at(file: IO[Any], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _write_whole(path: Path, text: str) -> None:
    """Write a file that appears whole; the caller is the only one that writes it."""
    with writing_to(path.parent):
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)


__all__ = [
    "SPLITS",
    "Shards",
    "Split",
    "find_shards",
    "load_shards",
    "prepare_shards",
    "write_shards",
]
