"""Twins have equal fingerprints, whatever their texts; designs that differ anywhere in what is trained do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from genesys.checker import check_request
from genesys.checker.cache import is_report
from genesys.checker.fingerprint import Behaviour, behaviour
from genesys.checker.job import check
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import SEED_NAMES, seed_design, unit_named
from genesys.gau.normal_form import normal_form
from genesys.ladder import LADDERS
from genesys.model import tune_sizes

SCALES = (LADDERS["cpu"].scales[0], LADDERS["cpu"].scales[2])
GPT = seed_design("gpt")

WRAPPER = '''
import torch
from torch import nn

class Wrapped(nn.Module):
    """A wrapper."""

    kind = "wrapper"
    slots = {"inner": {"doc": "what is wrapped", "accepts": ("mixer", "channel")}}
    writes = ("*",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.inner = ctx.child("inner")

    def forward(self, X, Z):
        Y, dZ = self.inner(X, Z)
        return RESULT, dZ
'''

CHANNEL = '''
import torch
from torch import nn
from torch.nn import functional as F

class Map(nn.Module):
    """A channel mixer."""

    kind = "channel"

    def __init__(self, d: int, ctx, *, share: float = 0.1):
        super().__init__()
        self.share = share
        self.up, self.down = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)
        self.gain = ctx.own_init(nn.Parameter(torch.full((d,), 0.5)))

    def forward(self, X, Z):
        low, high = self.up(X).chunk(2, dim=-1)
        return self.gain * X + self.down(F.relu(self.up(X))) + low, {}
'''


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def taken(tree: UnitTree) -> Behaviour:
    return behaviour(tree, tune_sizes(tree, SCALES, 257), SCALES)


def fingerprint(tree: UnitTree) -> str:
    found = taken(tree).fingerprint
    assert len(found) == 64
    return found


def wrapped(tree: UnitTree, path: str, result: str) -> UnitTree:
    return tree.wrap(path, parse_unit(WRAPPER.replace("RESULT", result)))


def mapped(**changes: str) -> UnitTree:
    """GPT with the channel mixer above, texts in it exchanged."""
    text = CHANNEL
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    return GPT.replace("channel", parse_unit(text))


@pytest.mark.parametrize(("name", "result"), [*((name, "Y + 0 * X") for name in SEED_NAMES), ("gpt", "Y")])
def test_a_wrapper_that_does_nothing_gives_a_twin(name: str, result: str) -> None:
    tree = seed_design(name)
    path = next(path for path, place in tree.walk() if path and place.unit.kind in ("mixer", "channel"))
    twin = wrapped(tree, path, result)
    assert normal_form(twin) != normal_form(tree)
    assert fingerprint(twin) == fingerprint(tree)


TWINS = {
    "names": {"1": ("self.gain", "self.strength"), "2": ("Map", "Mapping")},
    "reordered sum": {"1": ("self.gain * X + self.down(F.relu(self.up(X))) + low", "low + (self.down(F.relu(self.up(X))) + X * self.gain)")},
    "another spelling": {"1": ("F.relu(self.up(X))", "self.up(X).clamp(min=0)")},
    "an unused number": {"1": ("share: float = 0.1", "share: float = 0.2")},
    "split for chunk": {"1": (".chunk(2, dim=-1)", ".unflatten(-1, (2, -1)).unbind(-2)")},
}  # fmt: skip


@pytest.mark.parametrize("change", TWINS)
def test_the_same_function_in_other_words_is_a_twin(change: str) -> None:
    assert fingerprint(mapped(**TWINS[change])) == fingerprint(mapped())


OTHERS = {
    "another init": {"1": ("0.5", "0.501")},
    "own init": {"1": ("nn.Parameter(torch.full((d,), 0.5))", "nn.Parameter(torch.zeros(d))")},
    "another function": {"1": ("F.relu", "F.gelu")},
    "a negligible term": {"1": ("+ low", "+ low + 1e-5 * high")},
    "dropout": {"1": ("+ low", "+ F.dropout(low, self.share, self.training)")},
    "scale of the gradient": {"1": ("+ low", "+ low.detach()")},
    "a parameter more": {"1": ("self.gain =", "self.more = nn.Parameter(torch.zeros(1))\n        self.gain =")},
}


@pytest.mark.parametrize("change", OTHERS)
def test_what_differs_in_training_is_no_twin(change: str) -> None:
    assert fingerprint(mapped(**OTHERS[change])) != fingerprint(mapped())


def test_dropouts_of_different_strength_are_no_twins() -> None:
    dropping = {"1": ("+ low", "+ F.dropout(low, self.share, self.training)")}
    assert fingerprint(mapped(**dropping)) != fingerprint(mapped(**dropping, more=("0.1", "0.15")))


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [("norm_mixer", "eps", 1e-5), ("norm_mixer", "eps", 1e-7), ("mixer", "n_heads", 6), ("channel", "expansion", 2.7)],
)
def test_a_hyperparameter_that_acts_is_no_twin(path: str, name: str, value: float) -> None:
    assert fingerprint(GPT.set(path, name, value)) != fingerprint(GPT)


def test_branches_that_are_silent_at_first_are_told_apart() -> None:
    """At its initial weights each of these computes what the block does without the branch."""
    silent = [
        GPT.wrap("channel", unit_named("ReZero")).replace("channel.inner", unit_named(u)) for u in ("SwiGLU", "GeGLU")
    ]
    scaled = GPT.wrap("channel", unit_named("LayerScale")).set("channel", "initial", 0.0)
    prints = {fingerprint(tree) for tree in (*silent, scaled, GPT)}
    assert len(prints) == 4


def test_a_window_counts_up_to_the_longest_context() -> None:
    def windowed(n: int) -> UnitTree:
        tree = GPT.replace("mixer", unit_named("SlidingWindowAttention"))
        return tree.set("mixer", "window", n)

    assert SCALES[-1].context == 128
    assert fingerprint(windowed(100)) != fingerprint(windowed(120))
    assert fingerprint(windowed(128)) == fingerprint(windowed(1000)), "no scale of this ladder can tell"


def test_sketches_lie_as_far_apart_as_the_outputs() -> None:
    near, far = GPT.set("norm_mixer", "eps", 1e-3), seed_design("rwkv6")
    origin, *others = (torch.tensor(taken(tree).sketch) for tree in (GPT, wrapped(GPT, "mixer", "Y"), near, far))
    distances = [float((origin - other).norm()) for other in others]
    assert distances[0] == 0 < distances[1] < 0.3 * distances[2]


def test_the_check_takes_it_of_sane_designs_that_ask() -> None:
    request = check_request(GPT, SCALES, 257, stages=("run",), behaviour=True)
    report = check(request)
    assert is_report(report, request, GPT) and report["behaviour"]["fingerprint"] == fingerprint(GPT)
    broken = check_request(
        mapped(**{"1": ("+ low", "+ low[:, :1].log()")}), SCALES, 257, stages=("run",), behaviour=True
    )
    for other in (request | {"behaviour": False}, broken):
        assert check(other)["behaviour"]["fingerprint"] == ""
    assert check(broken)["findings"]


def test_a_report_with_a_malformed_behaviour_is_refused() -> None:
    request = check_request(GPT, SCALES[:1], 257, stages=("shape",))
    report = check(request)
    assert is_report(report, request, GPT)
    forged: tuple[Any, ...] = (
        {}, {"fingerprint": "x", "sketch": []}, {"fingerprint": "", "sketch": None}, {"fingerprint": "", "sketch": ["0"]},
        {"fingerprint": "", "sketch": [float("nan")]}, {"fingerprint": "", "sketch": [0.0] * 1000},
    )  # fmt: skip
    for value in forged:
        assert not is_report(report | {"behaviour": value}, request, GPT)
