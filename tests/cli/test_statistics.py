"""`leaderboard --tasks --groups`, `compare` and `tasks`, on a run with replicates."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import pytest

from genesys.cli._statistics import comparison_notes
from genesys.evaluate.probes import ProbeTraining
from genesys.evolution.events import VerificationRecorded
from genesys.storage import RunStore
from genesys.storage.journal import content_hash
from tests.evolution.replicates import replicated

TRAINED = ProbeTraining(peak_lr=0.01, n_steps=200, seconds=4.0, weights_sha256="")
REPORT = json.dumps({
    "details": {
        "probe": {"probes": {"recall": {"training": asdict(TRAINED)}}},
        "benchmarks": {"seconds": 2.0, "tasks": {"arc": {"n_documents": 200}}},
    }
}).encode()  # fmt: skip


def metrics(rng: Random, bpb: float, arc: float) -> dict[str, float]:
    return {
        "test_bpb": bpb + rng.gauss(0, 0.005), "probe_recall": 0.9 + rng.gauss(0, 0.01), "probe_recall_se": 0.01,
        "probe_recall_chance": 0.0625, "task_arc": arc + rng.gauss(0, 0.01), "task_arc_se": 0.02, "task_arc_chance": 0.25,
        "task_arc_majority": 0.26, "task_arc_prob": 0.3 + arc / 10 + rng.gauss(0, 0.002), "task_arc_prob_se": 0.004,
    }  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run: five seeds of gpt and of a clearly better design, one of two others."""
    folder, rng = tmp_path_factory.mktemp("work"), Random(1)
    designs = {
        "gpt": [metrics(rng, 2.5, 0.3) for _ in range(5)], "good": [metrics(rng, 2.1, 0.6) for _ in range(5)],
        "lone": [metrics(rng, 2.0, 0.7)], "ttt": [metrics(rng, 2.6, 0.28)],
    }  # fmt: skip
    _, events = replicated(designs, seeds=("gpt", "ttt"))
    named = [
        VerificationRecorded(**{f: getattr(e, f) for f in e.__slots__} | {"report": content_hash(REPORT)})
        if isinstance(e, VerificationRecorded) else e
        for e in events
    ]  # fmt: skip
    store = RunStore(folder / "runs" / "demo-1")
    store.root.mkdir(parents=True)
    journal = store.journal()
    journal.append(named, expected_seq=0, blobs=[REPORT])
    journal.close()
    return folder


def genesys(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "genesys", *arguments], cwd=cwd, capture_output=True, text=True)


