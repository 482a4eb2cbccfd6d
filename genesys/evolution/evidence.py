"""What is known about a design's parents and surroundings, for whoever designs the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice, zip_longest
from statistics import fmean
from typing import Any

from genesys.evolution.design import DesignRecord, DesignState
from genesys.evolution.events import ProposalFailed, is_vain
from genesys.evolution.rating import Fitness
from genesys.evolution.tree import EvolutionTree
from genesys.evolution.votes import score_of, task_of, votes


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A design's results at one scale.

    Attributes:
        interval: 95%, of the fitness.
        families: Mean score by family of tasks and by probe, where measured.
    """

    scale: str
    fitness: float
    interval: tuple[float, float]
    families: Mapping[str, float] = field(default_factory=dict)
    test_bpb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A design as it is told to a designer.

    Attributes:
        outcome: `verified`, `failed`, `rejected`, `twin`, `proposal-failed` or what state it is in.
        cause: Why it failed or was rejected, in one line.
        deltas: By the path of a unit: what the fitness loses without it, with its interval, where an ablation measured it.
    """

    design: str
    name: str
    title: str = ""
    abstract: str = ""
    outcome: str = ""
    cause: str = ""
    operator: str = ""
    detail: str = ""
    measured: tuple[Measured, ...] = ()
    deltas: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything measured that a session may read.

    Attributes:
        siblings: Other children of the same parents, the latest first.
        failures: Proposals and designs of the run that came to nothing, the latest first.
        leaders: The best designs at the highest scale reached.
        lessons: What the scribe wrote last; "" before that.
    """

    parents: tuple[Known, ...] = ()
    siblings: tuple[Known, ...] = ()
    failures: tuple[Known, ...] = ()
    leaders: tuple[Known, ...] = ()
    lessons: str = ""


FAMILIES: Mapping[str, tuple[str, ...]] = {
    "grammar": ("blimp", "blimp_supplement", "cola"),
    "sentiment": ("sst2",),
    "inference": ("mnli", "mnli_mismatch", "qnli", "rte", "wnli"),
    "paraphrase": ("mrpc", "qqp"),
    "coreference": ("winogrande", "wsc273"),
    "common sense": ("hellaswag", "openbookqa", "piqa", "swag"),
    "knowledge": ("arc_challenge", "arc_easy", "sciq", "tinyMMLU", "triviaqa"),
    "reading": ("lambada_openai", "qa4mre", "squad_completion"),
    "mathematics": ("mathqa", "tinyGSM8k"),
    "pitfalls": ("inverse_scaling_mc", "tinyTruthfulQA"),
}
"""What the tasks of the shipped suites have in common; any other task is a family of its own."""

_FAMILY_OF = {task: family for family, tasks in FAMILIES.items() for task in tasks}
_OUTCOMES = {DesignState.IMPLEMENTED: "not yet verified", DesignState.POISON: "failed"}
_AT_HAND = 64  # of the latest designs in a state, among which the latest proposed are looked for

Deltas = Mapping[str, tuple[float, float, float]]


def evidence(
    tree: EvolutionTree,
    parents: Sequence[str],
    *,
    n_siblings: int = 2,
    n_failures: int = 3,
    n_leaders: int = 3,
    deltas: Callable[[str], Deltas] = lambda _: {},
) -> Evidence:
    """What a run's books say to whoever builds on these parents; its size is bounded, however long the run.

    Args:
        deltas: What each unit of a design is worth, by its path, where an ablation measured it.
    """
    siblings = {child for parent in parents for child in tree.children(parent)} - set(parents)
    settled = [tree.record(child) for child in siblings if tree.record(child).state is not DesignState.PROPOSED]
    latest = sorted(settled, key=lambda record: -record.order)[:n_siblings]
    standing = tree.ratings.standing
    return Evidence(
        parents=tuple(replace(_known(tree, tree.record(parent)), deltas=dict(deltas(parent))) for parent in parents),
        siblings=tuple(_known(tree, record) for record in latest),
        failures=_failures(tree, n_failures),
        leaders=tuple(_known(tree, tree.record(design)) for design in islice(standing, n_leaders)),
        lessons=tree.lessons[-1].text if tree.lessons else "",
    )


