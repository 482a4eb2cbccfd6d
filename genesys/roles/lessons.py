"""The scribe's session: the lessons of a run, rewritten from its evidence, each citing the designs that it rests on."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping, Set
from dataclasses import asdict, dataclass
from typing import Any

from genesys.evolution.evidence import Evidence, Known
from genesys.roles.account import Account
from genesys.roles.answers import LessonsTurn
from genesys.roles.brief import Attempt
from genesys.roles.effects import Ask, Effect, Refusal, Tell
from genesys.roles.prompt import fenced, render
from genesys.roles.wording import SHORT_ID, common, designs_text

EVIDENCE_TOKENS = 12_000
_BRACKETS = re.compile(r"\[([^\]]*)\]")
_LOOKS_LIKE_AN_ID = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonsOutcome:
    """What the scribe wrote; `text` is "" when nothing came of it, and then the old lessons stand."""

    text: str = ""
    cause: str = ""
    reason: str = ""
    attempts: tuple[Attempt, ...] = ()
    log: tuple[Mapping[str, object], ...] = ()


def lessons_session(evidence: Evidence, bounds: Mapping[str, str]) -> Generator[Effect, Any, LessonsOutcome]:
    """Ask for the lessons once, and once more where one cites no design or one that was not shown."""
    account = Account()
    ids = {known.design[:SHORT_ID] for known in _designs(evidence) if known.design}
    old = fenced("lessons", "scribe", evidence.lessons) if evidence.lessons else "None yet."
    prompt = render("scribe", {"lessons": old, "evidence": designs_text(evidence, EVIDENCE_TOKENS)}, common(bounds))
    cause, reason = "citations", "there is no design to learn from"
    for _ in range(2 if ids else 0):
        said = yield from account.ask(Ask(role="scribe", prompt=prompt, answer=LessonsTurn))
        if isinstance(said, Refusal):
            cause, reason = "money" if said.cause == "money" else "refused", said.reason
            break
        reason = uncited(said.lessons, ids)
        if not reason:
            yield Tell(stage="lessons", text=said.lessons)
            return LessonsOutcome(text=said.lessons.strip(), attempts=account.attempts, log=tuple(account.log))
        account.useless("scribe")
        prompt = prompt.reply(
            json.dumps(asdict(said), ensure_ascii=False), f"It cannot be kept: {reason} Write them all again."
        )
    return LessonsOutcome(cause=cause, reason=reason, attempts=account.attempts, log=tuple(account.log))


def uncited(lessons: str, ids: Set[str]) -> str:
    """What is wrong with the citations of some lessons, as a sentence, or "".

    Args:
        ids: Of the designs shown, as they were shown.
    """
    lines = [line for line in lessons.splitlines() if line.startswith("- ")]
    if not lines:
        return "no line begins with `- `; expected one lesson a line."
    for number, lesson in enumerate(lines, 1):
        cited = {word for bracket in _BRACKETS.findall(lesson) for word in re.split(r"[,;\s]+", bracket)}
        known = {word for word in cited if word[:SHORT_ID] in ids}
        if unknown := sorted(word for word in cited - known if _LOOKS_LIKE_AN_ID.fullmatch(word)):
            return f"lesson {number} cites [{unknown[0]}]; expected ids that were shown."
        if not known:
            return f"lesson {number} cites no design; expected ids in brackets, as they were shown."
    return ""


def _designs(evidence: Evidence) -> tuple[Known, ...]:
    return (*evidence.parents, *evidence.siblings, *evidence.failures, *evidence.leaders)
