"""Tokenizers give text back, never the boundary, and come back from their JSON; those that cannot serve are refused."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.errors import ConfigError
from genesys.tokens import (
    ByteTokenizer,
    Tokenizer,
    check_tokenizer,
    is_hub_name,
    load_tokenizer,
    make_tokenizer,
    parse_tokenizer,
)

TEXTS = [
    f"The river walks under the {word} stone, {i} times.\n" for i, word in enumerate(["quiet", "light", "seven"] * 9)
]


def trained(size: int = 290) -> Tokenizer:
    return make_tokenizer(f"bpe:{size}", lambda: TEXTS)


def hugging_face_folder(folder: Path, *, eos: str | None = "<|endoftext|>", normalizer: dict | None = None) -> Path:
    """What `save_pretrained` leaves of a small byte-level tokenizer."""
    pieces = json.loads(trained().to_json())["pieces"]
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(pieces | {"normalizer": normalizer}))
    config = {"tokenizer_class": "PreTrainedTokenizerFast"} | ({"eos_token": eos} if eos else {})
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module", params=["bytes", "bpe", "hf"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    if request.param == "hf":
        return make_tokenizer(f"hf:{hugging_face_folder(tmp_path_factory.mktemp('hf') / 'small')}", lambda: [])
    return ByteTokenizer() if request.param == "bytes" else trained()


@given(texts=st.lists(st.text(max_size=60), max_size=4))
def test_text_comes_back_and_holds_no_boundary(tokenizer: Tokenizer, texts: list[str]) -> None:
    texts = [text.encode(errors="replace").decode() for text in texts] + ["a<|endoftext|>b"]
    many = tokenizer.encode_many(texts)
    for text, tokens in zip(texts, many, strict=True):
        assert tokens.dtype == np.int64 and tokens.tolist() == tokenizer.encode(text).tolist()
        assert tokenizer.decode(tokens) == text
        assert not (tokens == tokenizer.end_of_text).any() and (tokens < tokenizer.vocab_size).all()


def test_boundaries_are_read_as_line_ends(tokenizer: Tokenizer) -> None:
    tokens = [*tokenizer.encode("one"), tokenizer.end_of_text, *tokenizer.encode("two"), tokenizer.end_of_text]
    assert tokenizer.decode(tokens) == "one\ntwo\n"
    assert tokenizer.decode([]) == ""


def test_a_tokenizer_comes_back_from_its_json(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json())
    for again in (
        parse_tokenizer(tokenizer.to_json()),
        load_tokenizer(tmp_path),
        load_tokenizer(tmp_path / "tokenizer.json"),
    ):
        assert (again.name, again.vocab_size, again.end_of_text) == (
            tokenizer.name,
            tokenizer.vocab_size,
            tokenizer.end_of_text,
        )
        assert again.encode(TEXTS[0]).tolist() == tokenizer.encode(TEXTS[0]).tolist()
        assert again.to_json() == tokenizer.to_json()


def test_pairs_have_the_size_that_was_asked_for_and_shorten_text() -> None:
    tokenizer = trained(300)
    assert tokenizer.vocab_size == 300 and tokenizer.name == "bpe:300"
    assert len(tokenizer.encode(TEXTS[0])) < len(TEXTS[0]) / 2


def test_training_gives_the_same_in_another_process_with_other_threads() -> None:
    code = f"from genesys.tokens import make_tokenizer; print(make_tokenizer('bpe:290', lambda: {TEXTS!r}).to_json())"
    found = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={"RAYON_NUM_THREADS": str(n), "PYTHONHASHSEED": str(n)},
        ).stdout.strip()
        for n in (1, 3)
    ]  # fmt: skip
    assert found == [trained().to_json()] * 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wordpiece", "no such kind; expected `bytes`, `bpe:SIZE` or `hf:NAME_OR_FOLDER`"),
        ("hf:", "no such kind"),
        ("bytes:3", "no such kind"),
        ("bpe:256", "its size is '256'; expected a whole number of at least 257"),
        ("bpe:4k", "its size is '4k'"),
        (
            "hf:/nowhere/at/all",
            "'hf:/nowhere/at/all': there is no such folder; expected a folder .* Correct `tokenizer`",
        ),
        ("hf:./none", "there is no such folder"),
        ("hf:a/b/c", "there is no such folder"),
        ("bpe:100000", r"the corpus gives \d+ pieces that occur 2 times. Use a smaller size"),
    ],
)
def test_mistakes_get_one_sentence(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_tokenizer(name, lambda: TEXTS)


def test_hugging_face_tokenizers_that_cannot_serve_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    for place, message in {
        tmp_path / "empty": "Cannot find tokenizer",
        hugging_face_folder(tmp_path / "endless", eos=None): "no end-of-sequence token",
        hugging_face_folder(tmp_path / "lower", normalizer={"type": "Lowercase"}): "does not give a text back",
    }.items():
        with pytest.raises(ConfigError, match=message) as caught:
            make_tokenizer(f"hf:{place}", lambda: [])
        assert ".;" not in str(caught.value)


@pytest.mark.parametrize("name", ["gpt2", "EleutherAI/gpt-neox-20b", "a.b/c_d.1"])
def test_names_on_the_hub_are_not_taken_for_folders(name: str) -> None:
    assert is_hub_name(name)
    check_tokenizer(f"hf:{name}")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"name": "bpe:300", "end_of_text": 0, "pieces": {"version": "9"}}'])
def test_broken_json_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot read"):
        parse_tokenizer(text)
    with pytest.raises(ConfigError, match=r"Cannot read tokenizer .*No such file"):
        load_tokenizer(tmp_path)


def test_a_boundary_beyond_the_vocabulary_is_refused() -> None:
    data = json.loads(trained().to_json()) | {"end_of_text": 290}
    with pytest.raises(ConfigError, match="its boundary is token 290; expected one of 290"):
        parse_tokenizer(json.dumps(data))


def test_without_the_library_only_bytes_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = trained().to_json()
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for make in (lambda: parse_tokenizer(stored), trained, lambda: make_tokenizer("hf:gpt2", lambda: [])):
        with pytest.raises(
            ConfigError, match=r"tokenizers is not installed. Install genesys-evolution\[eval\], or use `bytes`"
        ):
            make()
    assert make_tokenizer("bytes", lambda: TEXTS).encode("é").tolist() == [195, 169]


def test_order_of_texts_matters_to_none_but_the_counts() -> None:
    shuffled = random.Random(0).sample(TEXTS, len(TEXTS))
    assert make_tokenizer("bpe:290", lambda: shuffled).to_json() == trained().to_json()
