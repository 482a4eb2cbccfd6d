"""The causality audit: do a model's answers to held-out rows hold when the future is taken away?

A language model's targets are its inputs, one place on, so a design that looks ahead would score far better than it
is, and generated code can tell an evaluation from a check. Here it need not be caught in the act. Each audited row is
cut at a random place; a fresh child, which has never seen the full rows, answers the row up to the cut, followed by
random tokens or by none (by padding, where longer rows stand beside it). Whatever code runs there, its answer at the cut
is a function of the past and of noise: an honest prediction. If the scored run's answer equals it, the scored answer is
no better than an honest one. A design that keeps state between calls, or treats long rows, odd batches or real text in
another way, only makes the two differ.

Cuts are drawn from the operating system's randomness after the design is written, and are told to no child that sees
full rows. No two audited rows follow each other in the text, so that none holds the target of another.

**Not covered.** A design that looks ahead at a share p of the places passes with probability (1-p)^k at k audited
places: at `MAX_CUTS` 256, 8% for p = 1% and .6% for p = 2%. It then gains at most p of the loss. Where held-out text
gives fewer than 512 rows, k is half of them, and the report says how many. At each place a difference within the
tolerance goes unseen. The argument needs that the two children share no channel, which is the cage's part, and that
the design did not know the rows beforehand. A training reads the validation split, whose loss is therefore no fitness;
and the corpus `python-docs` is made of installed packages, which the cage must let a job read: hostile code could find
its test text again there. A corpus of one's own (`text:PATH`) has no such door.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from genesys.errors import JobFailed
from genesys.evaluate.questions import Question
from genesys.verification.jobs import Jobs
from genesys.verification.states import CagedModel, Inquiry, Reading, ask

MAX_CUTS = 256
TARGET_TOLERANCE_NATS = 1e-3  # measured on the five seeds, trained at cpu-1: 2.2e-6 at most
LOGIT_TOLERANCE = 1e-3  # relative to the largest logit; measured: 6e-7
_N_BARE = 64  # rows cut without noise


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResult:
    """What an audit that passed has seen: places compared, and the largest differences there."""

    n_places: int
    target_nats: float
    logit: float


def secret_generator() -> Generator:
    """Randomness that no design can know beforehand."""
    return np.random.default_rng(int.from_bytes(os.urandom(16), "big"))


def draw_picks(rng: Generator, asked: Sequence[NDArray[np.bool_]]) -> dict[int, int]:
    """Questions to audit, no two of them neighbours, and for each one of its asked places at random.

    Args:
        asked: For each question, in the order of the text, which of its T targets count; every one asks for one or more.
    """
    apart = np.arange(int(rng.integers(min(2, len(asked)))), len(asked), 2)
    chosen = np.sort(rng.permutation(apart)[:MAX_CUTS])
    return {int(q): int(rng.choice(np.flatnonzero(asked[q]))) for q in chosen}


async def audit(
    jobs: Jobs, stage: str, model: CagedModel, inquiries: Sequence[Inquiry], readings: Sequence[Reading], rng: Generator
) -> AuditResult:
    """Ask a fresh child about the picked places of some rows, and compare with the readings of the full rows.

    Args:
        inquiries: What was asked with the trained weights.

    Raises:
        JobFailed: Cause "integrity": an answer changes with what comes after it.
    """
    picked = [(owner, q) for owner, inquiry in enumerate(inquiries) for q in inquiry.picks]
    if len(picked) > MAX_CUTS:
        picked = [picked[i] for i in sorted(rng.permutation(len(picked))[:MAX_CUTS])]
    bare = set(rng.permutation(len(picked))[:_N_BARE].tolist())
    cuts = [
        _cut(inquiries[owner].questions[q], inquiries[owner].picks[q], rng, 0 if i in bare else model.n_vocab)
        for i, (owner, q) in enumerate(picked)
    ]
    (again,) = await ask(
        jobs, stage, model, [Inquiry(questions=cuts, picks=dict.fromkeys(range(len(cuts)), 0), share=False)]
    )
    full_KV = np.array([readings[owner].picked[q] for owner, q in picked])
    cut_KV = np.array([again.picked[i] for i in range(len(cuts))])
    return _compare(full_KV, cut_KV, np.array([_target(inquiries[owner], q) for owner, q in picked]))


def _target(inquiry: Inquiry, q: int) -> int:
    return int(inquiry.questions[q].targets_T[inquiry.picks[q]])


def _cut(question: Question, pick: int, rng: Generator, n_noise_tokens: int) -> Question:
    """A question about its picked place alone; random tokens below `n_noise_tokens` take the place of the rest, if not 0."""
    n_past = len(question.inputs_L) - len(question.targets_T) + pick + 1
    row, n_rest = question.inputs_L[:n_past], len(question.inputs_L) - n_past
    if n_noise_tokens:
        row = np.append(row, rng.integers(n_noise_tokens, size=n_rest))
    return Question(row, np.zeros(len(row) - n_past + 1, dtype=np.int64))


def _compare(full_KV: NDArray[np.float32], cut_KV: NDArray[np.float32], targets_K: NDArray[np.int64]) -> AuditResult:
    """Hold the two answers to each place against each other; comparisons are written so that NaN fails them."""
    with np.errstate(invalid="ignore"):
        target_K = np.abs(_log_softmax(full_KV) - _log_softmax(cut_KV))[np.arange(len(targets_K)), targets_K]
        logit_K = np.abs(full_KV - cut_KV).max(-1) / np.maximum(1.0, np.abs(cut_KV).max(-1))
    held = (target_K <= TARGET_TOLERANCE_NATS) & (logit_K <= LOGIT_TOLERANCE)
    if not held.all():
        raise JobFailed(
            "integrity",
            f"Cannot accept the scores: at {int((~held).sum())} of {len(held)} audited places the model answers "
            f"otherwise when the tokens after the place are cut off or replaced (log-probability of the right token "
            f"moved by up to {target_K.max():.3g} nats, logits by {logit_K.max():.3g}); expected at most "
            f"{TARGET_TOLERANCE_NATS:g}. Let each output depend on its own past alone, in every mode and at every length.",
        )
    return AuditResult(n_places=len(held), target_nats=float(target_K.max()), logit=float(logit_K.max()))


def _log_softmax(logits_KV: NDArray[np.float32]) -> NDArray[np.float64]:
    x = logits_KV.astype(np.float64) - logits_KV.max(-1, keepdims=True)
    result: NDArray[np.float64] = x - np.log(np.exp(x).sum(-1, keepdims=True))
    return result
