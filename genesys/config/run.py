"""The configuration of a run: one YAML file, read into frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any, Literal

from genesys.config.agents import check_agents, check_kinds, check_rules, uses_models
from genesys.config.layering import read_layered
from genesys.config.reader import read
from genesys.errors import ConfigError, suggest
from genesys.evolution.selection import OperatorRates
from genesys.gau.library import SEED_NAMES
from genesys.ladder import LADDERS, Ladder, Scale
from genesys.ladder.budget import Budget, Caps, Cost
from genesys.ladder.plan import HOUR_S
from genesys.llm.settings import AgentsConfig
from genesys.storage.address import check_url
from genesys.train.data.dataset import DatasetCorpus

AHEAD = 3
"""Designs that may wait for a verifier where rules design."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyConfig:
    """A strategy by name, or one's own by `module:Class`, with its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignersConfig:
    """The pool that proposes designs.

    Attributes:
        n: Actors.
        ahead: Designs that may wait for a verifier or be in the making before proposing pauses, so that results reach the
            designers; by default 3, or as many as there are sessions and two more.
        max_failed: Failed proposals in a row after which a run stops proposing.
        adaptive: Whether operators, edits and places are drawn by what they earned lately (docs/operators.md).
        units: Names of the library's units that rules put in; empty for all.
        edits: Weights of the rules' mutations, such as `swap_unit`; those not named are not drawn. Empty for their own.
        kinds: How often a design is made by `rules`, by a session of language models (`llm`), or by `hybrid`: sessions
            whose designs each get some children by rules. Relative weights.
        sessions: Of each actor at once, where language models design; they wait for answers most of the time.
        refine: Of `hybrid`: children by rules of each design by language models.
    """

    n: int = 1
    ahead: int | None = None
    max_failed: int = 200
    adaptive: bool = False
    units: tuple[str, ...] = ()
    edits: Mapping[str, float] = field(default_factory=dict)
    kinds: Mapping[str, float] = field(default_factory=lambda: {"rules": 1.0})
    sessions: int = 8
    refine: int = 4

    @property
    def slots(self) -> int:
        """Designs that each actor may have in the making."""
        return self.sessions if uses_models(self.kinds) else 1

    @property
    def resolved_ahead(self) -> int:
        if self.ahead is not None:
            return self.ahead
        return max(AHEAD, self.n * self.slots + 2) if uses_models(self.kinds) else AHEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiersConfig:
    """The pool that pre-trains and evaluates.

    Attributes:
        n: Actors.
        threads: Torch threads of a verification on CPU.
        gpus_per_verification: Fraction or number of GPUs reserved by each verifier; 0 on a laptop.
        accelerator_type: Ray's name of the card to reserve, such as H100.
        deadline_s: Wall-clock limit of one verification.
        probes: Whether designs are tried on their scale's probes (docs/probes.md).
        memory_mb: Memory of one job, in MiB; 0 for half of the host's.
        stop_hopeless: Whether a training that stays far above the reference's loss is stopped early, as the design's
            failure (cause `diverged`).
    """

    n: int = 2
    threads: int = 1
    gpus_per_verification: float = 0.0
    accelerator_type: str | None = None
    deadline_s: float = 1800.0
    probes: bool = True
    memory_mb: int = 0
    stop_hopeless: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetConfig:
    """The most that a run may use; None for no cap. It is set aside before a verification starts, and never passed.

    Attributes:
        runs: Verifications, further training seeds included.
        tokens: Trained on, over every learning rate of a grid.
        gpu_hours: Of all verifiers together, from the start of each verification to its end.
        usd: GPU time at `usd_per_gpu_hour`.
    """

    runs: int | None = None
    tokens: float | None = None
    gpu_hours: float | None = None
    usd: float | None = None
    usd_per_gpu_hour: float = 0.0

    def __post_init__(self) -> None:
        for name in ("runs", "tokens", "gpu_hours", "usd", "usd_per_gpu_hour"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < inf:
                raise ConfigError(f"Cannot use budget.{name} = {value}: expected a number from 0 up.")
        if self.usd is not None and not self.usd_per_gpu_hour > 0:
            raise ConfigError(
                f"Cannot cap a run at {self.usd:g} USD without a price. Set budget.usd_per_gpu_hour to what an hour costs."
            )

    def caps(self) -> Caps:
        return Caps(
            runs=self.runs,
            tokens=None if self.tokens is None else int(self.tokens),
            gpu_seconds=None if self.gpu_hours is None else self.gpu_hours * HOUR_S,
            usd=self.usd,
            usd_per_gpu_hour=self.usd_per_gpu_hour,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """The cage in which designs' code runs.

    Attributes:
        require: The level below which a run does not start: `strict` (namespaces, Landlock and system call filter),
            `standard` (files and system calls guarded, by whichever of them there is), `none`. See `genesys doctor`.
    """

    require: Literal["strict", "standard", "none"] = "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksConfig:
    """The benchmarks that verifications run.

    Attributes:
        suite: Name of a task suite for every scale; each scale's own by default, "" for none.
        data: Folder with one subfolder of `<split>.jsonl.gz` (or .jsonl, .parquet) for each task, read in place of the
            hub; "" for the hub.
    """

    suite: str | None = None
    data: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """Where runs live.

    Attributes:
        url: A folder, absolute under `ray job` and shared by all hosts of a cluster.
        journal: `postgresql://USER@HOST/DATABASE` for the journals of new runs; "" for a file in the run's folder. The
            password comes from PGPASSWORD or ~/.pgpass, on every host.
    """

    url: str = "runs"
    journal: str = ""

    def __post_init__(self) -> None:
        if self.journal:
            check_url(self.journal)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One evolution.

    Attributes:
        corpus: `python-docs`, `text:PATH` for one's own files, or a data set (see `DatasetCorpus`).
        tokenizer: `bytes`, `bpe:SIZE` (trained on the corpus), or `hf:NAME_OR_FOLDER`.
        tasks: The benchmarks run at each scale.
        ladder: `cpu`, `paper`, `large`, or a list of scales.
        quotas: Designs that each scale may verify, from the bottom up; the ladder's own by default.
        training_seeds: By the name of a scale: how many seeds each design verified there is trained with, 1 where not
            named. Runs with further seeds draw on a quota of their own and never delay a promotion's lease.
        seeds: Starting designs; empty to start from nothing.
        designs: Files of further starting designs.
        reference: The design verified first at every scale; fitness is relative to it.
        operators: Rates of the selection strategy's operators; its own by default.
        agents: Language models that design, where `designers.kinds` has any.
        fitness: `relative` (see `genesys.evolution.fitness`), or `paper`: the plain mean of the accuracies.
    """

    name: str = ""
    seed: int = 0
    corpus: str | DatasetCorpus = "python-docs"
    tokenizer: str = "bytes"
    tasks: TasksConfig = field(default_factory=TasksConfig)
    ladder: str | tuple[Scale, ...] = "cpu"
    quotas: tuple[int, ...] | None = None
    training_seeds: Mapping[str, int] = field(default_factory=dict)
    seeds: tuple[str, ...] = SEED_NAMES
    designs: tuple[str, ...] = ()
    reference: str = "gpt"
    selection: str | StrategyConfig = "random"
    operators: OperatorRates | None = None
    promotion: str | StrategyConfig = "successive_halving"
    designers: DesignersConfig = field(default_factory=DesignersConfig)
    agents: AgentsConfig = field(default_factory=AgentsConfig)
    verifiers: VerifiersConfig = field(default_factory=VerifiersConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    fitness: Literal["relative", "paper"] = "relative"

    def __post_init__(self) -> None:
        for name in self.seeds:
            if name not in SEED_NAMES:
                raise ConfigError(
                    f"Cannot use seed {name!r}: expected {', '.join(SEED_NAMES)}.{suggest(name, SEED_NAMES)}"
                )
            if self.seeds.count(name) > 1:
                raise ConfigError(
                    f"Cannot use seed {name!r} {self.seeds.count(name)} times; expected once. Drop the others."
                )
        for name, value in {
            "designers.n": self.designers.n,
            "designers.ahead": self.designers.resolved_ahead,
            "designers.sessions": self.designers.sessions,
            "designers.max_failed": self.designers.max_failed,
            "verifiers.n": self.verifiers.n,
            "verifiers.threads": self.verifiers.threads,
            "verifiers.deadline_s": self.verifiers.deadline_s,
        }.items():
            if not value >= 1:
                raise ConfigError(f"Cannot run with {name} = {value}: expected at least 1.")
        if not self.designers.refine >= 0:
            raise ConfigError(f"Cannot refine a design {self.designers.refine} times; expected 0 or more.")
        check_kinds(self.designers.kinds, self.agents)
        check_rules(self.designers.units, self.designers.edits, adaptive=self.designers.adaptive)
        check_agents(self.agents)
        if not self.verifiers.memory_mb >= 0:
            raise ConfigError(f"Cannot give a job {self.verifiers.memory_mb} MiB of memory; expected 0 or more.")
        if not self.verifiers.gpus_per_verification >= 0:
            raise ConfigError(f"Cannot reserve {self.verifiers.gpus_per_verification} GPUs; expected 0 or more.")
        ladder = self.resolved_ladder()
        scales = ladder.names
        if not ladder.quotas[0]:
            raise ConfigError(f"Cannot run with quota 0 at {scales[0]}; expected at least 1.")
        for name, n in self.training_seeds.items():
            if name not in scales:
                raise ConfigError(
                    f"Cannot use training_seeds of scale {name!r}: the ladder has {', '.join(scales)}.{suggest(str(name), scales)}"
                )
            if not isinstance(n, int) or isinstance(n, bool) or n < 1:
                raise ConfigError(f"Cannot train with {n!r} seeds at scale {name!r}; expected a whole number from 1.")
        self._check_budget()

    def _check_budget(self) -> None:
        """Refuse a cap that nothing would count against, and one that not even the first run fits."""
        for name in ("gpu_hours", "usd"):
            if getattr(self.budget, name) is not None and not self.verifiers.gpus_per_verification:
                raise ConfigError(
                    f"Cannot cap {name}: verifiers.gpus_per_verification is 0, so that no GPU time is counted. Set it, or "
                    f"cap budget.runs or budget.tokens."
                )
        scale, cost = next(iter(self.run_costs().items()))
        if shortage := Budget(self.budget.caps()).shortage(cost):
            takes = f"{cost.n_tokens:,} tokens"
            advice = f"Raise budget.tokens to {cost.n_tokens:,} or more."
            if "runs" in shortage:
                takes, advice = "1 run", "Raise budget.runs to 1 or more."
            elif "tokens" not in shortage:
                takes = (
                    f"{cost.gpu_seconds / HOUR_S:.3g} GPU-hours (verifiers.deadline_s on "
                    f"{self.verifiers.gpus_per_verification:g} GPUs)"
                )
                advice = "Raise the cap, or lower verifiers.deadline_s."
            raise ConfigError(
                f"Cannot run under the budget: {shortage} leaves no room for a single run at {scale}, which may take "
                f"{takes}. {advice}"
            )

    def run_costs(self) -> dict[str, Cost]:
        """The most that one verification can use at each scale: the cage ends it at its deadline."""
        gpu_seconds = self.verifiers.deadline_s * self.verifiers.gpus_per_verification
        return {scale.name: Cost.of(scale.grid_tokens, gpu_seconds) for scale in self.resolved_ladder().scales}

    def selection_with_rates(self) -> StrategyConfig:
        """The selection strategy's long form, with `operators` as its rates unless its options name some."""
        chosen = strategy(self.selection)
        rates = {} if self.operators is None else {"rates": self.operators}
        return replace(chosen, options=rates | dict(chosen.options))

    def replicate_quotas(self) -> dict[str, int]:
        """Runs with further seeds that each scale may hold."""
        return {s: q * (self.training_seeds.get(s, 1) - 1) for s, q in self.resolved_ladder().quota_by_scale().items()}

    def resolved_ladder(self) -> Ladder:
        """The ladder with this run's quotas.

        Raises:
            ConfigError: An unknown ladder, or quotas that no run can spend.
        """
        if isinstance(self.ladder, str):
            if self.ladder not in LADDERS:
                raise ConfigError(
                    f"Cannot find ladder {self.ladder!r}: expected {', '.join(LADDERS)}, or a list of scales.{suggest(self.ladder, LADDERS)}"
                )
            named = LADDERS[self.ladder]
            return Ladder(self._with_suite(named.scales), named.quotas if self.quotas is None else self.quotas)
        if self.quotas is None:
            raise ConfigError(
                "Cannot run a ladder of one's own without quotas. Add `quotas`, one number for each scale."
            )
        return Ladder(self._with_suite(self.ladder), self.quotas)

    def _with_suite(self, scales: tuple[Scale, ...]) -> tuple[Scale, ...]:
        suite = self.tasks.suite
        return scales if suite is None else tuple(replace(scale, suite=suite) for scale in scales)


def strategy(setting: str | StrategyConfig) -> StrategyConfig:
    """The long form of a strategy's setting."""
    return StrategyConfig(name=setting) if isinstance(setting, str) else setting


def load_config(path: Path | str, base: Path | str | None = None) -> RunConfig:
    """Read a run's YAML file, laid over its `base` where it names one.

    Args:
        base: A file taken in place of the one named.

    Raises:
        ConfigError: No such file, not YAML, an unknown key or a value that cannot be.
    """
    config = config_from_mapping(read_layered(path, base), str(path))
    _find_benchmarks(config.tasks)
    return config


def _find_benchmarks(tasks: TasksConfig) -> None:
    """Look for what a file's `tasks` name; a run's own record of them may be read where they are not."""
    if tasks.suite:
        from genesys.evaluate.harness.suites import load_suite

        load_suite(tasks.suite)
    if tasks.data and not Path(tasks.data).expanduser().is_dir():
        raise ConfigError(
            f"Cannot find the benchmarks' data {tasks.data!r}: there is no such folder. Correct tasks.data."
        )


def config_from_mapping(data: Any, source: str = "the configuration") -> RunConfig:
    """Read a run's configuration from plain data."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"Cannot use {source}: it holds {type(data).__name__}; expected keys and values.")
    return read(RunConfig, data)
