"""Prompts as they are sent, held against golden files, and what they must say.

After a change that is meant, write them anew with `GENESYS_GOLDEN=write pytest tests/roles/test_prompts.py` and read the difference.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import fields
from importlib import resources
from pathlib import Path

import pytest

from genesys.checker import STAGES, check_request
from genesys.checker.job import check
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import seed_design, unit_named
from genesys.ladder.presets import CPU_SCALES
from genesys.roles.answers import DirectTurn, LessonsTurn, ProposerTurn, ReviewerTurn
from genesys.roles.brief import SessionLimits
from genesys.roles.direct import direct
from genesys.roles.effects import Ask
from genesys.roles.lessons import lessons_session
from genesys.roles.prompt import Prompt
from genesys.roles.proposing import propose
from genesys.roles.wording import BOUNDS
from tests.roles.briefs import EVIDENCE, FIGURES, PROPOSAL, REVIEW, brief, passage, play, world

GOLDEN = Path(__file__).parents[1] / "golden" / "prompts"
TEMPLATES = sorted(
    file.name.removesuffix(".md") for file in (resources.files("genesys.roles") / "prompts").iterdir() if file.name != "common.md"
)  # fmt: skip


def first(session, role: str) -> Prompt:  # type: ignore[no-untyped-def]
    reply = world(
        near=(passage(0.4),), proposer=[PROPOSAL], reviewer=[REVIEW], judge=[REVIEW], coder=[None], scribe=[None]
    )
    asked: list[Ask] = []

    def listen(effect):  # type: ignore[no-untyped-def]
        if isinstance(effect, Ask) and effect.role == role:
            asked.append(effect)
            raise EOFError
        return reply(effect)

    with pytest.raises(EOFError):
        play(session, listen)
    return asked[0].prompt


PROMPTS: dict[str, Callable[[], Prompt]] = {
    "proposer-mutation": lambda: first(propose(brief(), FIGURES), "proposer"),
    "proposer-crossover": lambda: first(propose(brief("crossover"), FIGURES), "proposer"),
    "proposer-scratch-blind": lambda: first(
        propose(brief("scratch", feedback=False, literature=False), FIGURES), "proposer"
    ),
    "reviewer": lambda: first(propose(brief(), FIGURES), "reviewer"),
    "judge": lambda: first(propose(brief(judge=True), FIGURES), "judge"),
    "direct": lambda: first(direct(brief(), FIGURES, PROPOSAL), "coder"),
    "scribe": lambda: first(lessons_session(EVIDENCE, FIGURES), "scribe"),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_are_what_they_were(name: str) -> None:
    text = "\n".join(f"=== {message.author}\n{message.text}" for message in PROMPTS[name]().messages) + "\n"
    if os.environ.get("GENESYS_GOLDEN") == "write":
        (GOLDEN / f"{name}.txt").write_text(text, encoding="utf-8")
    assert text == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_what_calls_share_comes_first_and_is_stable() -> None:
    starts = {PROMPTS[name]().messages[0].text.partition("\n# Your role: ")[0] for name in PROMPTS}
    assert len(starts) == 1 and starts.pop().startswith("You work in Genesys")
    for make in PROMPTS.values():
        system, user = make().messages
        assert system.stable and system.author == "system" and not user.stable
    assert PROMPTS["proposer-mutation"]().messages[0] == PROMPTS["proposer-crossover"]().messages[0]


def test_the_contract_between_prompts_and_readers_holds() -> None:
    user = PROMPTS["proposer-mutation"]().messages[1].text
    assert user.startswith("Mode: mutation\n") and "\nPlaces of parent 1:\n- (root): PreNormBlock (block)\n" in user
    assert PROMPTS["proposer-scratch-blind"]().messages[1].text.startswith("Mode: scratch\n")
    for name in ("proposer-mutation", "reviewer", "judge"):
        assert "The bar is 4 of 5." in PROMPTS[name]().messages[1].text


def test_a_blind_prompt_holds_no_result() -> None:
    user = PROMPTS["proposer-scratch-blind"]().messages[1].text
    assert "You may search 0 times." in user
    assert not re.search(r"fitness|verified|rejected|0\.\d{3}", user)


def test_every_bound_is_stated_once_and_no_other_is_named() -> None:
    shared = (resources.files("genesys.roles") / "prompts" / "common.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\{\{(\w+)\}\}", shared)) == sorted(BOUNDS)


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_cached_knows_no_fields(name: str) -> None:
    text = (resources.files("genesys.roles") / "prompts" / f"{name}.md").read_text(encoding="utf-8")
    standing, line, asked = text.partition("\n---\n")
    assert line and "{{" not in standing and "{{" in asked and standing.startswith("# Your role: ")


def test_shared_prompt_says_what_the_reference_never_said() -> None:
    shared = PROMPTS["reviewer"]().messages[0].text
    for topic in ("Causality", "Differentiability", "Parallel form", "Parameters", "Cost", "Numerics", "Initialisation",
                  "cheating", "ctx.own_init", "never an instruction"):  # fmt: skip
        assert topic in shared, topic
    assert all(text in shared for text in FIGURES.values())


def test_the_worked_example_passes_every_check() -> None:
    shared = (resources.files("genesys.roles") / "prompts" / "common.md").read_text(encoding="utf-8")
    source = re.search(r"```python\n(.*?)```", shared, re.DOTALL)
    assert source
    unit = UnitTree(parse_unit(source[1]), (), (("norm", UnitTree(unit_named("RMSNorm"))),))
    stages = [stage for stage in STAGES if stage not in ("effectiveness", "semantic")]
    report = check(check_request(seed_design("gpt").graft("mixer", unit), CPU_SCALES, 512, stages=stages))
    assert report["findings"] == []
    assert {stage["outcome"] for name, stage in report["stages"].items() if name in stages} == {"passed"}


def test_forms_of_answers_are_within_what_prompts_say() -> None:
    assert {"search", "propose"} == set(_choices(ProposerTurn)) and {"search", "review"} == set(_choices(ReviewerTurn))
    assert [f.name for f in fields(DirectTurn)] == ["title", "abstract", "units", "tree"]
    assert [f.name for f in fields(LessonsTurn)] == ["lessons"]
    assert SessionLimits().proposal_bar == 4.0 and SessionLimits().unit_bar == 3.0  # facts.md: the paper's bars


def _choices(form: type) -> list[str]:
    return re.findall(r"['\"](\w+)['\"]", str(form.__annotations__["action"]))
