"""The flow `direct`: the whole block in one answer, held to the same checks; the baseline of unit-by-unit generation."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import asdict
from typing import Any

from genesys.errors import GenesysError, UnitError, suggest
from genesys.gau import Expression, Unit, UnitTree, bind, parse_unit
from genesys.gau.library import library
from genesys.roles.account import Account
from genesys.roles.answers import DirectTurn, ProposerTurn
from genesys.roles.brief import Brief, SessionOutcome
from genesys.roles.effects import Ask, Check, Claim, Effect, Refusal, Tell
from genesys.roles.prompt import Prompt, render
from genesys.roles.proposing import TASKS
from genesys.roles.wording import findings_text, line, parents_text, proposal_text, surroundings_text


def direct(
    brief: Brief, common: Mapping[str, str], proposal: ProposerTurn | None = None
) -> Generator[Effect, Any, SessionOutcome]:
    """Ask for a whole block and have it checked, up to `max_attempts` times; each time the findings go back.

    Args:
        proposal: What to write; without one, the coder thinks of something itself.
    """
    account = Account()
    opening = prompt = _opening(brief, common, proposal)
    said, cause, reason = proposal, "refused", "no attempt was allowed"

    def outcome(tree: UnitTree | None = None, duplicate_of: str = "") -> SessionOutcome:
        return SessionOutcome(
            tree=tree, title=said.title if said else "", abstract=said.abstract if said else "", duplicate_of=duplicate_of,
            cause="" if tree else cause, reason="" if tree else reason, attempts=account.attempts, log=tuple(account.log),
        )  # fmt: skip

    for attempt in range(brief.limits.max_attempts):
        turn = yield from account.ask(Ask(role="coder", prompt=prompt, answer=DirectTurn, sample=attempt))
        if isinstance(turn, Refusal):
            cause, reason, prompt = "money" if turn.cause == "money" else "refused", turn.reason, opening
            if turn.cause in ("money", "unavailable"):
                break
            continue
        said = proposal or turn
        read = read_direct(turn, brief)
        wrong = read if isinstance(read, str) else (yield from _errors(read))
        if not wrong and not isinstance(read, str):
            if existing := (yield Claim(tree=read)):
                cause, reason = "duplicate", f"design {existing[:12]} is the same"
                return outcome(duplicate_of=existing)
            return outcome(read)
        account.useless("coder")
        account.note("check", attempt=attempt, wrong=wrong)
        cause, reason = "check", line(wrong)
        prompt = prompt.reply(
            json.dumps(asdict(turn)), f"It cannot be used yet:\n{wrong}\n\nHand in the whole again, corrected."
        )
    return outcome()


def read_direct(turn: DirectTurn, brief: Brief) -> UnitTree | str:
    """The tree that an answer describes, or what is wrong with it, written for its author."""
    try:
        new = [parse_unit(text) for text in turn.units]
        units = dict(library()) | {unit.name: unit for tree in brief.parents for unit in tree.units()}
        units |= {unit.name: unit for unit in new}
        tree = bind(json.loads(turn.tree), lambda name: _named(units, name))
        places = [at for _, at in tree.walk()]
    except UnitError as error:
        return findings_text(error.findings)
    except GenesysError as error:
        return line(str(error), 700)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:  # whatever JSON may hold instead
        return f"`tree` cannot be read: {type(error).__name__}: {line(str(error))}"
    if tree.kind != "block":
        return f"The root {tree.unit.name!r} is of kind {tree.kind!r}; expected a block."
    if len(places) > brief.limits.max_units:
        return f"The tree has {len(places)} places; expected at most {brief.limits.max_units}."
    if any(isinstance(value, Expression) for at in places for _, value in at.hyperparameters):
        return "A hyperparameter is an expression; expected numbers, texts or lists of them."
    return tree


def _named(units: Mapping[str, Unit], name: str) -> Unit:
    if name not in units:
        raise ValueError(f"no unit is called {name!r}.{suggest(name, units)}")
    return units[name]


def _errors(tree: UnitTree) -> Generator[Effect, Any, str]:
    yield Tell(stage="code", text=f"a block of {len(tree.units())} units", tree=tree)
    checked = yield Check(tree=tree)
    yield Tell(stage="check", text="passed" if checked.is_sane else line(findings_text(checked.findings)))
    return "" if checked.is_sane else findings_text(checked.findings)


def _opening(brief: Brief, common: Mapping[str, str], proposal: ProposerTurn | None) -> Prompt:
    slots = {unit.name: ", ".join(slot.name for slot in unit.slots) for unit in library().values()}
    fields = {
        "mode": brief.operator,
        "task": TASKS[brief.operator],
        "max_units": str(brief.limits.max_units),
        "proposal": proposal_text(proposal) if proposal else "None: think of one yourself.",
        "parents": parents_text(brief),
        "surroundings": surroundings_text(brief.evidence, feedback=brief.limits.feedback),
        "library": "\n".join(
            f"- {unit.name} ({unit.kind}){'; slots ' + slots[unit.name] if unit.slots else ''}"
            for unit in library().values()
        ),
    }
    return render("direct", fields, common)
