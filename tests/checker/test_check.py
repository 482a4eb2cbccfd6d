"""The checker's verdicts: sane designs pass, each wrong is met by its own rule (law 12, as far as it is built)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import torch

from genesys.checker import CHEAP_STAGES, STAGES, Judgement, check_request, checker_version, observe
from genesys.checker.failures import failure_finding
from genesys.checker.job import check
from genesys.checker.request import NEEDED_STAGES, policy_hash
from genesys.errors import Finding
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import SEED_NAMES, library, seed_design
from genesys.ladder import CPU_SCALES

MIXER = '''
import torch
from torch import nn

class Mixer(nn.Module):
    """A mixer that is right but for one thing."""
    kind = "mixer"

    def __init__(self, d: int, ctx):
        super().__init__()
        self.out = nn.Linear(d, d, bias=False)
        {init}

    def forward(self, X, Z):
        past = torch.cumsum(self.out(X), dim=1) / torch.arange(1, X.shape[1] + 1, device=X.device)[None, :, None]
        {body}
        return past.to(X.dtype), {{}}
'''


def verdict(body: str = "pass", init: str = "pass") -> dict[str, Any]:
    unit = parse_unit(MIXER.format(body=body, init=init))
    return run(seed_design("gpt").graft("mixer", UnitTree(unit)))


def run(tree: UnitTree) -> dict[str, Any]:
    with torch.random.fork_rng():
        return check(check_request(tree, CPU_SCALES[:1], 257))


@pytest.mark.parametrize("seed", SEED_NAMES)
def test_seeds_are_sane(seed: str) -> None:
    assert run(seed_design(seed))["findings"] == []


def test_the_mixer_without_a_fault_is_sane() -> None:
    report = verdict()
    assert [f for f in report["findings"] if f["severity"] == "error"] == []
    assert set(report["sizes"]) == {"cpu-1"}


@pytest.mark.parametrize(
    ("rule", "body", "init"),
    [
        ("causality", "past = past + X.flip(1)", "pass"),
        ("causality", "past = past + X.abs().mean(1, keepdim=True)", "pass"),
        ("causality", "past = past + (X ** 2).sum(1, keepdim=True)", "pass"),
        ("causality", "past = past + (X.roll(-1, 1) if self.training else 0)", "pass"),
        ("causality", "past = past + (X.roll(-1, 1) if X.shape[1] != 16 else 0)", "pass"),
        ("causality", "past = past + (X.roll(-1, 1) if self.index else 0)", "self.index = ctx.block_index"),
        ("batch", "past = past + X[:1]", "pass"),
        ("causality", "past = past + X.roll(-1, 1).sign()", "pass"),  # no gradient shows it
        ("causality", "past = past + X.roll(-1, 1) - X.roll(-1, 1).detach()", "pass"),  # no value shows it
        ("finite", "past = past / 0", "pass"),
        ("deterministic", "past = past + torch.rand_like(past)", "pass"),
        ("state", "self.calls += 1; past = past * self.calls", "self.calls = 0"),
        ("gradient", "past = past.detach()", "pass"),
        (
            "gradient",
            "past = past + (0 if self.index else torch.sqrt((self.out.weight * 0).sum().abs()) * 0)",
            "self.index = ctx.block_index",
        ),
        ("gradient", "pass", "self.unused = nn.Parameter(torch.ones(d))"),
        ("run-error", "past = past.view(-1)[:7].view(1, 7)", "pass"),
        ("shape-error", "pass", "assert d == 17"),
        ("import", "import os", "pass"),
        ("forbidden-call", "open('x')", "pass"),
        ("slots", "pass", "ctx.child('undeclared')"),
    ],
)
def test_each_fault_has_its_rule(rule: str, body: str, init: str) -> None:
    findings = verdict(body, init)["findings"]
    assert rule in [finding["rule"] for finding in findings if finding["severity"] == "error"], findings


def test_ignoring_all_context_is_found() -> None:
    pointwise = seed_design("gpt").at("channel")
    lonely = parse_unit(
        MIXER.replace("past = torch.cumsum", "past = self.out(X); _ = torch.cumsum").format(body="pass", init="pass")
    )
    tree = seed_design("gpt").graft("mixer", UnitTree(lonely)).graft("channel", pointwise)
    assert "context" in [finding["rule"] for finding in run(tree)["findings"]]


def test_a_finding_names_the_line_in_the_authors_text() -> None:
    finding = verdict(body="raise RuntimeError('here')")["findings"][-1]
    line = MIXER.format(body="raise RuntimeError('here')", init="pass").strip("\n").split("\n")[finding["line"] - 1]
    assert finding["rule"] == "run-error" and "here" in line and "RuntimeError: here" in finding["measured"]


def test_a_cheap_failure_does_not_wait_for_an_expensive_stage() -> None:
    report = verdict(body="import os; past = past.flip(1)")
    assert report["sizes"] == {} and {finding["rule"] for finding in report["findings"]} == {"import"}


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    return {name: stage["outcome"] for name, stage in report["stages"].items()}


def test_the_report_says_what_was_run() -> None:
    report = run(seed_design("gpt"))
    assert outcomes(report) == {stage: "passed" if stage in CHEAP_STAGES else "skipped" for stage in STAGES}
    assert all((report["stages"][name]["seconds"] > 0) == (name in CHEAP_STAGES) for name in STAGES)
    assert report["checker"] == checker_version()
    assert report["policy"] == policy_hash(check_request(seed_design("gpt"), CPU_SCALES[:1], 257))


def test_stages_after_an_error_are_skipped() -> None:
    assert list(outcomes(verdict("past = past + X.flip(1)")).values()) == ["passed"] * 4 + ["failed"] + ["skipped"] * 3


@pytest.mark.parametrize("stage", CHEAP_STAGES)
def test_one_stage_runs_with_those_it_needs(stage: str) -> None:
    report = check(check_request(seed_design("gpt"), CPU_SCALES[:1], 257, stages=[stage]))
    assert {name for name, outcome in outcomes(report).items() if outcome == "passed"} == {stage, *NEEDED_STAGES}


def test_effectiveness_gives_its_figures() -> None:
    request = check_request(seed_design("gpt"), CPU_SCALES[:1], 257, stages=["effectiveness"])
    small = {
        "d_model": 32,
        "lengths": (16, 32, 64),
        "context": 32,
        "n_steps": 3,
        "n_recall_steps": 3,
        "max_loss_share": 1.1,
    }
    report = check(request | {"effectiveness": small})
    assert outcomes(report)["effectiveness"] == "passed"
    assert report["measures"]["flops_ratio"] == 1.0 and report["measures"]["reference_recall_loss"] > 0


TESTED = (
    MIXER
    + """
