"""A small corpus with structure to learn, written as shards once per folder."""

import random
from pathlib import Path

from genesys.train.data.corpus import Corpus
from genesys.train.data.shards import Shards, write_shards

WORDS = ("river", "stone", "light", "under", "walks", "seven", "quiet", "often", "beneath", "morning")


def small_shards(folder: Path, n_documents: int = 400) -> Shards:
    """About 150 kB of random sentences over ten words."""
    rng = random.Random(0)
    documents = tuple(" ".join(rng.choices(WORDS, k=60)) + "." for _ in range(n_documents))
    return write_shards(Corpus(name="words", documents=documents), folder / "shards")
