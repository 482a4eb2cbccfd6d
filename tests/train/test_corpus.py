"""Reading corpora: prose is kept, the rest is dropped, and a user's mistake gets one sentence."""

import json
from pathlib import Path

import pytest

from genesys.errors import ConfigError
from genesys.train.data.corpus import END_OF_TEXT, decode, encode, read_corpus
from genesys.train.data.docs import extract, is_prose, prose_paragraphs

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


def test_bytes_round_trip() -> None:
    text = "naïve café\n"
    assert decode([*encode(text).tolist(), END_OF_TEXT]) == text + "\n"


def test_text_file_is_cut_into_whole_paragraphs(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph number {i} " + "word " * 40 for i in range(100)]
    (tmp_path / "a.txt").write_text("\n\n".join(paragraphs))
    documents = read_corpus(f"text:{tmp_path / 'a.txt'}", tmp_path / "cache").documents
    assert [p for d in documents for p in d.split("\n\n")] == paragraphs and len(documents) > 5


def test_jsonl_lines_are_documents(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": f"document {i}"}) for i in range(3)))
    assert read_corpus(f"text:{tmp_path}", tmp_path / "cache").documents == ("document 0", "document 1", "document 2")


def test_jsonl_without_text_says_which_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"body": "b"}\n')
    with pytest.raises(ConfigError, match="line 2 is no object with a text field"):
        read_corpus(f"text:{tmp_path}", tmp_path / "cache")


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ("text:/nowhere/at/all", "there is no such file or folder"),
        ("wikipedia", "no such corpus; expected `python-docs` or `text:PATH`"),
        ("text:", "no such corpus"),
        ("python-docs:no_such_package_here", "no such package is installed"),
    ],
)
def test_mistakes_get_one_sentence(corpus: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        list(read_corpus(corpus, tmp_path).documents)
