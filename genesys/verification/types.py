"""What a verification is asked and what it answers: plain data, JSON both ways."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from genesys.errors import ConfigError, suggest

SCORING_VERSION = 3
"""Counts changes of the evaluation that move figures, be it in their last digits."""
RECIPE_VERSION = 2
"""Counts changes of the training code that move losses; part of `recipe_hash`."""


class _Record:
    """JSON for a frozen dataclass of plain values."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: A key that the record does not have.
        """
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        for key in data:
            if key not in known:
                raise ConfigError(f"Cannot read a {cls.__name__}: it has no field {key!r}.{suggest(key, known)}")
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationRequest(_Record):
    """One design to pre-train and evaluate at one scale.

    Attributes:
        tree: `UnitTree.to_json` of the design.
        shape: Its tuned size there: vocab_size, d_model, n_blocks.
        scale: The fields of the `Scale`.
        shards: Folder of token shards.
        out: Folder for weights, checkpoints and progress; a second try there resumes the first. One design's alone:
            what a training leaves there is believed by the next training there, though by nobody else.
        probes: Whether the scale's synthetic probes run.
        probe_cache: Folder in which probe answers are kept by (design, probe, seed): they do not depend on the
            scale, so that a promoted design is not probed again. Empty: no cache.
        tasks_data: Folder of local benchmark data for the scale's suite; "" for the hub.
        reference_curve: Tokens and loss of the reference design's training at this scale, for the guard; may be empty.
        n_processes: Processes, one a card, that train together.
        gpu_share: Of a card's memory that a training may take, where several verifications share one.
        deadline_s: Wall-clock limit of the whole verification.
        stop_when_slow: Whether a training that would not end in time is stopped as soon as that shows; not where several
            verifications share a card, or a laptop.
        memory_mb: Limit of one caged job; 0 for half of the host's memory, which bounds a runaway design and lets any
            that fits the host through: how much an honest design takes is not known beforehand.
    """

    tree: Mapping[str, Any]
    shape: Mapping[str, int]
    scale: Mapping[str, Any]
    shards: str
    seed: int
    out: str
    n_threads: int = 1
    probes: bool = True
    probe_cache: str = ""
    tasks_data: str = ""
    reference_curve: Sequence[Sequence[float]] = ()
    n_processes: int = 1
    gpu_share: float = 1.0
    stop_when_slow: bool = False
    checkpoint_every_s: float = 30.0
    deadline_s: float = 1800.0
    memory_mb: int = 0

    @property
    def recipe_hash(self) -> str:
        return recipe_hash(self.scale)


def recipe_hash(scale: Mapping[str, Any]) -> str:
    """SHA-256 of what decides a training apart from design, size, seed and data: the scale's fields, and the version
    of our training code."""
    text = json.dumps({"version": RECIPE_VERSION, "scale": dict(scale)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport(_Record):
    """What a verification found, after the integrity checks.

    Attributes:
        design_id: Of the code that was really built and trained, not of the request.
        metrics: Flat numbers: val_loss_nats, untrained_val_loss_nats, test_bpb, test_bpb_se, unigram_bpb, n_params,
            tokens_per_s, flops_per_token (not in reports of earlier versions); probe_<name>, probe_<name>_se,
            probe_<name>_chance for each probe; task_<name> and more for each benchmark (see `SuiteResult.metrics`). All are
            computed outside the cage but three: n_params, which the weights file bounds, and tokens_per_s and
            flops_per_token, claims.
        weights: Path of the safetensors file; `weights_sha256` its hash.
        config: The request without the tree.
        details: By name, the training's answer (claims) and the scores of text and probes (measured, with audits).
        cage: Every layer of isolation with the reason why it was not in force, "" if it was.
        seconds: Wall clock of the whole verification.
        cost: What it took: n_tokens trained on, flops (counted), seconds and gpu_seconds of training, total_seconds,
            peak_memory_mb. With a grid of learning rates, of all its trainings. Claims, but for n_tokens and total_seconds.
    """

    design_id: str
    scale: str
    seed: int
    recipe_hash: str
    data_hash: str
    metrics: Mapping[str, float]
    weights: str
    weights_sha256: str
    n_tokens: int
    seconds: float
    config: Mapping[str, Any] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    cage: Mapping[str, str] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
