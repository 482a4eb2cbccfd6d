"""What prompts say of evidence, trees, findings and passages: pure renderings, cut to a budget.

Whatever a language model or a paper wrote goes into a fence (`prompt.fenced`), whole, or onto one short line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

from genesys.errors import Finding, suggest
from genesys.evolution.evidence import Evidence, Known, Measured
from genesys.gau import UnitTree
from genesys.roles.answers import ProposerTurn, ReviewerTurn
from genesys.roles.brief import Brief
from genesys.roles.effects import Passage
from genesys.roles.packing import Section, count_tokens, pack, shorten
from genesys.roles.prompt import fenced, harmless

BOUNDS: Mapping[str, str] = {
    "causality": "the tolerance of the causality checks, as a sentence",
    "lengths": "which lengths a design is tried at, and that one with equal prefixes gives equal outputs, as a sentence",
    "growth": "the exponent to which counted work may grow with the length, and how many single steps may add operators",
    "scales": "each scale's reference parameters, tolerance, context, and how far width and depth may move, as lines or sentences",
    "work": "FLOPs, elements, time and memory as multiples of the reference's, errors and warnings, as a sentence",
    "training": "the short training and the few steps at a high learning rate that a design must survive, as a sentence",
    "imports": "the modules that a unit may import, joined by commas",
    "rules": "the checker's rules, one on a line: its name and what must hold",
}
"""The fields of `prompts/common.md`, and what each says; `genesys.agents.briefing` takes the figures from the checker."""

SOURCE_TOKENS = 12_000  # of all parents' code in a prompt
EVIDENCE_TOKENS = 6_000  # of what surrounds them
PROPOSAL_TOKENS = 8_000
SHORT_ID = 12  # signs of a design's id by which it is shown and cited


def common(bounds: Mapping[str, str]) -> dict[str, str]:
    """The fields of `prompts/common.md` from a brief's bounds.

    Raises:
        ValueError: A bound is missing, or one is given that no prompt states.
    """
    if missing := BOUNDS.keys() - bounds.keys():
        name = min(missing)
        raise ValueError(f"Cannot brief a session: bound {name!r} is missing; expected {BOUNDS[name]}.")
    if unknown := bounds.keys() - BOUNDS.keys():
        name = min(unknown)
        raise ValueError(f"Cannot brief a session: no prompt states bound {name!r}.{suggest(name, BOUNDS)}")
    return dict(bounds)


# --- pieces ----------------------------------------------------------------------------------------------------


def line(text: str, most: int = 300) -> str:
    """A text on one line, with nothing in it that could open or close a fence."""
    flat = harmless(" ".join(text.split()))
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def searchable(title: str, abstract: str) -> str:
    """What a design is found by: its entry in a retriever, and the query that looks for designs near it."""
    return f"{title}\n{abstract}"


def place_name(path: str) -> str:
    return path or "(root)"


def bar_text(bar: float) -> str:
    return f"The bar is {bar:g} of 5."


# --- trees -----------------------------------------------------------------------------------------------------


def places_text(tree: UnitTree) -> str:
    """The places of a tree, one on a line, parents first."""
    return "\n".join(f"- {place_name(path)}: {at.unit.name} ({at.kind})" for path, at in tree.walk())


def sources_text(trees: Iterable[UnitTree], most: int = SOURCE_TOKENS) -> str:
    """Each unit's text once, fenced; units for which no room is left are named."""
    shown: list[str] = []
    left_out: list[str] = []
    for unit in dict.fromkeys(unit for tree in trees for unit in tree.units()):
        text = fenced("unit", unit.name, unit.source)
        fits = count_tokens(text) <= most
        (shown if fits else left_out).append(text if fits else unit.name)
        most -= count_tokens(text) * fits
    if left_out:
        shown.append(f"Not shown, for lack of room: {', '.join(left_out)}.")
    return "\n".join(shown) or "None."


# --- evidence --------------------------------------------------------------------------------------------------


def blind(evidence: Evidence) -> Evidence:
    """The evidence without anything measured: what exists stays, how it did goes."""

    def hide(known: tuple[Known, ...]) -> tuple[Known, ...]:
        return tuple(replace(k, outcome="", cause="", detail="", measured=(), deltas={}) for k in known)

    return Evidence(parents=hide(evidence.parents), siblings=hide(evidence.siblings), failures=hide(evidence.failures))


def parents_text(brief: Brief) -> str:
    """Each parent with its results, its places and, once for all, the texts of its units."""
    known = (brief.evidence if brief.limits.feedback else blind(brief.evidence)).parents
    parts = []
    for number, (entry, tree) in enumerate(zip_longest(known[: len(brief.parents)], brief.parents), 1):
        about = "" if entry is None else f"{known_text(entry)}\n"
        parts.append(f"## Parent {number}\n{about}\nPlaces of parent {number}:\n{places_text(tree)}")
    if not parts:
        return "None: start from nothing."
    return "\n\n".join([*parts, f"## Units of the parents\n{sources_text(brief.parents)}"])


