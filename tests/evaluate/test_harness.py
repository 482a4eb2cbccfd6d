"""Suites asked of models that we know: what is counted, what stands beside it, and what is refused."""

from __future__ import annotations

import json
import logging
import socket
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genesys.errors import ConfigError, JobFailed, TransientError
from genesys.evaluate.harness import Suite, SuiteTask, run_suite
from genesys.evaluate.local import LocalModel
from genesys.evaluate.questions import Answer, Batch, Question, Tokens
from genesys.tokens import ByteTokenizer

CONTEXT = 64


def model(logits: Callable[[Tokens], NDArray[Any]]) -> LocalModel:
    """A model given by its logits after a row of tokens."""

    def after(batch: Batch) -> NDArray[np.float32]:
        rows = [batch.inputs_BL[b, : t + 1] for b, t in zip(batch.rows_P, batch.places_P, strict=True)]
        return np.stack([logits(row) for row in rows]).astype(np.float32)

    return LocalModel(logits_fn=after, context=CONTEXT)


def noise(row: Tokens) -> NDArray[Any]:
    """An untrained model: its logits after a row are drawn from the row's own seed."""
    return np.random.default_rng(zlib.crc32(row.tobytes())).normal(size=257)


def uniform(row: Tokens) -> NDArray[Any]:
    return np.zeros(257)


def writes(text: str) -> Callable[[Tokens], NDArray[Any]]:
    """A model that writes one text and ends, and goes on with what stands of it."""
    letters = np.array([*text.encode(), 256])

    def logits(row: Tokens) -> NDArray[Any]:
        n_written = max(n for n in range(len(letters)) if n <= len(row) and (row[len(row) - n :] == letters[:n]).all())
        return np.eye(257)[letters[n_written]] * 50

    return logits


