"""Shards: deterministic, split by document, whole or absent."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from genesys.errors import ConfigError
from genesys.train.data.corpus import END_OF_TEXT, Corpus, decode
from genesys.train.data.shards import load_shards, prepare_shards, split_documents, write_shards


def corpus(n: int = 300, seed: int = 0) -> Corpus:
    rng = random.Random(seed)
    words = ["river", "stone", "light", "under", "walks", "seven", "quiet", "often"]
    return Corpus(name="test", documents=tuple(" ".join(rng.choices(words, k=60)) for _ in range(n)))


def test_every_document_lands_in_one_split_unchanged(tmp_path: Path) -> None:
    texts = corpus()
    shards = write_shards(texts, tmp_path)
    found = [decode(shards.tokens(split)[:-1]).split("\n") for split in ("train", "val", "test")]
    assert sorted(d for part in found for d in part) == sorted(texts.documents)
    assert sum(shards.n_bytes.values()) == texts.n_bytes


def test_offsets_point_behind_boundaries(tmp_path: Path) -> None:
    shards = write_shards(corpus(), tmp_path)
    tokens, offsets = shards.tokens("test"), shards.offsets("test").astype(int)
    assert offsets[0] == 0 and offsets[-1] == len(tokens) and len(offsets) == shards.n_documents["test"] + 1
    assert (tokens[offsets[1:] - 1] == END_OF_TEXT).all() and int((tokens == END_OF_TEXT).sum()) == len(offsets) - 1


def test_equal_text_gives_equal_hash_and_one_folder(tmp_path: Path) -> None:
    one, two, other = (
        write_shards(corpus(), tmp_path),
        write_shards(corpus(), tmp_path),
        write_shards(corpus(seed=1), tmp_path),
    )
    assert one == two and one.hash != other.hash and one.path.name == one.hash[:16]


def test_a_document_keeps_its_split_when_others_come() -> None:
    few, many = split_documents(corpus(100).documents), split_documents(corpus(300).documents)
    assert all(set(few[split]) <= set(many[split]) for split in few)


def test_concurrent_preparations_agree(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(corpus(1500).documents))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: prepare_shards(f"text:{tmp_path / 'a.txt'}", tmp_path / "cache"), range(4)))
    assert len({s.hash for s in found}) == 1
    assert not list((tmp_path / "cache" / "shards").glob(".shards-*"))


def test_too_little_text_says_how_much_is_needed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Too short.")
    with pytest.raises(ConfigError, match=r"train split has \d+ tokens .* expected at least 32,768.*200 kB"):
        prepare_shards(f"text:{tmp_path / 'a.txt'}", tmp_path / "cache")


@pytest.mark.parametrize(("content", "message"), [(b"", "has 0 bytes"), (None, "No such file")])
def test_broken_folder_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    shards = write_shards(corpus(), tmp_path)
    (shards.path / "val.bin").unlink()
    if content is not None:
        (shards.path / "val.bin").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_shards(shards.path)


def test_a_split_that_is_not_asked_for_need_not_be_there(tmp_path: Path) -> None:
    shards = write_shards(corpus(), tmp_path)
    (shards.path / "test.bin").unlink()
    opened = load_shards(shards.path, splits=("train", "val"))
    assert opened == shards and len(opened.tokens("val")) == shards.n_tokens["val"]
    (shards.path / "val.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"val\.bin has 0 bytes"):
        load_shards(shards.path, splits=("train", "val"))


def test_changed_content_of_equal_size_is_found_when_verified(tmp_path: Path) -> None:
    shards = write_shards(corpus(), tmp_path)
    np.zeros(shards.n_tokens["val"], dtype="<u2").tofile(shards.path / "val.bin")
    with pytest.raises(ConfigError, match=r"val\.bin does not have the content"):
        load_shards(shards.path, verify=True)


def test_python_docs_is_large_enough_and_cached(tmp_path: Path) -> None:
    first = prepare_shards("python-docs", tmp_path)
    assert sum(first.n_bytes.values()) >= 1_500_000 and first.n_documents["test"] >= 10
    assert prepare_shards("python-docs", tmp_path) == first
