"""Packed parts joined into one folder of shards."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genesys.tokens import Tokenizer
from genesys.train.data.folder import SHARDS_VERSION, Shards, load_shards, sha256_of
from genesys.train.data.parts import SPLITS, Source
from genesys.train.data.writing import PackedPart, token_dtype


def assemble(source: Source, tokenizer: Tokenizer, packed: Sequence[PackedPart], work: Path) -> Shards:
    """Join parts into a folder beside `work`, named by its hash; files of tokens are moved, not copied.

    Killed half-way, it leaves parts without their files, which the next packing does again.
    """
    temporary = Path(tempfile.mkdtemp(prefix=".shards-", dir=work.parent))
    try:
        shutil.copyfile(work / "tokenizer.json", temporary / "tokenizer.json")
        _join_numbers(packed, temporary)
        files = {f.name: {"n_bytes": f.stat().st_size, "sha256": sha256_of(f)} for f in temporary.iterdir()}
        moves: dict[str, Path] = {}
        for split in SPLITS:
            entries = [(part.path / entry["name"], entry) for part in packed for entry in part.files[split]]
            for number, (path, entry) in enumerate(entries):
                name = f"{split}-{number:05}.bin"
                files[name] = {"n_bytes": entry["n_bytes"], "sha256": entry["sha256"]}
                moves[name] = path
        text = json.dumps(_manifest(source, tokenizer, packed, files), sort_keys=True, indent=1)
        (temporary / "manifest.json").write_text(text, encoding="utf-8")
        final = work.parent / hashlib.sha256(text.encode()).hexdigest()[:16]
        if not final.exists():
            for name, path in moves.items():
                os.rename(path, temporary / name)
            try:
                os.rename(temporary, final)
            except OSError:
                if not final.exists():  # else another corpus of equal content was faster
                    raise
        return load_shards(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _join_numbers(packed: Sequence[PackedPart], folder: Path) -> None:
    np.sum([part.numbers("counts") for part in packed], axis=0, dtype="<u8").tofile(folder / "train.counts.bin")
    for split in ("val", "test"):
        lengths = np.concatenate([part.numbers(f"{split}.lengths") for part in packed])
        np.cumsum(np.append(np.uint64(0), lengths), dtype="<u8").tofile(folder / f"{split}.offsets.bin")
        np.concatenate([part.numbers(f"{split}.bytes") for part in packed]).tofile(folder / f"{split}.bytes.bin")


def _manifest(
    source: Source, tokenizer: Tokenizer, packed: Sequence[PackedPart], files: Mapping[str, Any]
) -> dict[str, Any]:
    def total(counts: Callable[[PackedPart], Mapping[str, int]]) -> dict[str, int]:
        return {split: sum(counts(part)[split] for part in packed) for split in SPLITS}

    return {
        "version": SHARDS_VERSION,
        "corpus": source.name,
        "sources": dict(source.sources),
        "tokenizer": tokenizer.name,
        "vocab_size": tokenizer.vocab_size,
        "end_of_text": tokenizer.end_of_text,
        "dtype": token_dtype(tokenizer.vocab_size),
        "n_tokens": total(lambda part: part.n_tokens),
        "n_documents": total(lambda part: part.n_documents),
        "n_bytes": total(lambda part: part.n_bytes),
        "files": files,
    }