def write_data(folder: Path, sets: Mapping[str, tuple[str, Sequence[Mapping[str, Any]]]]) -> Path:
    """Local data: for each task a split and its documents."""
    for task, (split, documents) in sets.items():
        (folder / task).mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(document) + "\n" for document in documents)
        (folder / task / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return folder


def pairs(n: int) -> list[dict[str, str]]:
    """Pairs of sentences of different lengths, neither side longer than the other on the whole."""
    generator = np.random.default_rng(0)
    words = ["".join(map(chr, generator.integers(97, 123, size=generator.integers(3, 12)))) for _ in range(2 * n)]
    return [{"sentence_good": f"Go {a}", "sentence_bad": f"Go {b}"} for a, b in zip(words[:n], words[n:], strict=True)]


def judged(labels: Sequence[int]) -> list[dict[str, Any]]:
    return [{"sentence": f"sentence {i}", "label": label, "idx": i} for i, label in enumerate(labels)]


def suite(*tasks: str, **options: Any) -> Suite:
    return Suite(name="own", tasks=tuple(SuiteTask(task=task, **options) for task in tasks))


def ask(logits: Callable[[Tokens], NDArray[Any]], asked: str | Suite, data: Path, **options: Any) -> Any:
    return run_suite(model(logits), ByteTokenizer(), asked, data=data, **options)


def test_an_untrained_model_scores_chance_on_balanced_tasks(tmp_path: Path) -> None:
    rte = [{"sentence1": f"a {i}", "sentence2": "b", "label": i % 2, "idx": i} for i in range(300)]
    sets = {
        "blimp_causative": ("train", pairs(300)),
        "cola": ("validation", judged([0, 1] * 150)),
        "rte": ("validation", rte),
    }
    scores = ask(noise, suite(*sets), write_data(tmp_path, sets)).tasks
    for name, score in scores.items():
        assert score.chance == 0.5, name
        assert abs(score.value - 0.5) <= 4 * score.se, name
        if score.metric != "mcc":  # 0, without error, for a model that prefers the shorter label
            assert score.se == pytest.approx(0.5 / np.sqrt(300), rel=0.1), name
        assert abs(score.prob - 0.5) < 4 * score.prob_se < 0.2, name
    assert scores["rte"].majority == 0.5
    assert scores["blimp_causative"].majority == 1 / 300  # no answer fits two documents


def test_a_model_that_knows_nothing_has_the_probability_of_chance_however_long_the_choices(tmp_path: Path) -> None:
    choices = {"label": ["A", "B", "C"], "text": ["no", "a longer one", "the longest of these three choices"]}
    questions = [{"question": str(i), "choices": choices, "answerKey": "ABC"[i % 3]} for i in range(9)]
    data = write_data(tmp_path, {"arc_easy": ("test", questions), "blimp_causative": ("train", pairs(10))})
    scores = ask(uniform, suite("arc_easy", "blimp_causative"), data).tasks
    assert (scores["arc_easy"].chance, scores["blimp_causative"].chance) == (pytest.approx(1 / 3), 0.5)
    for score in scores.values():
        assert score.probs == pytest.approx([score.chance] * score.n_documents, abs=1e-6)
        assert score.prob_se == pytest.approx(0, abs=1e-6)


def test_what_stands_beside_a_metric(tmp_path: Path) -> None:
    data = write_data(tmp_path, {"cola": ("validation", judged([1] * 15 + [0] * 5))})
    result = ask(writes(" yes"), suite("cola"), data)
    score = result.tasks["cola"]
    assert (score.metric, score.value, score.se, score.chance, score.majority) == ("mcc", 0.5, 0.0, 0.5, 0.75)
    assert (score.n_documents, sum(score.values)) == (20, 15)
    assert score.probs == tuple([1.0] * 15 + [0.0] * 5)
    assert result.metrics() == {
        "task_cola": 0.5,
        "task_cola_se": 0.0,
        "task_cola_chance": 0.5,
        "task_cola_majority": 0.75,
        "task_cola_prob": 0.75,
        "task_cola_prob_se": pytest.approx(0.1, rel=0.01),
    }


def test_a_word_that_is_the_first_choice(tmp_path: Path) -> None:
    data = write_data(tmp_path, {"lambada_openai": ("test", [{"text": "it was a cat"}, {"text": "it was a dog"}])})
    score = ask(writes(" cat"), suite("lambada_openai"), data).tasks["lambada_openai"]
    assert (score.metric, score.value, score.values, score.chance, score.prob) == ("acc", 0.5, (1.0, 0.0), 0.0, None)


def test_a_group_is_the_mean_of_its_members_and_names_the_absent_ones(tmp_path: Path) -> None:
    sets = {"blimp_causative": ("train", pairs(30)), "blimp_passive_1": ("train", pairs(10))}
    result = ask(noise, suite("blimp", optional=True), write_data(tmp_path, sets))
    score = result.tasks["blimp"]
    first, second = score.members.values()
    assert list(score.members) == ["blimp_causative", "blimp_passive_1"]
    assert score.value == pytest.approx((first.value + second.value) / 2)
    assert score.prob == pytest.approx((first.prob + second.prob) / 2)
    assert score.se == pytest.approx(np.hypot(first.se, second.se) / 2)
    assert (score.n_documents, score.values, len(result.absent)) == (40, (), 65)
    assert result.absent["blimp_transitive"] == "no train.jsonl[.gz] in 'blimp_transitive' of the local data"


def test_the_supplement_is_asked_as_blimp_is(tmp_path: Path) -> None:
    data = write_data(
        tmp_path, {"blimp_supplement_hypernym": ("train", pairs(20)), "blimp_causative": ("train", pairs(20))}
    )
    scores = ask(noise, suite("blimp_supplement", "blimp_causative", optional=True), data).tasks
    assert scores["blimp_supplement"].members["blimp_supplement_hypernym"].probs == scores["blimp_causative"].probs


def test_a_limit_takes_documents_evenly_and_the_smaller_limit_counts(tmp_path: Path) -> None:
    data = write_data(tmp_path, {"cola": ("validation", judged([0] * 50 + [1] * 50))})
    for own, call in ((10, None), (None, 10), (10, 40), (40, 10)):
        score = ask(writes(" yes"), suite("cola", limit=own), data, limit=call).tasks["cola"]
        assert score.values == (0.0,) * 5 + (1.0,) * 5
    assert ask(writes(" yes"), suite("cola"), data, limit=1000).tasks["cola"].n_documents == 100


@pytest.mark.parametrize(("text", "value"), [(" 12 = 12.\n#### 12<end>", 1.0), (" 12 = 12.\n#### 13<end>", 0.0)])
def test_generation_stops_at_the_end_of_text(text: str, value: float, tmp_path: Path) -> None:
    answers = [{"question": "six and six?", "answer": "6 + 6 = 12\n#### 12"}]
    data = write_data(tmp_path, {"gsm8k": ("test", answers)})
    score = ask(writes(text.removesuffix("<end>")), suite("gsm8k", n_shot=0), data).tasks["gsm8k"]
    assert (score.metric, score.value, score.chance, score.prob) == ("exact_match", value, 0.0, None)


class Counted:
    """A model that writes the letters of the alphabet in turn, and keeps what it was asked."""

    context = CONTEXT

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        raise AssertionError("only generation is asked for")

    def extend(self, prompts: Sequence[Tokens], n_tokens: int) -> list[Tokens]:
        self.asked.append((len(prompts), n_tokens))
        return [(prompt[-1] - 97 + np.arange(1, n_tokens + 1)) % 26 + 97 for prompt in prompts]


def generate(model: Any, *requests: tuple[str, dict[str, Any]]) -> list[str]:
    from lm_eval.api.instance import Instance

    from genesys.evaluate.harness.adapter import HarnessModel

    instances = [Instance(request_type="generate_until", doc={}, arguments=request, idx=0) for request in requests]
    return HarnessModel(model, ByteTokenizer()).generate_until(instances)


def test_texts_are_extended_together_until_each_has_ended() -> None:
    counted = Counted()
    texts = generate(
        counted,
        ("a", {"until": ["fg"], "max_gen_toks": 200}),  # a stop string that lies over two tokens
        ("a", {"until": [], "max_gen_toks": 3}),
        ("x", {"until": "zab", "max_gen_toks": 200}),
        ("a", {"until": ["never"], "max_gen_toks": 40}),
    )
    alphabet = "abcdefghijklmnopqrstuvwxyz" * 3
    assert texts == ["bcde", "bcd", "y", alphabet[1:41]]
    assert counted.asked == [(4, 3), (3, 32), (1, 5)]


def test_a_generation_longer_than_the_context_goes_on_in_a_window() -> None:
    (text,) = generate(Counted(), ("abc" * 50, {"until": [], "max_gen_toks": 2 * CONTEXT}))
    assert len(text) == 2 * CONTEXT
    assert text.startswith("defg")


def test_an_empty_prompt_is_the_end_of_a_text() -> None:
    assert generate(Counted(), ("", {"until": [], "max_gen_toks": 2})) == ["ef"]  # what follows token 256 there


def test_sampling_is_refused() -> None:
    with pytest.raises(ConfigError, match="Cannot generate by sampling: expected do_sample: false"):
        generate(Counted(), ("a", {"until": [], "do_sample": True, "temperature": 1.0}))


def test_a_continuation_longer_than_the_context_is_scored_whole(tmp_path: Path) -> None:
    long = [{"sentence_good": "g" * (3 * CONTEXT), "sentence_bad": "b"}]
    score = ask(uniform, suite("blimp_causative"), write_data(tmp_path, {"blimp_causative": ("train", long)}))
    assert score.tasks["blimp_causative"].probs == (pytest.approx(0.5, abs=1e-6),)


class Merging(ByteTokenizer):
    """Two letters that become one token wherever they meet."""

    def encode(self, text: str) -> Tokens:
        return super().encode(text.replace("ts", "!"))


@pytest.mark.parametrize(("context", "scored"), [("cat", [99, 97]), ("t", [256])])
def test_a_continuation_that_merges_into_its_context_is_scored(context: str, scored: list[int]) -> None:
    from lm_eval.api.instance import Instance

    from genesys.evaluate.harness.adapter import HarnessModel

    request = Instance(request_type="loglikelihood", doc={}, arguments=(context, "s"), idx=0)
    ((log_p, _),) = HarnessModel(model(noise), Merging()).loglikelihood([request])
    (expected,) = model(noise).answer([Question(np.array(scored), np.array([ord("!")]))])
    assert log_p == pytest.approx(-expected.nats_T[0])


def test_a_likelihood_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    data = write_data(tmp_path, {"cola": ("validation", judged([0, 1]))})
    with pytest.raises(JobFailed, match="likelihood that is not finite") as caught:
        ask(lambda row: np.full(257, np.nan), suite("cola"), data)
    assert caught.value.cause == "non-finite"


def test_local_data_keeps_off_the_network_and_leaves_the_process_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import lm_eval.api.task

    before = lm_eval.api.task.tqdm, lm_eval.api.task.datasets.config.HF_HUB_OFFLINE, logging.getLogger("lm_eval").level

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"the network was asked for {args}")

    monkeypatch.setattr(lm_eval.api.task.datasets.config, "HF_HUB_OFFLINE", before[1])
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    ask(noise, suite("cola"), write_data(tmp_path, {"cola": ("validation", judged([0, 1] * 5))}))
    after = lm_eval.api.task.tqdm, lm_eval.api.task.datasets.config.HF_HUB_OFFLINE, logging.getLogger("lm_eval").level
    assert after == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("colla", r"Cannot run task 'colla': expected a task or group.* Did you mean 'cola'\?"),
        ("mnli", r"Cannot run suite 'own': no 'mnli': no validation_matched.jsonl\[.gz\] in 'mnli' of the local data"),
        ("squad_completion", "no 'squad_completion': lm-eval defines it as a program that reads the hub only"),
        ("mmlu", "Cannot run group 'mmlu': it holds more than names of tasks"),
    ],
)
def test_a_task_that_cannot_be_had(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        ask(noise, suite(name), tmp_path)


def test_without_local_data_a_task_is_what_lm_eval_says_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lm_eval.api.task

    data_sets, asked = lm_eval.api.task.datasets, []
    local = write_data(tmp_path, {"cola": ("validation", judged([0, 1, 1, 0]))}) / "cola" / "validation.jsonl"
    load = data_sets.load_dataset

    def hub(path: str, name: str | None = None, **options: Any) -> Any:
        asked.append((path, name, options))
        if path != "nyu-mll/glue":
            raise ConnectionError("no route\n to the hub")
        splits = dict.fromkeys(("train", "validation"), str(local))
        return load("json", data_files=splits, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(data_sets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(data_sets, "load_dataset", hub)
    own = Suite(name="own", tasks=(SuiteTask(task="cola", limit=2), SuiteTask(task="blimp_supplement", optional=True)))
    result = run_suite(model(noise), ByteTokenizer(), own)
    assert asked == [("nyu-mll/glue", "cola", {})]
    assert result.tasks["cola"].n_documents == 2
    assert result.absent["blimp_supplement_hypernym"] == "lm-eval defines no such task on the hub"
    with pytest.raises(
        TransientError, match=r"Cannot load task 'piqa': ConnectionError: no route to the hub. Try again"
    ):
        run_suite(model(noise), ByteTokenizer(), suite("piqa"))


def test_without_lm_eval_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from genesys.evaluate.harness import sources

    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"lm-eval is not installed. Install 'genesys-evolution\[eval\]'"):
        sources.definitions.__wrapped__()


def test_solved_examples_need_a_split_to_take_them_from(tmp_path: Path) -> None:
    data = write_data(tmp_path, {"cola": ("validation", judged([0, 1]))})
    with pytest.raises(ConfigError, match="no split to take 2 solved examples from in 'cola'"):
        ask(noise, suite("cola", n_shot=2), data)
    write_data(tmp_path, {"cola": ("train", judged([0, 1, 1, 0]))})
    assert ask(noise, suite("cola", n_shot=2), data).tasks["cola"].n_documents == 2


def test_a_folder_that_is_none_and_a_file_that_holds_no_documents(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder"):
        ask(noise, suite("cola"), tmp_path / "nowhere")
    (tmp_path / "cola").mkdir()
    (tmp_path / "cola" / "validation.jsonl").write_text('{"sentence": "cut of')
    with pytest.raises(ConfigError, match="Cannot run suite 'own': no 'cola': lm-eval cannot load it"):
        ask(noise, suite("cola"), tmp_path)
    (tmp_path / "cola" / "validation.jsonl").rename(tmp_path / "cola" / "validation.jsonl.gz")
    with pytest.raises(
        ConfigError, match=r"validation.jsonl.gz in 'cola' of the local data cannot be read: Not a gzip"
    ):
        ask(noise, suite("cola"), tmp_path, limit=3)
    with pytest.raises(ConfigError, match="on 0 documents: expected at least 1"):
        ask(noise, suite("cola"), tmp_path, limit=0)


def test_an_optional_task_that_is_absent_is_named_and_the_rest_is_scored(tmp_path: Path) -> None:
    data = write_data(tmp_path, {"cola": ("validation", judged([0, 1]))})
    own = Suite(name="own", tasks=(SuiteTask(task="cola"), SuiteTask(task="tinyMMLU", optional=True)))
    result = ask(noise, own, data)
    assert list(result.tasks) == ["cola"]
    assert list(result.absent) == ["tinyMMLU"]
