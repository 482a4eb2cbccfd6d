"""A `TokenModel` and a tokenizer as a language model of lm-eval.

Imports lm_eval: import this module inside functions only. What a request means (where a context ends, what stands
before an empty one, how long texts are cut) is lm-eval's, shared with its `hf` model, so that both give the same
figures. Three things that `hf` refuses are answered: a continuation longer than the context is scored in pieces, each
with as much of the text before it as fits; one that merges into the context's last token is scored by that token; a
generation longer than the context goes on in a window that slides.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from genesys.errors import ConfigError, JobFailed
from genesys.evaluate.questions import Question, TokenModel, Tokens
from genesys.tokens import Tokenizer

_CHUNK = 32
_MAX_GENERATED = 256

Request = tuple[Any, list[int], list[int]]


class HarnessModel(TemplateLM):  # type: ignore[misc] # lm_eval has no types
    """lm-eval's view of a model; every call asks all its questions at once, so that the model may order them."""

    def __init__(self, model: TokenModel, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._model, self._tokens = model, tokenizer

    @property
    def eot_token_id(self) -> int:
        return self._tokens.end_of_text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        tokens: list[int] = self._tokens.encode(string).tolist()
        return tokens

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        before, after = super()._encode_pair(context, continuation)
        if continuation and not after:
            whole = self.tok_encode(context + continuation)
            before, after = whole[:-1] or [self.eot_token_id], whole[-1:]
        return before, after

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Natural log-likelihood of each continuation, and whether each of its tokens is the first choice."""
        answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Natural log-likelihood of each whole text, every token scored once."""
        windows: list[Request] = []
        n_windows = [0]
        for (text,) in (request.args for request in requests):
            rolling = utils.get_rolling_token_windows(
                self.tok_encode(text), self.prefix_token_id, max_seq_len=self._model.context, context_len=1
            )
            windows += [(None, *utils.make_disjoint_window(window)) for window in rolling]
            n_windows.append(len(windows))
        answers = self._loglikelihood_tokens(windows)
        return [sum(total for total, _ in answers[a:b]) for a, b in pairwise(n_windows)]

    def _loglikelihood_tokens(self, requests: list[Request], **kwargs: Any) -> list[tuple[float, bool]]:
        questions: list[Question] = []
        ends = [0]
        for _, context, continuation in requests:
            questions += _questions(context + continuation, len(continuation), self._model.context)
            ends.append(len(questions))
        answers = self._model.answer(questions)
        totals = [float(answer.nats_T.sum()) for answer in answers]
        if not all(map(math.isfinite, totals)):
            raise JobFailed("non-finite", "Cannot score the tasks: the model gave a likelihood that is not finite.")
        firsts = [bool(answer.right_T.all()) for answer in answers]
        return [(-sum(totals[a:b]), all(firsts[a:b])) for a, b in pairwise(ends)]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Greedy text after each context, up to the first of its stop strings, the end of text, or its length."""
        context = self._model.context
        asked = (request.args for request in requests)
        texts = [_Generation(text, settings, self._tokens, context) for text, settings in asked]
        while live := [text for text in texts if text.n_left]:
            n = min(_CHUNK, *(text.n_left for text in live))
            for text, added in zip(live, self._model.extend([text.prompt for text in live], n), strict=True):
                text.take(added)
        return [text.answer for text in texts]


def _questions(tokens: list[int], n_targets: int, context: int) -> list[Question]:
    """The last `n_targets` tokens as targets, in pieces of at most `context`, each after all that fits before it."""
    row = np.array(tokens, np.int64)
    cuts = [*range(len(row) - n_targets, len(row), context), len(row)]
    return [Question(row[max(0, b - 1 - context) : b - 1], row[a:b]) for a, b in pairwise(cuts)]


class _Generation:
    """One text under way."""

    def __init__(self, text: str, settings: dict[str, Any], tokenizer: Tokenizer, context: int) -> None:
        options = normalize_gen_kwargs(settings, _MAX_GENERATED)
        if options["do_sample"]:
            raise ConfigError("Cannot generate by sampling: expected do_sample: false. Answers here are greedy.")
        self._stops = [stop for stop in handle_stop_sequences(options["until"], eos=None) if stop]
        self.n_left = options["max_gen_toks"]
        n_prompt = context - self.n_left if self.n_left < context else context // 2
        self._tokenizer = tokenizer
        self._prompt = tokenizer.encode(text)[-n_prompt:] if text else np.array([tokenizer.end_of_text])
        self._added = self._prompt[:0]

    @property
    def prompt(self) -> Tokens:
        return np.concatenate([self._prompt, self._added])

    @property
    def answer(self) -> str:
        text: str = postprocess_generated_text(self._tokenizer.decode(self._added), self._stops, None)
        return text

    def take(self, tokens: Tokens) -> None:
        """Add what the model chose, and see whether that was all."""
        ended = np.flatnonzero(tokens == self._tokenizer.end_of_text)
        self._added = np.concatenate([self._added, tokens[: ended[0]] if len(ended) else tokens])
        text = self._tokenizer.decode(self._added)
        done = len(ended) or any(stop in text for stop in self._stops)
        self.n_left = 0 if done else self.n_left - len(tokens)
