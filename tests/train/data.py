"""Small corpora with structure to learn: written as shards, and laid out as on the hub."""

import random
from pathlib import Path

from genesys.train.data.corpus import Corpus
from genesys.train.data.shards import Shards, write_shards
from genesys.train.data.writing import FILE_BYTES

WORDS = ("river", "stone", "light", "under", "walks", "seven", "quiet", "often", "beneath", "morning")


def small_shards(
    folder: Path, n_documents: int = 400, *, tokenizer: str = "bytes", file_bytes: int = FILE_BYTES
) -> Shards:
    """About 150 kB of random sentences over ten words."""
    rng = random.Random(0)
    documents = tuple(" ".join(rng.choices(WORDS, k=60)) + "." for _ in range(n_documents))
    corpus = Corpus(name="words", documents=documents)
    return write_shards(corpus, folder / "shards", tokenizer, file_bytes=file_bytes)


def sentences(n: int, seed: int = 0) -> list[str]:
    """Documents of sixty words."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=60)) + f" {seed}-{i}." for i in range(n)]


def hub_folder(folder: Path, n_documents: int = 40) -> Path:
    """A data set as the hub keeps it: subsets `stories` and `maths`, three files to train on and one to evaluate."""
    import pyarrow
    from pyarrow import parquet

    configs = []
    for number, subset in enumerate(("stories", "maths")):
        (folder / subset).mkdir(parents=True)
        for split, n_files in {"train": 3, "eval": 1}.items():
            for i in range(n_files):
                texts = [f"{subset} {split} {text}" for text in sentences(n_documents, seed=10 * number + i)]
                table = pyarrow.table({"text": texts, "id": list(range(len(texts)))})
                parquet.write_table(table, folder / subset / f"{split}-{i:05}-of-{n_files:05}.parquet")
        files = "".join(f"  - split: {split}\n    path: {subset}/{split}-*\n" for split in ("train", "eval"))
        configs.append(f"- config_name: {subset}\n  data_files:\n{files}")
    (folder / "README.md").write_text(f"---\nconfigs:\n{''.join(configs)}---\n# Words\n")
    return folder
