"""Every cheat of the corpus is rejected by its own rule, with a finding that says where and what."""

from __future__ import annotations

import pytest
import torch

from genesys.checker.rules import RULES
from tests.checker.cheats import Cheat
from tests.checker.cheats.learning import LEARNING
from tests.checker.cheats.memory import MEMORY
from tests.checker.cheats.reach import REACH
from tests.checker.cheats.sight import SIGHT
from tests.checker.stages import first_findings

CHEATS = {**SIGHT, **MEMORY, **LEARNING, **REACH}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", CHEATS)
def test_each_cheat_meets_its_rule(name: str) -> None:
    cheat = CHEATS[name]
    finding = first_findings(cheat.design())[0]
    assert finding.rule == cheat.rule, str(finding)
    assert finding.severity == "error"
    assert finding.measured and finding.required


def test_names_are_not_used_twice() -> None:
    assert len(CHEATS) == len(SIGHT) + len(MEMORY) + len(LEARNING) + len(REACH) >= 200


def test_rules_of_the_corpus_are_in_the_catalogue() -> None:
    assert {cheat.rule for cheat in CHEATS.values()} <= set(RULES)


def test_the_mixer_without_a_fault_is_sane() -> None:
    assert first_findings(Cheat(rule="").design()) == []
    assert first_findings(Cheat(rule="", alone=True, body="past = X + past").design()) == []


@pytest.mark.parametrize("name", REACH)
def test_a_finding_about_the_text_names_its_line(name: str) -> None:
    cheat = REACH[name]
    line = first_findings(cheat.design())[0].line
    wrong = [part.strip() for field in (cheat.top, cheat.members, cheat.init, cheat.body) for part in field.split("\n")]
    assert line is not None
    assert cheat.source().split("\n")[line - 1].strip() in [part for part in wrong if part]
