"""What must hold of any run that has ended, whatever happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from genesys.api import Run
from genesys.evolution import EvolutionTree
from genesys.evolution.fitness import resolve_fitness
from genesys.storage.journal import Entry


def journal_of(folder: Path) -> list[Entry]:
    """The journal as it stands."""
    return list(Run(folder).store.journal(mode="reader").read())


def audit(folder: Path, quotas: Sequence[int]) -> Run:
    """The books balance: quotas spent and not overrun, one commit a key, lineage and blobs there, replay as lived."""
    run = Run(folder)
    tree = run.tree
    accounts = {scale: tree.ledger.account(scale).finished for scale in tree.scales}
    assert accounts == dict(zip(tree.scales, quotas, strict=True))
    assert not tree.leases and tree.finished == "every quota is spent"
    replayed = EvolutionTree(resolve_fitness())
    journal = run.store.journal(mode="reader")
    commits: set[tuple[str, str, int]] = set()
    for entry in journal.read():
        replayed.apply(entry.event)
        if entry.event.kind == "verification_recorded":
            key = (entry.event.design, entry.event.scale, entry.event.seed)
            assert key not in commits, f"{key} was committed twice"
            commits.add(key)
            assert journal.blob(entry.event.report)
    assert replayed.digest() == tree.digest()
    for record in tree:
        assert journal.blob(record.program)
        assert all(parent in tree.records for parent in record.parents)
    return run
