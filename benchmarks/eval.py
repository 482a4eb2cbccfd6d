"""Documents per second of our adapter against lm-eval's own `hf` model: the same weights, the same requests, in turns.

On real tasks where a folder of local data is given (the first argument), else on made-up documents of the same
shapes. `hf` gets the batch size that suits it best here. Goal: the median of the turns' ratios is at least 1.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks._hf_reference import FastTokens, as_local_model, tiny_gpt2, trained_tokenizer
from benchmarks._report import Report
from genesys.evaluate.harness import SuiteTask
from genesys.evaluate.harness.run import quiet
from genesys.evaluate.harness.sources import load_tasks

GOAL = 1.0
N_DOCUMENTS = 50
N_TURNS = 7
HF_BATCH_SIZES = (8, 32)
TASKS = {"arc_easy": "test", "blimp_transitive": "train", "lambada_openai": "test"}


def made_up(folder: Path) -> Path:
    """Documents of random words, as long as the real ones."""
    random = Random(0)
    vocabulary = ["".join(random.choices("etaoinshrdlu", k=random.randint(2, 9))) for _ in range(2000)]

    def words(n: int) -> str:
        return " ".join(random.choices(vocabulary, k=n))

    for name, split in TASKS.items():
        documents = []
        for _ in range(N_DOCUMENTS):
            choices = {"label": list("ABCD"), "text": [words(random.randint(1, 6)) for _ in range(4)]}
            pair = {"sentence_good": words(8), "sentence_bad": words(8)}
            question = {"question": words(20), "choices": choices, "answerKey": "A", "text": words(75)}
            documents.append(json.dumps(question | pair))
        (folder / name).mkdir(parents=True)
        (folder / name / f"{split}.jsonl").write_text("\n".join(documents))
    return folder


def requests(tasks: dict[str, Any]) -> list[Any]:
    """All requests of the tasks."""
    for task in tasks.values():
        task.build_all_requests()
    return [request for task in tasks.values() for request in task.instances]


def seconds(model: Any, asked: list[Any]) -> float:
    started = time.perf_counter()
    model.loglikelihood(asked, disable_tqdm=True)
    return time.perf_counter() - started


def fastest(make: Callable[[int], Any], asked: list[Any]) -> Any:
    """lm-eval's model with the best of some batch sizes."""
    models = [make(size) for size in HF_BATCH_SIZES]
    return min(models, key=lambda model: min(seconds(model, asked) for _ in range(2)))


def texts(asked: list[Any]) -> Iterator[str]:
    return (context + continuation for context, continuation in (request.args for request in asked))


def main() -> int:
    from lm_eval.models.huggingface import HFLM

    from genesys.evaluate.harness.adapter import HarnessModel

    torch.set_num_threads(1)
    report = Report("eval")
    with TemporaryDirectory() as folder, quiet(offline=True):
        data = Path(sys.argv[1]) if len(sys.argv) > 1 else made_up(Path(folder) / "data")
        entries = {name: SuiteTask(task=name, limit=N_DOCUMENTS) for name in TASKS}
        loaded = load_tasks(entries, data=data, folder=Path(folder))
        assert not loaded.absent, loaded.absent
        asked = requests(loaded.tasks)
    tokenizer = trained_tokenizer(islice(cycle(texts(asked)), 2000), vocab_size=4096)
    weights = tiny_gpt2(len(tokenizer), context=512, d_model=128, n_layer=4)
    ours = HarnessModel(as_local_model(weights), FastTokens(tokenizer))
    hf = fastest(lambda size: HFLM(pretrained=weights, tokenizer=tokenizer, batch_size=size, device="cpu"), asked)
    seconds(ours, asked)  # warms up, as hf was
    ratios: list[float] = []
    rates: dict[str, list[float]] = {"ours": [], "hf": []}
    for turn in range(N_TURNS):
        order = [("ours", ours), ("hf", hf)][:: 1 if turn % 2 else -1]
        took = {name: seconds(model, asked) for name, model in order}
        ratios.append(took["hf"] / took["ours"])
        for name in took:
            rates[name].append(N_DOCUMENTS * len(TASKS) / took[name])
    report.add("documents, ours", statistics.median(rates["ours"]), "1/s")
    report.add(f"documents, hf in batches of {hf.batch_size}", statistics.median(rates["hf"]), "1/s")
    report.add("ours against hf", statistics.median(ratios), "ratio", at_least=GOAL)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
