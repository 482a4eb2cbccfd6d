"""Stage 6: seeds pass with room, and each way of being too dear or of not learning has its rule."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genesys.checker.cost import OperatorCounter, n_rises, step_cost
from genesys.checker.effectiveness import Effectiveness, check_effectiveness, growth_exponent, measures_as_json
from genesys.checker.lessons import N_KEYS, N_PAIRS, packed_text, recall_batch, text_batch
from genesys.checker.request import EffectivenessPolicy
from genesys.checker.surroundings import in_block
from genesys.errors import Severity
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import SEED_NAMES, library, seed_design

SMALL = EffectivenessPolicy(d_model=64, lengths=(16, 32, 64), n_rows=4, context=32, n_steps=12, n_recall_steps=12)
COUNTED_ONLY = replace(SMALL, n_steps=1, n_recall_steps=1, max_loss_share=2.0)
LONGER = replace(COUNTED_ONLY, lengths=(32, 64, 128))

MIXER = '''
import torch
from torch import nn

class Mixer(nn.Module):
    """A causal mean with something done to it. Shapes: X (B, L, D) -> Y (B, L, D)."""
    kind = "mixer"

    def __init__(self, d: int, ctx):
        super().__init__()
        self.out = nn.Linear(d, d, bias=False)

    def forward(self, X, Z):
        L = X.shape[1]
        y = torch.cumsum(self.out(X), dim=1) / torch.arange(1, L + 1)[None, :, None]
{body}
        return y, {{}}
'''


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def design(*body: str) -> UnitTree:
    unit = parse_unit(MIXER.format(body="\n".join(" " * 8 + line for line in body)))
    return seed_design("gpt").graft("mixer", UnitTree(unit))


def measured(tree: UnitTree, policy: EffectivenessPolicy = COUNTED_ONLY) -> Effectiveness:
    with torch.random.fork_rng():
        return check_effectiveness(tree, policy)


def rules(result: Effectiveness, severity: Severity = "error") -> set[str]:
    return {finding.rule for finding in result.findings if finding.severity == severity}


@pytest.mark.parametrize("seed", SEED_NAMES)
def test_seeds_are_affordable(seed: str) -> None:
    assert rules(measured(seed_design(seed))) == set()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEED_NAMES)
def test_seeds_have_no_finding_at_full_length(seed: str) -> None:
    assert measured(seed_design(seed), EffectivenessPolicy()).findings == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(library()))
def test_library_units_pass_in_a_block(name: str) -> None:
    assert rules(measured(in_block(library()[name]), replace(SMALL, n_steps=24))) == set()


def test_the_reference_costs_exactly_itself() -> None:
    result = measured(seed_design("gpt"), SMALL)
    assert rules(result) == set()
    assert [result.measures[f"{name}_ratio"] for name in ("flops", "n_elements", "memory")] == [1.0, 1.0, 1.0]
    assert result.measures["text_loss"] == result.measures["reference_text_loss"] < math.log(257)
    assert set(measures_as_json(result)) >= {"flops_growth", "ops_per_position", "time_ratio", "recall_loss"}


def test_a_loop_over_positions_is_named_with_its_line() -> None:
    body = ["state, rows = 0.0, []", "for t in range(L):", "    state = 0.9 * state + y[:, t]", "    rows.append(state)",
            "y = torch.stack(rows, dim=1)"]  # fmt: skip
    (finding,) = [f for f in measured(design(*body)).findings if f.severity == "error"]
    assert finding.rule == "not-parallel" and finding.unit == "Mixer" and "16 of 16" in finding.measured
    source = design(*body).at("mixer").unit.source.split("\n")
    assert finding.line is not None and "0.9 * state" in source[finding.line - 1]


def test_a_loop_that_waits_for_length_is_found() -> None:
    body = ["if L > 40:", "    y = torch.stack([row * 1.0 for row in y.unbind(1)], dim=1)"]
    assert rules(measured(design(*body))) == {"not-parallel"}


@pytest.mark.parametrize("method", ["forward", "step"])
def test_a_recurrent_cell_of_torch_is_a_loop_too(method: str) -> None:
    """The loop is out of sight in both: in a method of the unit, and in torch."""
    unit = parse_unit(
        MIXER.replace("self.out =", "self.cell = nn.GRU(d, d, batch_first=True); self.out =").format(
            body="        y = self.cell(y)[0]"
        )
        if method == "forward"
        else MIXER.format(body="        y = torch.stack([self.step(y[:, t]) for t in range(L)], dim=1)")
        + "\n    def step(self, x):\n        return torch.tanh(x)\n"
    )
    assert rules(measured(seed_design("gpt").graft("mixer", UnitTree(unit)))) == {"not-parallel"}


@pytest.mark.parametrize(
    "body",
    [
        ("y = torch.cat([c.cumsum(1) for c in y.split(16, dim=1)], dim=1)",),
        (
            "step = 1",
            "while step < L:",
            "    y = y + nn.functional.pad(y, (0, 0, step, 0))[:, :L] * 0.5",
            "    step *= 2",
        ),
    ],
    ids=["chunks", "doubling"],
)
def test_chunks_and_scans_are_parallel(body: tuple[str, ...]) -> None:
    assert rules(measured(design(*body))) == set()


def test_three_axes_of_length_are_too_many() -> None:
    cubic = measured(design("y = y + torch.ones(L, L, L).cumsum(2).amax((0, 1))[None, :, None] * y.mean() * 0"), LONGER)
    assert "flops-growth" in rules(cubic)
    assert cubic.measures["n_elements_growth"] > 2.5


@given(st.tuples(*[st.integers(0, 10**6)] * 3).filter(lambda c: c[1] + c[2] > 0))
def test_no_polynomial_of_degree_two_grows_faster_than_the_square(coefficients: tuple[int, int, int]) -> None:
    constant, linear, square = coefficients
    exponent = growth_exponent([constant + linear * n + square * n * n for n in (64, 128, 256)])
    assert 1 - 1e-9 <= exponent <= 2 + 1e-9


def test_dear_designs_are_named_by_what_they_cost() -> None:
    tiny = replace(
        COUNTED_ONLY, d_model=32, lengths=(16, 32, 64), context=32, warn_work=2.0, max_work=4.0, warn_memory=2.0
    )
    assert rules(measured(design(*["y = y + self.out(y) * 0.01"] * 80), tiny)) == {"flops"}
    some = measured(design(*["y = y + self.out(y) * 0.01"] * 40), tiny)
    assert rules(some) == set(), some.measures
    assert "flops" in rules(some, "warning"), some.measures
    kept = measured(design(*["y = y + y.sin().cos().exp() * 0.1"] * 40), tiny)
    assert "memory" in rules(kept, "warning"), kept.measures


def test_a_design_that_breaks_after_some_steps_diverges() -> None:
    body = "y = y / (self.out.weight.detach() - self.seen).abs().sum()"  # 0 / 0 as long as nothing was learnt
    unit = MIXER.replace("bias=False)", "bias=False); self.seen = 0.0").format(body="        " + body)
    tree = seed_design("gpt").graft("mixer", UnitTree(parse_unit(unit.replace("self.seen = 0.0", "self.seen = 1.0"))))
    assert rules(measured(tree, SMALL)) == set(), "the same design is sound away from the pole"
    late = MIXER.replace("bias=False)", "bias=False); self.calls = 0").format(
        body="        self.calls += 1\n        y = y * (float('inf') if self.calls > 30 else 1.0)"
    )
    result = measured(seed_design("gpt").graft("mixer", UnitTree(parse_unit(late))), replace(SMALL, n_steps=40))
    (finding,) = [f for f in result.findings if f.severity == "error"]
    assert finding.rule == "diverged" and "of 40" in finding.measured


def test_a_design_that_shuns_a_width_is_measured_at_another() -> None:
    unit = MIXER.replace("self.out =", "assert d % 24 == 0, 'in threes'; self.out =").format(body="        y = y")
    tree = seed_design("gpt").graft("mixer", UnitTree(parse_unit(unit)))
    with torch.random.fork_rng():
        assert rules(check_effectiveness(tree, COUNTED_ONLY, [96, 48])) == set()
        with pytest.raises(AssertionError, match="in threes"):
            check_effectiveness(tree, COUNTED_ONLY, [32])


def test_a_loss_that_stays_is_found() -> None:
    block = parse_unit('''
from torch import nn

class Deaf(nn.Module):
    """Gives the model nothing to learn from but its bias. Shapes: X (B, L, D) -> Y (B, L, D)."""
    kind = "block"

    def __init__(self, d: int, ctx):
        super().__init__()
        self.bias = nn.Parameter(nn.init.ones_(nn.Parameter(__import__("torch").empty(d))).detach() * 1e-3)

    def forward(self, X, Z):
        return X * 0 + self.bias * 1e-12, {}
''')
    result = measured(UnitTree(block), SMALL)
    assert rules(result) == {"no-learning"}


def test_a_blind_design_is_warned_that_it_recalls_nothing() -> None:
    blind = design("y = self.out(X)")
    result = measured(blind, replace(SMALL, n_recall_steps=60))
    assert "recall" in rules(result, "warning")
    seeing = measured(seed_design("gpt"), replace(SMALL, n_recall_steps=60))
    assert seeing.measures["recall_loss"] < result.measures["recall_loss"] - 0.3


def test_counting_costs_nothing_afterwards_and_is_the_same_again() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(257, 8), torch.nn.Linear(8, 8))
    tokens = torch.arange(6)[None]
    first, second = step_cost(model, tokens), step_cost(model, tokens)
    assert first == second and all(parameter.grad is None for parameter in model.parameters())
    assert first.flops == 3 * 2 * 6 * 8 * 8, "forward, the weight's gradient, the input's gradient"


def test_views_are_no_work() -> None:
    with OperatorCounter() as counter:
        torch.zeros(4, 5).t().unsqueeze(0)[0]
    assert counter.n_elements == 20 and sum(counter.by_place.values()) == 4


def test_rises_count_single_steps() -> None:
    assert n_rises([3 * length for length in range(48, 65)]) == 16
    assert n_rises([math.ceil(length / 8) for length in range(48, 65)]) == 2
    assert n_rises([7] * 17) == 0


def test_the_lessons_are_what_they_say() -> None:
    generator = torch.Generator().manual_seed(5)
    tokens, following = text_batch(3, 20, generator)
    assert torch.equal(tokens[:, 1:], following[:, :-1]) and packed_text().max() == 256
    tokens, answers = recall_batch(64, generator)
    keys, values, asked = tokens[:, 0 : 2 * N_PAIRS : 2], tokens[:, 1 : 2 * N_PAIRS : 2], tokens[:, 2 * N_PAIRS :]
    assert int(keys.max()) < N_KEYS <= int(values.min())
    matches = asked[:, :, None] == keys[:, None, :]
    assert bool((matches.sum(2) == 1).all()), "each key is asked once, and stands once among the pairs"
    assert torch.equal((matches * values[:, None, :]).sum(2), answers)
