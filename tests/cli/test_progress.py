"""What `genesys evolve` says while it runs."""

from __future__ import annotations

from dataclasses import replace

from cluster.driver import Snapshot
from genesys.cli._progress import agents_line
from genesys.evolution.status import CapStatus, run_status
from genesys.testing.books import add_design, start_tree


def test_sessions_and_their_money_are_told_where_language_models_design() -> None:
    tree = start_tree(quotas=(10, 5, 2), reference="seed")
    add_design(tree, "seed", is_seed=True)
    status = replace(run_status(tree), n_open_sessions=3)
    assert not list(agents_line(Snapshot(status=status, verifiers={})))
    money = CapStatus(what="USD for language models", spent=1.25, reserved=0.5, cap=20.0)
    snapshot = Snapshot(status=status, verifiers={}, agents=money)
    told = ["3 sessions in the making", "1.25 of 20.00 USD for language models, 0.50 more set aside"]
    assert list(agents_line(snapshot)) == told
    spent = replace(snapshot, status=replace(status, out_of_money="the run's cap leaves no room"))
    assert list(agents_line(spent))[:2] == told and "no further session" in list(agents_line(spent))[2]
