"""Reading corpora: prose is kept, the rest is dropped, and a user's mistake gets one sentence."""

import gzip
import json
import pickle
from collections import Counter
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from genesys.errors import ConfigError, TransientError
from genesys.train.data.corpus import open_corpus, read_corpus
from genesys.train.data.dataset import DatasetCorpus, DatasetPart
from genesys.train.data.docs import extract, is_prose, prose_paragraphs
from genesys.train.data.files import FileCorpus
from tests.shared_data import shared_data
from tests.train.data import hub_folder

DOCSTRING = """Return the middle value of a sample, after sorting it once in ascending order.

    >>> median([1, 2, 3])
    2

    x : array_like
        The sample whose middle value is wanted, which must not be empty at all.

    ====  ====
    a     b
    ====  ====

    When the sample has an even number of values the mean of the two in the middle is given.
    """


def test_prose_is_kept_and_markup_is_dropped() -> None:
    kept = list(prose_paragraphs(DOCSTRING))
    assert [p.split()[0] for p in kept] == ["Return", "When"]


@pytest.mark.parametrize(
    "text", ["f(x: int = 3, *, y: str) -> dict[str, int]; g(a_b, c_d) -> x.y.z(1, 2, 3, 4, 5, 6).", "short."]
)
def test_what_is_no_sentence_is_no_prose(text: str) -> None:
    assert not is_prose(text)


def test_extraction_is_deterministic_and_deduplicated() -> None:
    one, two = extract("numpy"), extract("numpy")
    assert one == two and one.n_bytes > 100_000
    paragraphs = [p for d in one.documents for p in d.split("\n\n")]
    assert len(paragraphs) == len(set(paragraphs))


def test_text_file_is_cut_into_whole_paragraphs(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph number {i} " + "word " * 39 + "word" for i in range(100)]
    (tmp_path / "a.txt").write_text("\n\n".join(paragraphs))
    documents = read_corpus(f"text:{tmp_path / 'a.txt'}", tmp_path / "cache").documents
    assert [p for d in documents for p in d.split("\n\n")] == paragraphs and len(documents) > 5


def test_jsonl_lines_are_documents(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": f"document {i}"}) for i in range(3)))
    assert read_corpus(f"text:{tmp_path}", tmp_path / "cache").documents == [f"document {i}" for i in range(3)]


def test_jsonl_without_text_says_which_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"body": "b"}\n')
    with pytest.raises(ConfigError, match="line 2 is no object with a text field"):
        read_corpus(f"text:{tmp_path}", tmp_path / "cache")


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ("text:/nowhere/at/all", "there is no such file or folder"),
        ("wikipedia", "no such corpus; expected `python-docs`, `text:PATH`, or a mapping with `dataset`"),
        ("text:", "no such corpus"),
        ("python-docs:no_such_package_here", "no such package is installed"),
    ],
)
def test_mistakes_get_one_sentence(corpus: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        list(read_corpus(corpus, tmp_path).documents)


def read(path: Path) -> list[str]:
    return list(read_corpus(f"text:{path}", path).documents)


@given(paragraphs=st.lists(st.text("ab \u00e9.", min_size=1, max_size=900).filter(str.strip), min_size=1, max_size=20))
def test_a_text_is_cut_at_blank_lines_and_kept_as_it_is(
    paragraphs: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("text") / "a.txt"
    file.write_text("\n \n".join(paragraphs))
    documents = read(file)
    assert "".join("".join(documents).split()) == "".join("".join(paragraphs).split())
    assert all(document in file.read_text() for document in documents)


def test_marks_of_an_end_part_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.\n\nStill one.\n<|endoftext|>\nTwo.\n<|endoftext|>\n")
    assert read(tmp_path / "a.txt") == ["One.\n\nStill one.", "Two."]


def test_every_kind_of_file_is_read_also_gzipped(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"text"))
    (tmp_path / "b.md").write_text("marks")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"text": "json"}\n\n{"text": " "}\n'))
    parquet.write_table(pyarrow.table({"id": [1, 2], "text": ["table", None]}), tmp_path / "d.parquet")
    (tmp_path / "e.parquet.gz").write_bytes(gzip.compress((tmp_path / "d.parquet").read_bytes()))
    (tmp_path / "f.csv").write_text("not read")
    assert read(tmp_path) == ["text", "marks", "json", "table", "table"]


