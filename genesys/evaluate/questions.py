"""What an evaluation asks of a model, and what it is told: plain arrays, so that asker and model share no library.

Shapes: L inputs, T targets (T at most L).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """How likely are these targets? They are the next tokens of the last T inputs."""

    inputs_L: Tokens
    targets_T: Tokens


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Each target's loss in nats, and whether it was the first choice (of equals, the lowest token)."""

    nats_T: NDArray[np.float64]
    right_T: NDArray[np.bool_]


class TokenModel(Protocol):
    """A model that answers; rows longer than its context are the asker's to cut."""

    @property
    def context(self) -> int:
        """The most inputs that a row may have."""
        ...

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer each question, in their order."""
        ...

    def extend(self, prompts: Sequence[Tokens], n_tokens: int) -> list[Tokens]:
        """The `n_tokens` greedily chosen tokens after each prompt; a prompt is cut to its last tokens as it grows."""
        ...
