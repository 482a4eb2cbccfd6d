"""What a corpus is to those that pack it: parts that processes can read side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Deal = Split | Literal["held-out", "all"]
"""Where documents go: into one split, or by the hash of their text to val and test, or to all three."""


class Part(Protocol):
    """A stretch of a corpus that one process reads; it travels there by pickle, and always gives the same documents."""

    @property
    def deal(self) -> Deal: ...

    @property
    def text_bytes(self) -> int:
        """About how much text it is; 0 where that is not known before it is read."""
        ...

    @property
    def max_tokens(self) -> int:
        """Where reading stops, after a whole document; 0 reads all."""
        ...

    def documents(self) -> Iterator[str]:
        """The documents in a fixed order.

        Raises:
            ConfigError: What is read is not what it should be.
            TransientError: It cannot be reached now.
        """
        ...


class Source(Protocol):
    """A corpus that can be packed.

    Attributes:
        sources: What the manifest says about where the text comes from, by name.
        stamp: Changes when the text may have changed; known without reading it, and without a network.
    """

    @property
    def name(self) -> str: ...

    @property
    def sources(self) -> Mapping[str, str]: ...

    @property
    def stamp(self) -> str: ...

    def parts(self) -> Sequence[Part]:
        """The parts in a fixed order, however many processes there are.

        Raises:
            ConfigError: There is nothing to read.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Documents at hand, as one part."""

    texts: Sequence[str]
    deal: Deal = "all"
    max_tokens: int = 0

    @property
    def text_bytes(self) -> int:
        return sum(map(len, self.texts))

    def documents(self) -> Iterator[str]:
        return iter(self.texts)
