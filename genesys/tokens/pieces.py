"""Tokenizers of pieces longer than a byte, on the `tokenizers` library: trained here, or Hugging Face's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genesys.errors import ConfigError

Tokens = NDArray[np.int64]

_BOUNDARY = "<|endoftext|>"
_MIN_FREQUENCY = 2
_SAMPLE = "Some text, which a tokenizer\nmust give back: {x = 3.14;}\n\n\tnaïve café, 日本語, 😀  twice\n"


class PieceTokenizer:
    """A tokenizer of the `tokenizers` library; text that spells a special token is encoded as text.

    Args:
        pieces: The library's own JSON.

    Raises:
        ConfigError: `pieces` is not that, the boundary is none of its tokens, or `tokenizers` is not installed.
    """

    def __init__(self, name: str, pieces: str, end_of_text: int) -> None:
        try:
            self._pieces = _tokenizers().Tokenizer.from_str(pieces)
        except ConfigError:
            raise
        except Exception as error:  # the library raises plain Exception
            raise ConfigError(f"Cannot read tokenizer {name!r}: {error}; expected the JSON of `tokenizers`.") from None
        self._pieces.encode_special_tokens = True
        self._pieces.no_truncation()
        self._pieces.no_padding()
        self.name, self.end_of_text = name, end_of_text
        self.vocab_size = max(self._pieces.get_vocab().values(), default=-1) + 1
        if not 0 <= end_of_text < self.vocab_size:
            raise ConfigError(
                f"Cannot use tokenizer {name!r}: its boundary is token {end_of_text}; expected one of {self.vocab_size:,}."
            )

    def encode(self, text: str) -> Tokens:
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[Tokens]:
        found = self._pieces.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int64) for encoding in found]

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        ids = np.asarray(tokens, dtype=np.int64)
        documents = np.split(ids, np.flatnonzero(ids == self.end_of_text) + 1)
        inner = [document[document != self.end_of_text].tolist() for document in documents]
        return "\n".join(self._pieces.decode_batch(inner, skip_special_tokens=False))

    def to_json(self) -> str:
        data = {"name": self.name, "end_of_text": self.end_of_text, "pieces": json.loads(self._pieces.to_str())}
        return json.dumps(data, sort_keys=True, ensure_ascii=False)


def train_pieces(size: int, texts: Iterable[str]) -> PieceTokenizer:
    """Byte-level pairs as in GPT-2, trained on texts; equal texts give equal tokenizers.

    Raises:
        ConfigError: The texts have too few pairs for so many tokens, or `tokenizers` is not installed.

    Source: Sennrich et al. 2016; Radford et al. 2019, sec. 2.2.
    """
    library = _tokenizers()
    from tokenizers import decoders, models, pre_tokenizers, trainers

    pieces = library.Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=_MIN_FREQUENCY,
        special_tokens=[_BOUNDARY],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces.train_from_iterator(texts, trainer)
    if pieces.get_vocab_size() != size:
        raise ConfigError(
            f"Cannot train tokenizer bpe:{size}: the corpus gives {pieces.get_vocab_size():,} pieces that occur "
            f"{_MIN_FREQUENCY} times. Use a smaller size, or `bytes`."
        )
    return PieceTokenizer(f"bpe:{size}", pieces.to_str(), pieces.token_to_id(_BOUNDARY))


def fetch_pieces(place: str) -> PieceTokenizer:
    """A Hugging Face tokenizer by its name on the hub, or from a folder.

    Raises:
        ConfigError: There is none, it has no fast form or no end-of-sequence token, it does not give text back as it
            was (bits per byte would mean nothing), or `transformers` is not installed.
    """
    name = f"hf:{place}"
    found = _auto_tokenizer(place)
    pieces: Any = getattr(found, "backend_tokenizer", None)
    if pieces is None:
        raise ConfigError(f"Cannot use tokenizer {name!r}: it has no fast form; expected one with a tokenizer.json.")
    if found.eos_token_id is None:
        raise ConfigError(
            f"Cannot use tokenizer {name!r}: it has no end-of-sequence token to part documents with. "
            f"Set `eos_token` in its tokenizer_config.json."
        )
    tokenizer = PieceTokenizer(name, pieces.to_str(), int(found.eos_token_id))
    if tokenizer.decode(tokenizer.encode(_SAMPLE)) != _SAMPLE:
        raise ConfigError(
            f"Cannot use tokenizer {name!r}: it does not give a text back as it was; expected one that keeps letters, "
            f"spaces and line ends. Use a byte-level one, such as bpe:4096."
        )
    return tokenizer


def _auto_tokenizer(place: str) -> Any:
    _tokenizers()
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise _missing("transformers") from None
    folder = Path(place).expanduser()
    try:
        return AutoTokenizer.from_pretrained(str(folder) if folder.is_dir() else place)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0][:200].rstrip(".")
        raise ConfigError(
            f"Cannot find tokenizer 'hf:{place}': {reason}; expected a folder with a tokenizer, or a name "
            f"on the hub. Correct `tokenizer`, or use bpe:4096."
        ) from None


def _tokenizers() -> ModuleType:
    try:
        import tokenizers
    except ImportError:
        raise _missing("tokenizers") from None
    module: ModuleType = tokenizers
    return module


def _missing(library: str) -> ConfigError:
    return ConfigError(
        f"Cannot use this tokenizer: {library} is not installed. Install genesys-evolution[eval], or use `bytes`."
    )