def surroundings_text(evidence: Evidence, *, feedback: bool = True, most: int = EVIDENCE_TOKENS) -> str:
    """The lessons, and the designs around the parents."""
    seen = evidence if feedback else blind(evidence)
    lessons = fenced("lessons", "scribe", shorten(seen.lessons, most // 2)) if seen.lessons else ""
    designs = designs_text(replace(seen, parents=()), most - count_tokens(lessons))
    return f"## Lessons of this run\n{lessons}\n\n{designs}" if lessons else designs


def designs_text(evidence: Evidence, most: int) -> str:
    """The designs of an evidence, each whole; where room is short, siblings go first, then failures."""
    groups = (
        ("Parents", 3, evidence.parents),
        ("The best so far", 2, evidence.leaders),
        ("Other children of the same parents", 0, evidence.siblings),
        ("Proposals and designs that came to nothing", 1, evidence.failures),
    )
    packed = pack(
        [Section(name=f"{heading} {number}", text=known_text(entry), priority=priority, whole=True)
         for heading, priority, known in groups for number, entry in enumerate(known)], most,
    )  # fmt: skip
    parts = []
    for heading, _, known in groups:
        kept = [packed.texts[name] for number in range(len(known)) if (name := f"{heading} {number}") in packed.texts]
        parts += ["\n".join([f"## {heading}", *kept])] if kept else []
    return "\n\n".join(filter(None, [*parts, packed.note()])) or "Nothing yet."


def known_text(known: Known) -> str:
    """One design: what it is, what came of it, and what was measured, with intervals of 95%."""
    title = f", {line(known.title, 120)}" if known.title else ""
    head = f"- [{line(known.design[:SHORT_ID]) or 'no id'}] {line(known.name or 'unnamed', 80)}{title}"
    made = line(" ".join(filter(None, (known.operator, known.detail))))
    lines = [
        head + (f"; {known.outcome}" if known.outcome else ""),
        f"  made by: {made}" if made else "",
        f"  cause: {line(known.cause)}" if known.cause else "",
        *(f"  {_measured_text(measured)}" for measured in known.measured),
        *(f"  without the unit at {place_name(path)} fitness changes by {-loss:+.3f} [{-high:+.3f}, {-low:+.3f}]"
          for path, (loss, low, high) in sorted(known.deltas.items())),
        fenced("design", known.name or known.title, known.abstract) if known.abstract else "",
    ]  # fmt: skip
    return "\n".join(filter(None, lines))


def _measured_text(measured: Measured) -> str:
    low, high = measured.interval
    bits = "" if measured.test_bpb is None else f", {measured.test_bpb:.4f} bits per byte"
    families = ", ".join(f"{line(name, 60)} {score:.3f}" for name, score in sorted(measured.families.items()))
    return (
        f"at {line(measured.scale, 40)}: fitness {measured.fitness:.3f} [{low:.3f}, {high:.3f}]{bits}"
        f"{'; ' + families if families else ''}"
    )


# --- what roles say to each other ------------------------------------------------------------------------------


def findings_text(findings: Iterable[Finding], most: int = 12) -> str:
    """What the checker says, errors first, one finding on a line."""
    ordered = sorted(findings, key=lambda finding: finding.severity != "error")
    lines = [f"- {line(f'{f.severity} at {place_name(f.path)} {f}', 760)}" for f in ordered[:most]]
    if len(ordered) > most:
        lines.append(f"- and {len(ordered) - most} more")
    return "\n".join(lines) or "None."


def passages_text(passages: Sequence[Passage]) -> str:
    """Retrieved texts as data, nearest first."""
    texts = (
        fenced(passage.source, f"{passage.name}, similarity {passage.similarity:.2f}", f"{passage.title}\n{passage.text}")
        for passage in passages
    )  # fmt: skip
    return "\n".join(texts) or "Nothing was found."


def proposal_text(turn: ProposerTurn) -> str:
    """A proposal as those read it who review it or write its code."""
    target = f"Target: {line(turn.target)}\n" if turn.target else ""
    text = (
        f"Title: {line(turn.title, 120)}\n{target}Abstract: {turn.abstract}\n\nMotivation: {turn.motivation}\n\n"
        f"Mathematics: {turn.mathematics}\n\nAlgorithm: {turn.algorithm}\n\nRisks: {turn.risks}"
    )
    return fenced("proposal", turn.title, shorten(text, PROPOSAL_TOKENS))


def review_text(turn: ReviewerTurn) -> str:
    """A review as its proposer reads it."""
    scores = ", ".join(
        f"{name} {getattr(turn, name):g}" for name in ("novelty", "soundness", "feasibility", "effect", "cost")
    )
    text = f"{scores}.\n{turn.review}\nSuggestions: {turn.suggestions}"
    return f"Rated {turn.rating:g} of 5.\n{fenced('review', 'reviewer', text)}"
