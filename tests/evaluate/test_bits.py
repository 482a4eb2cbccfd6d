"""Bits per byte against closed forms, and the checks on loaded weights."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from genesys.errors import JobFailed
from genesys.evaluate.bits import bits_per_byte, by_document, unigram_nats, windows
from genesys.evaluate.local import LocalModel
from genesys.evaluate.questions import Question
from genesys.evaluate.splits import Documents, open_splits, validation_rows
from genesys.evaluate.weights import load_weights
from genesys.evaluate.weights import save_weights as save_probe_weights
from genesys.gau.library import seed_design
from genesys.model import GAM, ModelShape, build_model
from genesys.train.checkpoint import save_weights
from genesys.train.trainer import validation_loss
from tests.train.data import small_shards

torch.set_num_threads(1)
SHAPE = ModelShape(vocab_size=257, d_model=16, n_blocks=1)


END_OF_TEXT = 256


def documents(*lengths: int) -> Documents:
    rng = np.random.default_rng(0)
    texts = [np.append(rng.integers(0, 256, n), END_OF_TEXT) for n in lengths]
    return Documents(texts, np.array(lengths), END_OF_TEXT)


def nats_of(logits_NLV: np.ndarray, targets_NL: np.ndarray) -> np.ndarray:
    """The losses that a model with these logits is given, (N, L)."""
    n, length = targets_NL.shape
    inputs = np.arange(n * length).reshape(n, length)  # each tells where it stands
    flat = logits_NLV.reshape(n * length, -1)
    model = LocalModel(logits_fn=lambda b: flat[b.inputs_BL[b.rows_P, b.places_P]], context=length)
    answers = model.answer([Question(*row) for row in zip(inputs, targets_NL, strict=True)])
    return np.array([answer.nats_T for answer in answers])


def test_a_uniform_model_has_the_bits_of_its_vocabulary() -> None:
    texts = documents(40, 7, 90)
    rows = windows(texts, 16)
    nats = [np.full(part[:, 1:].shape, math.log(257)) for part in rows]
    bits = bits_per_byte(by_document(nats, texts), texts)
    assert bits.value == pytest.approx(math.log2(257) * 140 / 137, abs=1e-5)
    assert bits.n_bytes == 137 and bits.n_documents == 3


@pytest.mark.parametrize("context", [1, 5, 16, 20, 70, 140, 400])
def test_every_token_is_a_target_once(context: int) -> None:
    texts = documents(40, 7, 90)
    rows = windows(texts, context)
    assert [len(d) for d in by_document([part[:, 1:] for part in rows], texts)] == [41, 8, 91]
    assert np.concatenate([part[:, 1:].ravel() for part in rows]).tolist() == np.concatenate(texts.tokens).tolist()
    stream = [END_OF_TEXT, *np.concatenate(texts.tokens).tolist()]
    assert np.concatenate([part[:, :-1].ravel() for part in rows]).tolist() == stream[:-1]


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.01, 100))
def test_scores_are_torchs_cross_entropy(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal((3, 5, 11)) * scale).astype(np.float32)
    targets = rng.integers(0, 11, (3, 5))
    expected = F.cross_entropy(
        torch.from_numpy(logits).double().flatten(0, 1), torch.from_numpy(targets).flatten(), reduction="none"
    )
    assert nats_of(logits, targets).ravel() == pytest.approx(expected.numpy(), rel=1e-5, abs=1e-5)


def test_unigram_bits_equal_the_cross_entropy() -> None:
    train = np.array([0] * 99 + [1] * 49)
    nats = unigram_nats(np.bincount(train, minlength=3), Documents([np.array([0, 1, 2])], np.array([2]), 2))
    assert nats[0] == pytest.approx(-np.log(np.array([100, 50, 1]) / 151))


def test_error_is_zero_for_equal_documents_and_positive_otherwise() -> None:
    same = documents(*[10] * 5)
    assert bits_per_byte([np.ones(11)] * 5, same).se == pytest.approx(0, abs=1e-12)
    assert bits_per_byte([np.full(11, float(i)) for i in range(5)], same).se > 0.1


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
    shards = small_shards(tmp_path)
    rows = validation_rows(open_splits(shards.path).tokens("val"), 32)
    untrained = model().eval()
    with torch.no_grad():
        logits = untrained(torch.from_numpy(rows[:, :-1])).numpy()
    assert nats_of(logits, rows[:, 1:]).mean() == pytest.approx(validation_loss(untrained, shards, 32), abs=1e-5)


def test_both_writers_of_weights_write_one_format(tmp_path: Path) -> None:
    ours = save_probe_weights(model(), tmp_path / "a", design_id="d")
    assert (
        ours
        == save_weights(model(), tmp_path / "b", design_id="d")
        == load_weights(model(), tmp_path / "a", design_id="d")
    )


@pytest.mark.parametrize("name", ["test-00000.bin", "test.offsets.bin", "test.bytes.bin"])
def test_tampered_test_data_is_the_hosts_fault(name: str, tmp_path: Path) -> None:
    path = small_shards(tmp_path).path
    (path / name).write_bytes(bytes((path / name).stat().st_size))
    with pytest.raises(JobFailed, match="not what the manifest says") as caught:
        open_splits(path).documents("test", 1000)
    (path / name).unlink()
    with pytest.raises(JobFailed, match="No such file"):
        open_splits(path).documents("test", 1000)
    assert caught.value.cause == "infrastructure"


def test_bytes_and_boundary_are_those_of_the_manifest(tmp_path: Path) -> None:
    """With any tokenizer bits are per byte of text: a model that says nothing costs log2(V) for each token."""
    shards = small_shards(tmp_path, tokenizer="bpe:300", file_bytes=1 << 12)
    splits = open_splits(shards.path)
    found, boundary = splits.documents("test", 5000), shards.end_of_text
    texts = [splits.tokenizer().decode(tokens[:-1]) for tokens in found.tokens]
    assert [len(text.encode()) for text in texts] == found.n_bytes.tolist() and 4000 < found.n_bytes.sum() <= 5000
    assert all(tokens[-1] == boundary for tokens in found.tokens) and windows(found, 16)[0][0, 0] == boundary
    bits = bits_per_byte([np.full(len(tokens), math.log(300)) for tokens in found.tokens], found)
    n_tokens = sum(map(len, found.tokens))
    assert (
        bits.value == pytest.approx(math.log2(300) * n_tokens / found.n_bytes.sum())
        and n_tokens < found.n_bytes.sum() / 2
    )
    assert splits.train_counts().tolist() == np.bincount(splits.tokens("train"), minlength=300).tolist()
    assert splits.documents("test", 0).tokens[0].tolist() == found.tokens[0].tolist()


def test_only_the_files_that_are_needed_are_read(tmp_path: Path) -> None:
    shards = small_shards(tmp_path, file_bytes=1 << 12)
    last = sorted(shards.path.glob("test-*.bin"))[-1]
    last.write_bytes(b"")
    assert open_splits(shards.path).documents("test", 3000).n_bytes.sum() <= 3000
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
