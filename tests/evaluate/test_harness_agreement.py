"""Our adapter and lm-eval's own `hf` model give the same figures for the same weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks._hf_reference import FastTokens, as_local_model, tiny_gpt2, trained_tokenizer
from genesys.evaluate.harness import Suite, SuiteTask, TaskScore, run_suite
from genesys.evaluate.harness.run import FEWSHOT_SEED, quiet
from genesys.evaluate.harness.scores import task_score
from genesys.evaluate.harness.sources import load_tasks
from tests.shared_data import shared_data

TEXTS = ["The cat sat on the mat.", "A question? An answer!", "naïve café, 12 3456", "  two  spaces\n\nand lines"] * 9


@cache
def reference() -> tuple[Any, Any, Any]:
    """lm-eval's model, ours and our tokenizer."""
    from lm_eval.models.huggingface import HFLM

    tokenizer = trained_tokenizer(TEXTS)
    model = tiny_gpt2(len(tokenizer), context=384)
    hf = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16, device="cpu")
    return hf, as_local_model(model), FastTokens(tokenizer)


def ours() -> Any:
    from genesys.evaluate.harness.adapter import HarnessModel

    _, model, tokens = reference()
    return HarnessModel(model, tokens)


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(request_type=kind, doc={}, arguments=a, idx=i) for i, a in enumerate(arguments)]


def test_likelihoods_where_context_and_continuation_meet() -> None:
    pairs = [
        ("The cat", " sat on the mat."),
        ("The cat ", "sat on the mat."),  # the space belongs to what follows
        ("The cat", "s sat"),
        ("two  spaces \n\n ", " and lines"),
        ("", "The cat sat"),
        ("", " The"),
        ("naïve", " café"),
        ("The cat sat on the mat. " * 60, " A question?"),  # cut on the left
        ("A question?", " An answer! naïve" * 40),
        ("A question?", " An"),
        ("A question?", " Th"),
        ("<|endoftext|>", "The"),
    ]
    hf, *_ = reference()
    theirs = hf.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    for pair, (nats, first), (expected, expected_first) in zip(
        pairs, ours().loglikelihood(instances("loglikelihood", pairs)), theirs, strict=True
    ):
        assert nats == pytest.approx(expected, rel=1e-5, abs=1e-4), pair
        assert first == expected_first, pair


def test_a_continuation_that_is_the_first_choice_is_said_to_be() -> None:
    hf, model, tokens = reference()
    prompts = [f"{a} {b}" for a in ("The", "A", "naïve", "12", "no") for b in ("cat", "mat", "answer", "lines", "x")]
    added = [tokens.decode(more) for more in model.extend([tokens.encode(prompt) for prompt in prompts], 1)]
    pairs = [pair for pair in zip(prompts, added, strict=True) if "\ufffd" not in pair[1]]
    theirs = hf.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    assert [first for _, first in theirs] == [first for _, first in ours().loglikelihood(instances("", pairs))]
    assert any(first for _, first in theirs)


def test_whole_texts_in_rolling_windows() -> None:
    # no text repeats itself over whole windows: there `hf` scores equal rows at wrong places (its logits_cache)
    texts = ["The cat", "".join(f"{i} cats sat, " for i in range(200)), "naïve" * 99, "A", "  "]
    hf, *_ = reference()
    requests = instances("loglikelihood_rolling", [(text,) for text in texts])
    theirs = hf.loglikelihood_rolling(requests, disable_tqdm=True)
    assert ours().loglikelihood_rolling(requests) == pytest.approx(theirs, rel=1e-5)


def test_generated_texts() -> None:
    options = {"until": ["\n", "mat"], "max_gen_toks": 40, "do_sample": False}
    other = {"until": ["?"], "max_gen_toks": 70}
    prompts = ["The cat", "A question? " * 90, "naïve", "  two", "An answer! 12"]
    requests = instances("generate_until", [(p, o) for p in prompts for o in (options, other)])
    hf, *_ = reference()
    theirs = hf.generate_until(requests, disable_tqdm=True)
    assert ours().generate_until(requests) == theirs
    assert len(set(theirs)) > 4


def agree(names: list[str], *, limit: int | None, tmp_path: Path, texts_alike: float = 1.0) -> dict[str, TaskScore]:
    """Every figure, and every document's answers, of bundled tasks on real data; gives our scores.

    `texts_alike` is the share of documents whose generated texts must be equal.
    """
    from lm_eval.evaluator import evaluate

    asked = {name: SuiteTask(task=name, limit=limit) for name in names}
    data, scores = shared_data("eval"), {}
    with quiet(offline=True):
        loaded = load_tasks(asked, data=data, folder=tmp_path)
        assert not loaded.absent
        for task in loaded.tasks.values():
            task.set_fewshot_seed(FEWSHOT_SEED)
        models = (reference()[0], ours())
        found = [evaluate(lm, {"tasks": loaded.tasks}, log_samples=True, bootstrap_iters=0) for lm in models]
    for name in names:
        theirs, mine = (result["results"][name] for result in found)
        figures = {key for key, value in theirs.items() if isinstance(value, float)}
        assert figures
        for key in figures:
            assert mine[key] == pytest.approx(theirs[key], rel=1e-5, abs=1e-5), (name, key)
        answers = [[_flat(sample["resps"]) for sample in result["samples"][name]] for result in found]
        alike = [a == pytest.approx(b, rel=1e-4, abs=1e-3) for a, b in zip(*answers, strict=True)]
        assert sum(alike) >= texts_alike * len(alike), name
        score = task_score(loaded.tasks[name], mine, found[1]["samples"][name])
        assert score is not None
        scores[name] = score
        expected = next(v for k, v in theirs.items() if k.startswith(f"{score.metric},"))
        assert score.value == pytest.approx((expected + 1) / 2 if score.metric == "mcc" else expected, abs=1e-5)
    return scores


def _flat(answers: Any) -> list[Any]:
    """Numbers and, hashed, texts; pytest compares no nested lists of floats."""
    if isinstance(answers, list | tuple):
        return [value for answer in answers for value in _flat(answer)]
    return [float(len(answers)), float(sum(map(ord, answers)))] if isinstance(answers, str) else [float(answers)]


def test_the_figures_of_tasks_on_real_data(tmp_path: Path) -> None:
    names = ["arc_easy", "blimp_adjunct_island", "blimp_transitive", "lambada_openai", "cola"]
    expected = agree(names, limit=40, tmp_path=tmp_path)
    _, model, tokens = reference()
    suite = Suite(name="agreement", tasks=tuple(SuiteTask(task=name) for name in names))
    assert run_suite(model, tokens, suite, data=shared_data("eval"), limit=40).tasks == expected


def test_the_figures_of_a_generated_task_on_real_data(tmp_path: Path) -> None:
    agree(["gsm8k"], limit=2, tmp_path=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_figures_of_whole_tasks_on_real_data(tmp_path: Path) -> None:
    data = shared_data("eval")
    paradigms = sorted(path.name for path in data.glob("blimp_*") if "supplement" not in path.name)
    agree(["arc_easy", "lambada_openai", "cola", *paradigms], limit=None, tmp_path=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_figures_of_a_generated_task_on_more_documents(tmp_path: Path) -> None:
    # of 10,000 greedy choices some lie closer together than the rounding of a cache of keys and values
    agree(["gsm8k"], limit=40, tmp_path=tmp_path, texts_alike=0.9)
