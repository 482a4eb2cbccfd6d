"""What a flow of writing is worth: proposals that stand already are written by language models, and are valid or not.

Nobody proposes or reviews here, so that flows and models differ in nothing but the writing. Valid is what passes every check
that a run demands of a design before it is trained.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from genesys.agents.alone import claim_beside
from genesys.agents.bench_results import NO_RESULT, RESULTS_FILE, VALID, BenchFlow, Result, read_results
from genesys.agents.conductor import conduct
from genesys.agents.retrieval import Bm25Retriever, library_documents
from genesys.agents.workbench import Workbench
from genesys.evolution.evidence import Evidence, Known
from genesys.gau import UnitTree
from genesys.llm.client import Client
from genesys.llm.gateway import Gateway
from genesys.llm.local_treasury import LocalTreasury
from genesys.llm.prices import PriceList
from genesys.llm.settings import AgentsConfig
from genesys.roles.answers import ProposerTurn
from genesys.roles.brief import Attempt, Brief, SessionLimits, SessionOutcome
from genesys.roles.direct import direct
from genesys.roles.effects import Effect
from genesys.roles.implementing import Implementation, implement
from genesys.roles.wording import common

_RUN_WIDE = frozenset({"run", "day", "role"})  # caps after which no session gets anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A proposal to write.

    Attributes:
        parents: Names of seeds or baselines, or files.
        target: Of a mutation, the path of the unit to change; `(root)` for the root.
        ask: The proposal, in a paragraph.
        new_units: How many units it is expected to take that neither the parents nor the library have.
    """

    name: str
    mode: Literal["mutation", "crossover", "scratch"]
    title: str
    ask: str
    parents: tuple[str, ...] = ()
    target: str = ""
    new_units: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A problem to be solved in a flow, by one of those who are compared."""

    problem: Problem
    parents: tuple[UnitTree, ...]
    flow: BenchFlow
    model: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.problem.name, self.flow, self.model


def spread(problems: Sequence[Problem], n: int) -> list[Problem]:
    """So many problems, evenly over the list, so that every mode is among them."""
    n = min(n, len(problems))
    return [problems[i * len(problems) // n] for i in range(n)]


def limits_of(flow: BenchFlow, limits: SessionLimits) -> SessionLimits:
    """The limits with which a flow is run: those given, but for what makes it the flow that it is."""
    match flow:
        case "direct":
            return replace(limits, flow="direct")
        case "units":
            return replace(limits, flow="units", beam=1, samples=1)
        case "beam":
            return replace(limits, flow="units", beam=max(2, limits.beam), samples=max(2, limits.samples))


class Bench:
    """Has cases solved, some at once, and writes each result on a line of its own.

    Guarantees: a case with a result is not begun again; one that was under way when its process died goes on from the books
    of calls, and pays again at most for calls that were in flight.

    Args:
        models: Who is compared, by name.
        bounds: What a design must keep, see `genesys.agents.briefing`.
        seed: Of what sessions draw.
    """

    def __init__(
        self,
        folder: Path,
        models: Mapping[str, AgentsConfig],
        bounds: Mapping[str, str],
        *,
        treasury: LocalTreasury,
        client: Client,
        workbench: Workbench,
        seed: int = 0,
    ) -> None:
        self.results, file = read_results(folder), folder / RESULTS_FILE
        self._n_bytes = file.read_bytes().rfind(b"\n") + 1 if file.exists() else 0
        self.stopped = ""  # why no further case is begun
        self._folder, self._bounds, self._workbench, self._seed = folder, common(bounds), workbench, seed
        self._treasury, self._models = treasury, models
        prices = PriceList.from_json(treasury.book.prices)
        self._gateways = {name: Gateway(agents, prices, treasury, client) for name, agents in models.items()}
        self._retriever = Bm25Retriever(library_documents())

    def todo(self, cases: Iterable[Case]) -> list[Case]:
        """Those without a result."""
        solved = {result.key for result in self.results if result.outcome not in NO_RESULT}
        return [case for case in cases if case.key not in solved]

    async def run(self, cases: Iterable[Case], *, n_at_once: int, on_result: Callable[[Result], None]) -> None:
        """Solve what is to do, until it is done, money is spent or nobody answers; `stopped` then says why.

        Raises:
            TransientError: Infrastructure was away.
        """
        waiting = iter(self.todo(cases))

        async def lane() -> None:
            for case in waiting:
                if self.stopped:
                    return
                result = await self._solved(case)
                if result is not None:
                    self._keep(result)
                    on_result(result)

        lanes = [asyncio.ensure_future(lane()) for _ in range(n_at_once)]
        try:
            await asyncio.gather(*lanes)
        finally:
            for one in lanes:
                one.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    async def _solved(self, case: Case) -> Result | None:
        """A case's result; None where money ran out before it was solved."""
        n_before = sum(result.key == case.key for result in self.results)
        session = "/".join(case.key) + (f"#{n_before + 1}" if n_before else "")
        brief = self._brief(case, session)
        conducted = await conduct(
            _session(case, brief, self._bounds), session_id=session, gateway=self._gateways[case.model],
            workbench=self._workbench, retriever=self._retriever, claim=claim_beside(case.parents),
            treasury=self._treasury, seed=self._seed,
        )  # fmt: skip
        outcome = conducted.outcome
        refusals = [entry for entry in outcome.log if entry["what"] == "refusal"] if outcome.cause else []
        if outcome.cause == "money" and any(entry["cap"] in _RUN_WIDE for entry in refusals):
            self.stopped = outcome.reason
            return None
        cause = outcome.cause
        if outcome.tree is not None and case.problem.new_units and not _coder(outcome).n_asked:
            cause = "reuse"
        if cause == "refused" and any(entry["cause"] == "unavailable" for entry in refusals):
            cause, self.stopped = "unavailable", outcome.reason
        return await self._result(case, session, outcome, cause)

    def _brief(self, case: Case, session: str) -> Brief:
        names = zip(case.problem.parents, case.parents, strict=True)
        told = Evidence(parents=tuple(Known(design=tree.design_id, name=Path(name).stem) for name, tree in names))
        return Brief(
            session=session, operator=case.problem.mode, parents=case.parents, evidence=told, bounds=self._bounds,
            limits=limits_of(case.flow, self._models[case.model].limits), seed=self._seed,
        )  # fmt: skip

    async def _result(self, case: Case, session: str, outcome: SessionOutcome | Implementation, cause: str) -> Result:
        spent = (await self._treasury.totals()).sessions.get(session)
        coder = _coder(outcome)
        if outcome.tree is not None:
            self._save(outcome.tree)
        return Result(
            problem=case.problem.name, mode=case.problem.mode, new_units=case.problem.new_units, flow=case.flow,
            model=case.model, session=session, outcome=cause or VALID, reason=outcome.reason,
            design=outcome.tree.design_id if outcome.tree else "",
            n_answers=coder.n_asked, n_useful=coder.n_useful,
            n_calls=spent.n_calls if spent else 0, n_input=spent.n_input if spent else 0,
            n_output=spent.n_output if spent else 0, cost_usd=spent.usd if spent else 0.0,
        )  # fmt: skip

    def _save(self, tree: UnitTree) -> None:
        designs = self._folder / "designs"
        designs.mkdir(exist_ok=True)
        (designs / f"{tree.design_id}.json").write_text(json.dumps(tree.to_json(), indent=1), encoding="utf-8")

    def _keep(self, result: Result) -> None:
        self.results.append(result)
        with (self._folder / RESULTS_FILE).open("ab") as file:
            file.truncate(self._n_bytes)  # without a line that was cut off by a crash
            self._n_bytes += file.write(json.dumps(asdict(result)).encode() + b"\n")


def _session(
    case: Case, brief: Brief, shared: Mapping[str, str]
) -> Generator[Effect, Any, SessionOutcome | Implementation]:
    problem = case.problem
    proposal = ProposerTurn(
        action="propose", query="", title=problem.title, abstract=problem.ask, target=problem.target,
        motivation="", mathematics="See the abstract.", algorithm="", risks="",
    )  # fmt: skip
    return direct(brief, shared, proposal) if case.flow == "direct" else implement(brief, proposal, shared)


def _coder(outcome: SessionOutcome | Implementation) -> Attempt:
    return next(
        (attempt for attempt in outcome.attempts if attempt.role == "coder"),
        Attempt(role="coder", n_asked=0, n_useful=0),
    )