def test_of_its_own(make):
    assert make(d=8).out.weight.shape == (8, 8)
    assert make(d=8).out.bias is not None, 'it wants a bias'
"""
)


def test_the_tests_in_a_units_text_are_run() -> None:
    unit = parse_unit(TESTED.format(body="pass", init="pass"))
    report = run(seed_design("gpt").graft("mixer", UnitTree(unit)))
    (finding,) = report["findings"]
    assert finding["rule"] == "unit-test" and "it wants a bias" in finding["measured"]
    assert (finding["unit"], finding["path"]) == ("Mixer", "mixer")
    assert "out.bias" in unit.source.split("\n")[finding["line"] - 1]
    assert outcomes(report)["unit-tests"] == "failed" and outcomes(report)["run"] == "skipped"


def test_an_exception_of_any_class_is_a_finding() -> None:
    """Not only those below `Exception`: they would end the child, and the check with it."""
    unit = parse_unit("class Own(BaseException):\n    pass\n" + MIXER.format(body="raise Own('odd')", init="pass"))
    report = check(
        check_request(seed_design("gpt").graft("mixer", UnitTree(unit)), CPU_SCALES[:1], 257, stages=["run"])
    )
    assert [(f["rule"], f["measured"]) for f in report["findings"]] == [("run-error", "Own: odd")]


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "measured"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (Mute(), "Mute: (an exception whose text cannot be made)"),
        (MemoryError("x" * 9999), "MemoryError: " + "x" * 487),
    ],
)
def test_an_exception_is_told_in_bounds(error: BaseException, measured: str) -> None:
    finding = failure_finding("run-error", error, seed_design("gpt"), "it runs through")
    assert finding.measured == measured and (finding.unit, finding.line) == ("PreNormBlock", None)


def test_a_finding_names_the_place_in_the_tree() -> None:
    inner = parse_unit(MIXER.format(body="raise RuntimeError('deep')", init="pass"))
    tree = seed_design("gpt").graft("channel", UnitTree(library()["Residual"], (), (("inner", UnitTree(inner)),)))
    finding = run(tree)["findings"][-1]
    assert (finding["rule"], finding["unit"], finding["path"]) == ("run-error", "Mixer", "channel.inner")
    twice = tree.graft("mixer", UnitTree(inner))
    assert run(twice)["findings"][-1]["path"] == "mixer", "the same unit in two places, told apart by its parents"


class Strict:
    """An observer that always finds one thing."""

    def __init__(self, severity: Any) -> None:
        self.severity, self.seen = severity, []

    async def judge(self, proposal: str, tree: UnitTree, findings: tuple[Finding, ...]) -> Judgement:
        self.seen.append((proposal, tree.design_id, len(findings)))
        finding = Finding(rule="fidelity", measured="a mean", required="attention", hint="", severity=self.severity)
        return Judgement(rating=2.5, findings=(finding,))


@pytest.mark.parametrize(("severity", "outcome"), [("warning", "passed"), ("error", "failed")])
def test_an_observer_is_heard(severity: str, outcome: str) -> None:
    tree, observer = seed_design("gpt"), Strict(severity)
    report = asyncio.run(observe(run(tree), tree, "attend", observer))
    assert outcomes(report)["semantic"] == outcome and report["measures"]["rating"] == 2.5
    assert [finding["rule"] for finding in report["findings"]] == ["fidelity"]
    assert observer.seen == [("attend", tree.design_id, 0)]


def test_without_an_observer_the_stage_is_skipped_and_a_rejected_design_is_not_shown() -> None:
    tree, observer = seed_design("gpt"), Strict("error")
    report, rejected = run(tree), verdict("past = past + X.flip(1)")
    assert asyncio.run(observe(report, tree, "", None)) == report and outcomes(report)["semantic"] == "skipped"
    assert asyncio.run(observe(rejected, tree, "", observer)) == rejected and observer.seen == []
