"""Twenty SIGKILLs across one run with real training: driver, tree, scheduler, designers, verifiers and caged children.

The command runs in processes of its own and is resumed whenever its driver was the one to die.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from genesys.api import Run, reproduce
from genesys.evolution.tree import POISON_AFTER
from genesys.ladder.ledger import RunKey
from genesys.sandbox.cgroups import Group
from genesys.storage.journal import Entry
from tests.integration.audits import audit, journal_of
from tests.integration.processes import descendants, is_actor, start_into
from tests.integration.test_evolve import write_config

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1500)]
KILLS = 3 * ("driver", "tree", "scheduler", "designer") + 4 * ("verifier", "caged child")
KILLS_OF_A_CLOSED_LIST = 4 * ("driver", "tree", "scheduler", "verifier", "caged child")  # designers have nothing to do
MAX_DRIVERS = 12
_CLASSES = {"tree": "EvolutionTree", "scheduler": "BudgetScheduler", "designer": "Designer", "verifier": "Verifier"}
_FIGURES = ("test_bpb", "val_loss_nats", "untrained_val_loss_nats", "unigram_bpb", "n_params")


class Massacre:
    """A run that is killed piece by piece, and then left to end.

    Args:
        kills: What is to die, in an order drawn from the seed; what is not there has its turn later.

    Attributes:
        killed: What died, in order.
        prefixes: The journal as it stood before each death.
        seen: Every process that was ever part of it.
    """

    def __init__(self, folder: Path, *, kills: Sequence[str], seed: int) -> None:
        self.folder, self.run_folder = folder, folder / "runs" / "run-1"
        self.killed: list[str] = []
        self.prefixes: list[list[Entry]] = []
        self.seen: dict[int, psutil.Process] = {}
        self._rng = random.Random(seed)
        self._turns = self._rng.sample(kills, len(kills))
        self._driver = psutil.Process()
        self._charged: dict[RunKey, int] = {}

    def carry_out(self) -> None:
        """Start the run, kill, resume, until it has ended by itself."""
        resume: tuple[str, ...] = ()
        for n in range(MAX_DRIVERS):
            process = start_into(
                self.folder / f"log-{n}.txt", "evolve", "run.yaml", "--no-dashboard", *resume, cwd=self.folder
            )
            self._driver = psutil.Process(process.pid)
            while process.poll() is None:
                self._wait(self._rng.uniform(0.2, 1.0))
                if self._turns:
                    self._strike()
            log = (self.folder / f"log-{n}.txt").read_text()
            if process.returncode == 0:
                return
            assert process.returncode == -signal.SIGKILL or "timed out during startup" in log, log  # of Ray, when busy
            resume = ("--resume",) if (self.run_folder / "journal.sqlite").exists() else ("--run", str(self.run_folder))
        raise AssertionError("the run does not end")

    def _wait(self, seconds: float) -> None:
        """Wait, and note all processes meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for process in (self._driver, *descendants(self._driver)):
                self.seen.setdefault(process.pid, process)
            time.sleep(0.05)

    def _strike(self) -> None:
        """Kill a process of the first kind in turn of which there is one."""
        if not self._is_at_work():
            return
        kind, victims = next(((k, found) for k in self._turns if (found := self._find(k))), ("", []))
        if not victims:
            return
        prefix = journal_of(self.run_folder)
        try:
            self._rng.choice(victims).kill()
        except psutil.NoSuchProcess:
            return
        self.prefixes.append(prefix)
        self.killed.append(kind)
        self._turns.remove(kind)

    def _is_at_work(self) -> bool:
        """Whether this driver has come as far as to hand out work."""
        if not (self.run_folder / "journal.sqlite").exists():
            return False
        return any(is_actor(process, "Verifier") for process in descendants(self._driver))

    def _find(self, kind: str) -> list[psutil.Process]:
        below = descendants(self._driver)
        if kind == "driver":
            return [self._driver]
        if kind == "caged child":
            verifiers = [process for process in below if is_actor(process, "Verifier")]
            found = [job for verifier in verifiers for job in jobs_of(verifier)]
        else:
            found = [process for process in below if is_actor(process, _CLASSES[kind])]
        return found if kind not in ("verifier", "caged child") or (found and self._may_kill_a_holder()) else []

    def _may_kill_a_holder(self) -> bool:
        """Whether none of the leases that are out would end as poison; who holds which is not known here."""
        tree = Run(self.run_folder).tree
        keys = [lease.key for lease in tree.leases.values()]
        if any(max(self._charged.get(key, 0), tree.n_deaths(key)) >= POISON_AFTER - 1 for key in keys):
            return False
        self._charged |= {key: self._charged.get(key, 0) + 1 for key in keys}
        return bool(keys)

    def left_behind(self) -> list[str]:
        """Processes and control groups that are still there, after some time to go."""
        _, alive = psutil.wait_procs(list(self.seen.values()), timeout=30)
        deadline = time.monotonic() + 30
        while (groups := self._groups()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return [str(process) for process in alive] + [str(folder) for folder in groups]

    def _groups(self) -> list[Path]:
        """Groups of keepers that are dead; a process id may have become that of another cage's keeper meanwhile."""
        dead = [pid for pid in self.seen if not Path("/proc", str(pid)).exists()]
        return [folder for pid in dead for folder in Group.of(pid).folders if folder.exists()]


def jobs_of(worker: psutil.Process) -> list[psutil.Process]:
    """What the keepers of a worker's cage have started."""
    servers = [p for p in descendants(worker) if "genesys.sandbox.server" in " ".join(command_of(p))]
    keepers = {process.pid for process in servers if process.ppid() in {server.pid for server in servers}}
    return [process for process in servers if process.ppid() in keepers]


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def massacre(folder: Path, rest: str, kills: Sequence[str], *, seed: int) -> Massacre:
    folder.mkdir()
    write_config(folder, rest)
    run = Massacre(folder, kills=kills, seed=seed)
    run.carry_out()
    assert sorted(run.killed) == sorted(kills), f"the run ended after {run.killed}"
    after = journal_of(run.run_folder)
    for prefix in run.prefixes:
        assert after[: len(prefix)] == prefix, "what stood in the journal changed"
    assert not run.left_behind()
    return run


def test_a_free_run_keeps_its_books(tmp_path: Path) -> None:
    """Decisions 21a."""
    run = massacre(tmp_path / "free", "quotas: [24, 6]\nseeds: [gpt, retnet]\n", KILLS, seed=1)
    books = audit(run.run_folder, (24, 6))
    last = max((r for record in books.tree for r in record.runs if r.outcome == "committed"), key=lambda r: r.lease)
    (design,) = [record.id for record in books.tree if last in record.runs]
    again = reproduce(run.run_folder, design, scale=last.scale)
    assert again.exact and again.holds, again.to_json()


def test_a_closed_list_gives_the_same_results(tmp_path: Path) -> None:
    """Decisions 21b: the designs are given, no designer adds one, and each climbs whatever the order of results."""
    closed = "quotas: [4, 4]\nseeds: [gpt, retnet, ttt, mamba2]\ntraining_seeds: {tiny-1: 4, tiny-2: 3}\n"
    found = []
    for name in ("calm", "killed"):
        run = massacre(tmp_path / name, closed, () if name == "calm" else KILLS_OF_A_CLOSED_LIST, seed=2)
        books = audit(run.run_folder, (4, 4))
        found.append({
            (record.id, done.scale, done.seed): {figure: done.metrics[figure] for figure in _FIGURES}
            for record in books.tree
            for done in record.runs
        })  # fmt: skip
    assert found[0] == found[1] and len(found[0]) == 28
