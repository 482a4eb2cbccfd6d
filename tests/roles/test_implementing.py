"""The implementation stage: modes, tools, checks, observer, feedback, roll-back, and that it always ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesys.errors import Finding
from genesys.evolution.evidence import Evidence
from genesys.gau import UnitTree
from genesys.gau.library import seed_design, unit_named
from genesys.roles.answers import PlannerTurn
from genesys.roles.brief import Brief, SessionLimits
from genesys.roles.effects import Ask, Check, Checked, Claim, Derive, Effect, Gather, Probe, Profile, Refusal, Search
from genesys.roles.grafting import first_draft, most_units
from genesys.roles.implementing import Implementation, implement
from tests.roles.briefs import FIGURES
from tests.roles.worlds import World, asked_slot, coder, finding, observer, proposal, unit_text

GPT, RETNET = seed_design("gpt"), seed_design("retnet")
GREEDY = SessionLimits(beam=1, samples=1)
CAUSES = {"units", "check", "duplicate", "refused", "money"}
GOLDEN = Path(__file__).parents[1] / "golden" / "prompts"


def brief(operator: str = "scratch", *parents: UnitTree, limits: SessionLimits = GREEDY) -> Brief:
    return Brief(session="s", operator=operator, parents=parents, evidence=Evidence(), bounds={}, limits=limits)  # type: ignore[arg-type]


def small_block(ask: Ask) -> Any:
    """A block with a mixer and a norm, one unit after the other."""
    slot = asked_slot(ask)
    if not slot:
        return coder(unit_text("Small", "block", {"mixer": "mixer", "norm": "norm"}))
    return coder(unit_text(slot.title(), slot))


def built(world: World, b: Brief, target: str = "") -> Implementation:
    return world.run(implement(b, proposal(target), FIGURES))


def mixer(ask: Ask) -> Any:
    return coder(unit_text("New", "mixer"))


# --- modes -----------------------------------------------------------------------------------------------------


def test_from_scratch_the_root_comes_first_then_its_slots_each_checked_from_cheap_to_dear() -> None:
    world = World(small_block)
    done = built(world, brief())
    assert done.tree is not None and [path for path, _ in done.tree.walk()] == ["", "mixer", "norm"]
    assert [asked_slot(ask) for ask in world.asks("coder")] == ["", "mixer", "norm"]
    checks = world.singles(Check)
    assert [check.depth for check in checks] == ["static", "unit", "full"] * 3
    assert [check.partial for check in checks if check.depth == "full"] == [True, True, False]
    assert [check.tree.unit.name for check in checks if check.depth == "static"] == ["Small", "Mixer", "Norm"]
    assert [claim.tree for claim in world.singles(Claim)] == [done.tree]
    assert done.scores == {f"observer.{name}": 4.0 for name in ("fidelity", "quality", "novelty", "rating")}
    assert [(a.role, a.n_asked, a.n_useful) for a in done.attempts] == [
        ("coder", 3, 3), ("observer", 3, 3), ("planner", 3, 3),
    ]  # fmt: skip


def test_a_mutation_writes_one_unit_and_its_new_children_and_nothing_else() -> None:
    def code(ask: Ask) -> Any:
        new = unit_text("New", "mixer", {"position": "position", "gate": "channel"})
        return coder(new if asked_slot(ask) == "mixer" else unit_text("Gate", "channel"))

    world = World(code)
    done = built(world, brief("mutation", GPT), "mixer")
    assert done.tree is not None and done.target == "mixer"
    assert [asked_slot(ask) for ask in world.asks("coder")] == ["mixer", "mixer.gate"]
    for path in ("", "channel", "norm_channel", "norm_mixer", "mixer.position"):
        assert done.tree.at(path).unit.source == GPT.at(path).unit.source
    told = world.asks("coder")[0].prompt.messages[1].text
    assert "Protected, byte for byte: (root), channel, mixer.position, norm_channel, norm_mixer." in told
    later = world.asks("coder")[1].prompt.messages[1].text  # the mixer is the session's own by now
    assert "Protected, byte for byte: (root), channel, mixer.position, norm_channel, norm_mixer." in later
    assert "Attention, which stands there now" in told and "PreNormBlock, whose slot it is, at (root)" in told


def test_a_mutation_without_a_place_takes_the_planner_s() -> None:
    def plan(ask: Ask) -> Any:
        assert "- mixer.position; accepts: position;" in ask.prompt.messages[1].text
        return PlannerTurn(slot="mixer", specification="Another mixer.", reuse="")

    assert built(World(mixer, plan=plan), brief("mutation", GPT), "nowhere").target == "mixer"


def test_a_crossover_grafts_units_of_both_into_the_glue_that_is_written() -> None:
    slots = {"mixer": "mixer", "norm_mixer": "norm", "channel": "channel", "mixer_1": "mixer"}
    world = World(lambda ask: coder(unit_text("Glue", "block", slots)))
    done = built(world, brief("crossover", GPT, RETNET))
    assert done.tree is not None and len(world.asks("coder")) == 1
    assert done.tree.at("mixer") == RETNET.at("mixer") and done.tree.at("mixer_1") == GPT.at("mixer")
    told = world.asks("coder")[0].prompt.messages[1].text
    assert "What parent 2 can give:\n" in told and "- mixer: Retention (mixer); slots " in told


# --- planner, tools, feedback ----------------------------------------------------------------------------------


def test_without_planner_and_observer_nobody_asks_them() -> None:
    world = World(small_block)
    done = built(world, brief(limits=replace(GREEDY, planner=False, observer=False)))
    assert done.tree is not None and {ask.role for ask in world.singles(Ask)} == {"coder"} and not done.scores


def test_a_unit_of_the_library_is_reused_without_a_coder_if_it_passes() -> None:
    def plan(ask: Ask) -> Any:
        slot = "norm" if "- norm;" in ask.prompt.messages[1].text else "mixer"
        slot = "" if "(root)" in ask.prompt.messages[1].text.partition("Open slots:")[2] else slot
        return PlannerTurn(slot=slot, specification="s", reuse="RMSNorm" if slot == "norm" else "NoSuchUnit")

    world = World(small_block, plan=plan)
    done = built(world, brief())
    assert done.tree is not None and done.tree.at("norm").unit == unit_named("RMSNorm")
    assert [asked_slot(ask) for ask in world.asks("coder")] == ["", "mixer"]


def test_tools_are_answered_in_the_conversation_and_what_was_checked_is_not_checked_again() -> None:
    code = unit_text("New", "mixer")
    turns = iter(
        [
            coder("", "read_unit", "RMSNorm"), coder("", "read_unit", "RMSNrom"), coder("", "search", "decay"),
            coder("print(1)", "derive"), coder(code, "profile"), coder(code, "check"), coder(code),
        ]
    )  # fmt: skip
    world = World(lambda ask: next(turns))
    done = built(world, brief("mutation", GPT), "mixer")
    assert done.tree is not None
    told = [message.text for message in world.asks("coder")[-1].prompt.messages[3::2]]
    assert "class RMSNorm" in told[0] and "Did you mean 'RMSNorm'?" in told[1]
    assert told[-1].endswith("Uses of tools left: 0. Hand the unit in.")
    assert [check.depth for check in world.singles(Check)] == ["static", "unit", "full"]
    searches = world.singles(Search)
    assert searches[0].sources == ("unit", "design", "failure", "paper") and searches[-1].sources == ("unit",)
    assert len(world.singles(Derive)) == len(world.singles(Profile)) == 1


def test_the_blind_and_those_without_literature_cannot_search_for_it() -> None:
    turns = iter([coder("", "search", "decay"), coder(unit_text("New", "mixer"))])
    world = World(lambda ask: next(turns))
    built(world, brief("mutation", GPT, limits=replace(GREEDY, feedback=False, literature=False)), "mixer")
    assert world.singles(Search)[0].sources == ("unit", "design")


def test_a_coder_that_never_hands_in_fails_its_attempts_and_the_session_ends() -> None:
    world = World(lambda ask: coder("", "read_unit", "RMSNorm"))
    done = built(world, brief("mutation", GPT, limits=replace(GREEDY, max_turns=2, max_attempts=3)), "mixer")
    assert (done.tree, done.cause) == (None, "refused")  # nothing was ever handed in
    assert len(world.asks("coder")) == 3 * 3 * 3  # three turns an attempt, three attempts a unit, three units given up
    assert "handed nothing in" in done.reason


def test_a_coding_without_code_does_not_lose_the_code_before() -> None:
    turns = iter(
        [coder("no unit at all"), coder("", "search", "a"), coder("", "search", "b"), coder(unit_text("Good", "mixer"))]
    )
    world = World(lambda ask: next(turns))
    done = built(world, brief("mutation", GPT, limits=replace(GREEDY, max_turns=1)), "mixer")
    assert done.tree is not None
    told = world.asks("coder")[-1].prompt.messages[1].text.partition("# The last attempt")[2]
    assert "no unit at all" in told and "handed nothing in" in told and "[syntax]" in told


def test_findings_and_reviews_go_back_to_the_coder() -> None:
    codes = iter(["no unit at all", unit_text("Wrong", "norm"), unit_text("Bad", "mixer"), unit_text("Poor", "mixer")])
    world = World(
        code=lambda ask: coder(next(codes, unit_text("Good", "mixer"))),
        check=lambda check: (
            (finding("Bad"),) if check.depth == "unit" and check.tree.at("mixer").unit.name == "Bad" else ()
        ),
        observe=lambda ask: (
            observer(2.9, "too plain") if "class Poor" in ask.prompt.messages[1].text else observer(3.0)
        ),
    )
    done = built(world, brief("mutation", GPT), "mixer")
    assert done.tree is not None and done.tree.at("mixer").unit.name == "Good"
    told = [ask.prompt.messages[1].text.partition("# The last attempt")[2] for ask in world.asks("coder")]
    assert "None yet." in told[0]
    assert "[syntax]" in told[1] and "no unit at all" in told[1]
    assert "accepts mixer" in told[2]
    assert "measured wrong figure; required right figure" in told[3]
    assert "rated it 2.9 of 5" in told[4] and "too plain" in told[4] and "The bar is 3 of 5." in told[4]
    assert len({ask.sample for ask in world.asks("coder")}) == 5


def test_after_its_attempts_a_unit_is_given_up_and_the_tree_rolled_back_by_one() -> None:
    """The mixer cannot be written for the first root; the second root is told, and works."""

    def code(ask: Ask) -> Any:
        text = ask.prompt.messages[1].text
        if asked_slot(ask):
            return coder("broken" if "First" in text.partition("# Units around")[2] else unit_text("Good", "mixer"))
        return coder(unit_text("Second" if "Given up before: " in text else "First", "block", {"mixer": "mixer"}))

    world = World(code)
    done = built(world, brief(limits=replace(GREEDY, max_attempts=2)))
    assert done.tree is not None and done.tree.unit.name == "Second"
    assert [asked_slot(ask) for ask in world.asks("coder")] == ["", "mixer", "mixer", "", "mixer"]
    assert (
        "Given up before: The unit at mixer was given up: [one-unit]"
        in world.asks("planner")[2].prompt.messages[1].text
    )


def test_a_finished_tree_whose_findings_blame_another_unit_has_that_one_written_once_more() -> None:
    roots = iter(["Faulty", "Mended"])

    def code(ask: Ask) -> Any:
        slot = asked_slot(ask)
        return coder(unit_text("Mixer", "mixer") if slot else unit_text(next(roots), "block", {"mixer": "mixer"}))

    def check(effect: Check) -> tuple[Finding, ...]:
        is_wrong = effect.depth == "full" and not effect.partial and effect.tree.unit.name == "Faulty"
        return (finding("Faulty", line=3),) if is_wrong else ()

    world = World(code, check=check)
    done = built(world, brief())
    assert done.tree is not None and done.tree.unit.name == "Mended" and done.tree.at("mixer").unit.name == "Mixer"
    assert [asked_slot(ask) for ask in world.asks("coder")] == ["", "mixer", ""]
    assert "wrong figure" in world.asks("coder")[-1].prompt.messages[1].text
    assert [claim.tree.unit.name for claim in world.singles(Claim)] == ["Mended"]

    roots = iter(["Faulty", *(["Faulty"] * 5)])
    failed = built(World(code, check=check), brief())
    assert (failed.tree, failed.cause) == (None, "check")


# --- ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "cause", "n_asked"), [("money", "money", 1), ("unavailable", "refused", 1), ("declined", "refused", 15)]
)
def test_refusals_end_it_as_what_they_are(refusal: Any, cause: str, n_asked: int) -> None:
    world = World(lambda ask: Refusal(cause=refusal, reason="no"))
    done = built(world, brief())
    assert (done.tree, done.cause) == (None, cause) and len(world.asks("coder")) == n_asked
    assert done.attempts[0].role == "coder" and done.attempts[0].n_useful == 0


def test_an_observer_that_gives_no_answer_lets_nothing_pass() -> None:
    done = built(World(small_block, observe=lambda ask: Refusal(cause="malformed", reason="braces")), brief())
    assert done.cause == "units" and "The observer gave no answer (malformed): braces" in done.reason


def test_a_design_that_exists_is_a_duplicate() -> None:
    done = built(World(small_block, claim=lambda tree: "design-7"), brief())
    assert (done.tree, done.cause, done.duplicate_of) == (None, "duplicate", "design-7")


def test_a_mutation_that_changes_nothing_is_told_so() -> None:
    codes = iter([GPT.at("mixer").unit.source])
    world = World(lambda ask: coder(next(codes, unit_text("New", "mixer"))))
    assert built(world, brief("mutation", GPT), "mixer").tree is not None
    assert "the design equals its parent" in world.asks("coder")[1].prompt.messages[1].text


# --- whatever it is told ---------------------------------------------------------------------------------------

TEXTS = (
    "", "no unit", unit_text("Leaf", "mixer"), unit_text("Pair", "mixer", {"a": "mixer", "b": "norm"}),
    unit_text("Norm", "norm"), unit_text("Root", "block", {"mixer": "mixer", "norm": "norm"}), unit_text("Lone", "block"),
    unit_text("Wide", "block", {f"s{i}": "mixer" for i in range(9)}), unit_text("Place", "position"), "\x00", "(" * 500,
    unit_text("Channel", "channel", {"inner": "channel"}), GPT.at("mixer").unit.source,
)  # fmt: skip
LIMITS = st.builds(
    SessionLimits, beam=st.integers(1, 3), samples=st.integers(1, 3), max_turns=st.integers(0, 2),
    max_attempts=st.integers(0, 3), max_failed_units=st.integers(0, 3), max_units=st.integers(1, 7),
    planner=st.booleans(), observer=st.booleans(), literature=st.booleans(), feedback=st.booleans(),
)  # fmt: skip


FITTING = {
    "block": TEXTS[5],
    "mixer": TEXTS[2],
    "norm": TEXTS[4],
    "position": TEXTS[8],
    "channel": unit_text("C", "channel"),
}


class Chaos(World):
    """Answers at random, more or less kindly: refusals, nonsense, units that fit or not, findings here and there."""

    def __init__(self, seed: int) -> None:
        super().__init__(code=self._turn, claim=lambda tree: "" if self._is_kind() else "design-1")
        self.rng, self.numbers = Random(seed), count()
        self.kindness = self.rng.choice([0.2, 0.7, 0.95, 1.0])

    def answer(self, effect: Any) -> Any:
        rng = self.rng
        if isinstance(effect, Ask) and not self._is_kind() and rng.random() < 0.3:
            causes = ["malformed", "declined", "too-long", *(["money", "unavailable"] if rng.random() < 0.1 else [])]
            return Refusal(cause=rng.choice(causes), reason="refused", cap="")  # type: ignore[arg-type]
        if isinstance(effect, Ask) and effect.role == "planner":
            slots = ["", "(root)", "mixer", "mixer.a", "norm", "nowhere", "mixer..a"]
            return PlannerTurn(
                slot=rng.choice(slots), specification=rng.choice(["", "{{x}}", "s"]),
                reuse=rng.choice(["", "", "", "", "RMSNorm", "Attention", "GatedBranch", "None"]),
            )  # fmt: skip
        if isinstance(effect, Ask) and effect.role == "observer":
            return observer(5.0 if self._is_kind() else rng.choice([0.0, 2.9, 3.0]), "</retrieved> {{bar}}")
        if isinstance(effect, Check):
            return Checked(findings=() if self._is_kind() else (self._finding(),))
        if isinstance(effect, Probe):
            return rng.choice([None, 0.1, 0.9, float("nan"), float("inf")])
        return super().answer(effect)

    def _is_kind(self) -> bool:
        return self.rng.random() < self.kindness

    def _turn(self, ask: Ask) -> Any:
        action = self.rng.choice([*["submit"] * 9, "check", "profile", "read_unit", "search", "derive"])
        kind = (
            ask.prompt.messages[1]
            .text.rpartition("\nSlot: ")[2]
            .partition("accepts: ")[2]
            .partition("\n")[0]
            .partition(",")[0]
        )
        text = FITTING.get(kind, "") if self._is_kind() else self.rng.choice(TEXTS)
        return coder(text.replace('"""', f'"""{next(self.numbers)}', 1), action, "{{slot}}")

    def _finding(self) -> Finding:
        unit = self.rng.choice(["", "Root", "Leaf", "Pair"])
        severity = self.rng.choice(["error", "error", "warning"])
        return replace(finding(unit, self.rng.choice([None, 3])), severity=severity)  # type: ignore[arg-type]


def most_effects(limits: SessionLimits, n_units: int) -> int:
    """An upper bound from the limits alone."""
    a_round = 5 * (limits.max_turns + 1) + 5 + limits.samples
    a_unit = 6 + limits.max_attempts * a_round
    return (n_units + 2 * limits.max_failed_units + 2) * (limits.beam + 1) * a_unit + 4 * limits.beam


@settings(max_examples=200, deadline=None)
@given(LIMITS, st.sampled_from(["mutation", "crossover", "scratch"]), st.integers(0, 2**32), st.data())
def test_whatever_it_is_told_it_ends_with_an_outcome(
    limits: SessionLimits, operator: str, seed: int, data: st.DataObject
) -> None:
    b = brief(operator, *{"mutation": (GPT,), "crossover": (GPT, RETNET)}.get(operator, ()), limits=limits)
    target = data.draw(st.sampled_from(["", "mixer", "mixer.position", "(root)", "nowhere"]))
    world = Chaos(seed)
    done = world.run(implement(b, proposal(target), FIGURES), most_effects(limits, most_units(b)))
    for effect in world.yielded:
        if isinstance(effect, Gather):
            assert (
                len([e for e in effect.effects if isinstance(e, Probe)]) <= limits.beam * limits.samples + limits.beam
            )
            assert len(_prompts(effect)) <= limits.beam * limits.samples
    if done.tree is None:
        assert done.cause in CAUSES and done.reason
        return
    assert not done.cause and not done.tree.open_slots() and len(list(done.tree.walk())) <= most_units(b)
    assert world.singles(Claim)[-1].tree == done.tree
    if operator == "mutation":
        assert done.tree != GPT
        for path, place in GPT.walk():
            if path != done.target and not path.startswith(f"{done.target}." if done.target else ""):
                assert done.tree.at(path).unit.source == place.unit.source
    assert first_draft(b, target).tree in (None, *b.parents)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_equal_answers_make_equal_sessions(seed: int) -> None:
    limits = SessionLimits(beam=2, samples=2, max_attempts=2, max_turns=1)
    once, again = Chaos(seed), Chaos(seed)
    first = once.run(implement(brief("mutation", GPT, limits=limits), proposal("mixer"), FIGURES))
    assert again.run(implement(brief("mutation", GPT, limits=limits), proposal("mixer"), FIGURES)) == first
    assert once.yielded == again.yielded


def _prompts(effect: Effect) -> list[Ask]:
    return [single for single in effect.effects if isinstance(single, Ask)] if isinstance(effect, Gather) else []


# --- prompts ---------------------------------------------------------------------------------------------------


def golden_asks() -> Iterator[Ask]:
    world = World(small_block)
    built(world, brief("mutation", GPT), "mixer")
    codes = iter([unit_text("Poor", "mixer"), unit_text("Good", "mixer")])
    world = World(
        lambda ask: coder(next(codes)), observe=lambda ask: observer(2.0 if "Poor" in str(ask.prompt) else 4.0)
    )
    built(world, brief("mutation", GPT), "mixer")
    yield from (world.asks("planner")[0], world.asks("coder")[1], world.asks("observer")[0])


@pytest.mark.parametrize("ask", golden_asks(), ids=lambda ask: ask.role)
def test_prompts_are_what_they_were(ask: Ask) -> None:
    """Written anew as `tests/roles/test_prompts.py` says."""
    text = "\n".join(f"=== {message.author}\n{message.text}" for message in ask.prompt.messages) + "\n"
    if os.environ.get("GENESYS_GOLDEN") == "write":
        (GOLDEN / f"{ask.role}.txt").write_text(text, encoding="utf-8")
    assert text == (GOLDEN / f"{ask.role}.txt").read_text(encoding="utf-8")


def test_what_a_session_s_prompts_have_in_common_comes_first() -> None:
    world = World(small_block)
    built(world, brief())
    systems = {(ask.role, ask.prompt.messages[0]) for ask in world.singles(Ask)}
    assert len(systems) == 3 and all(message.stable for _, message in systems)
