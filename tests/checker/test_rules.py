"""The catalogue is whole: every rule that the code can emit is in it, and the page is made from it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import genesys
from genesys.checker import CHEAP_STAGES, RULES, STAGES, check_request, unchecked
from genesys.checker.rules import Rule, as_markdown
from genesys.errors import CAUSES, ConfigError, JobFailed
from genesys.gau.library import seed_design

PACKAGE = Path(genesys.__file__).parent
SOURCES = (
    *sorted((PACKAGE / "checker").glob("*.py")),
    *sorted((PACKAGE / "gau").glob("*.py")),
    *sorted((PACKAGE / "importer").glob("*.py")),
    PACKAGE / "model/size.py",
)
MAKERS = {"Finding", "_finding", "_complain", "_warn"}


def emitted(module: ast.AST) -> Iterator[str]:
    """Rule ids that stand as literals where findings are made."""
    for node in ast.walk(module):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "RULES":
            yield from literals(node.slice)
        if isinstance(node, ast.Call) and name_of(node.func) in MAKERS:
            given = [k.value for k in node.keywords if k.arg == "rule"] or node.args[:2]
            yield from (text for argument in given for text in literals(argument))


def name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def literals(value: ast.expr) -> Iterator[str]:
    if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
        yield value.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_rule_in_the_code_is_in_the_catalogue(path: Path) -> None:
    unknown = set(emitted(ast.parse(path.read_text(encoding="utf-8")))) - set(RULES)
    assert not unknown, f"{path.name} emits rules that genesys/checker/rules.py does not describe"


def test_the_search_for_rules_finds_them() -> None:
    found = {rule for path in SOURCES for rule in emitted(ast.parse(path.read_text(encoding="utf-8")))}
    assert found >= {"syntax", "docstring", "size-coarse", "not-parallel", "open-slot", "placeholder", "recursion"}


def test_the_page_is_the_catalogue() -> None:
    page = (PACKAGE.parent / "docs/rules.md").read_text(encoding="utf-8")
    assert page == as_markdown(), "write it anew: python -m genesys.checker.rules > docs/rules.md"


def test_each_rule_stands_on_the_page_once() -> None:
    lines = as_markdown().splitlines()
    assert all(sum(line.startswith(f"| `{id_}` |") for line in lines) == 1 for id_ in RULES)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "semantic"])
def test_every_stage_has_a_rule_for_an_exception(stage: str) -> None:
    assert RULES[f"{stage}-error"].stage == stage


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_of_no_verdict_has_a_rule(cause) -> None:  # type: ignore[no-untyped-def]
    finding = unchecked(seed_design("gpt"), JobFailed(cause, "it ended"))
    assert finding.rule == f"check-{cause}" and finding.measured == "it ended" and finding.severity == "error"


def test_a_finding_takes_its_rules_severity_and_hint() -> None:
    rule = Rule(id="x", stage="run", means="It holds.", hint="Mend it.", severity="warning")
    assert rule.finding("a", "b").severity == "warning" and rule.finding("a", "b").hint == "Mend it."
    assert rule.finding("a", "b", hint="Better.").hint == "Better."
    with pytest.raises(AssertionError, match="severity of rule 'x'"):
        rule.finding("a", "b", severity="error")


def test_an_unknown_stage_is_the_callers_mistake() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'causality'"):
        check_request(seed_design("gpt"), (), 257, stages=["casuality"])
    assert check_request(seed_design("gpt"), (), 257, stages=["run"])["stages"] == ["static", "shape", "run"]
    assert "effectiveness" not in CHEAP_STAGES
