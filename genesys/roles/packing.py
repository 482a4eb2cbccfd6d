"""Texts fitted into a budget of tokens: what matters least is shortened or left out first, and that is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_BYTES_PER_TOKEN = 3
_LEAST_TOKENS = 48
"""A section of which less would be left is left out instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a prompt.

    Attributes:
        priority: Sections with the lowest go first; of equal ones, the last.
        whole: Left out rather than shortened, such as code.
    """

    name: str
    text: str
    priority: int = 0
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What is left of sections, by their names and in their order, and the names of those shortened or left out."""

    texts: dict[str, str]
    shortened: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def note(self) -> str:
        """One line that says what is missing, or ""."""
        said = (("shortened", self.shortened), ("left out", self.left_out))
        parts = [f"{verb}: {', '.join(names)}" for verb, names in said if names]
        return f"(For lack of room {'; '.join(parts)}.)" if parts else ""


def count_tokens(text: str) -> int:
    """Tokens of a text, estimated as a third of its UTF-8 bytes.

    English has 4 to 4.5 bytes a token and code about 3.5 with the vocabularies of today's models, so that this is on the high
    side for both. It is no bound: other scripts and small vocabularies need more (`genesys.llm.prices` has the bound).
    """
    n_bytes = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return -(-n_bytes // _BYTES_PER_TOKEN)


def pack(sections: Sequence[Section], n_tokens: int) -> Packed:
    """Fit sections into `n_tokens`, by the estimate.

    Raises:
        ValueError: Two sections of one name.
    """
    texts = {section.name: section.text for section in sections}
    if len(texts) < len(sections):
        raise ValueError("Cannot pack sections: two have the same name; expected each once.")
    counts = {name: count_tokens(text) for name, text in texts.items()}
    over = sum(counts.values()) - n_tokens
    shortened: list[str] = []
    left_out: list[str] = []
    for section in sorted(reversed(sections), key=lambda section: section.priority):
        if over <= 0:
            break
        shorter = "" if section.whole else shorten(section.text, counts[section.name] - over)
        over -= counts[section.name] - count_tokens(shorter)
        if shorter:
            texts[section.name] = shorter
            shortened.append(section.name)
        elif section.text:
            del texts[section.name]
            left_out.append(section.name)
    order = list(counts)
    return Packed(
        texts=texts,
        shortened=tuple(sorted(shortened, key=order.index)),
        left_out=tuple(sorted(left_out, key=order.index)),
    )


def shorten(text: str, n_tokens: int) -> str:
    """As many whole lines from a text's start as fit, with a last line that says how many are missing; "" if too few would."""
    if count_tokens(text) <= n_tokens:
        return text
    if n_tokens < _LEAST_TOKENS:
        return ""
    lines = text.splitlines()
    kept: list[str] = []
    n_left = n_tokens - count_tokens(f"[... {len(lines)} of {len(lines)} lines left out]")
    for line in lines:
        n_left -= count_tokens(line + "\n")
        if n_left < 0:
            break
        kept.append(line)
    if not kept:  # a single long line: cut inside it
        return _head(text, n_tokens - count_tokens(" [... cut]")) + " [... cut]"
    return "\n".join([*kept, f"[... {len(lines) - len(kept)} of {len(lines)} lines left out]"])


def _head(text: str, n_tokens: int) -> str:
    return text.encode("utf-8", "replace")[: n_tokens * _BYTES_PER_TOKEN].decode("utf-8", "ignore")
