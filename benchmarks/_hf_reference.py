"""A tiny Hugging Face model with fixed random weights, as lm-eval's own `hf` model and as one of ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genesys.evaluate.local import LocalModel
from genesys.evaluate.questions import Batch, Tokens

END = "<|endoftext|>"


class FastTokens:
    """A Hugging Face tokenizer under our names."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.vocab_size, self.end_of_text = len(tokenizer), tokenizer.eos_token_id

    def encode(self, text: str) -> Tokens:
        return np.array(self.tokenizer.encode(text), np.int64)

    def decode(self, tokens: Tokens) -> str:
        text: str = self.tokenizer.decode(tokens.tolist())
        return text


def trained_tokenizer(texts: Iterable[str], *, vocab_size: int = 600) -> Any:
    """A byte-level BPE trained on some text, as a `PreTrainedTokenizerFast`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=END, pad_token=END)


def tiny_gpt2(vocab_size: int, *, context: int, d_model: int = 32, n_layer: int = 2) -> Any:
    """GPT-2 with weights large enough that its choices differ."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=context,
        n_embd=d_model,
        n_layer=n_layer,
        n_head=4,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()


def as_local_model(model: Any) -> LocalModel:
    """The model as a `TokenModel`; logits only where they are asked for."""

    @torch.no_grad()
    def logits(batch: Batch) -> NDArray[np.float32]:
        states_BLD = model.transformer(torch.from_numpy(batch.inputs_BL)).last_hidden_state
        logits_PV: NDArray[np.float32] = model.lm_head(states_BLD[batch.rows_P, batch.places_P]).numpy()
        return logits_PV

    return LocalModel(logits_fn=logits, context=model.config.n_positions)
