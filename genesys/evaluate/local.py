"""A model that runs in this process, as one that answers questions: for tests, benchmarks and baselines.

Nothing is confined here. Generated code answers through `genesys.verification` instead.

Shapes: B rows, L inputs, P places, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genesys.evaluate.questions import Answer, Question, Tokens, collect, plan, score

LogitsFn = Callable[[Tokens], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A `TokenModel` on a function from rows of tokens (B, L) to logits (B, L, V); the function must be causal.

    `max_tokens` bounds a batch, padding included.
    """

    logits_fn: LogitsFn
    context: int
    max_tokens: int = 8_192

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer each question, in their order.

        Raises:
            ValueError: A row is longer than the context.
        """
        longest = max((len(question.inputs_L) for question in questions), default=0)
        if longest > self.context:
            raise ValueError(f"Cannot answer a question of {longest} tokens: expected at most {self.context}. Cut it.")
        batches = plan(questions, max_tokens=self.max_tokens)
        scored = (score(self.logits_fn(b.inputs_BL)[b.rows_P, b.places_P], b) for b in batches)
        return collect(batches, scored)

    def extend(self, prompts: Sequence[Tokens], n_tokens: int) -> list[Tokens]:
        """The `n_tokens` greedily chosen tokens after each prompt; a prompt is cut to its last tokens as it grows."""
        added = [np.zeros(n_tokens, np.int64) for _ in prompts]
        for t in range(n_tokens):
            rows = [np.concatenate([p, a[:t]])[-self.context :] for p, a in zip(prompts, added, strict=True)]
            nothing = np.zeros(1, np.int64)
            for batch in plan([Question(row, nothing) for row in rows], max_tokens=self.max_tokens):
                chosen_P = self.logits_fn(batch.inputs_BL)[batch.rows_P, batch.places_P].argmax(-1)
                for i, pick in zip(batch.questions_Q, batch.picks_K, strict=True):
                    added[i][t] = chosen_P[pick]
        return added
