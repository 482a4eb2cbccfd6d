"""The flow `direct`: one answer, the same checks, findings fed back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from genesys.errors import Finding
from genesys.gau.library import unit_named
from genesys.roles.direct import direct, read_direct
from genesys.roles.effects import Check, Checked, Claim, Refusal
from tests.roles.briefs import DIRECT, FIGURES, GPT, PROPOSAL, brief, play, world

LEAK = Checked(findings=(Finding(rule="causality", measured="1e-3", required="0", hint="Mask it.", unit="Attention"),))


def tree(entry: object) -> str:
    return json.dumps(entry)


def block(**slots: object) -> str:
    filled = {"norm_mixer": "RMSNorm", "mixer": "TTTLinear", "norm_channel": "RMSNorm", "channel": "GeGLU"} | slots
    return tree({"unit": "PreNormBlock", "slots": filled})


def test_a_sane_block_is_claimed_and_given() -> None:
    played = play(direct(brief(), FIGURES), world(coder=[DIRECT]))
    outcome = played.outcome
    assert outcome.tree.at("channel").unit == unit_named("GeGLU") and not outcome.cause
    assert outcome.title == DIRECT.title and outcome.abstract == DIRECT.abstract
    assert [type(e) for e in played.effects if isinstance(e, Check | Claim)] == [Check, Claim]


def test_it_writes_a_given_proposal() -> None:
    played = play(direct(brief(), FIGURES, PROPOSAL), world(coder=[DIRECT]))
    assert "s_ts = q_t . k_s" in played.asked("coder")[0].prompt.messages[-1].text
    assert played.outcome.title == PROPOSAL.title


def test_findings_go_back_until_it_passes() -> None:
    verdicts = [LEAK, Checked(findings=())]
    reply = world(coder=[DIRECT])
    played = play(direct(brief(), FIGURES), lambda e: verdicts.pop(0) if isinstance(e, Check) else reply(e))
    first, second = played.asked("coder")
    assert (
        "Mask it." in second.prompt.messages[-1].text and len(second.prompt.messages) == len(first.prompt.messages) + 2
    )
    assert played.outcome.tree is not None
    assert [(a.n_asked, a.n_useful) for a in played.outcome.attempts] == [(2, 1)]


def test_attempts_are_capped() -> None:
    reply = world(coder=[DIRECT])
    played = play(direct(brief(max_attempts=3), FIGURES), lambda e: LEAK if isinstance(e, Check) else reply(e))
    assert played.outcome.tree is None and played.outcome.cause == "check" and "causality" in played.outcome.reason
    assert len(played.asked("coder")) == 3 and not any(isinstance(e, Claim) for e in played.effects)


def test_an_equal_design_is_a_duplicate() -> None:
    reply = world(coder=[DIRECT])
    played = play(direct(brief(), FIGURES), lambda e: "a" * 64 if isinstance(e, Claim) else reply(e))
    assert (played.outcome.tree, played.outcome.cause, played.outcome.duplicate_of) == (None, "duplicate", "a" * 64)


@pytest.mark.parametrize(("cause", "ends"), [("money", "money"), ("unavailable", "refused"), ("malformed", "refused")])
def test_refusals(cause: str, ends: str) -> None:
    refusal = Refusal(cause=cause, reason="why")  # type: ignore[arg-type]
    played = play(direct(brief(max_attempts=2), FIGURES), world(coder=[refusal]))
    assert (played.outcome.cause, played.outcome.reason) == (ends, "why")
    assert len(played.asked("coder")) == (2 if cause == "malformed" else 1)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "cannot be read: JSONDecodeError"),
        ("[]", "cannot be read: AttributeError"),
        ("null", "cannot be read: "),
        ("[" * 4000, "cannot be read: RecursionError"),
        ('{"unit": 5}', "cannot be read: "),
        ('{"unit": {}}', "cannot be read: TypeError"),
        ('{"slots": {}}', "cannot be read: KeyError"),
        (tree({"unit": "PreNormBlok"}), "Did you mean 'PreNormBlock'?"),
        (tree({"unit": "RMSNorm"}), "kind 'norm'; expected a block"),
        (block(mixer="RMSNorm"), "accepts mixer"),
        (block(mixed="RMSNorm"), "it has norm_mixer, mixer"),
        (tree({"unit": "PreNormBlock", "hyperparameters": {"p": 1}}), "Cannot set hyperparameter 'p'"),
        (block(mixer={"unit": "Attention", "hyperparameters": {"n_heads": {"expression": "1/0"}}}), "is an expression"),
        (block(mixer={"unit": "Attention", "hyperparameters": {"n_heads": {"a": 1}}}), "cannot be read: KeyError"),
        (block(mixer={"unit": "Attention", "hyperparameters": {"n_heads": float("nan")}}), "cannot be nan"),
    ],
)
def test_a_tree_that_is_none_is_explained(text: str, complaint: str) -> None:
    said = read_direct(replace(DIRECT, tree=text), brief())
    assert isinstance(said, str) and complaint in said


def test_units_that_are_none_are_findings() -> None:
    said = read_direct(replace(DIRECT, units=("def f(: pass",)), brief())
    assert isinstance(said, str) and said.startswith("- error at (root) [syntax]")


def test_a_tree_may_not_be_too_large() -> None:
    said = read_direct(DIRECT, brief(max_units=5))
    assert said == "The tree has 6 places; expected at most 5."


def test_new_units_go_before_those_of_parents_and_library() -> None:
    own = unit_named("RMSNorm").source.replace("1e-6", "1e-5")
    read = read_direct(replace(DIRECT, units=(own,)), brief())
    assert not isinstance(read, str) and "1e-5" in read.at("norm_mixer").unit.source
    assert read.at("mixer").unit == GPT.at("mixer").unit
