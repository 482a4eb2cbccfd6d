"""Genesys from Python: start an evolution, read a run, check and verify a design.

run = genesys.evolve("configs/quickstart.yaml", selection=MyStrategy())
run.leaderboard()[0]
run.best().build(scale="cpu-1")
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from functools import partial as partial_of
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from genesys.config import RunConfig, config_from_mapping, load_config, load_design
from genesys.errors import ConfigError, Finding, suggest
from genesys.evolution import DesignRecord, EvolutionTree, leaderboard, listings
from genesys.evolution.events import RunStarted
from genesys.evolution.fitness import resolve_fitness
from genesys.gau import UnitTree, compose
from genesys.gau.library import library
from genesys.ladder import LADDERS, Ladder, Scale
from genesys.storage import RunStore, open_tree

if TYPE_CHECKING:
    from cluster.driver import Snapshot
    from cluster.session import Session
    from genesys.checker import VerdictCache
    from genesys.evolution.promotion import PromotionStrategy
    from genesys.evolution.selection import SelectionStrategy
    from genesys.model import GAM
    from genesys.sandbox import Cage
    from genesys.sandbox.layers import Level
    from genesys.verification import VerificationProgress, VerificationReport
    from genesys.verification.reproduction import Reproduction

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Design:
    """One design of a run, or a design file."""

    name: str
    tree: UnitTree
    ladder: Ladder
    sizes: Mapping[str, Mapping[str, Any]]
    vocab_size: int

    @property
    def id(self) -> str:
        return self.tree.design_id

    def source(self, scale: str | None = None) -> str:
        """One self-contained Python file that needs torch alone; `build(seed=0)` in it gives the model."""
        from genesys.model import to_source

        return to_source(self.tree, self._shape(scale), embedding_std=self._scale(scale).embedding_std)

    def build(self, scale: str | None = None, *, seed: int = 0, trust: bool = False) -> GAM:
        """The freshly initialised model at a scale of its ladder (the lowest by default), in this process.

        Args:
            trust: Needed when a unit is not the library's own, since building runs its code.

        Raises:
            ConfigError: A unit of foreign origin and no `trust`.
        """
        from genesys.model import build_model

        foreign = self._foreign_units()
        if foreign and not trust:
            raise ConfigError(
                f"Cannot build design {self.name!r}: its units {', '.join(foreign)} are not the library's, and building "
                f"runs their code in this process. Read it with source(), then pass trust=True."
            )
        return build_model(self.tree, self._shape(scale), seed=seed, embedding_std=self._scale(scale).embedding_std)

    def _scale(self, name: str | None) -> Scale:
        return find_scale(name or self.ladder.names[0], self.ladder)

    def _shape(self, scale: str | None) -> Any:
        from genesys.model import ModelShape, tune_sizes

        name = scale or self.ladder.names[0]
        sizes = self.sizes
        if name not in sizes:
            found = find_scale(name, self.ladder)
            if not self._foreign_units():
                return tune_sizes(self.tree, [found], self.vocab_size)[0].shape
            sizes = _sizes_from_cage(self.tree, found, self.vocab_size)
        return ModelShape(**{key: sizes[name][key] for key in ("vocab_size", "d_model", "n_blocks")})

    def _foreign_units(self) -> list[str]:
        ours = set(library().values())
        return [unit.name for unit in self.tree.units() if unit not in ours]


class Run:
    """A run's books, read from its folder. A snapshot: open it again to see news."""

    def __init__(self, folder: Path) -> None:
        self.store = RunStore(folder)
        with closing(self.store.journal(mode="reader")) as journal:
            first = next((entry.event for entry in journal.read()), None)
            rule = first.config.get("fitness", "relative") if isinstance(first, RunStarted) else "relative"
            self.tree: EvolutionTree = open_tree(journal, resolve_fitness(rule))

    @property
    def name(self) -> str:
        return self.store.root.name

    def leaderboard(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Rated designs, best first, as `{design, name, scale, fitness, interval, val_bpb, probes, tasks, n_seeds, ...}`."""
        return listings.list_leaders(self.tree, limit)

    def lead(self) -> dict[str, Any] | None:
        """The best design's lead beside what luck gives the best of as many; None before there are two."""
        return listings.list_lead(self.tree)

    def winners(self, scale: str | None = None) -> list[dict[str, Any]]:
        """The highest design on each task and probe, at the highest scale by default."""
        return listings.list_winners(self.tree, scale)

    def groups(self, scale: str | None = None) -> list[dict[str, Any]]:
        """Seeds against discovered designs, at the highest scale by default; empty unless both stand there."""
        return listings.list_groups(self.tree, scale)

    def compare(self, a: str, b: str, scale: str | None = None, *, best_of: int | None = None) -> dict[str, Any]:
        """Design A against design B, by name or id, paired over the training seeds that they share.

        Args:
            scale: The highest that they share, by default.
            best_of: From how many designs the two were picked by their results. By default all that are rated there,
                when one of the two leads them.

        Raises:
            ConfigError: No such design or scale, one design twice, or no seed in common.
        """
        return listings.list_comparison(self.tree, self.record(a).id, self.record(b).id, scale, best_of)

    def tasks(self, scale: str | None = None, *, candidates: Iterable[str] = ()) -> dict[str, Any]:
        """Each task's and probe's signal, noise and cost, a suite that these propose, and what this run has read.

        Args:
            scale: Where most designs were verified, by default.
            candidates: Tasks of which to say whether a final comparison may still use them.
        """
        costs, unit = self._task_costs(scale)
        return listings.list_tasks(self.tree, scale, costs=costs, unit=unit, candidates=candidates)

    def _task_costs(self, scale: str | None) -> tuple[dict[str, float], str]:
        """What the first report there says each probe and task cost, and the unit.

        A suite is asked together, so its seconds are shared out by documents; without them documents are the cost.
        """
        committed = (r for record in self.tree for r in record.runs if r.outcome == "committed" and r.report)
        run = next((r for r in committed if scale in (None, r.scale)), None)
        details = self._blob(run.report).get("details", {}) if run is not None else {}
        trained = {name: found["training"] for name, found in details.get("probe", {}).get("probes", {}).items()}
        probes = {name: float(found["seconds"]) for name, found in trained.items()}
        suite = details.get("benchmarks", {})
        documents = {name: float(found["n_documents"]) for name, found in suite.get("tasks", {}).items()}
        if documents and not suite.get("seconds"):
            return documents, "documents"
        return probes | {
            name: suite["seconds"] * n / sum(documents.values()) for name, n in documents.items()
        }, "seconds"

    def best(self) -> Design:
        """The design that leads.

        Raises:
            ConfigError: No design is rated yet.
        """
        rows = leaderboard(self.tree, 1)
        if not rows:
            raise ConfigError(
                f"Cannot name the best design of run {self.name!r}: none is rated yet. Let it go on with --resume."
            )
        return self.design(rows[0].design)

    def record(self, reference: str) -> DesignRecord:
        """The books' entry of a design, by its name, its id or the beginning of its id.

        Raises:
            ConfigError: None or several designs answer to that.
        """
        found = [r for r in self.tree if reference == r.name or r.id.startswith(reference)]
        if len(found) != 1:
            names = [r.name for r in self.tree]
            what = "several designs begin so" if found else "there is no such design"
            raise ConfigError(
                f"Cannot find design {reference!r} in run {self.name!r}: {what}.{suggest(reference, names)}"
            )
        return found[0]

    def design(self, reference: str) -> Design:
        """A design by name or id."""
        record = self.record(reference)
        program = self._blob(record.program)
        vocab = next((size["vocab_size"] for size in record.sizes.values()), VOCAB_SIZE)
        return Design(
            record.name, UnitTree.from_json(program), self.config.resolved_ladder(), dict(record.sizes), vocab
        )

    @property
    def config(self) -> RunConfig:
        """What the run was started with; settings that this version does not know are left out."""
        known = {f.name for f in fields(RunConfig)}
        settings = self.tree.run.config if self.tree.run else {}
        return config_from_mapping({key: value for key, value in settings.items() if key in known})

    def report(self, reference: str, scale: str | None = None, seed: int | None = None) -> dict[str, Any]:
        """The full report of one verification: at the design's highest rung and of the first seed there, by default.

        Raises:
            ConfigError: The design was not verified there.
        """
        record = self.record(reference)
        runs = [
            r for r in record.runs if r.outcome == "committed" and scale in (None, r.scale) and seed in (None, r.seed)
        ]
        if not runs:
            where = (f" at scale {scale!r}" if scale else "") + ("" if seed is None else f" with seed {seed}")
            raise ConfigError(f"Cannot show {record.name!r}{where}: it was not verified there.")
        rungs = self.tree.run.scales if self.tree.run else ()
        highest = max(rungs.index(r.scale) for r in runs)
        return self._blob(next(r.report for r in runs if rungs.index(r.scale) == highest))

    def _blob(self, name: str) -> dict[str, Any]:
        with closing(self.store.journal(mode="reader")) as journal:
            return cast("dict[str, Any]", json.loads(journal.blob(name)))


CHECK_DEADLINE_S = 300.0
_DESIGN_SUFFIXES = (".py", ".json", ".yaml")
VOCAB_SIZE = 257  # bytes and the end-of-text token


def evolve(
    config: str | Path | RunConfig,
    *,
    selection: SelectionStrategy | None = None,
    promotion: PromotionStrategy | None = None,
    resume: bool = False,
    run_folder: Path | None = None,
    dashboard: bool = True,
    on_snapshot: Callable[[Snapshot], None] = lambda _: None,
    on_session: Callable[[Session], None] = lambda _: None,
) -> Run:
    """Run an evolution to its end, and open its books.

    Args:
        config: A YAML file, or a configuration.
        selection, promotion: Strategies of one's own, instead of the configured ones.
        resume: Go on with the last run of this configuration.
        run_folder: Where the run lives; by default a new folder under `storage.url`.
    """
    from cluster.evolve import evolve as run_evolution

    loaded = config if isinstance(config, RunConfig) else load_config(config)
    stem = loaded.name or (Path(config).stem if not isinstance(config, RunConfig) else "run")
    folder = run_folder or run_folder_for(loaded, stem, resume=resume)
    run_evolution(
        loaded, folder, resume=resume, selection=selection, promotion=promotion, dashboard=dashboard,
        on_snapshot=on_snapshot, on_session=on_session,
    )  # fmt: skip
    return Run(folder)


def run_folder_for(config: RunConfig, stem: str, *, resume: bool) -> Path:
    """The folder of the last run of a configuration, or of its next one: `runs/quickstart-3`.

    Under `ray job` a relative `storage.url` is taken below the home folder, because the job's own folder vanishes.
    """
    from cluster.session import is_job

    root = Path(config.storage.url).expanduser()
    if is_job() and not root.is_absolute():
        root = Path.home() / "genesys" / root
    numbers = sorted(
        int(path.name.rpartition("-")[2])
        for path in root.glob(f"{stem}-*")
        if not resume or RunStore(path).exists
        if path.name.rpartition("-")[0] == stem and path.name.rpartition("-")[2].isdigit()
    )
    if resume and not numbers:
        raise ConfigError(
            f"Cannot resume {stem!r}: there is no run of it under {str(root)!r}. Start it without --resume."
        )
    number = numbers[-1] if resume else (numbers[-1] + 1 if numbers else 1)
    return (root / f"{stem}-{number}").absolute()


def open_run(path: str | Path) -> Run:
    """Open a run by its folder, or by its name under `runs/`.

    Raises:
        ConfigError: No such run.
    """
    folder = Path(path) if Path(path).is_dir() else Path("runs") / path
    if not folder.is_dir():
        near = suggest(str(path), (p.name for p in Path("runs").glob("*"))) if Path("runs").is_dir() else ""
        raise ConfigError(
            f"Cannot find run {str(path)!r}: neither a folder nor a name under 'runs'.{near} `genesys runs` lists them."
        )
    return Run(folder)


def check(
    reference: str,
    ladder: str = "cpu",
    *,
    stages: Collection[str] | None = None,
    partial: bool = False,
    verdicts: VerdictCache | None = None,
) -> dict[str, Any]:
    """Check a design in a cage.

    Args:
        reference: A seed, a library unit, a file, or `RUN/DESIGN`. A single unit is checked inside the reference's block.
        stages: Those to run, with the ones that they need; all by default.
        partial: Whether open slots are filled with placeholders.
        verdicts: Where verdicts are kept, to answer at once for what was checked before; nowhere by default.

    Returns:
        The checker's report with `"verdict"`: sane, rejected or unchecked. Without a report, for want of one, the
        findings say why.

    Raises:
        ConfigError: No such design, file, ladder or stage; or the file is no design.
    """
    check_one = partial_of(_check, ladder=ladder, stages=stages, partial=partial, verdicts=verdicts)
    return asyncio.run(_with_cage(lambda cage: check_one(cage, reference)))


def check_folder(
    folder: Path,
    ladder: str = "cpu",
    *,
    stages: Collection[str] | None = None,
    partial: bool = False,
    verdicts: VerdictCache | None = None,
    on_report: Callable[[str, dict[str, Any]], None] = lambda name, report: None,
) -> dict[str, dict[str, Any]]:
    """Check every design file of a folder, one after the other; reports by file name, in alphabetical order.

    A file that cannot be read is "unchecked", with the reason under `"error"`. The other arguments are those of
    `check`; `on_report` is called with each report as it comes.

    Raises:
        ConfigError: No such ladder or stage, or the folder holds no design file.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix in _DESIGN_SUFFIXES and path.is_file())
    if not files:
        raise ConfigError(f"Cannot check folder {str(folder)!r}: it holds no {', '.join(_DESIGN_SUFFIXES)} file.")
    check_one = partial_of(_check, ladder=ladder, stages=stages, partial=partial, verdicts=verdicts)
    find_ladder(ladder)

    async def run(cage: Cage) -> dict[str, dict[str, Any]]:
        reports = {}
        for file in files:
            try:
                reports[file.name] = await check_one(cage, str(file))
            except ConfigError as error:
                reports[file.name] = _without_report("unchecked", []) | {"error": str(error)}
            on_report(file.name, reports[file.name])
        return reports

    return asyncio.run(_with_cage(run))


def _sizes_from_cage(tree: UnitTree, scale: Scale, vocab_size: int) -> Mapping[str, Mapping[str, Any]]:
    """The size of a design at a scale, found where its code may run."""
    from genesys.checker import check_request, is_sane
    from genesys.verification.checking import check_design

    request = check_request(tree, [scale], vocab_size, stages=("shape",))
    report = asyncio.run(_with_cage(lambda cage: check_design(tree, request, cage, deadline_s=CHECK_DEADLINE_S)))
    if not is_sane(report):
        first = report["findings"][-1]
        raise ConfigError(
            f"Cannot size the design at {scale.name!r}: [{first['rule']}] {first['measured']}. {first['hint']}"
        )
    sizes: Mapping[str, Mapping[str, Any]] = report["sizes"]
    return sizes


async def _with_cage(work: Callable[[Cage], Awaitable[T]]) -> T:
    """Do some work with a cage for checks, started when it is first used."""
    from genesys.sandbox import CHECK_MODULES, ForkCage

    async with ForkCage(preload=CHECK_MODULES) as cage:
        return await work(cage)


async def _check(
    cage: Cage, reference: str, *, ladder: str, stages: Collection[str] | None, partial: bool,
    verdicts: VerdictCache | None,
) -> dict[str, Any]:  # fmt: skip
    from genesys.checker import STAGES, check_request, is_sane, unchecked
    from genesys.errors import JobFailed, UnitError
    from genesys.verification.checking import check_design

    try:
        tree = _load_for_check(reference)
    except ConfigError as error:
        if isinstance(error.__cause__, UnitError):
            return _without_report("rejected", error.__cause__.findings)
        raise
    request = check_request(
        tree, find_ladder(ladder).scales, VOCAB_SIZE, stages=STAGES if stages is None else stages, partial=partial
    )
    try:
        report = await check_design(tree, request, cage, deadline_s=CHECK_DEADLINE_S, verdicts=verdicts)
    except JobFailed as failure:
        return _without_report("unchecked", [unchecked(tree, failure)])
    return {"verdict": "sane" if is_sane(report) else "rejected", **report}


def _without_report(verdict: str, findings: Iterable[Finding]) -> dict[str, Any]:
    listed = [finding.to_json() for finding in findings]
    return {"verdict": verdict, "findings": listed, "sizes": {}, "stages": {}, "measures": {}}


def _load_for_check(reference: str) -> UnitTree:
    """A design by any reference; a single unit comes inside a block."""
    from genesys.checker.surroundings import in_block

    path = Path(reference)
    if reference in library():
        return in_block(library()[reference])
    run, _, design = reference.rpartition("/")
    if run and not path.exists() and path.suffix not in _DESIGN_SUFFIXES:
        return open_run(run).design(design).tree
    tree = load_design(reference)
    is_text = path.is_file() and path.suffix == ".py"
    is_single = is_text and not tree.children and "\n# --- tree " not in path.read_text(encoding="utf-8")
    return in_block(tree.unit) if is_single else tree


def find_ladder(name: str) -> Ladder:
    """One of the ladders that ship."""
    if name not in LADDERS:
        raise ConfigError(f"Cannot find ladder {name!r}: expected {', '.join(LADDERS)}.{suggest(name, LADDERS)}")
    return LADDERS[name]


def find_scale(name: str, ladder: Ladder | None = None) -> Scale:
    """A scale of a ladder, or of those that ship."""
    known = {s.name: s for shipped in (*LADDERS.values(), ladder) if shipped for s in shipped.scales}
    if name not in known:
        raise ConfigError(f"Cannot find scale {name!r}; expected one of {', '.join(known)}.{suggest(name, known)}")
    return known[name]


def verify(
    reference: str,
    scale: str | None = None,
    *,
    config: RunConfig | None = None,
    seed: int = 0,
    processes: int = 1,
    out: Path | None = None,
    on_progress: Callable[[VerificationProgress], None] = lambda progress: None,
) -> VerificationReport:
    """Pre-train and evaluate one design at one scale, outside any run.

    Args:
        scale: Of the configuration's ladder or of one that ships; the ladder's lowest by default.
        config: Says what a run with it would verify by: corpus, tokenizer, benchmarks, threads, cage.
        processes: That train together, one a card.
        out: Where the weights and the report stay; the same call goes on there after an interruption, and gives the
            report that is there once it has ended. A temporary folder, removed afterwards, by default.
        on_progress: Called with what is under way: "prepare" (data), "check", then the stages of a verification.

    Raises:
        ConfigError: The design does not pass the checker's shape stage, the processes cannot share a batch evenly, or
            `out` is another verification's.
        JobFailed: The verification failed; the cause says why.
    """
    from cluster.spawn import cache_folder
    from genesys.train.data.shards import prepare_shards
    from genesys.verification import VerificationProgress, VerificationRequest
    from genesys.verification.alone import DEADLINE_S, finished, size_at, verify_alone

    by = config or RunConfig()
    ladder = by.resolved_ladder()
    tree, found = load_design(reference), find_scale(scale or ladder.names[0], ladder)
    n_rows = found.batch_tokens // found.context
    if processes < 1 or n_rows % processes:
        raise ConfigError(
            f"Cannot verify at {found.name} with --processes {processes}: a batch has {n_rows} rows there; expected a "
            f"number that divides {n_rows}."
        )
    on_progress(VerificationProgress(stage="prepare"))
    shards = prepare_shards(by.corpus, cache_folder(), by.tokenizer)

    async def run(cage: Cage, folder: Path) -> VerificationReport:
        on_progress(VerificationProgress(stage="check"))
        request = VerificationRequest(
            tree=tree.to_json(),
            shape=await size_at(tree, found, shards.vocab_size, cage),
            scale=asdict(found),
            shards=str(shards.path),
            seed=seed,
            out=str(folder),
            n_threads=by.verifiers.threads,
            n_processes=processes,
            probes=by.verifiers.probes,
            tasks_data=str(Path(by.tasks.data).expanduser().absolute()) if by.tasks.data else "",
            deadline_s=DEADLINE_S,
            memory_mb=by.verifiers.memory_mb,
        )
        return finished(request) or await verify_alone(request, cage, on_progress=on_progress)

    return _verify_in_folder(run, out, by.sandbox.require)


def reproduce(
    run: str | Path,
    design: str,
    *,
    scale: str | None = None,
    seed: int | None = None,
    out: Path | None = None,
    on_progress: Callable[[VerificationProgress], None] = lambda progress: None,
) -> Reproduction:
    """Do a run's verification again, with its design, seed, recipe and data, and compare every figure.

    Args:
        scale: The highest at which the design was verified, by default.
        seed: Of one of its verifications there; the first by default.
        out: Where the new weights and report stay; see `verify`.

    Raises:
        ConfigError: No such verification, or its data cannot be had again.
        JobFailed: The verification failed this time.
    """
    from genesys.verification import VerificationRequest
    from genesys.verification.alone import DEADLINE_S, verify_alone
    from genesys.verification.report import report_from_json
    from genesys.verification.reproduction import compare_reports

    opened = open_run(run)
    old = report_from_json(opened.report(design, scale, seed))
    again = {"tree": opened.design(design).tree.to_json(), "probe_cache": "", "deadline_s": DEADLINE_S}
    shards = _shards_again(old, opened)

    async def verify_again(cage: Cage, folder: Path) -> VerificationReport:
        request = VerificationRequest.from_json({**old.config, **again, "shards": str(shards), "out": str(folder)})
        return await verify_alone(request, cage, on_progress=on_progress)

    return compare_reports(old, _verify_in_folder(verify_again, out, opened.config.sandbox.require))


def _shards_again(report: VerificationReport, run: Run) -> Path:
    """The shards that a report stands on: where they were, or prepared again from the run's corpus."""
    from cluster.spawn import cache_folder
    from genesys.train.data.shards import load_shards, prepare_shards

    try:
        shards = load_shards(Path(report.config["shards"]))
    except ConfigError:
        shards = prepare_shards(run.config.corpus, cache_folder(), run.config.tokenizer)
    if shards.hash != report.data_hash:
        raise ConfigError(
            f"Cannot reproduce a verification of run {run.name!r}: its data {report.data_hash[:12]} is gone or of an earlier "
            f"format, and its corpus gives {shards.hash[:12]} today; expected equal data. Bring back {report.config['shards']}, or the versions of "
            f"what the corpus is read from."
        )
    return shards.path


def _verify_in_folder(
    work: Callable[[Cage, Path], Awaitable[VerificationReport]], out: Path | None, require: Level
) -> VerificationReport:
    """Verify in a cage, in a folder that stays or in a temporary one; weights that are gone have no path."""
    from genesys.sandbox import ForkCage

    async def run(folder: Path) -> VerificationReport:
        async with ForkCage(require=require) as cage:
            return await work(cage, folder)

    if out is not None:
        return asyncio.run(run(out))
    with tempfile.TemporaryDirectory(prefix="genesys-verify-") as folder:
        return replace(asyncio.run(run(Path(folder))), weights="")


__all__ = ["Design", "Run", "check", "check_folder", "compose", "evolve", "open_run", "reproduce", "verify"]
