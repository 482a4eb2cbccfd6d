"""Prompts: versioned templates, rendered purely, laid out so that what calls have in common comes first."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

_FIELD = re.compile(r"\{\{(\w+)\}\}")
_FENCE = re.compile(r"<\s{0,9}/?\s{0,9}retrieved\b", re.IGNORECASE)  # with blanks, too: a model reads over them


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation.

    Attributes:
        stable: Whether a run's calls have it in common from the start up to here, so that a provider may cache it.
    """

    author: str  # "system", "user" or "assistant"
    text: str
    stable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a language model is sent.

    Attributes:
        template: The name of its template, such as `coder`.
        version: Hash of the templates that made it, 12 hexadecimal digits.
    """

    template: str
    version: str
    messages: tuple[Message, ...]

    def reply(self, answer: str, next_: str) -> Prompt:
        """The conversation a turn further."""
        further = (Message(author="assistant", text=answer), Message(author="user", text=next_))
        return Prompt(template=self.template, version=self.version, messages=(*self.messages, *further))


def render(template: str, fields: Mapping[str, str], common: Mapping[str, str]) -> Prompt:
    """Fill a role's templates.

    `prompts/common.md` with `common` is what all calls of a run share and comes first, as a stable system message; then the
    part of `prompts/<template>.md` above its line `---`, which knows no fields and is stable, too; then the part below it, with
    `fields`, from the user.

    Raises:
        KeyError: A field that the template names and nobody gave.
        ValueError: A field that it does not name: what was to be said would be lost.
    """
    shared, own = _text("common"), _text(template)
    standing, _, asked = own.partition("\n---\n")
    system = f"{_fill(shared, common)}\n\n{standing.strip()}"
    return Prompt(
        template=template,
        version=prompt_version(template),
        messages=(
            Message(author="system", text=system, stable=True),
            Message(author="user", text=_fill(asked, fields)),
        ),
    )


@cache
def prompt_version(template: str) -> str:
    """Hash of a template and what it shares with the others."""
    return hashlib.sha256(f"{_text('common')}\0{_text(template)}".encode()).hexdigest()[:12]


def fenced(source: str, name: str, text: str) -> str:
    """A retrieved text as data: nothing in it can close the fence."""
    label = re.sub(r"[^\w .:,+()-]", "_", name)[:120]
    return f'<retrieved source="{source}" name="{label}">\n{harmless(text).rstrip()}\n</retrieved>'


def harmless(text: str) -> str:
    """A text in which nothing opens or closes a fence, without the lone surrogates that no request can hold."""
    whole = text if text.isascii() else text.encode("utf-8", "replace").decode()
    return _FENCE.sub(lambda match: match.group().replace("<", "&lt;"), whole)


def _fill(template: str, fields: Mapping[str, str]) -> str:
    named = set(_FIELD.findall(template))
    if unused := fields.keys() - named:
        raise ValueError(f"Cannot render: the template names no {', '.join(sorted(unused))}.")
    return _FIELD.sub(lambda match: fields[match.group(1)], template).strip()


@cache
def _text(template: str) -> str:
    return (resources.files(__package__) / "prompts" / f"{template}.md").read_text(encoding="utf-8")
