"""Data and pre-training. The only package that imports deepspeed, and only inside a training."""

from genesys.train.data.corpus import END_OF_TEXT, VOCAB_SIZE, Corpus, read_corpus
from genesys.train.data.packing import DataOrder, PackedRows
from genesys.train.schedule import CosineSchedule
from genesys.train.data.shards import Shards, load_shards, prepare_shards

__all__ = [
    "END_OF_TEXT",
    "VOCAB_SIZE",
    "Corpus",
    "CosineSchedule",
    "DataOrder",
    "PackedRows",
    "Shards",
    "load_shards",
    "prepare_shards",
    "read_corpus",
]
