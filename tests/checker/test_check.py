"""The checker's verdicts: sane designs pass, each wrong is met by its own rule (law 12, as far as it is built)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch

from genesys.checker.job import check
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import SEED_NAMES, seed_design
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
        return check({"tree": tree.to_json(), "scales": [asdict(CPU_SCALES[0])], "vocab_size": 257})


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
        ("causality", "past = past + X[:1]", "pass"),
        ("causality", "past = past + X.roll(-1, 1).sign()", "pass"),  # no gradient shows it
        ("causality", "past = past + X.roll(-1, 1) - X.roll(-1, 1).detach()", "pass"),  # no value shows it
        ("finite", "past = past / 0", "pass"),
        ("deterministic", "past = past + torch.rand_like(past)", "pass"),
        ("deterministic", "self.calls += 1; past = past * self.calls", "self.calls = 0"),
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
