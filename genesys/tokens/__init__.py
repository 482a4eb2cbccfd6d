"""Tokenizers: text to tokens and back. The only package that imports `tokenizers` or `transformers`."""
