"""The five seeds on real text at the top CPU rung, beside their untrained copies and an n-gram model.

    python -m benchmarks.real_text --corpus text:FOLDER --data FOLDER

`--corpus` is a folder of WikiText-2 (train, valid and test files), `--data` one of benchmark data (a subfolder for each task of
`real_text.yaml`). Prints bits per byte of the test split and each task's score with 95% intervals over documents; half an hour
on two cores, and goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks._verifications import Case, verify_all
from genesys.evaluate.bits import bits_per_byte, by_document, windows
from genesys.evaluate.harness import run_suite
from genesys.evaluate.local import LocalModel
from genesys.evaluate.ngram import ngram_model
from genesys.evaluate.questions import Batch, Question, TokenModel
from genesys.evaluate.splits import open_splits
from genesys.gau.library import SEED_NAMES, seed_design
from genesys.ladder import CPU_SCALES, Scale
from genesys.model import ModelShape, build_model, tune_sizes
from genesys.train import Shards, prepare_shards
from genesys.verification.score import load_held_out

SUITE = Path(__file__).with_suffix(".yaml")
SCALE = replace(CPU_SCALES[-1], probes=(), suite=str(SUITE))
TASKS = ("blimp", "lambada_openai", "hellaswag")
Z_95 = 1.96
NGRAM = "5-gram"


def untrained(name: str, scale: Scale, vocab_size: int) -> LocalModel:
    """A seed with its initial weights, in this process: its units are the library's own."""
    tree = seed_design(name)
    tuned = tune_sizes(tree, [scale], vocab_size)[0].shape
    shape = ModelShape(vocab_size=vocab_size, d_model=tuned.d_model, n_blocks=tuned.n_blocks)
    model = build_model(tree, shape, seed=0, embedding_std=scale.embedding_std).eval()

    def logits(batch: Batch) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(batch.inputs_BL)).numpy()[batch.rows_P, batch.places_P]

    return LocalModel(logits_fn=logits, context=scale.context, max_tokens=2048)


def figures(model: TokenModel, shards: Shards, scale: Scale, data: Path) -> dict[str, float]:
    """What a verification measures, of a model in this process."""
    documents = load_held_out(str(shards.path), scale.context).documents
    rows = [row for rows in windows(documents, scale.context) for row in rows]
    answers = model.answer([Question(row[:-1], row[1:]) for row in rows])
    bits = bits_per_byte(by_document([answer.nats_T for answer in answers], documents), documents)
    tokenizer = open_splits(shards.path).tokenizer()
    tasks = run_suite(model, tokenizer, str(SUITE), data=data)
    return {"test_bpb": bits.value, "test_bpb_se": bits.se, **tasks.metrics()}


def row(name: str, metrics: Mapping[str, float]) -> str:
    """A line of the table."""
    names = ("test_bpb", *(f"task_{task}{part}" for task in TASKS for part in ("", "_prob")))
    cells = [f"{metrics[n]:.3f} ± {Z_95 * metrics[f'{n}_se']:.3f}" if n in metrics else "" for n in names]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", default="bpe:4096")
    parser.add_argument("--out", type=Path, default=Path("runs/real-text"))
    parser.add_argument("--models", nargs="+", choices=(*SEED_NAMES, NGRAM), default=(*SEED_NAMES, NGRAM))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shards = prepare_shards(arguments.corpus, Path.home() / ".cache" / "genesys", tokenizer=arguments.tokenizer)
    print("| model | test bits/byte | " + " | ".join(f"{task} accuracy | {task} prob" for task in TASKS) + " |")
    print("|---" * 8 + "|", flush=True)
    for name in arguments.models:
        if name != NGRAM:
            case = Case(name=name, tree=seed_design(name), scale=SCALE, seed=0)
            data = str(arguments.data.absolute())
            trained = asyncio.run(verify_all([case], shards, arguments.out / name, n_workers=1, tasks_data=data))
            print(row(name, trained[name][SCALE.name]["0"]), flush=True)
        for label, model in baselines(name, shards):
            print(row(label, figures(model, shards, SCALE, arguments.data)), flush=True)
    return 0


def baselines(name: str, shards: Shards) -> Iterator[tuple[str, TokenModel]]:
    """The untrained copy of a seed; or the n-gram models."""
    if name != NGRAM:
        yield f"{name}, untrained", untrained(name, SCALE, shards.vocab_size)
        return
    tokens = np.asarray(shards.tokens("train")[:], dtype=np.int64)
    for label, counted in (("the same tokens", tokens[: SCALE.n_tokens]), ("the whole train split", tokens)):
        yield f"5-gram, {label}", ngram_model(counted, vocab_size=shards.vocab_size, context=SCALE.context)


if __name__ == "__main__":
    sys.exit(main())
