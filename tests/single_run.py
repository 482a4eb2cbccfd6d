"""A run on disk whose books hold given verifications of one design, written by real events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from genesys.evolution.events import (
    DesignImplemented,
    DesignProposed,
    Event,
    LeaseGranted,
    RunStarted,
    VerificationRecorded,
)
from genesys.gau.library import seed_design
from genesys.storage import RunStore, content_hash


def write_run(folder: Path, *reports: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> Path:
    """Write the books of a run in which GPT was verified; `reports` as JSON, one for each scale, from the bottom up."""
    program = json.dumps(seed_design("gpt").to_json()).encode()
    blobs = [json.dumps(report).encode() for report in reports]
    design, scales = seed_design("gpt").design_id, tuple(dict.fromkeys(report["scale"] for report in reports))
    settings = {"replicate_quotas": dict.fromkeys(scales, len(reports)), **(config or {})}
    events: list[Event] = [
        RunStarted(run=folder.name, scales=scales, quotas=(1,) * len(scales), config=settings, reference=design),
        DesignProposed(design=design, name="gpt", program=content_hash(program), operator="seed", is_seed=True),
        DesignImplemented(design=design),
    ]
    for lease, (report, blob) in enumerate(zip(reports, blobs, strict=True), start=1):
        key = {"lease": lease, "design": design, "scale": report["scale"], "seed": report["seed"]}
        events += [
            LeaseGranted(**key, holder="Verifier-1"),
            VerificationRecorded(
                **key, metrics=report["metrics"], report=content_hash(blob), n_tokens=report["n_tokens"],
                seconds=report["seconds"],
            ),
        ]  # fmt: skip
    folder.mkdir(parents=True)
    with closing(RunStore(folder).journal()) as journal:
        journal.append(events, expected_seq=0, blobs=[program, *blobs])
    return folder
