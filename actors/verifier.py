"""Pre-trains and evaluates designs in caged child processes, and records what came out."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.metrics import Gauge

from actors.batching import Batched
from actors.handles import Objects, RayObjects, TreeHandle
from actors.messages import Outcome, Progress, Ref, VerifyTask
from genesys.errors import INFRASTRUCTURE_CAUSES, ConfigError, JobFailed
from genesys.evolution.events import Event, LeaseRefunded, VerificationFailed, VerificationRecorded
from genesys.ladder.ledger import FIRST_SEED
from genesys.sandbox import Cage, ForkCage
from genesys.sandbox.layers import Level
from genesys.storage import RunStore, content_hash
from genesys.verification import Scorer, VerificationRequest, read_progress, recipe_hash, verify
from genesys.verification.attempts import attempt_folder, drop_attempt, open_attempt, reported_attempt
from genesys.verification.report import loss_curve, read_report, report_to_json, write_report

log = logging.getLogger(__name__)

MAX_SENT_BYTES = 4 * 2**30
"""Of shards that go to other hosts through the object store."""
MAX_REASON = 500  # characters of a failure that the journal keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A corpus' token shards as they travel: the files of the folder by reference (none if they are too large to be sent),
    and its content hash."""

    hash: str
    files: Mapping[str, Ref]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierSettings:
    """What a verifier is told at construction.

    Attributes:
        run_folder: Where artifacts go; shared by all hosts.
        cache_folder: Where this host keeps its copy of the shards.
        memory_mb: Limit of one caged job; 0 for half of the host's memory.
        tasks_data: Folder of local benchmark data; "" for the hub.
        n_processes: Processes, one a card, that train together.
        gpu_share: Of a card, where several verifiers share one.
        stop_when_slow: Whether a training that would not end in time is stopped early.
        stop_hopeless: Whether one that stays far above the reference's loss is.
        gpus: What one verification occupies, for the books; 0 on a CPU.
        sandbox: The level of isolation below which it refuses to work.
    """

    run_folder: Path
    cache_folder: Path
    threads: int = 1
    deadline_s: float = 1800.0
    memory_mb: int = 0
    probes: bool = True
    tasks_data: str = ""
    n_processes: int = 1
    gpu_share: float = 1.0
    stop_when_slow: bool = False
    stop_hopeless: bool = True
    gpus: float = 0.0
    sandbox: Level = "standard"


class Verifier(Batched):
    """One member of the verifier pool. Holds no state of the run; may die at any moment, its lease comes back."""

    def __init__(
        self, name: str, tree: TreeHandle, settings: VerifierSettings, data: Data, *, cage: Cage | None = None,
        scorer: Scorer | None = None, objects: Objects | None = None,
    ) -> None:  # fmt: skip
        self._name, self._tree, self._settings, self._data = name, tree, settings, data
        self._cage, self._scorer = cage or ForkCage(require=settings.sandbox), scorer
        self._objects = objects or RayObjects()
        self._store = RunStore(settings.run_folder)
        self._task: VerifyTask | None = None
        self._metrics = _VerifierMetrics(name)

    def __repr__(self) -> str:
        return self._name

    async def ready(self) -> str:
        """Answer once the actor runs, its host has the shards, and the cage is open.

        Raises:
            ConfigError: The host does not offer the isolation that the run demands.
        """
        await self._cage.layers()
        await _fetch_shards(self._data, self._settings.cache_folder, self._objects)
        return self._name

    async def progress(self) -> Progress:
        """How far the verification in hand is."""
        if self._task is None:
            return Progress()
        seen = read_progress(self._work_folder(self._task))
        self._metrics.tokens_per_s(seen.tokens_per_s)
        return Progress(
            design=self._task.name, scale=self._task.scale.name, n_tokens=seen.n_tokens,
            loss_nats=float("nan") if seen.loss_nats is None else seen.loss_nats,
            tokens_per_s=seen.tokens_per_s, stage=seen.stage,
        )  # fmt: skip

    async def verify(self, task: VerifyTask) -> None:
        """Do one verification and record its outcome under its lease."""
        self._task = task
        try:
            outcome = await self._outcome(task)
        finally:
            self._task = None
        answer = await self._tree.settle(outcome)
        if not answer.accepted:  # figures that the books cannot take end the lease too; one that is gone stays gone
            log.warning("the outcome of lease %d was refused: %s", task.lease, answer.reason)
            failed = _failed(task, "integrity", answer.reason, _used(outcome.event))
            if not (await self._tree.settle(Outcome(event=failed))).accepted:  # its attempt is nobody's any more
                await asyncio.to_thread(drop_attempt, self._folder(task.design, task.scale.name, task.seed), task.lease)

    async def _outcome(self, task: VerifyTask) -> Outcome:
        """Verify, and say it in the books' words: recorded, failed by the design's fault, or refunded."""
        started = time.monotonic()
        try:
            report = await verify(await self._request(task), self._cage, scorer=self._scorer)
            if report.design_id != task.design:
                raise JobFailed("integrity", f"trained {report.design_id[:12]}, asked for {task.design[:12]}")
            await asyncio.to_thread(write_report, report, self._work_folder(task))
        except JobFailed as failure:
            log.info("%s at %s failed: %s", task.name, task.scale.name, failure)
            used = self._time(time.monotonic() - started) | {"n_tokens": self._tokens_seen(task)}
            if failure.cause in INFRASTRUCTURE_CAUSES:
                reason = str(failure)[:MAX_REASON]
                return Outcome(event=LeaseRefunded(lease=task.lease, cause=failure.cause, reason=reason, **used))
            return Outcome(event=_failed(task, failure.cause, str(failure), used))
        blob = json.dumps(report_to_json(report), sort_keys=True).encode()
        recorded = VerificationRecorded(
            **_key(task),
            metrics=report.metrics,
            report=content_hash(blob),
            n_tokens=int(report.cost["n_tokens"]),
            **self._time(report.seconds),
        )
        return Outcome(event=recorded, report=self._objects.put(blob))

    def _time(self, seconds: float) -> dict[str, Any]:
        """What a verification took. Its last caged job, which is all that uses the cards, ends by the deadline."""
        return {"seconds": seconds, "gpu_seconds": min(seconds, self._settings.deadline_s) * self._settings.gpus}

    def _tokens_seen(self, task: VerifyTask) -> int:
        """What a verification that failed had trained on; all of it where the record, which is the job's, does not tell."""
        seen, most = read_progress(self._work_folder(task)), task.scale.grid_tokens
        if not seen.stage:
            return 0
        return min(max(0, seen.n_tokens), most) if seen.stage == "train" and len(task.scale.lr_grid) == 1 else most

    async def _request(self, task: VerifyTask) -> VerificationRequest:
        root = self._folder(task.design, task.scale.name, task.seed)
        try:
            folder = await asyncio.to_thread(open_attempt, root, task.lease)
        except OSError as error:
            raise JobFailed("infrastructure", f"Cannot verify in {str(root)!r}: {error}.") from error
        return VerificationRequest(
            tree=json.loads(await self._objects.get(task.program)),
            shape=dict(task.shape),
            scale=asdict(task.scale),
            shards=str(_shards_folder(self._settings.cache_folder, self._data.hash)),
            seed=task.seed,
            out=str(folder),
            n_threads=self._settings.threads,
            probes=self._settings.probes,
            probe_cache=str(self._store.artifacts / "probes"),
            deadline_s=self._settings.deadline_s,
            memory_mb=self._settings.memory_mb,
            tasks_data=self._settings.tasks_data,
            reference_curve=self._reference_curve(task),
            n_processes=self._settings.n_processes,
            gpu_share=self._settings.gpu_share,
            stop_when_slow=self._settings.stop_when_slow,
        )

    def _reference_curve(self, task: VerifyTask) -> tuple[tuple[float, float], ...]:
        """Tokens and loss of the reference's training at this scale, if it has ended; none for the reference itself."""
        if not self._settings.stop_hopeless or not task.reference or task.reference == task.design:
            return ()
        attempt = reported_attempt(self._folder(task.reference, task.scale.name, FIRST_SEED))
        if attempt is None:
            return ()
        try:
            report = read_report(attempt)
        except ConfigError:
            return ()
        return loss_curve(report.details) if report.recipe_hash == recipe_hash(asdict(task.scale)) else ()

    def _work_folder(self, task: VerifyTask) -> Path:
        return attempt_folder(self._folder(task.design, task.scale.name, task.seed), task.lease)

    def _folder(self, design: str, scale: str, seed: int) -> Path:
        return self._store.artifacts / design[:16] / f"{scale}-seed{seed}"


