"""Code is looked at in the cage; whatever it does there comes back as a value."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from genesys.agents.workbench import BENCH_MODULES, Workbench
from genesys.checker import VerdictCache
from genesys.errors import FailureCause, JobFailed
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import seed_design
from genesys.ladder import LADDERS
from genesys.roles.effects import Check
from genesys.sandbox import ForkCage, Policy
from genesys.testing.null_cage import NullCage

T = TypeVar("T")
SCALES = LADDERS["cpu"].scales
GPT = seed_design("gpt")
WITHOUT_MIXER = GPT.prune("mixer")

MEAN = '''
import torch
from torch import nn


class Mean(nn.Module):
    """The mean over the whole row, later inputs too. Shapes: (B, L, D) -> (B, L, D)."""

    kind = "mixer"

    def __init__(self, d: int, ctx):
        super().__init__()
        self.out = nn.Linear(d, d)

    def forward(self, X, Z):
        return self.out(X.mean(1, keepdim=True).expand_as(X)), {}


def test_shape(make):
    assert make(d=8)(torch.zeros(1, 3, 8), {})[0].shape == (1, %d, 8)
'''


@pytest.fixture(scope="module")
def at_the_bench() -> Any:
    """Runs coroutines with a workbench over one warm cage."""
    loop = asyncio.new_event_loop()
    cage = ForkCage(preload=BENCH_MODULES)

    def run(work: Callable[[Workbench], Awaitable[T]]) -> T:
        async def with_bench() -> T:
            return await work(Workbench(cage, SCALES, 257))

        return loop.run_until_complete(with_bench())

    yield run
    cage.close()
    loop.close()


def mean_design(n_positions: int = 3) -> UnitTree:
    return GPT.graft("mixer", UnitTree(parse_unit(MEAN % n_positions)))


def rules(checked: Any) -> set[str]:
    return {finding.rule for finding in checked.findings if finding.severity == "error"}


def test_reading_alone_finds_what_is_written(at_the_bench: Any) -> None:
    unit = parse_unit(MEAN.replace("import torch\n", "import torch, os\n") % 3)
    check = Check(tree=WITHOUT_MIXER.graft("mixer", UnitTree(unit)), depth="static")
    assert rules(at_the_bench(lambda bench: bench.check(check))) == {"import"}
    open_ = at_the_bench(lambda bench: bench.check(Check(tree=WITHOUT_MIXER, depth="static")))
    assert rules(open_) == {"open-slot"}
    assert not at_the_bench(lambda bench: bench.check(Check(tree=WITHOUT_MIXER, depth="static", partial=True))).findings


def test_a_text_too_deep_to_be_read_is_a_finding(at_the_bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_deep(tree: UnitTree) -> list[Any]:
        raise RecursionError

    monkeypatch.setattr("genesys.agents.workbench.check_static", too_deep)
    assert rules(at_the_bench(lambda bench: bench.check(Check(tree=GPT, depth="static")))) == {"syntax"}


def test_a_units_own_tests_run_before_the_whole_is_looked_at(at_the_bench: Any) -> None:
    shallow = at_the_bench(lambda bench: bench.check(Check(tree=mean_design(4), depth="unit", partial=True)))
    assert rules(shallow) == {"unit-test"}
    assert not rules(at_the_bench(lambda bench: bench.check(Check(tree=mean_design(), depth="unit", partial=True))))
    deep = at_the_bench(lambda bench: bench.check(Check(tree=mean_design(), depth="full")))
    assert rules(deep) == {"causality"} and deep.report["stages"]["run"]["outcome"] == "passed"


def test_a_short_training_tells_what_learns(at_the_bench: Any) -> None:
    share = at_the_bench(lambda bench: bench.probe(GPT))
    assert 0.3 < share < 0.9
    assert at_the_bench(lambda bench: bench.probe(WITHOUT_MIXER)) is not None
    assert at_the_bench(lambda bench: bench.probe(mean_design(4))) is not None, "its tests are no part of a training"
    broken = MEAN.replace("self.out(X", "self.no(X") % 3
    assert at_the_bench(lambda bench: bench.probe(GPT.graft("mixer", UnitTree(parse_unit(broken))))) is None


def test_a_profile_says_what_a_design_costs(at_the_bench: Any) -> None:
    text = at_the_bench(lambda bench: bench.profile(GPT))
    assert "at scale cpu-1" in text and "parameters" in text
    assert "FLOPs of a training step: 1.00 times the reference's" in text
    broken = MEAN.replace("nn.Linear(d, d)", "nn.Lineer(d, d)") % 3
    text = at_the_bench(lambda bench: bench.profile(GPT.graft("mixer", UnitTree(parse_unit(broken)))))
    assert "- [shape-error] Mean" in text and "Lineer" in text and "{" not in text


@pytest.mark.parametrize(
    ("program", "output"),
    [
        ("x = sympy.symbols('x')\nprint(sympy.integrate(x**2, x))\nsympy.diff(x**3, x)", "x**3/3\n3*x**2\n"),
        ("from sympy import *\nimport math\nfactorint(math.factorial(4))", "{2: 3, 3: 1}\n"),
        ("1 / 0", "ZeroDivisionError: division by zero\n"),
        ("print('so far')\nraise SystemExit(3)", "so far\nSystemExit: 3\n"),
        ("import os", "ImportError: import of 'os'; expected sympy and math only\n"),
        ("from . import x", "ImportError: import of '.'; expected sympy and math only\n"),
        ("print(", "SyntaxError: '(' was never closed (<unknown>, line 1)\n"),
        ("", "The program printed nothing."),
        ("x = 3", "The program printed nothing."),
    ],
)
def test_a_derivation_gives_what_it_printed(at_the_bench: Any, program: str, output: str) -> None:
    assert at_the_bench(lambda bench: bench.derive(program)) == output


def test_a_derivation_may_neither_flood_nor_crash_nor_write(at_the_bench: Any) -> None:
    flood = at_the_bench(lambda bench: bench.derive("for i in range(10**6): print('x' * 100)"))
    assert 4000 <= len(flood) <= 4096
    nested = at_the_bench(lambda bench: bench.derive("(" * 100_000))
    assert nested.startswith(("Cannot run", "MemoryError", "RecursionError", "SyntaxError"))
    place = Path.home() / "genesys-derivation"
    refused = at_the_bench(lambda bench: bench.derive(f"open({str(place)!r}, 'w').write('x')"))
    assert "Error" in refused and not place.exists()


class FailingCage(NullCage):
    """Every job fails for one cause, the first `n` times."""

    def __init__(self, cause: FailureCause, n: int = 100) -> None:
        super().__init__()
        self.cause, self.left = cause, n

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        self.left -= 1
        if self.left >= 0:
            raise JobFailed(self.cause, "it ended")
        return await super().run(entry, request, policy)


def with_cage(cage: NullCage, work: Callable[[Workbench], Awaitable[T]], **options: Any) -> T:
    async def run() -> T:
        return await work(Workbench(cage, SCALES, 257, **options))

    return asyncio.run(run())


@pytest.mark.parametrize("cause", ["timeout", "killed", "out-of-memory"])
def test_a_job_that_fails_is_a_value(cause: FailureCause) -> None:
    assert rules(with_cage(FailingCage(cause), lambda b: b.check(Check(tree=GPT)))) == {f"check-{cause}"}
    assert with_cage(FailingCage(cause), lambda b: b.probe(GPT)) is None
    assert with_cage(FailingCage(cause), lambda b: b.profile(GPT)) == "Cannot measure the design: it ended"
    assert with_cage(FailingCage(cause), lambda b: b.derive("1")) == "Cannot run the program: it ended"


def test_a_job_that_was_killed_is_tried_once_more() -> None:
    assert with_cage(FailingCage("killed", 1), lambda b: b.check(Check(tree=GPT))).is_sane
    assert not with_cage(FailingCage("timeout", 1), lambda b: b.check(Check(tree=GPT))).is_sane


class ForgingCage(NullCage):
    """Generated code answered in the checker's place: a report on this design that holds what no checker writes."""

    def __init__(self, **forged: Any) -> None:
        super().__init__()
        self.forged = forged

    async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
        return await super().run(entry, request, policy) | self.forged