def evidence_to_json(found: Evidence) -> dict[str, Any]:
    """Evidence as plain data."""
    return asdict(found)


def evidence_from_json(data: Mapping[str, Any]) -> Evidence:
    """Read what `evidence_to_json` gave."""
    known = {
        name: tuple(_known_from_json(item) for item in data[name])
        for name in ("parents", "siblings", "failures", "leaders")
    }
    return Evidence(**known, lessons=data["lessons"])


def _known_from_json(data: Mapping[str, Any]) -> Known:
    measured = tuple(Measured(**{**item, "interval": tuple(item["interval"])}) for item in data["measured"])
    deltas = {path: (delta[0], delta[1], delta[2]) for path, delta in data["deltas"].items()}
    return Known(**{**data, "measured": measured, "deltas": deltas})


def _failures(tree: EvolutionTree, n: int) -> tuple[Known, ...]:
    """The latest failures, of sessions and of designs by turns."""
    sessions = (_failed_session(e) for e in reversed(tree.failed_sessions) if is_vain(e))
    states = (DesignState.REJECTED, DesignState.FAILED)
    at_hand = [tree.record(d) for state in states for d in [*tree.in_state(state)][-_AT_HAND:]]
    designs = (_known(tree, record) for record in sorted(at_hand, key=lambda record: -record.order))
    turns = (known for pair in zip_longest(sessions, designs) for known in pair if known is not None)
    return tuple(islice(turns, n))


def _failed_session(event: ProposalFailed) -> Known:
    return Known(
        design=event.session, name=event.title or event.session, title=event.title, abstract=event.abstract,
        outcome="proposal-failed", cause=_line(f"{event.cause}: {event.reason}"), operator=event.operator,
    )  # fmt: skip


def _known(tree: EvolutionTree, record: DesignRecord) -> Known:
    rated = tree.ratings.fitness(record.inherited_from or record.id)
    return Known(
        design=record.id, name=record.name, title=record.title, abstract=record.abstract,
        outcome=_OUTCOMES.get(record.state, record.state.value), cause=_cause(record), operator=record.operator,
        detail=record.detail,
        measured=tuple(
            _measured(tree.record(record.inherited_from or record.id), scale, fitness)
            for scale, fitness in rated.items()
        ),
    )  # fmt: skip


def _measured(record: DesignRecord, scale: str, fitness: Fitness) -> Measured:
    runs = [run.metrics for run in record.committed(scale)]
    scores: dict[str, list[float]] = {}
    for vote in votes(*runs):
        task = task_of(vote)
        family = f"probe {task}" if vote.startswith("probe_") else _FAMILY_OF.get(task, task)
        scores.setdefault(family, []).extend(score_of(metrics, vote) for metrics in runs)
    bits = [metrics["test_bpb"] for metrics in runs if "test_bpb" in metrics]
    return Measured(
        scale=scale, fitness=fitness.value, interval=(fitness.low, fitness.high),
        families={family: fmean(found) for family, found in scores.items()}, test_bpb=fmean(bits) if bits else None,
    )  # fmt: skip


def _cause(record: DesignRecord) -> str:
    """Why a design came to nothing, in a line; "" for one that did not."""
    if record.state is DesignState.TWIN:
        return f"computes what design {record.inherited_from[:12]} does"
    for finding in record.findings:
        if finding.get("severity", "error") == "error":
            said = "; ".join(str(finding[k]) for k in ("measured", "required") if finding.get(k))
            return _line(f"{finding.get('rule', '')} in {finding.get('unit') or 'the design'}: {said}")
    failed = [run for run in record.runs if run.outcome != "committed" and run.seed == 0]
    return _line(f"{failed[-1].cause} at {failed[-1].scale}: {failed[-1].reason}") if failed else ""


def _line(text: str) -> str:
    return " ".join(text.split()).removesuffix(":")[:300]
