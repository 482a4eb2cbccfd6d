"""The scribe's session: lessons cite designs that were shown, or the old ones stand."""

from __future__ import annotations

import pytest

from genesys.evolution.evidence import Evidence
from genesys.roles.answers import LessonsTurn
from genesys.roles.effects import Refusal
from genesys.roles.lessons import lessons_session, uncited
from tests.roles.briefs import EVIDENCE, FIGURES, play, world

IDS = {"555555555555", "ffffffffffff", "1111"}
GOOD = LessonsTurn(lessons="- Gates help by .016 [0.41, 0.48] [555555555555].\n- They must be bounded [ffffffffffff].")
BAD = LessonsTurn(lessons="- Gates help.")


def test_cited_lessons_are_kept() -> None:
    played = play(lessons_session(EVIDENCE, FIGURES), world(scribe=[GOOD]))
    assert played.outcome.text == GOOD.lessons and len(played.asked("scribe")) == 1
    user = played.asked("scribe")[0].prompt.messages[1].text
    assert "help a little" in user and "Learnt decay" in user and "The reference transformer" in user


def test_uncited_lessons_are_sent_back_once() -> None:
    played = play(lessons_session(EVIDENCE, FIGURES), world(scribe=[BAD, GOOD]))
    assert played.outcome.text == GOOD.lessons
    assert "lesson 1 cites no design" in played.asked("scribe")[1].prompt.messages[-1].text
    played = play(lessons_session(EVIDENCE, FIGURES), world(scribe=[BAD]))
    assert (played.outcome.text, played.outcome.cause) == ("", "citations") and len(played.asked("scribe")) == 2
    assert [(a.n_asked, a.n_useful) for a in played.outcome.attempts] == [(2, 0)]


@pytest.mark.parametrize(("cause", "ends"), [("money", "money"), ("malformed", "refused")])
def test_refusals(cause: str, ends: str) -> None:
    refusal = Refusal(cause=cause, reason="why")  # type: ignore[arg-type]
    played = play(lessons_session(EVIDENCE, FIGURES), world(scribe=[refusal]))
    assert (played.outcome.text, played.outcome.cause, played.outcome.reason) == ("", ends, "why")


def test_nobody_is_asked_where_there_is_nothing_to_learn_from() -> None:
    played = play(lessons_session(Evidence(lessons="- old [555555555555]"), FIGURES), world())
    assert played.effects == () and played.outcome.text == ""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD.lessons, ""),
        ("- By its whole id [" + "5" * 64 + "].", ""),
        ("- Two at once [555555555555, ffffffffffff].", ""),
        ("- A short one [1111].", ""),
        ("Lessons:\n- One [1111].", ""),
        ("", "no line begins with `- `"),
        ("Gates help [555555555555].", "no line begins with `- `"),
        ("- One [1111].\n- Interval only [0.41, 0.48].", "lesson 2 cites no design"),
        ("- One [1111] [abcdefabcdef].", "lesson 1 cites [abcdefabcdef]"),
        ("- In text 555555555555.", "lesson 1 cites no design"),
    ],
)
def test_citations(text: str, complaint: str) -> None:
    said = uncited(text, IDS)
    assert said.startswith(complaint) if complaint else said == ""