def test_a_forged_report_ends_no_session() -> None:
    finding = dict.fromkeys(("rule", "unit", "path", "measured", "required", "hint"), "x") | {"severity": "error"}
    cage = ForgingCage(findings=[finding | {"more": "x"}])
    assert rules(with_cage(cage, lambda b: b.check(Check(tree=GPT)))) == {"check-error"}
    cage = ForgingCage(findings=[finding])
    assert rules(with_cage(cage, lambda b: b.check(Check(tree=GPT)))) == {"x"}
    assert with_cage(cage, lambda b: b.profile(GPT)).endswith("- [x] x: measured x; required x. x")
    for size in ({"n_params": "many"}, ["x"], dict.fromkeys(("n_params", "d_model", "n_blocks", "error"), 10**400)):
        measures = {"flops_ratio": 10**400, "text_loss": "low"}
        cage = ForgingCage(sizes={"cpu-1": size}, measures=measures, findings=[finding])
        assert with_cage(cage, lambda b: b.profile(GPT)) == "- [x] x: measured x; required x. x"
        assert with_cage(cage, lambda b: b.probe(GPT)) is None


def test_a_verdict_is_kept_where_the_designer_looks_for_it(tmp_path: Path) -> None:
    from genesys.checker import check_request

    verdicts = VerdictCache(tmp_path)
    with_cage(NullCage(), lambda b: b.check(Check(tree=GPT)), verdicts=verdicts)
    assert verdicts.get(check_request(GPT, SCALES, 257, behaviour=True), GPT) is not None
    assert with_cage(FailingCage("error"), lambda b: b.check(Check(tree=GPT)), verdicts=verdicts).is_sane


def test_no_more_children_run_at_once_than_allowed() -> None:
    class Counting(NullCage):
        now = most = 0

        async def run(self, entry: str, request: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.001)
            self.now -= 1
            return await super().run(entry, request, policy)

    cage = Counting()

    async def many(bench: Workbench) -> None:
        await asyncio.gather(*(bench.check(Check(tree=GPT)) for _ in range(8)))

    with_cage(cage, many, n_jobs=3)
    assert cage.most == 3
