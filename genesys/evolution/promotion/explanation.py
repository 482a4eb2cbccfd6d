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
from genesys.evolution.promotion.room import Room, cost_at
from genesys.evolution.tree import EvolutionTree
from genesys.ladder.budget import Budget, Caps

_CAPS = {"runs": "runs", "tokens": "tokens", "gpu_seconds": "gpu_hours", "usd": "usd"}
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


def how_to_go_on(tree: EvolutionTree, command: str = "genesys evolve CONFIG --resume", config: str = "CONFIG") -> str:
    """What to do about the stop or the caps that ended a run, a sentence; "" where it ended by itself or goes on."""
    if tree.draining:
        return f"Go on with: {command}"
    caps = " and ".join(f"budget.{name}" for name in _caps_that_ended(tree))
    return f"Raise {caps} in {config} and go on with: {command}" if caps else ""


def _caps_that_ended(tree: EvolutionTree) -> list[str]:
    """The caps, as a configuration names them, that the end of a run gives as its reason."""
    caps, found = tree.budget.caps, []
    for field, name in _CAPS.items():
        alone = Caps(**{field: getattr(caps, field), "usd_per_gpu_hour": caps.usd_per_gpu_hour})
        budget = Budget(alone, tree.budget.spent)
        said = {budget.shortage(cost_at(tree, scale)) for scale in tree.scales} - {""}
        if any(cap in tree.finished for cap in said):
            found.append(name)
    return found


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
            return [f"Verification at {_run(event)} began{again} at {event.holder}: {_why(event.reason, event.seed)}."]
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
    said += _draws(event)
    if event.reason:
        said.append(f"Why these parents: {_whole(event.reason)}")
    if event.edit or event.target:
        said.append(f"The edit: {event.edit or 'a change'}{f' at {event.target}' if event.target else ''}.")
    if event.steps:
        steps = ", ".join(f"{name} {_figure(distance)}" for name, distance in sorted(event.steps.items()))
        said.append(f"How far it went, by distance: {steps}.")
    return said


def _draws(event: ev.DesignProposed) -> Iterator[str]:
    """Among which operators, and which edits of the one drawn, the lot fell; nothing where there was no choice."""
    edits = f"{event.operator}/"
    operators = {name: p for name, p in event.odds.items() if "/" not in name}
    of_edits = {name.removeprefix(edits): p for name, p in event.odds.items() if name.startswith(edits)}
    for what, odds in (("operator", operators), ("edit", of_edits)):
        likely = sorted(((p, name) for name, p in odds.items() if p > 0), key=lambda item: -item[0])
        total = sum(p for p, _ in likely)
        if len(likely) > 1:
            yield f"The {what} was drawn among {', '.join(f'{name} {p / total:.0%}' for p, name in likely)}."


def _figure(distance: float) -> str:
    return f"{distance:.2g}" if distance < 100 else f"{distance:,.0f}"


def _why(reason: str, seed: int) -> str:
    """A lease's reason behind the training seed, which a replicate's repeats."""
    return reason.removeprefix(f"training seed {seed}, while ") or "no reason kept"


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
    account = tree.ledger.account(scale)
    if not account.left and not account.reserved:
        said.append(f"It will not climb: the quota of {account.quota} at {scale} has gone to others.")
        return "never", scale, said
    if ended := tree.finished or tree.draining:
        return "never", scale, [*said, f"The run has ended: {ended}. {how_to_go_on(tree)}".strip()]
    said += _where_it_stands(tree, record, scale, strategy)
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
    return (
        f"The next free verifier would take {who} at {decision.scale}{seed} ({_why(decision.reason, decision.seed)})."
    )
