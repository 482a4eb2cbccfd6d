"""Bits per byte against closed forms, and the checks on loaded weights."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genesys.errors import JobFailed
from genesys.evaluate.bits import bits_per_byte, token_nats, unigram_nats
from genesys.evaluate.splits import END_OF_TEXT, open_splits
from genesys.evaluate.weights import load_weights
from genesys.gau.library import seed_design
from genesys.model import GAM, ModelShape, build_model
from genesys.train.checkpoint import save_weights
from genesys.train.trainer import validation_loss
from tests.train.data import small_shards

torch.set_num_threads(1)
SHAPE = ModelShape(vocab_size=257, d_model=16, n_blocks=1)


def documents(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.append(rng.integers(0, 256, n), END_OF_TEXT) for n in lengths]


class Uniform(nn.Module):
    def forward(self, tokens_BL: Tensor) -> Tensor:
        return torch.zeros(*tokens_BL.shape, 257)


def test_a_uniform_model_has_the_bits_of_its_vocabulary() -> None:
    texts = documents(40, 7, 90)
    bits = bits_per_byte(token_nats(Uniform(), texts, context=16), texts)
    assert bits.value == pytest.approx(math.log2(257) * 140 / 137, abs=1e-5)
    assert bits.n_bytes == 137 and bits.n_documents == 3


@pytest.mark.parametrize("context", [1, 5, 16, 400])
def test_every_token_is_predicted_once(context: int) -> None:
    texts = documents(40, 7, 90)
    assert [len(d) for d in token_nats(Uniform(), texts, context)] == [41, 8, 91]


def test_unigram_bits_equal_the_cross_entropy() -> None:
    train = np.array([0] * 99 + [1] * 49)
    nats = unigram_nats(train, [np.array([0, 1, 2])], 3)
    assert nats[0] == pytest.approx(-np.log(np.array([100, 50, 1]) / 151))


def test_error_is_zero_for_equal_documents_and_positive_otherwise() -> None:
    same = [np.append(np.zeros(10, dtype=np.int64), END_OF_TEXT)] * 5
    assert bits_per_byte([np.ones(11)] * 5, same).se == pytest.approx(0, abs=1e-12)
    assert bits_per_byte([np.full(11, float(i)) for i in range(5)], same).se > 0.1


def test_a_model_that_gives_nan_is_refused() -> None:
    class Broken(nn.Module):
        def forward(self, tokens_BL: Tensor) -> Tensor:
            return torch.full((*tokens_BL.shape, 257), math.nan)

    with pytest.raises(JobFailed, match="not finite"):
        token_nats(Broken(), documents(10), 4)


def model(seed: int = 0) -> GAM:
    return build_model(seed_design("gpt"), SHAPE, seed=seed)


def test_weights_round_trip_bit_by_bit(tmp_path: Path) -> None:
    saved, fresh = model(0), model(1)
    digest = save_weights(saved, tmp_path / "w.safetensors", design_id="d")
    assert load_weights(fresh, tmp_path / "w.safetensors", design_id="d") == digest
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), fresh.parameters(), strict=True))


def test_weights_of_another_design_size_or_nothing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(model(), path, design_id="d")
    with pytest.raises(JobFailed, match="written for design d, not for e"):
        load_weights(model(), path, design_id="e")
    wider = build_model(seed_design("gpt"), ModelShape(vocab_size=257, d_model=24, n_blocks=1))
    with pytest.raises(JobFailed, match=r"is torch\.float32 \("):
        load_weights(wider, path, design_id="d")
    deeper = build_model(seed_design("gpt"), ModelShape(vocab_size=257, d_model=16, n_blocks=2))
    with pytest.raises(JobFailed, match="tensors differ"):
        load_weights(deeper, path, design_id="d")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(JobFailed, match="expected what the training wrote"):
        load_weights(model(), path, design_id="d")


def test_evaluation_and_trainer_give_one_validation_loss(tmp_path: Path) -> None:
    from genesys.evaluate.bits import mean_loss
    from genesys.evaluate.splits import validation_rows

    shards = small_shards(tmp_path)
    rows = validation_rows(open_splits(shards.path).tokens("val"), 32)
    untrained = model().eval()
    assert mean_loss(untrained, rows) == pytest.approx(validation_loss(untrained, shards, 32), abs=1e-5)


def test_tampered_test_data_is_refused(tmp_path: Path) -> None:
    shards = small_shards(tmp_path)
    np.zeros(shards.n_tokens["test"], dtype="<u2").tofile(shards.path / "test.bin")
    with pytest.raises(JobFailed, match="not what the manifest says"):
        open_splits(shards.path).tokens("test")


def test_generation_equals_teacher_forced_argmax() -> None:
    """Law 5: feeding back what was generated gives the same choices at every step."""
    net = build_model(seed_design("gpt"), SHAPE, seed=2, embedding_std=1.0).eval()
    prompt = torch.arange(8)[None]
    generated = net.generate(prompt, 24)
    with torch.no_grad():
        logits = net(generated[:, :-1])
    margins = logits.topk(2, dim=-1).values.diff(dim=-1).abs()[0, 7:, 0]
    agree = logits.argmax(-1)[0, 7:] == generated[0, 8:]
    assert bool((agree | (margins < 1e-3)).all()) and int((margins >= 1e-3).sum()) > 12
