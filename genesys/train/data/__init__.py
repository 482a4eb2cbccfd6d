"""Corpora read into documents, documents into shards of tokens, shards into rows for training."""
