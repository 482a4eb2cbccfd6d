"""Many verifications side by side, each written down as it ends, so that an interrupted table goes on."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genesys.errors import JobFailed
from genesys.gau import UnitTree
from genesys.ladder import Scale
from genesys.sandbox import Cage, ForkCage
from genesys.train import Shards
from genesys.verification import VerificationReport, VerificationRequest, verify
from genesys.verification.alone import size_at
from genesys.verification.report import report_to_json

Results = dict[str, dict[str, dict[str, dict[str, float]]]]
"""Metrics by design, scale and seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One verification of a table."""

    name: str
    tree: UnitTree
    scale: Scale
    seed: int


async def verify_all(
    cases: Sequence[Case], shards: Shards, out: Path, *, n_workers: int = 2, tasks_data: str = ""
) -> Results:
    """Verify the cases that `out/results.json` does not hold yet; reports and weights stay in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    results: Results = json.loads((out / "results.json").read_text()) if (out / "results.json").exists() else {}
    waiting = [c for c in cases if str(c.seed) not in results.get(c.name, {}).get(c.scale.name, {})]
    probes = out / "probes"

    async def work() -> None:
        async with ForkCage() as cage:
            while waiting:
                case, started = waiting.pop(0), time.monotonic()
                folder = out / case.name / f"{case.scale.name}-seed{case.seed}"
                try:
                    report = await verify_case(case, shards, folder, cage, probes=probes, tasks_data=tasks_data)
                except JobFailed as failure:
                    print(f"{case.name} at {case.scale.name}, seed {case.seed}: {failure}", file=sys.stderr, flush=True)
                    continue
                (folder / "report.json").write_text(json.dumps(report_to_json(report)))
                results.setdefault(case.name, {}).setdefault(case.scale.name, {})[str(case.seed)] = dict(report.metrics)
                _keep(results, out / "results.json")
                seconds = time.monotonic() - started
                bits = report.metrics["test_bpb"]
                print(
                    f"{case.name} at {case.scale.name}, seed {case.seed}: {bits:.4f} bits/byte, {seconds:.0f} s",
                    flush=True,
                )

    await asyncio.gather(*(work() for _ in range(n_workers)))
    return results


async def verify_case(
    case: Case,
    shards: Shards,
    folder: Path,
    cage: Cage,
    *,
    probes: Path,
    tasks_data: str = "",
    deadline_s: float = 7200.0,
) -> VerificationReport:
    """Verify one case in a folder, from which the same call goes on; answers of probes are kept under `probes`.

    Raises:
        JobFailed: The verification failed; the cause says why.
    """
    request = VerificationRequest(
        tree=case.tree.to_json(), shape=await size_at(case.tree, case.scale, shards.vocab_size, cage),
        scale=asdict(case.scale), shards=str(shards.path), seed=case.seed, out=str(folder), probe_cache=str(probes),
        tasks_data=tasks_data, deadline_s=deadline_s,
    )  # fmt: skip
    return await verify(request, cage)


def _keep(results: Mapping[str, Any], path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(results, indent=1))
    temporary.replace(path)
