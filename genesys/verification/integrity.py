"""Law 1: the evaluated weights are the trained weights.

The training's answer is a claim; the scores are the trusted side's own (`genesys.verification.score`). A design that
forges the claim can at most fail here: no figure of the claim is committed as a score. Not covered: a design that carries
weights in its source and scores with those; they are then part of the design.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from genesys.errors import Finding

LOSS_TOLERANCE_NATS = 1e-3

Answer = Mapping[str, Any]


def check_integrity(train_answer: Answer, eval_answer: Answer) -> tuple[Finding, ...]:
    """Compare what the training says of a design with what its evaluation found; empty when all holds.

    NaN passes no check: every comparison is written so that it must be true.
    """
    findings = [
        *_same("design_id", train_answer, eval_answer, "integrity-design", "The evaluation built another design."),
        *_same("weights_sha256", train_answer, eval_answer, "integrity-weights", "The evaluation read other weights."),
        *_same("shards_hash", train_answer, eval_answer, "integrity-data", "The evaluation read other shards."),
        *_finite({**train_answer, **eval_answer}),
    ]
    trained, again = _number(train_answer, "val_loss_nats"), _number(eval_answer, "val_loss_nats")
    untrained = _number(eval_answer, "untrained_val_loss_nats")
    if not abs(trained - again) <= LOSS_TOLERANCE_NATS:
        findings.append(
            Finding(
                rule="integrity-loss",
                measured=f"validation loss {again:.6f} when evaluated, {trained:.6f} when trained",
                required=f"a difference of at most {LOSS_TOLERANCE_NATS} nats",
                hint="Look for state that a model keeps between calls, and for randomness at evaluation.",
            )
        )
    if not again < untrained:
        findings.append(
            Finding(
                rule="integrity-untrained",
                measured=f"validation loss {again:.6f} trained, {untrained:.6f} untrained",
                required="a trained model better than its untrained copy",
                hint="The design did not learn: look at its gradients and at the scale of its outputs.",
            )
        )
    return tuple(findings)


def _same(key: str, train_answer: Answer, eval_answer: Answer, rule: str, hint: str) -> list[Finding]:
    ours, theirs = train_answer.get(key), eval_answer.get(key)
    if isinstance(ours, str) and ours and ours == theirs:
        return []
    return [Finding(rule=rule, measured=f"{key} {theirs!r:.80}", required=f"{ours!r:.80}, as trained", hint=hint)]


def _finite(answer: Answer) -> list[Finding]:
    return [
        Finding(
            rule="integrity-finite", measured=f"{key} is {value}", required="a finite number", hint="Bound the outputs."
        )
        for key, value in sorted(answer.items())
        if isinstance(value, float) and not math.isfinite(value)
    ]


def _number(answer: Answer, key: str) -> float:
    value = answer.get(key)
    return float(value) if isinstance(value, (int, float)) else math.nan
