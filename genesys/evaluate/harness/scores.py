"""What a suite tells about a model: for each task its metric, chance level and margins, and every document's share.

numpy only. Metrics are lm-eval's own; what stands beside them is computed here from its records of documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

METRICS = ("acc_norm", "mcc", "acc", "exact_match", "contains")
"""The metrics that we report, the first of a task's own being its main one: accuracy per byte where it is defined."""

N_BOOTSTRAP = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScore:
    """A task's or a group's result.

    Attributes:
        metric: One of `METRICS`; "mcc" is scaled to (mcc + 1) / 2.
        value, se: The metric, 0..1, and its standard error over documents (see `share_se`, `mcc_se`).
        chance: What a model that knows nothing scores: the share of right ones among the choices; one half for mcc;
            0 where an answer is written freely.
        majority: Share of the commonest right answer, by its text.
        prob, prob_se: Mean probability of the right choice among the choices, softmax over log-likelihood per byte
            times the mean number of bytes of the choices; None where choices are not compared.
        values: The metric of each document (for mcc, whether it was right), in the data's order; a group's stand in
            its members.
        probs: As `prob`, of each document.
        members: A group's tasks.
    """

    metric: str
    value: float
    se: float
    chance: float
    majority: float
    n_documents: int
    prob: float | None = None
    prob_se: float | None = None
    values: tuple[float, ...] = ()
    probs: tuple[float, ...] = ()
    members: Mapping[str, TaskScore] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """A model's scores on a suite; `absent` names the optional tasks that were not to be had, with the reason."""

    suite: str
    tasks: Mapping[str, TaskScore]
    absent: Mapping[str, str]

    def metrics(self) -> dict[str, float]:
        """The figures of a report: `task_<name>`, and that with `_se`, `_chance`, `_majority`, `_prob`, `_prob_se`."""
        figures = {}
        for name, score in self.tasks.items():
            figures[f"task_{name}"] = score.value
            for key in ("se", "chance", "majority", "prob", "prob_se"):
                if (figure := getattr(score, key)) is not None:
                    figures[f"task_{name}_{key}"] = figure
        return figures


def task_score(task: Any, results: Mapping[str, float], samples: Sequence[Mapping[str, Any]]) -> TaskScore | None:
    """A task's score, or None where lm-eval's definition has none of our metrics.

    Args:
        task: lm-eval's task object.
        results: Its figures, by "metric,filter".
        samples: Its records of documents, one for each document and filter.
    """
    keys = [key for metric in METRICS for key in results if key.split(",")[0] == metric]
    if not keys:
        return None
    metric, filter_name = keys[0].split(",")
    documents = [_document(task, sample) for sample in samples if sample["filter"] == filter_name]
    raw = [sample[metric] for sample in samples if sample["filter"] == filter_name]
    values = [float(pair[0] == pair[1]) for pair in raw] if metric == "mcc" else [float(value) for value in raw]
    probs = [document.prob for document in documents if document.prob is not None]
    common = Counter(document.right for document in documents).most_common(1)[0][1]
    value = float(results[keys[0]])
    return TaskScore(
        metric=metric,
        value=(value + 1) / 2 if metric == "mcc" else value,
        se=mcc_se(raw) if metric == "mcc" else share_se(values),
        chance=0.5 if metric == "mcc" else float(np.mean([document.chance for document in documents])),
        majority=common / len(documents),
        n_documents=len(documents),
        prob=float(np.mean(probs)) if probs else None,
        prob_se=mean_se(probs) if probs else None,
        values=tuple(values),
        probs=tuple(round(prob, 6) for prob in probs),
    )


@dataclass(frozen=True, slots=True)
class _Document:
    right: str
    chance: float = 0.0
    prob: float | None = None


def _document(task: Any, sample: Mapping[str, Any]) -> _Document:
    """The right answer's text, its chance and its probability; of several right ones the first, and their sum."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return _Document(str(sample["target"]))
    choices = task.doc_to_choice(sample["doc"])
    gold = task.doc_to_text(sample["doc"]) if task.multiple_input else sample["target"]
    right = [choices.index(g) if isinstance(g, str) else int(g) for g in (gold if isinstance(gold, list) else [gold])]
    nats = np.array([-answer[0] for answer in sample["filtered_resps"]][: len(choices)])
    n_bytes = np.array([len(continuation.encode()) for _, continuation in sample["arguments"]][: len(choices)])
    p = choice_probabilities(nats, n_bytes)
    return _Document(choices[right[0]], len(right) / len(choices), float(p[right].sum()))


def choice_probabilities(nats: np.ndarray, n_bytes: np.ndarray) -> np.ndarray:
    """Softmax over the choices' log-likelihoods per byte times their mean number of bytes.

    Uniform for a model that finds all bytes equally likely, however long the choices are.
    """
    scaled = -nats / n_bytes * n_bytes.mean()
    weights = np.exp(scaled - scaled.max())
    probabilities: np.ndarray = weights / weights.sum()
    return probabilities


def group_score(members: Mapping[str, TaskScore], *, by_size: bool) -> TaskScore:
    """The mean over a group's members, which all have one metric, or over all their documents if `by_size`."""
    scores = list(members.values())
    weights = np.array([score.n_documents if by_size else 1 for score in scores], float)
    weights /= weights.sum()

    def mean(values: Sequence[float]) -> float:
        return float(weights @ np.array(values))

    def error(errors: Sequence[float]) -> float:
        return float(np.sqrt(((weights * np.array(errors)) ** 2).sum()))

    compared = all(score.prob is not None for score in scores)
    return TaskScore(
        metric=scores[0].metric,
        value=mean([score.value for score in scores]),
        se=error([score.se for score in scores]),
        chance=mean([score.chance for score in scores]),
        majority=mean([score.majority for score in scores]),
        n_documents=sum(score.n_documents for score in scores),
        prob=mean([score.prob or 0.0 for score in scores]) if compared else None,
        prob_se=error([score.prob_se or 0.0 for score in scores]) if compared else None,
        members=dict(members),
    )


def mean_se(values: Sequence[float]) -> float:
    """Standard error of a mean; 0 for a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def share_se(values: Sequence[float]) -> float:
    """Standard error of a mean of zeros and ones; where they are all alike, that of Laplace's (k + 1) / (n + 2).

    None right out of n is no certainty: the sample's own variance of 0 would say so.
    """
    if len(set(values)) > 1 or not set(values) <= {0.0, 1.0}:
        return mean_se(values)
    p = (sum(values) + 1) / (len(values) + 2)
    return float(np.sqrt(p * (1 - p) / len(values)))


def mcc_se(pairs: Sequence[tuple[int, int]], *, seed: int = 0) -> float:
    """Standard error of (mcc + 1) / 2 of right and given answers, two classes, by the bootstrap over documents."""
    cells = np.bincount([2 * int(right) + int(given) for right, given in pairs], minlength=4)
    drawn = np.random.default_rng(seed).multinomial(len(pairs), cells / len(pairs), size=N_BOOTSTRAP)
    (tn, fp, fn, tp) = drawn.astype(float).T
    spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    mcc = np.divide(tp * tn - fp * fn, spread, out=np.zeros_like(spread), where=spread > 0)
    return float(mcc.std(ddof=1) / 2)
