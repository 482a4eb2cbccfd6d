"""Beam search over partial trees: every draft kept is extended by one unit, and the best of what comes of it are kept.

With a width of 1 and one sample this is greedy generation, one unit after the other.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from dataclasses import replace
from itertools import chain
from typing import Any

from genesys.gau import UnitTree
from genesys.roles.answers import CoderTurn
from genesys.roles.coding import write
from genesys.roles.effects import Effect, Gather, Probe, Stage, Tell
from genesys.roles.grafting import Draft, Written, place_at
from genesys.roles.judging import assess, tried, verdict
from genesys.roles.planning import plan
from genesys.roles.surroundings import reusable, setback_text
from genesys.roles.together import in_parallel
from genesys.roles.wording import line, place_name
from genesys.roles.work import Coding, Task, Work

Drafts = tuple[Draft, ...]


def widen(work: Work, beam: Drafts) -> Generator[Effect, Any, tuple[Drafts, Drafts]]:
    """The next beam, the best first; if no draft could be extended it is empty, and all come back a unit shorter instead."""
    extended = yield from in_parallel(_extended(work, draft) for draft in beam)
    grown = distinct(chain.from_iterable(drafts for drafts, _ in extended))
    if not grown:
        return (), distinct(draft.rolled_back(why) for draft, (_, why) in zip(beam, extended, strict=True))
    return (yield from ranked(work, grown))[: work.brief.limits.beam], ()


def mended(work: Work, draft: Draft) -> Generator[Effect, Any, Drafts]:
    """What comes of writing the blamed unit of a complete draft once more; nothing, if that has been done."""
    if draft.tree is None or draft.blamed is None or draft.is_repaired:
        return ()
    before = next(written for written in draft.written if written.path == draft.blamed)
    task = Task(
        draft=draft.under_repair(), place=place_at(draft.tree, draft.blamed), specification=before.specification
    )
    findings = yield from verdict(work, draft.tree, draft.blamed)
    last = Coding(code=draft.tree.at(draft.blamed).unit.source, tree=draft.tree, findings=findings)
    drafts, _ = yield from _coded(work, task, last)
    return (yield from ranked(work, drafts))[: work.brief.limits.beam]


def ranked(work: Work, drafts: Drafts) -> Generator[Effect, Any, Drafts]:
    """Drafts, the best first: those whose checks all pass, then by what a probe training and the observer say of them."""
    shares = work.notes.loss_shares
    unknown = [draft.tree for draft in drafts if draft.tree is not None and draft.id not in shares]
    if len(drafts) > 1 and unknown:
        measured = yield Gather(tuple(Probe(tree=tree) for tree in unknown))
        shares.update((tree.design_id, _finite(share)) for tree, share in zip(unknown, measured, strict=True))
    return tuple(sorted(drafts, key=lambda draft: (draft.blamed is not None, -merit(draft, shares.get(draft.id)))))


def merit(draft: Draft, loss_share: float | None) -> float:
    """The share of the loss that a probe training removed, plus the mean rating of the units as a share of 5."""
    ratings = [written.observation.rating for written in draft.written if written.observation is not None]
    removed = 0.0 if loss_share is None else 1.0 - loss_share
    return removed + (sum(ratings) / len(ratings) / 5.0 if ratings else 0.0)


def distinct(drafts: Iterable[Draft]) -> Drafts:
    """Drafts of different trees, in the order given."""
    by_tree: dict[str, Draft] = {}
    for draft in drafts:
        by_tree.setdefault(draft.id, draft)
    return tuple(by_tree.values())


def _extended(work: Work, draft: Draft) -> Generator[Effect, Any, tuple[Drafts, str]]:
    """What one more unit makes of a draft, or why there is none; a complete draft stays as it is."""
    if draft.is_complete:
        return (draft,), ""
    task, reuse = yield from plan(work, draft)
    subtree = reusable(draft, work.brief, reuse) if reuse else None
    if subtree is None:
        return (yield from _coded(work, task, None))
    taken = yield from _taken(work, task, subtree)
    return ((_grown(task, taken, is_coded=False),), "") if taken.passes else (yield from _coded(work, task, taken))


def _taken(work: Work, task: Task, subtree: UnitTree) -> Generator[Effect, Any, Coding]:
    """What the checks say of a unit that is there already; no observer is asked."""
    tree, findings = tried(work, task, subtree)
    if tree is not None:
        findings = yield from verdict(work, tree, task.place.path)
    coding = Coding(code=subtree.unit.source, tree=tree, findings=findings)
    return replace(coding, passes=coding.is_sane)


def _finite(share: float | None) -> float | None:
    return share if share is not None and math.isfinite(share) else None


def _coded(work: Work, task: Task, last: Coding | None) -> Generator[Effect, Any, tuple[Drafts, str]]:
    """Have a unit written by some coders side by side, round after round until what one of them writes passes."""
    limits = work.brief.limits
    lanes = [last] * limits.samples
    for attempt in range(limits.max_attempts):
        numbered = [(attempt * len(lanes) + index, lane) for index, lane in enumerate(lanes)]
        turns = yield from in_parallel(write(work, task, lane, sample=sample) for sample, lane in numbered)
        texts = dict.fromkeys(turn.code for turn in turns if isinstance(turn, CoderTurn))
        judged = dict(zip(texts, (yield from in_parallel(assess(work, task, text) for text in texts)), strict=True))
        codings = [judged[t.code] if isinstance(t, CoderTurn) else Coding(reason=t) for t in turns]
        work.notes.has_code |= bool(texts)
        for (sample, _), coding in zip(numbered, codings, strict=True):
            yield _noted(work, task, coding, sample)
        if drafts := distinct(_grown(task, coding) for coding in codings if coding.passes):
            return drafts, ""
        lanes = [_kept(lane, coding) for lane, coding in zip(lanes, codings, strict=True)]
    return (), setback_text(task.place, lanes[0] if lanes else None)


def _kept(last: Coding | None, coding: Coding) -> Coding:
    """What the next coding of a lane is told; one without code leaves the code and the findings from before."""
    return coding if coding.code or last is None else replace(last, reason=coding.reason)


def _grown(task: Task, coding: Coding, *, is_coded: bool = True) -> Draft:
    assert coding.tree is not None, "what passes is a tree"
    written = Written(
        path=task.place.path, specification=task.specification, observation=coding.observation, is_coded=is_coded
    )
    return task.draft.grown(coding.tree, written, blamed=coding.blamed)


def _noted(work: Work, task: Task, coding: Coding, sample: int) -> Tell:
    """Note what came of a coding; gives what to tell of it."""
    if coding.code and not coding.passes:
        work.notes.account.useless("coder")
    slot, seen = place_name(task.place.path), coding.observation
    work.notes.account.note(
        "coding", slot=slot, sample=sample, code=coding.code, passes=coding.passes, reason=coding.reason,
        findings=[finding.to_json() for finding in coding.findings],
    )  # fmt: skip
    errors = [str(finding) for finding in coding.findings if finding.severity == "error"]
    told = f"rated {seen.rating:g}" if seen is not None else next(iter(errors), coding.reason or "passes its checks")
    stage: Stage = "observe" if seen is not None else "check" if coding.code else "code"
    return Tell(stage=stage, text=f"{slot}, coding {sample + 1}: {line(told)}", tree=coding.tree)
