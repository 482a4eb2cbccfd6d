"""Verdicts are kept by design, checker and policy; whatever else lies in the folder is measured again (law 14)."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesys.checker import VerdictCache, check_request, checker_version
from genesys.checker.cache import is_report
from genesys.checker.job import check
from genesys.checker.request import EffectivenessPolicy, policy_hash
from genesys.errors import JobFailed
from genesys.gau.library import seed_design
from genesys.ladder import CPU_SCALES
from genesys.sandbox import Policy
from genesys.verification.checking import check_design

TREE = seed_design("gpt")
REQUEST = check_request(TREE, CPU_SCALES[:1], 257, stages=["static"])


class CountingCage:
    """Runs checks in this process, and counts them."""

    def __init__(self, failure: JobFailed | None = None) -> None:
        self.n_runs, self._failure = 0, failure

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        self.n_runs += 1
        if self._failure is not None:
            raise self._failure
        return check(request)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    torch.set_num_threads(1)
    return check(REQUEST)


def ask(cage: CountingCage, folder: Path, request: Mapping[str, Any] = REQUEST) -> dict[str, Any]:
    return asyncio.run(check_design(TREE, request, cage, deadline_s=60, verdicts=VerdictCache(folder)))


def test_a_second_check_runs_nothing(tmp_path: Path) -> None:
    cage = CountingCage()
    first, second = ask(cage, tmp_path), ask(cage, tmp_path)
    assert cage.n_runs == 1 and first == second
    assert (first["design"], first["checker"]) == (TREE.design_id, checker_version())


@pytest.mark.parametrize(
    "other",
    [
        check_request(TREE, CPU_SCALES[:2], 257, stages=["static"]),
        check_request(TREE, CPU_SCALES[:1], 258, stages=["static"]),
        check_request(TREE, CPU_SCALES[:1], 257, stages=["run"]),
        check_request(TREE, CPU_SCALES[:1], 257, stages=["static"], partial=True),
        check_request(TREE, CPU_SCALES[:1], 257, stages=["static"], effectiveness=EffectivenessPolicy(max_work=9.0)),
        check_request(TREE, [replace(CPU_SCALES[0], context=32)], 257, stages=["static"]),
    ],
    ids=["scales", "vocabulary", "stages", "partial", "bounds", "context"],
)
def test_another_policy_is_another_check(tmp_path: Path, report: dict[str, Any], other: dict[str, Any]) -> None:
    cache = VerdictCache(tmp_path)
    assert cache.put(REQUEST, TREE, report)
    assert cache.get(other, TREE) is None and policy_hash(other) != policy_hash(REQUEST)
    assert cache.get(REQUEST, TREE) == report


def test_another_checker_is_another_check(
    tmp_path: Path, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    VerdictCache(tmp_path).put(REQUEST, TREE, report)
    monkeypatch.setattr("genesys.checker.cache.checker_version", lambda: "another")
    assert VerdictCache(tmp_path).get(REQUEST, TREE) is None


def test_a_report_on_another_design_is_not_kept(tmp_path: Path, report: dict[str, Any]) -> None:
    """Reports are made beside generated code: one must not answer for a design that it was not asked about."""
    assert not VerdictCache(tmp_path).put(REQUEST, seed_design("retnet"), report)
    assert not VerdictCache(tmp_path).put(REQUEST, TREE, report | {"design": seed_design("retnet").design_id})
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize("cause", ["killed", "infrastructure", "timeout", "out-of-memory"])
def test_no_verdict_is_not_kept(tmp_path: Path, cause) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(JobFailed, match="it ended"):
        ask(CountingCage(JobFailed(cause, "it ended")), tmp_path)
    assert list(tmp_path.rglob("*")) == []
    cage = CountingCage()
    ask(cage, tmp_path)
    assert cage.n_runs == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(content=st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda v: st.lists(v, max_size=3)
    | st.dictionaries(st.sampled_from(["design", "checker", "policy", "findings", "sizes"]), v), max_leaves=8,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_what_cannot_be_read_is_measured_again(tmp_path: Path, report: dict[str, Any], content: bytes) -> None:
    cache = VerdictCache(tmp_path)
    cache.put(REQUEST, TREE, report)
    (entry,) = tmp_path.rglob("*.json")
    entry.write_bytes(content)
    assert cache.get(REQUEST, TREE) is None
    assert cache.put(REQUEST, TREE, report) and cache.get(REQUEST, TREE) == report


@pytest.mark.parametrize("length", [1, 100, -20, -1])
def test_an_entry_cut_short_is_measured_again(tmp_path: Path, report: dict[str, Any], length: int) -> None:
    cache = VerdictCache(tmp_path)
    cache.put(REQUEST, TREE, report)
    (entry,) = tmp_path.rglob("*.json")
    entry.write_bytes(entry.read_bytes()[:length])
    assert cache.get(REQUEST, TREE) is None


@pytest.mark.parametrize(
    "change",
    [
        {"findings": [{"rule": "x"}]},
        {"findings": [dict.fromkeys(("rule", "unit", "path", "measured", "required", "hint"), "") | {"severity": "none"}]},
        {"findings": [dict.fromkeys(("rule", "unit", "path", "measured", "required", "hint", "more"), "") | {"severity": "error"}]},
        {"findings": None},
        {"stages": []},
        {"policy": "another"},
    ],
)  # fmt: skip
def test_a_malformed_report_is_none(report: dict[str, Any], change: dict[str, Any]) -> None:
    assert is_report(report, REQUEST, TREE) and not is_report(report | change, REQUEST, TREE)


def test_a_folder_that_cannot_be_written_costs_no_verdict(
    tmp_path: Path, report: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert not VerdictCache(tmp_path / "file").put(REQUEST, TREE, report)
    assert "Cannot keep the verdict" in caplog.text


def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert not VerdictCache(tmp_path).put(REQUEST, TREE, report)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
