"""The causality audit: do a model's answers to held-out rows hold when the future is taken away?

A language model's targets are its inputs, one place on, so a design that looks ahead would score far better than it
is, and generated code can tell an evaluation from a check. Here it need not be caught in the act. Each audited row is
cut at a random place; a fresh child, which has never seen the full rows, answers the row up to the cut, either alone or
followed by random tokens. Whatever code runs there, its answer at the cut is a function of the past and of noise: an
honest prediction. If the scored run's answer equals it, the scored answer is no better than an honest one. A design
that keeps state between calls, or treats long rows, odd batches or real text in another way, only makes the two differ.

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
from genesys.verification.jobs import Jobs
from genesys.verification.logits import CagedModel, Pass, Reading, Rows, run_passes

MAX_CUTS = 256
TARGET_TOLERANCE_NATS = 1e-3  # measured on the five seeds, trained at cpu-1: 2.2e-6 at most
LOGIT_TOLERANCE = 1e-3  # relative to the largest logit; measured: 6e-7
_N_BARE = 16  # rows cut without noise: each length is a call of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResult:
    """What an audit that passed has seen: places compared, and the largest differences there."""

    n_places: int
    target_nats: float
    logit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """One audited row: its pass and number there, the place of the cut, and what the fresh child is given."""

    owner: int
    row: int
    place: int
    tokens_L: NDArray[np.int64]


def secret_generator() -> Generator:
    """Randomness that no design can know beforehand."""
    return np.random.default_rng(int.from_bytes(os.urandom(16), "big"))


def draw_places(rng: Generator, asked_NL: NDArray[np.bool_]) -> NDArray[np.int64]:
    """One of the asked places of each row at random; (N,). Every row asks at one place or more."""
    places_N: NDArray[np.int64] = np.where(asked_NL, rng.random(asked_NL.shape), -1.0).argmax(1)
    return places_N


async def audit(
    jobs: Jobs, stage: str, model: CagedModel, passes: Sequence[Pass], readings: Sequence[Reading], rng: Generator
) -> AuditResult:
    """Ask a fresh child about the picked places of some rows, and compare with the readings of the full rows.

    Args:
        passes: What was asked with the trained weights, in the order of the text.

    Raises:
        JobFailed: Cause "integrity": an answer changes with what comes after it.
    """
    groups = list(_by_length(_draw_cuts(passes, rng, int(model.shape["vocab_size"]))))
    asked = [_cut_pass(group, passes) for group in groups]
    again = await run_passes(jobs, stage, model, asked)
    seen = [
        (
            readings[cut.owner].picked_NV[cut.row],
            reading.picked_NV[i],
            int(passes[cut.owner].targets_NL[cut.row, cut.place]),
        )
        for group, reading in zip(groups, again, strict=True)
        for i, cut in enumerate(group)
    ]
    return _compare(*(np.array(part) for part in zip(*seen, strict=True)))


def _draw_cuts(passes: Sequence[Pass], rng: Generator, n_vocab: int) -> list[_Cut]:
    rows = [(owner, row) for owner, item in enumerate(passes) for row in range(len(item.rows_NL))]
    apart = rows[int(rng.integers(min(2, len(rows)))) :: 2]
    chosen = [apart[i] for i in rng.permutation(len(apart))[:MAX_CUTS]]
    return [_draw_cut(passes, owner, row, rng, n_vocab if i >= _N_BARE else 0) for i, (owner, row) in enumerate(chosen)]


def _draw_cut(passes: Sequence[Pass], owner: int, row: int, rng: Generator, n_noise_tokens: int) -> _Cut:
    """Cut a row after its picked place; random tokens below `n_noise_tokens` take the place of the rest, if not 0."""
    tokens, place = passes[owner].rows_NL[row], int(passes[owner].picks_N[row])
    past, rest = tokens[: place + 1], tokens[place + 1 :]
    if n_noise_tokens:
        past = np.append(past, rng.integers(n_noise_tokens, size=len(rest)))
    return _Cut(owner=owner, row=row, place=place, tokens_L=past)


def _by_length(cuts: Sequence[_Cut]) -> list[list[_Cut]]:
    groups: dict[int, list[_Cut]] = {}
    for cut in cuts:
        groups.setdefault(len(cut.tokens_L), []).append(cut)
    return [groups[length] for length in sorted(groups)]


def _cut_pass(cuts: Sequence[_Cut], passes: Sequence[Pass]) -> Pass:
    rows: Rows = np.stack([cut.tokens_L for cut in cuts])
    return Pass(rows_NL=rows, targets_NL=np.zeros_like(rows), picks_N=np.array([cut.place for cut in cuts]))


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
