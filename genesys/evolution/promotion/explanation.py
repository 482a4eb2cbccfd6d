"""Why a design was made, what was decided about it, and why it waits or will never climb: in sentences, from the books."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from genesys.evolution import events as ev
from genesys.evolution.books import CLIMBING
from genesys.evolution.design import DesignRecord, DesignState
from genesys.evolution.promotion.base import Explains, PromotionStrategy
from genesys.evolution.promotion.decide import Verify, decide
from genesys.evolution.promotion.room import Room
from genesys.evolution.tree import EvolutionTree

Verdict = Literal["unchecked", "never", "running", "waiting", "top"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing that happened to a design; `time` in seconds since 1970, `what` the kind of event, `text` a sentence."""

    time: float
    what: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A design's story, and where it stands.

    Attributes:
        history: From its proposal on, in order.
        verdict: Whether it may still climb: `waiting` and `running` designs may.
        scale: Where it is or would be verified next; "" for nowhere.
        now: Why, in sentences.
    """

    design: str
    name: str
    history: tuple[Told, ...]
    verdict: Verdict
    scale: str
    now: tuple[str, ...]


def explain(
    tree: EvolutionTree, design: str, journal: Iterable[tuple[int, float, ev.Event]],
    strategy: PromotionStrategy | None = None,
) -> Explanation:  # fmt: skip
    """Explain one design.

    Args:
        journal: Sequence number, time and event of all that happened.
        strategy: The run's own promotion, which is asked what it would do; without one that is left out.

    Raises:
        BookkeepingError: No such design.
    """
    record = tree.record(design)
    verdict, scale, now = _standing(tree, record, strategy)
    return Explanation(
        design=record.id, name=record.name, history=tuple(_history(tree, record, journal)), verdict=verdict, scale=scale,
        now=tuple(now),
    )  # fmt: skip


# --- what happened -----------------------------------------------------------------------------------------


def _history(
    tree: EvolutionTree, record: DesignRecord, journal: Iterable[tuple[int, float, ev.Event]]
) -> Iterator[Told]:
    leases: dict[int, ev.LeaseGranted] = {}
    for _, time, event in journal:
        if isinstance(event, ev.LeaseGranted) and event.design == record.id:
            leases[event.lease] = event
        if getattr(event, "design", None) != record.id and getattr(event, "lease", None) not in leases:
            continue
        for text in _told(tree, event, leases):
            yield Told(time=time, what=event.kind, text=text)


def _told(tree: EvolutionTree, event: ev.Event, leases: dict[int, ev.LeaseGranted]) -> list[str]:
    match event:
        case ev.DesignProposed():
            return _proposal(tree, event)
        case ev.DesignImplemented():
            return ["The checker found it sane."]
        case ev.DesignRejected():
            said = [
                f"[{f.get('rule')}] {f.get('unit')}: {f.get('measured')}; required: {f.get('required')}. {f.get('hint')}"
                for f in event.findings
            ]
            return ["The checker rejected it.", *said]
        case ev.DesignTwinned():
            other = tree.record(event.inherited_from).name
            return [f"The checker found that it computes what {other} computes: it inherits the results of {other}."]
        case ev.LeaseGranted():
            again = f" (attempt {event.attempt})" if event.attempt > 1 else ""
            return [
                f"Verification at {_run(event)} began{again} at {event.holder}: {event.reason or 'no reason kept'}."
            ]
        case ev.LeaseRefunded():
            return [
                f"Verification at {_run(leases[event.lease])} came back ({event.cause}). {_whole(event.reason)}".strip()
            ]
        case ev.VerificationRecorded():
            return [f"Verification at {_run(event)} succeeded after {event.seconds:,.0f} s{_measured(tree, event)}."]
        case ev.VerificationFailed():
            return [
                f"Verification at {_run(event)} failed by its own fault ({event.cause}). {_whole(event.reason)}".strip()
            ]
    return []


def _proposal(tree: EvolutionTree, event: ev.DesignProposed) -> list[str]:
    parents = " and ".join(tree.record(parent).name for parent in event.parents)
    if not event.designer:
        return ["It is one of the designs that the run started from."]
    said = [
        f"Proposed by {event.designer} with {event.operator}{f' from {parents}' if parents else ''}: {_whole(event.detail)}"
    ]
    if event.odds:
        odds = ", ".join(f"{name} {p:.0%}" for name, p in sorted(event.odds.items(), key=lambda item: -item[1]))
        said.append(f"The operator was drawn among {odds}.")
    if event.reason:
        said.append(f"Why these parents: {_whole(event.reason)}")
    if event.edit or event.target:
        said.append(f"The edit: {event.edit or 'a change'}{f' at {event.target}' if event.target else ''}.")
    if event.steps:
        steps = ", ".join(f"{name} {distance:g}" for name, distance in sorted(event.steps.items()))
        said.append(f"How far it went, by distance: {steps}.")
    return said


def _run(event: ev.LeaseGranted | ev.VerificationRecorded | ev.VerificationFailed) -> str:
    return event.scale + (f", training seed {event.seed}," if event.seed else "")


def _measured(tree: EvolutionTree, event: ev.VerificationRecorded) -> str:
    fitness = tree.ratings.fitness_at(event.design, event.scale)
    return "" if fitness is None or event.seed else f"; its fitness there is {fitness.value:+.2f} today"


def _whole(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


# --- where it stands ---------------------------------------------------------------------------------------


def _standing(
    tree: EvolutionTree, record: DesignRecord, strategy: PromotionStrategy | None
) -> tuple[Verdict, str, list[str]]:
    if record.state is DesignState.PROPOSED:
        return "unchecked", "", ["It has not been checked yet: a designer checks it before anything is trained."]
    if record.state not in CLIMBING:
        return "never", "", [_why_out(tree, record)]
    running = [lease for lease in tree.leases.values() if lease.design == record.id]
    scale = next((s for s in tree.scales if record.first_run(s) is None), "")
    said = [
        f"It is being verified at {lease.scale}, training seed {lease.seed}, by {lease.holder}." for lease in running
    ]
    if any(lease.scale == scale for lease in running):
        return "running", scale, said
    if not scale:
        return "top", "", [*said, "It was verified at every scale of the ladder: it stands at the top."]
    said += _where_it_stands(tree, record, scale, strategy)
    account = tree.ledger.account(scale)
    if not account.left and not account.reserved:
        return (
            "never",
            scale,
            [*said, f"It will not climb: the quota of {account.quota} at {scale} has gone to others."],
        )
    if tree.finished or tree.draining:
        return (
            "never",
            scale,
            [*said, f"The run has ended: {tree.finished or tree.draining}. Only a resumed run goes on."],
        )
    return "waiting", scale, said + _what_it_waits_for(tree, record, scale, strategy)


def _why_out(tree: EvolutionTree, record: DesignRecord) -> str:
    if record.state is DesignState.REJECTED:
        return "It will never be trained: the checker rejected it."
    if record.state is DesignState.TWIN:
        other = tree.record(record.inherited_from)
        return f"It will never be trained itself: {other.name} computes the same ({other.state}), and its results count for both."
    ended = record.runs[-1]
    if record.state is DesignState.POISON:
        return f"It will not climb: whoever verified it at {ended.scale} died, again and again ({ended.cause})."
    return f"It will not climb: its verification at {ended.scale} failed by its own fault ({ended.cause})."


def _where_it_stands(
    tree: EvolutionTree, record: DesignRecord, scale: str, strategy: PromotionStrategy | None
) -> list[str]:
    waiting, place = tree.waiting(scale), tree.waiting(scale).rank(record.id)
    said = []
    if place is not None:
        order = "the best of the rung below first" if tree.scales.index(scale) else "seeds first, then by age"
        said.append(f"Its next scale is {scale}; it stands {place + 1} of {len(waiting)} in line ({order}).")
    if isinstance(strategy, Explains) and tree.scales.index(scale):
        population = tree.population()
        standing = strategy.standing(population, population.get(record.id), scale)
        said.append(f"The policy {type(strategy).__name__} sees: {standing}.")
    return said


def _what_it_waits_for(
    tree: EvolutionTree, record: DesignRecord, scale: str, strategy: PromotionStrategy | None
) -> list[str]:
    room = Room(tree=tree)
    account, k = tree.ledger.account(scale), tree.scales.index(scale)
    text = f"Of {account.quota} runs at {scale}, {account.finished} have ended, {account.reserved} are under way"
    if k:
        below = tree.ledger.account(tree.scales[k - 1])
        opened = tree.ledger.released(scale, settled=room.settled)
        text += f"; {opened} are open so far, as {below.finished} of {below.quota} have ended at {tree.scales[k - 1]}"
    said = [f"{text}."]
    if scale in room.short:
        said.append(f"Now {room.short[scale]} leaves no room for a run at {scale}.")
    elif scale in room.only and tree.ratings.niche(record.id) not in room.only[scale]:
        said.append(f"What is left at {scale} is kept for a design of niche {', '.join(room.only[scale])}.")
    elif room.free[scale] > 0 and scale not in room.openings:
        said.append(f"What is open at {scale} is kept for {'the reference' if k else 'seeds that are still checked'}.")
    if strategy is not None:
        said.append(_what_comes_next(tree, record, strategy))
    return said


def _what_comes_next(tree: EvolutionTree, record: DesignRecord, strategy: PromotionStrategy) -> str:
    decision = decide(tree, strategy, Random(0))
    if not isinstance(decision, Verify):
        return f"A free verifier would start nothing now: {decision.reason}."
    who = "this design" if decision.design == record.id else tree.record(decision.design).name
    seed = f", training seed {decision.seed}," if decision.seed else ""
    return f"The next free verifier would take {who} at {decision.scale}{seed} ({decision.reason})."
