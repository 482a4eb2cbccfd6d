"""Data and pre-training. The only package that imports deepspeed, and only inside a training."""

from genesys.train.data.corpus import END_OF_TEXT, VOCAB_SIZE, Corpus, read_corpus
from genesys.train.data.dataset import DatasetCorpus
from genesys.train.data.packing import DataOrder, PackedRows
from genesys.train.data.shards import Shards, find_shards, load_shards, prepare_shards
from genesys.train.schedule import CosineSchedule

__all__ = [
    "END_OF_TEXT",
    "VOCAB_SIZE",
    "Corpus",
    "CosineSchedule",
    "DataOrder",
    "DatasetCorpus",
    "PackedRows",
    "Shards",
    "find_shards",
    "load_shards",
    "prepare_shards",
    "read_corpus",
]