def answer(*arguments: str, cwd: Path) -> Any:
    done = genesys(*arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_the_leaderboard_counts_seeds_and_separates_its_claims(runs: Path) -> None:
    rows = answer("leaderboard", "demo-1", cwd=runs)
    assert [row["name"] for row in rows] == ["lone", "good", "gpt", "ttt"]
    assert [row["n_seeds"] for row in rows] == [1, 5, 5, 1]
    assert rows[1]["against_reference"]["verdict"] == "better"
    assert rows[0]["against_reference"]["verdict"] == "too few seeds"
    assert set(rows[0]["tasks"]["arc"]) == {"accuracy", "se", "chance", "majority", "prob", "prob_se", "vote"}
    whole = answer("leaderboard", "demo-1", "--tasks", "--groups", cwd=runs)
    assert whole["rows"] == rows and whole["lead"]["name"] == "lone" and whole["lead"]["n_designs"] == 4
    assert [row["task"] for row in whole["winners"]] == ["recall", "arc"]
    assert {group["name"]: group["n_designs"] for group in whole["groups"]} == {"seeds": 2, "discovered": 2}


def test_the_table_says_better_only_of_designs_with_paired_seeds(runs: Path) -> None:
    text = " ".join(genesys("leaderboard", "demo-1", "--tasks", "--groups", cwd=runs).stdout.split())
    assert "lone leads 4 designs at small" in text and "by luck" in text
    assert "Better than the reference gpt, paired seeds, corrected for all: good (5 seeds)" in text
    assert text.lower().count("better") == 1 + text.count("better, 5 seeds"), "of nobody else"
    assert "1 seed" in text and "by luck" in text


def test_compare_settles_what_five_pairs_settle(runs: Path) -> None:
    found = answer("compare", "demo-1", "good", "gpt", cwd=runs)
    assert found["seeds"] == [0, 1, 2, 3, 4] and found["fitness"]["verdict"] == "better"
    assert [m["metric"] for m in found["metrics"]] == ["test_bpb", "probe_recall", "task_arc", "task_arc_prob"]
    assert found["metrics"][0]["sign"] == -1 and found["metrics"][0]["difference"] == pytest.approx(0.4, abs=0.02)
    assert "good is better than gpt: 5 paired seeds" in genesys("compare", "demo-1", "gpt", "good", cwd=runs).stdout


def test_compare_says_how_many_seeds_are_missing(runs: Path) -> None:
    text = " ".join(genesys("compare", "demo-1", "lone", "gpt", cwd=runs).stdout.split())
    assert "No claim: 1 paired seed." in text and "would settle it" in text
    assert "Corrected for the best of 4 designs" in text and "better" not in text.replace("is not called better", "")
    assert answer("compare", "demo-1", "lone", "gpt", "--best-of", "1", cwd=runs)["fitness"]["best_of"] == 1


def test_compare_says_why_evidence_that_sufficed_makes_no_claim() -> None:
    fitness = {"verdict": "not separated", "n_pairs": 9, "n_more": None, "p_value": 0.01, "best_of": 1}
    found = {
        "name_a": "a",
        "name_b": "b",
        "fitness": fitness,
        "failed_a": [3],
        "failed_b": [],
        "min_pairs": 3,
        "metrics": [],
    }
    text = " ".join(comparison_notes(found))
    assert "No claim: 9 paired seeds. The evidence has sufficed" in text and "noise is too large" not in text


def test_tasks_ranks_by_worth_and_names_what_was_read(runs: Path) -> None:
    found = answer("tasks", "demo-1", "--suite", "cpu", cwd=runs)
    assert found["scale"] == "small" and found["n_designs"] == 4 and found["cost_unit"] == "seconds"
    assert [(task["task"], task["cost"]) for task in found["tasks"]] == [("arc", 2.0), ("recall", 4.0)]
    assert found["proposed"]["votes"] == ["task_arc_prob"] and found["read"] == ["arc", "recall"]
    assert "blimp" in found["untouched"]
    text = " ".join(genesys("tasks", "demo-1", "--suite", "cpu", cwd=runs).stdout.split())
    assert "Proposed suite: task_arc_prob; 1 of 2 at 33% of the cost." in text
    assert "no final judges: arc, recall" in text and "Of cpu, a final comparison may still use: blimp" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "demo-1", "gpt", "gpt"), "Cannot compare 'gpt' with itself"),
        (("compare", "demo-1", "gpt", "goood"), "Did you mean 'good'?"),
        (("compare", "demo-1", "gpt", "good", "--scale", "smal"), "Did you mean 'small'?"),
        (("compare", "demo-1", "gpt", "good", "--best-of", "0"), "expected 1 or more"),
        (("tasks", "demo-1", "--scale", "smal"), "Did you mean 'small'?"),
        (("tasks", "demo-1", "--suite", "cpuu"), "Did you mean 'cpu'?"),
        (("leaderboard", "demo-1", "--tasks", "--scale", "x"), "Cannot find scale 'x'"),
        (("leaderboard", "demo-1", "--scale", "small"), "Add --tasks or --groups"),
    ],
)
def test_a_mistake_gets_one_sentence(runs: Path, arguments: tuple[str, ...], message: str) -> None:
    done = genesys(*arguments, cwd=runs)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