def _key(task: VerifyTask) -> dict[str, Any]:
    return {
        "lease": task.lease,
        "design": task.design,
        "scale": task.scale.name,
        "seed": task.seed,
        "recipe": task.recipe,
    }


def _failed(task: VerifyTask, cause: str, reason: str, used: Mapping[str, Any]) -> VerificationFailed:
    return VerificationFailed(**_key(task), cause=cause, reason=reason[:MAX_REASON], **used)


def _used(event: Event) -> dict[str, Any]:
    """What an outcome says that was used."""
    return {name: getattr(event, name) for name in ("seconds", "n_tokens", "gpu_seconds")}


class _VerifierMetrics:
    """Ray's custom metrics of one verifier; they show in the dashboard and to Prometheus."""

    def __init__(self, name: str) -> None:
        self._tokens_per_s = Gauge(
            "genesys_tokens_per_s", "Tokens a second of the pre-training in hand", tag_keys=("verifier",)
        )
        self._tokens_per_s.set_default_tags({"verifier": name})

    def tokens_per_s(self, value: float) -> None:
        self._tokens_per_s.set(value)


def pack_shards(folder: Path, content_hash: str, objects: Objects) -> Data:
    """Put a folder of shards into the object store, unless it is too large: then each host must have it."""
    files = sorted(folder.iterdir())
    if sum(f.stat().st_size for f in files) > MAX_SENT_BYTES:
        files = []
    return Data(hash=content_hash, files={f.name: objects.put(f.read_bytes()) for f in files})


def _shards_folder(cache_folder: Path, content_hash: str) -> Path:
    return cache_folder / "shards" / content_hash[:16]


async def _fetch_shards(data: Data, cache_folder: Path, objects: Objects) -> None:
    """Write the shards to this host's cache, unless they are there; killed half-way, it leaves nothing."""
    folder = _shards_folder(cache_folder, data.hash)
    if folder.exists():
        return
    if not data.files:
        raise ConfigError(
            f"Cannot find the shards {data.hash[:16]} on this host: they are too large to be sent. Run `genesys data prepare` "
            f"here, or let all hosts share {str(cache_folder)!r}."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".shards-", dir=folder.parent, ignore_cleanup_errors=True) as temporary:
        for name, ref in data.files.items():
            (Path(temporary) / name).write_bytes(await objects.get(ref))
        try:
            Path(temporary).rename(folder)
        except OSError:
            assert folder.exists(), "another verifier of this host wrote the same shards"


VerifierActor = ray.remote(Verifier)
