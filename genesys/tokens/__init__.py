"""Tokenizers: text to tokens and back. The only package that imports `tokenizers` or `transformers`.

A tokenizer is written down as one JSON text, `tokenizer.json` in a folder of shards, that holds all it takes to read it
back: no network, and for bytes no library.
"""

from genesys.tokens.tokenizer import (
    ByteTokenizer,
    Tokenizer,
    check_tokenizer,
    is_hub_name,
    load_tokenizer,
    make_tokenizer,
    parse_tokenizer,
)

__all__ = [
    "ByteTokenizer",
    "Tokenizer",
    "check_tokenizer",
    "is_hub_name",
    "load_tokenizer",
    "make_tokenizer",
    "parse_tokenizer",
]