@pytest.mark.parametrize(
    ("names", "deals"),
    [
        (["train.txt", "valid.txt", "test.txt", "README.md"], {"train.txt": "train", "valid.txt": "val", "test.txt": "test"}),
        (["train.jsonl.gz", "validation.jsonl.gz"], {"train.jsonl.gz": "train", "validation.jsonl.gz": "held-out"}),
        (["train-00000-of-00002.txt", "train-00001-of-00002.txt", "test.txt"],
         {"train-00000-of-00002.txt": "train", "train-00001-of-00002.txt": "train", "test.txt": "held-out"}),
        (["train.txt", "notes.md"], {"train.txt": "all", "notes.md": "all"}),
        (["training.txt", "test.txt"], {"training.txt": "all", "test.txt": "all"}),
    ],
)  # fmt: skip
def test_a_folder_keeps_its_own_splits(names: list[str], deals: dict[str, str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    parts = FileCorpus(name="c", path=tmp_path).parts()
    assert {file.name: part.deal for part in parts for file in part.files} == deals


def test_small_files_are_read_together_and_parts_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genesys.train.data.files.PART_BYTES", 100)
    for i in range(60):
        (tmp_path / f"{i:02}.txt").write_text(f"{i:020}\n \nnot cut")
    parts = FileCorpus(name="c", path=tmp_path).parts()
    assert 10 < len(parts) < 30 and all(part.text_bytes <= 100 for part in parts)
    documents = [text for part in parts for text in pickle.loads(pickle.dumps(part)).documents()]
    assert documents == [f"{i:020}\n \nnot cut" for i in range(60)]


def test_a_corpus_that_changes_has_another_stamp(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    corpus = open_corpus(f"text:{tmp_path}", tmp_path)
    before = corpus.stamp
    assert corpus.stamp == before
    file.write_text("more")
    assert corpus.stamp != before


def broken(name: str, folder: Path) -> Path:
    file = folder / name
    whole = gzip.compress(b"a line\n" * 9999)
    contents = {
        "a.txt": b"\xff\xfe",
        "cut.txt.gz": whole[:-20],
        "no.txt.gz": b"no gzip at all",
        "bad.txt.gz": whole[:20] + bytes(20) + whole[40:],
        "no.parquet": b"PAR1 it is not",
    }
    file.write_bytes(contents[name])
    return file


@pytest.mark.parametrize("name", ["a.txt", "cut.txt.gz", "no.txt.gz", "bad.txt.gz", "no.parquet"])
def test_a_broken_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"Cannot read corpus file '.*{name}': .*; expected a whole file of UTF-8"):
        read(broken(name, tmp_path))


def test_a_table_without_texts_says_what_it_has(tmp_path: Path) -> None:
    for column in ({"body": ["a"]}, {"text": [1]}):
        parquet.write_table(pyarrow.table(column), tmp_path / "a.parquet")
        with pytest.raises(ConfigError, match=r"no column `text` of strings, but (body|text)"):
            read(tmp_path)


def test_wikitext_keeps_its_splits_and_all_its_words() -> None:
    folder = shared_data("corpora/wikitext-2")
    parts = FileCorpus(name="wikitext", path=folder).parts()
    assert [part.deal for part in parts] == ["test", "train", "val"]
    text = gzip.decompress((folder / "valid.txt.gz").read_bytes()).decode()
    assert Counter(" ".join(parts[2].documents()).split()) == Counter(text.split())


def test_a_data_set_is_read_by_subset_and_split_in_slices(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "hub")
    corpus = DatasetCorpus(
        dataset=str(folder), subsets={"stories": 3, "maths": 1}, splits={"train": "train", "eval": "eval"}, tokens=4000
    )
    parts = corpus.parts()
    assert [
        (part.subset, part.source_split, part.deal, part.index, part.n_slices, part.max_tokens) for part in parts
    ] == [
        *(("stories", "train", "train", i, 3, 1000) for i in range(3)),
        ("stories", "eval", "held-out", 0, 1, 750_000),
        *(("maths", "train", "train", i, 3, 334) for i in range(3)),
        ("maths", "eval", "held-out", 0, 1, 250_000),
    ]
    texts = [text for part in parts if part.subset == "stories" and part.deal == "train" for text in part.documents()]
    assert len(texts) == len(set(texts)) == 3 * 40 and all(text.startswith("stories train") for text in texts)
    assert list(pickle.loads(pickle.dumps(parts[1])).documents()) == list(parts[1].documents())


def test_a_data_set_without_subsets_is_dealt_by_hash(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "train.jsonl").write_text("\n".join(json.dumps({"body": f"text {i}"}) for i in range(5)))
    parts = DatasetCorpus(dataset=str(folder), text="body").parts()
    assert [part.deal for part in parts] == ["all"]
    assert list(parts[0].documents()) == [f"text {i}" for i in range(5)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subsets": ("plays",)}, r"subset 'plays', split 'train': .*stories.*maths"),
        ({"subsets": ()}, r"Config name is missing"),
        ({"subsets": ("maths",), "splits": {"train": "training"}}, r"split 'training': .*Available splits"),
        ({"subsets": ("maths",), "text": "body"}, r"it has no column 'body', but text, id. Set corpus.text"),
        ({"subsets": ("maths",), "text": "id"}, r"a row has no text in column 'id'"),
        ({"dataset": "/nowhere/at/all"}, r"Cannot read data set '/nowhere/at/all'"),
    ],
)
def test_mistakes_in_a_data_set_get_one_sentence(changes: dict, message: str, tmp_path: Path) -> None:
    corpus = DatasetCorpus(**({"dataset": str(hub_folder(tmp_path / "hub"))} | changes))
    with pytest.raises(ConfigError, match=message) as caught:
        [list(part.documents()) for part in corpus.parts()]
    assert "\n" not in str(caught.value)


def test_a_data_set_that_cannot_be_reached_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(TransientError, match="Cannot reach data set 'no/such', split 'train'"):
        DatasetCorpus(dataset="no/such").parts()


def test_a_stream_that_breaks_off_may_be_tried_again(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "hub")
    part = DatasetCorpus(dataset=str(folder), subsets=("maths",)).parts()[0]
    assert isinstance(part, DatasetPart)
    for file in (folder / "maths").glob("train*"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises((TransientError, ConfigError), match=r"data set '.*', subset 'maths', split 'train'"):
        list(part.documents())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subsets": {"a": 0}, "tokens": 1}, "Cannot weigh subset 'a' with 0"),
        ({"subsets": {"a": "much"}}, "Cannot weigh subset 'a' with 'much'"),
        ({"subsets": {"a": 1, "b": 2}}, "Cannot weigh subsets when all tokens are read"),
        ({"tokens": -1}, "Cannot read -1 tokens"),
        ({"splits": {"train": "train", "val": "x"}}, "Cannot use corpus.splits with train, val"),
        ({"splits": {"eval": "x"}}, "Cannot use corpus.splits with eval"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DatasetCorpus(dataset="d", **settings)
