"""A model that runs in this process, as one that answers questions: for tests, benchmarks and baselines.

Nothing is confined here. Generated code answers through `genesys.verification` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genesys.evaluate.questions import Answer, Batch, Question, Tokens, collect, plan, score

_NOTHING = np.zeros(1, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A `TokenModel` on a function that runs a batch.

    Attributes:
        logits_fn: Gives the logits (P, V) at the places of a batch; must be causal.
        context: The most inputs that a row may have.
        max_tokens: Bounds a batch, padding included; more is slower on a CPU, whose caches then overflow.
    """

    logits_fn: Callable[[Batch], NDArray[np.float32]]
    context: int
    max_tokens: int = 2_048

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer each question, in their order.

        Raises:
            ValueError: A row is longer than the context.
        """
        longest = max((len(question.inputs_L) for question in questions), default=0)
        if longest > self.context:
            raise ValueError(f"Cannot answer a question of {longest} tokens: expected at most {self.context}. Cut it.")
        batches = plan(questions, max_tokens=self.max_tokens)
        return collect(batches, (score(self.logits_fn(batch), batch) for batch in batches))

    def extend(self, prompts: Sequence[Tokens], n_tokens: int) -> list[Tokens]:
        """The `n_tokens` greedily chosen tokens after each prompt; a prompt is cut to its last tokens as it grows.

        Each token costs a pass over the whole row: no state is kept that every kind of mixer would have.
        """
        rows = list(prompts)
        for _ in range(n_tokens):
            questions = [Question(row[-self.context :], _NOTHING) for row in rows]
            for batch in plan(questions, max_tokens=self.max_tokens):
                chosen_K = self.logits_fn(batch).argmax(-1)[batch.picks_K]
                for i, token in zip(batch.questions_Q, chosen_K, strict=True):
                    rows[i] = np.append(rows[i], token)
        return [row[len(prompt) :] for row, prompt in zip(rows, prompts, strict=True)]
