"""Explanations say what the books and the real policy say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from genesys.api import Run
from genesys.cli import app
from genesys.config import RunConfig, config_from_mapping
from genesys.evolution import EvolutionTree
from genesys.evolution.events import (
    DesignProposed,
    DesignRejected,
    DesignTwinned,
    Event,
    LeaseGranted,
    LeaseRefunded,
    RunDraining,
    RunFinished,
    VerificationFailed,
    VerificationRecorded,
)
from genesys.evolution.promotion import PROMOTIONS, Finished, PromotionStrategy, SuccessiveHalving, Verify, decide
from genesys.evolution.promotion.explanation import Explanation, explain, how_to_go_on
from genesys.testing import add_design, climb, start_tree, verify
from genesys.testing.books import apply, metrics_for
from tests.actors.in_process import World, run_world


def explained(
    tree: EvolutionTree, design: str, events: Sequence[Event] = (), strategy: PromotionStrategy | None = None
) -> Explanation:
    entries = [(seq, 1000.0 + seq, event) for seq, event in enumerate(events, start=1)]
    return explain(tree, design, entries, strategy or SuccessiveHalving())


def test_the_story_of_a_design_is_told_in_order() -> None:
    events: list[Event] = []
    tree = start_tree(quotas=(4, 2, 1), events=events)
    add_design(tree, "a", is_seed=True, events=events)
    verify(tree, "a", "small", 0.5, events=events)
    proposed = DesignProposed(
        design="b", name="Bee", program="b", operator="mutation", parents=("a",), designer="Designer-1",
        detail="swapped the mixer", odds={"scratch": 0.25, "mutation": 0.75}, reason="the fittest", edit="swap",
        target="mixer", steps={"tree": 2.0},
    )  # fmt: skip
    apply(tree, proposed, events)
    apply(tree, DesignRejected(design="b", findings=({"rule": "causality", "unit": "Mixer", "measured": "0.3",
                                                      "required": "0", "hint": "Mask it."},)), events)  # fmt: skip
    told = [entry.text for entry in explained(tree, "b", events).history]
    assert told == [
        "Proposed by Designer-1 with mutation from name of a: swapped the mixer.",
        "The operator was drawn among mutation 75%, scratch 25%.",
        "Why these parents: the fittest.",
        "The edit: swap at mixer.",
        "How far it went, by distance: tree 2.",
        "The checker rejected it.",
        "[causality] Mixer: 0.3; required: 0. Mask it.",
    ]
    rejected = explained(tree, "b", events)
    assert rejected.verdict == "never" and rejected.now == ("It will never be trained: the checker rejected it.",)
    seed = explained(tree, "a", events)
    assert (
        seed.history[0].text == "It is one of the designs that the run started from." and seed.history[0].time == 1002.0
    )
    assert [entry.what for entry in seed.history[1:]] == [
        "design_implemented", "lease_granted", "verification_recorded",
    ]  # fmt: skip


def test_it_says_what_a_waiting_design_needs() -> None:
    tree = start_tree(quotas=(8, 2))
    for i in range(6):
        add_design(tree, f"d{i}")
        verify(tree, f"d{i}", "small", i / 10)
    waits = explained(tree, "d2")
    assert (waits.verdict, waits.scale) == ("waiting", "middle")
    said = " ".join(waits.now)
    for text in (
        "Its next scale is middle; it stands 4 of 6 in line (the best of the rung below first).",
        "sees: place 4 of 6 at small, of which the best 1 may climb now; place 4 of 6 in niche 'recall'",
        "Of 2 runs at middle, 0 have ended, 0 are under way; 2 are open so far, as 6 of 8 have ended at small.",
        "would take name of d5 at middle (place 1 of 6 at small).",
    ):
        assert text in said, text
    assert "would take this design" in " ".join(explained(tree, "d5").now)


def test_it_says_why_a_design_will_never_climb() -> None:
    events: list[Event] = []
    tree = start_tree(quotas=(5, 1), events=events)
    for name in "abcd":
        add_design(tree, name, events=events)
    verify(tree, "a", "small", 0.9, events=events)
    verify(tree, "b", "small", 0.1, events=events)
    verify(tree, "a", "middle", 0.9, events=events)
    assert "It will not climb: the quota of 1 at middle has gone to others." in explained(tree, "b").now
    assert explained(tree, "a").verdict == "top"
    apply(tree, LeaseGranted(lease=9, design="c", scale="small", holder="V-1", reason="by lot"), events)
    running = explained(tree, "c", events)
    assert running.verdict == "running" and running.now == ("It is being verified at small, training seed 0, by V-1.",)
    apply(tree, LeaseRefunded(lease=9, cause="killed", reason="out of reach"), events)
    assert "Verification at small came back (killed). out of reach." in [
        t.text for t in explained(tree, "c", events).history
    ]
    apply(tree, LeaseGranted(lease=10, design="c", scale="small", holder="V-1", attempt=2), events)
    apply(tree, VerificationFailed(lease=10, design="c", scale="small", cause="diverged"), events)
    assert explained(tree, "c").now == (
        "It will not climb: its verification at small failed by its own fault (diverged).",
    )
    apply(tree, DesignProposed(design="t", name="t", program="t", operator="mutation"), events)
    apply(tree, DesignTwinned(design="t", inherited_from="a"), events)
    assert "name of a computes the same (verified)" in explained(tree, "t").now[0]
    apply(tree, RunDraining(reason="asked to stop"), events)
    assert explained(tree, "d").now[-1] == (
        "The run has ended: asked to stop. Go on with: genesys evolve CONFIG --resume"
    )
    assert not any("sees" in said for said in explained(tree, "d").now), "the policy no longer counts"


def test_the_policy_is_not_asked_about_a_quota_that_is_gone() -> None:
    tree = start_tree(quotas=(3, 1))
    for i, name in enumerate("ab"):
        add_design(tree, name)
        verify(tree, name, "small", i / 10)
    verify(tree, "b", "middle", 0.5)
    assert explained(tree, "a").now == ("It will not climb: the quota of 1 at middle has gone to others.",)


@pytest.mark.parametrize(
    ("caps", "named"),
    [({"runs": 1}, "budget.runs"), ({"tokens": 150}, "budget.tokens"), ({"gpu_seconds": 20.0}, "budget.gpu_hours"),
     ({"usd": 0.01, "usd_per_gpu_hour": 3.0}, "budget.usd"), ({"runs": 9, "tokens": 150}, "budget.tokens")],
)  # fmt: skip
def test_it_says_which_cap_to_raise_to_go_on(caps: dict[str, float], named: str) -> None:
    tree = start_tree(quotas=(4, 2), caps=caps, costs=((100, 11.0), (500, 11.0)))
    add_design(tree, "a")
    add_design(tree, "b")
    apply(tree, LeaseGranted(lease=1, design="a", scale="small", holder="V-1"))
    result = VerificationRecorded(
        lease=1, design="a", scale="small", metrics=metrics_for(0.5), report="r", n_tokens=100, gpu_seconds=11.0
    )
    apply(tree, result)
    decision = decide(tree, SuccessiveHalving(), Random(0))
    assert isinstance(decision, Finished)
    apply(tree, RunFinished(reason=decision.reason))
    said = f"Raise {named} in CONFIG and go on with: genesys evolve CONFIG --resume"
    assert how_to_go_on(tree) == said and said in explained(tree, "b").now[-1]


def test_nothing_is_to_be_raised_where_no_cap_ended_the_run() -> None:
    tree = start_tree(quotas=(1,), caps={"runs": 1})
    add_design(tree, "a")
    verify(tree, "a", "small", 0.5)
    apply(tree, RunFinished(reason="every quota is spent"))
    assert how_to_go_on(tree) == ""


def test_the_story_has_no_draw_without_a_choice_and_says_a_seed_once() -> None:
    events: list[Event] = []
    tree = start_tree(quotas=(4,), training_seeds=2, events=events)
    add_design(tree, "a", is_seed=True, events=events)
    verify(tree, "a", "small", 0.5, events=events)
    odds = {"mutation": 0.5, "scratch": 0.5, "mutation/swap": 0.3, "mutation/wrap": 0.2, "crossover/graft": 0.1}
    for name, drawn, step in (
        ("b", odds, 0.0101523),
        ("c", {"mutation": 1.0}, 2.0),
        ("d", odds | {"mutation": 0}, 1e4),
    ):
        apply(tree, DesignProposed(design=name, name=name, program=name, operator="mutation", parents=("a",),
                                   designer="D", odds=drawn, steps={"ast": step}), events)  # fmt: skip
    told = {name: [entry.text for entry in explained(tree, name, events).history[1:]] for name in "bcd"}
    assert told["b"] == [
        "The operator was drawn among mutation 50%, scratch 50%.",
        "The edit was drawn among swap 60%, wrap 40%.",
        "How far it went, by distance: ast 0.01.",
    ]
    assert told["c"] == ["How far it went, by distance: ast 2."]
    assert told["d"][-1] == "How far it went, by distance: ast 10,000."
    replicate = decide(tree, SuccessiveHalving(), Random(0), proposals_open=False)
    assert isinstance(replicate, Verify) and replicate.seed == 1
    lease = LeaseGranted(lease=9, design="a", scale="small", seed=1, holder="V-1", reason=replicate.reason)
    apply(tree, lease, events)
    assert explained(tree, "a", events).history[-1].text == (
        "Verification at small, training seed 1, began at V-1: nothing else may start."
    )


def test_it_names_the_cap_that_holds_a_design_up() -> None:
    tree = start_tree(quotas=(4, 2), caps={"tokens": 150}, costs=((100, 0.0), (500, 0.0)))
    add_design(tree, "a")
    add_design(tree, "b")
    verify(tree, "a", "small", 0.5)
    said = explained(tree, "a").now
    assert "Now the cap of 150 tokens leaves no room for a run at middle." in said
    assert said[-1] == "The next free verifier would take name of b at small (next in line on the first rung)."


@pytest.mark.parametrize("name", PROMOTIONS)
def test_what_it_says_comes_next_is_what_the_policy_does(name: str) -> None:
    strategy = PROMOTIONS[name]()
    for n in range(1, 12):
        tree = start_tree(quotas=(12, 5, 2), reference="design-0")
        climb(tree, strategy, n_designs=n, rng=Random(n), n_verifiers=1)
        add_design(tree, "new")
        for design in ("new", "design-0", f"design-{n - 1}"):
            found = explained(tree, design, strategy=strategy)
            decision = decide(tree, strategy, Random(0))
            assert found.now and found.verdict in ("waiting", "never", "top")
            if found.verdict == "waiting":
                assert isinstance(decision, Verify) and decision.reason in found.now[-1]


def test_the_command_explains_a_design_of_a_real_run(tmp_path: Path) -> None:
    run_world(World(tmp_path / "run", RunConfig(quotas=(6, 2, 1), seeds=("gpt",))))
    runner = CliRunner()
    shown = runner.invoke(app, ["explain", str(tmp_path / "run"), "gpt"])
    assert shown.exit_code == 0, shown.output
    for text in (
        "one of the designs that the run started from",
        "The checker found it sane",
        "the reference goes first",
    ):
        assert text in " ".join(shown.output.split()), text
    design = Run(tmp_path / "run").record("gpt").id
    assert f"({design[:12]})" in shown.output and design not in shown.output
    as_json = runner.invoke(app, ["explain", str(tmp_path / "run"), "gpt", "--json"])
    assert '"verdict": "top"' in as_json.stdout and '"what": "lease_granted"' in as_json.stdout
    unknown = runner.invoke(app, ["explain", str(tmp_path / "run"), "gtp"])
    assert "Did you mean 'gpt'" in str(unknown.exception)


def test_a_policy_that_is_not_here_is_said_so(tmp_path: Path) -> None:
    config = config_from_mapping({"quotas": [2, 1, 1], "seeds": ["gpt"], "promotion": "random"})
    world = World(tmp_path / "run", config)
    object.__setattr__(world.plan.started, "config", {**world.plan.started.config, "promotion": "gone:Policy"})
    run_world(world)
    shown = CliRunner().invoke(app, ["explain", str(tmp_path / "run"), "gpt"])
    assert shown.exit_code == 0 and "The policy could not be asked" in shown.output
