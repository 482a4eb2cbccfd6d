"""What a tokenizer is, the one of bytes, and how each kind is made and read back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genesys.errors import ConfigError

Tokens = NDArray[np.int64]

_KINDS = "`bytes`, `bpe:SIZE` or `hf:NAME_OR_FOLDER`"
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


class Tokenizer(Protocol):
    """Text to tokens and back; the same text always gives the same tokens, and never the boundary."""

    @property
    def name(self) -> str:
        """How a configuration asks for it: `bytes`, `bpe:4096`, `hf:gpt2`."""
        ...

    @property
    def vocab_size(self) -> int:
        """One more than the largest token."""
        ...

    @property
    def end_of_text(self) -> int:
        """The boundary token that follows each document."""
        ...

    def encode(self, text: str) -> Tokens:
        """The tokens of a text, without boundary."""
        ...

    def encode_many(self, texts: Sequence[str]) -> list[Tokens]:
        """`encode` of each; faster than one by one."""
        ...

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """The text of tokens; boundaries become line ends, broken UTF-8 the replacement sign."""
        ...

    def to_json(self) -> str:
        """All that `parse_tokenizer` needs."""
        ...


class ByteTokenizer:
    """One token for each byte of UTF-8, 0 to 255, and 256 for the boundary."""

    name = "bytes"
    vocab_size = 257
    end_of_text = 256

    def encode(self, text: str) -> Tokens:
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)

    def encode_many(self, texts: Sequence[str]) -> list[Tokens]:
        return [self.encode(text) for text in texts]

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        return bytes(10 if token == self.end_of_text else int(token) for token in tokens).decode(errors="replace")

    def to_json(self) -> str:
        return json.dumps({"name": self.name})


def is_hub_name(place: str) -> bool:
    """Whether something on the Hugging Face hub can be called that: `name` or `owner/name`."""
    return _HUB_NAME.fullmatch(place) is not None


def check_tokenizer(name: str) -> None:
    """Refuse a name that `make_tokenizer` cannot serve, as far as that is known without text, network or library.

    Raises:
        ConfigError: No such kind, a size that is none, or a folder that is not there.
    """
    kind, _, argument = name.partition(":")
    match kind, argument:
        case ("bytes", ""):
            return
        case ("bpe", size):
            if not (size.isdecimal() and int(size) >= ByteTokenizer.vocab_size):
                raise ConfigError(
                    f"Cannot train a tokenizer {name!r}: its size is {size!r}; expected a whole number of at least "
                    f"{ByteTokenizer.vocab_size}, one for each byte and a boundary. Try bpe:4096."
                )
        case ("hf", place) if place:
            if not (is_hub_name(place) or Path(place).expanduser().is_dir()):
                raise ConfigError(
                    f"Cannot find tokenizer {name!r}: there is no such folder; expected a folder with a tokenizer, or "
                    f"a name on the hub. Correct `tokenizer`, or use bpe:4096."
                )
        case _:
            raise ConfigError(f"Cannot make a tokenizer {name!r}: there is no such kind; expected {_KINDS}.")


def make_tokenizer(name: str, texts: Callable[[], Iterable[str]]) -> Tokenizer:
    """Make the tokenizer that a configuration names.

    Args:
        name: `bytes`; `bpe:SIZE`, byte-level pairs with SIZE tokens, boundary included; `hf:NAME_OR_FOLDER`, a fast
            tokenizer of the Hugging Face hub or a folder, whose end-of-sequence token is the boundary.
        texts: Called only where one is trained: the texts that it is trained on.

    Raises:
        ConfigError: No such tokenizer, one that cannot serve, or a library is missing.
    """
    check_tokenizer(name)
    if name == ByteTokenizer.name:
        return ByteTokenizer()
    from genesys.tokens.pieces import fetch_pieces, train_pieces

    kind, _, argument = name.partition(":")
    return train_pieces(int(argument), texts()) if kind == "bpe" else fetch_pieces(argument)


def parse_tokenizer(text: str) -> Tokenizer:
    """Read a tokenizer back from `Tokenizer.to_json`.

    Raises:
        ConfigError: The text is none, or a library is missing.
    """
    try:
        data = json.loads(text)
        if data["name"] == ByteTokenizer.name:
            return ByteTokenizer()
        name, end_of_text, pieces = str(data["name"]), int(data["end_of_text"]), json.dumps(data["pieces"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"Cannot read a tokenizer: {type(error).__name__}: {error}; expected what `prepare_shards` wrote."
        ) from None
    from genesys.tokens.pieces import PieceTokenizer

    return PieceTokenizer(name, pieces, end_of_text)


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer from its file, or from a folder of shards.

    Raises:
        ConfigError: There is none, or a library is missing.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read tokenizer {str(file)!r}: {error}; expected a `tokenizer.json`.") from None
    return parse_tokenizer(text)
