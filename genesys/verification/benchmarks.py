"""Benchmarks of a task suite: lm-eval asks on the trusted side, the caged model answers, and the audit looks at both.

The cage is given rows of tokens. Which tasks they belong to, which of their continuations is right and what else is
asked about the same document stays outside; the folder of benchmark data is readable to no job.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from genesys.errors import GenesysError, JobFailed
from genesys.evaluate.questions import Answer, Question, Tokens
from genesys.evaluate.splits import open_splits
from genesys.sandbox.filesystem import shared_folder
from genesys.verification.audit import audit, draw_picks, secret_generator
from genesys.verification.claims import read_numbers
from genesys.verification.jobs import Jobs
from genesys.verification.states import CagedModel, Inquiry, Reading, ask
from genesys.verification.types import VerificationRequest

EXTEND_ENTRY = "genesys.evaluate.job:extend"
MARGIN = 1e-3
"""A generated token may be below the highest logit by this much (decisions.md 14)."""

T = TypeVar("T")


async def score_tasks(jobs: Jobs, model: CagedModel) -> dict[str, Any]:
    """The results of the scale's task suite.

    Returns:
        `metrics` (see `SuiteResult.metrics`); `tasks`, each task's result, with the value of every document; `absent`, optional
        tasks that were not to be had; the `audit`; `seconds` of all that.

    Raises:
        ConfigError: No such suite, or its data is not there.
        JobFailed: A job failed, the audit did not hold, or a generated text is not the model's first choice.
    """
    from genesys.evaluate.harness import run_suite  # lm-eval takes a second and 200 MB: only where it is asked for

    request, started = jobs.request, time.monotonic()
    caged = _CagedAnswers(jobs, model)
    tokenizer = open_splits(Path(request.shards)).tokenizer()
    suite = str(request.scale["suite"])
    try:
        found = await asyncio.to_thread(run_suite, caged, tokenizer, suite, data=_data(request))
    except GenesysError:
        raise
    except Exception as error:  # lm-eval and the data are ours: no design is to blame for them
        raise JobFailed("infrastructure", f"Cannot run suite {suite!r}: {type(error).__name__}: {error}.") from error
    audited = await audit(jobs, "benchmarks", model, caged.inquiries, caged.readings, secret_generator())
    return {
        "metrics": found.metrics(),
        "tasks": {name: asdict(score) for name, score in found.tasks.items()},
        "absent": dict(found.absent),
        "seconds": time.monotonic() - started,
        "audit": asdict(audited),
    }


async def check_suite(request: VerificationRequest) -> None:
    """Look for the scale's suite and its data, before anything is trained.

    Raises:
        ConfigError: No such suite or task, no data, or no lm-eval.
        TransientError: The hub does not answer.
    """
    from genesys.evaluate.harness import require_suite

    await asyncio.to_thread(require_suite, str(request.scale["suite"]), data=_data(request))


def _data(request: VerificationRequest) -> Path | None:
    return Path(request.tasks_data) if request.tasks_data else None


class _CagedAnswers:
    """A `TokenModel` for a thread beside the event loop; keeps of what it was asked the part that the audit needs."""

    def __init__(self, jobs: Jobs, model: CagedModel) -> None:
        self._jobs, self._model = jobs, model
        self._loop, self._rng = asyncio.get_running_loop(), secret_generator()
        self.inquiries: list[Inquiry] = []
        self.readings: list[Reading] = []

    @property
    def context(self) -> int:
        """The most inputs that a row may have."""
        return int(self._jobs.request.scale["context"])

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """See `TokenModel`."""
        return self._ask(questions).answers if questions else []

    def extend(self, prompts: Sequence[Tokens], n_tokens: int) -> list[Tokens]:
        """See `TokenModel`; law 5: each token is the first choice after the text before it."""
        rows = [prompt[-max(1, self.context - n_tokens + 1) :] for prompt in prompts]
        added = self._wait(_extend(self._jobs, self._model, rows, n_tokens)) if rows else []
        questions = [Question(np.append(row, new[:-1]), new) for row, new in zip(rows, added, strict=True)]
        behind = self._ask(questions).behind if questions else []
        if not all((places <= MARGIN).all() for places in behind):
            raise JobFailed(
                "integrity",
                f"Cannot accept a generated text: a token is {max(float(p.max()) for p in behind):.3g} below the highest "
                f"logit when the same text is read at once; expected at most {MARGIN:g}.",
            )
        return added

    def _ask(self, questions: Sequence[Question]) -> Reading:
        asked = [np.ones(len(question.targets_T), dtype=bool) for question in questions]
        inquiry = Inquiry(questions=questions, picks=draw_picks(self._rng, asked))
        (reading,) = self._wait(ask(self._jobs, "benchmarks", self._model, [inquiry]))
        self._keep(inquiry, reading)
        return reading

    def _keep(self, inquiry: Inquiry, reading: Reading) -> None:
        picks = list(inquiry.picks.items())
        questions = [inquiry.questions[q] for q, _ in picks]
        self.inquiries.append(Inquiry(questions=questions, picks={i: pick for i, (_, pick) in enumerate(picks)}))
        self.readings.append(
            Reading(answers=[], behind=[], picked={i: reading.picked[q] for i, (q, _) in enumerate(picks)})
        )

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _extend(jobs: Jobs, model: CagedModel, prompts: Sequence[Tokens], n_tokens: int) -> list[Tokens]:
    """What the caged model says comes next; a claim."""
    with shared_folder("genesys-extend-") as folder:
        asked, out = folder / "asked", folder / "out"
        for path in (asked, out):
            path.mkdir(mode=0o711)
        np.concatenate(prompts).astype("<i4").tofile(asked / "rows")
        request = model.to_json() | {
            "rows": str(asked / "rows"),
            "lengths": [len(prompt) for prompt in prompts],
            "n_tokens": n_tokens,
            "out": str(out / "tokens"),
        }
        n_bytes = 4 * n_tokens * len(prompts)
        readable = (asked / "rows", model.weights)
        await jobs.write("benchmarks", EXTEND_ENTRY, request, folder=out, n_bytes=n_bytes, readable=readable)
        flat = await asyncio.to_thread(read_numbers, out / "tokens", n_tokens * len(prompts), "<i4")
    tokens = flat.astype(np.int64).reshape(len(prompts), n_tokens)
    if not ((tokens >= 0) & (tokens < model.n_vocab)).all():
        raise JobFailed("integrity", f"Cannot accept a generated text: it has tokens outside 0 to {model.n_vocab - 1}.")
    return list(tokens)
