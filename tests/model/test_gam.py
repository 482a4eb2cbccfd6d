"""The model around a block: Z, slots, tied children, export, generation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from genesys.errors import InterfaceError
from genesys.gau import UnitTree, parse_unit
from genesys.gau.library import SEED_NAMES, seed_design, unit_named
from genesys.model import ModelShape, build_model, to_source

SHAPE = ModelShape(vocab_size=61, d_model=32, n_blocks=2)
WRITER = '''
from torch import nn

class Writer(nn.Module):
    """Writes two names to Z, declares one."""
    kind = "mixer"
    writes = ("declared",)

    def __init__(self, d: int, ctx):
        super().__init__()
        self.out = nn.Linear(d, d)

    def forward(self, X, Z):
        assert "undeclared" not in Z, "an undeclared name left its unit"
        return self.out(X) + sum(t.mean() for t in Z.values()), {"declared": X, "undeclared": X}
'''
EXPERTS = '''
from torch import nn

class Experts(nn.Module):
    """The mean of three children."""
    kind = "channel"
    slots = {"expert": {"doc": "one of three", "accepts": ("channel",)%s}}

    def __init__(self, d: int, ctx):
        super().__init__()
        self.experts = ctx.children("expert", 3)

    def forward(self, X, Z):
        return sum(expert(X, Z)[0] for expert in self.experts) / 3, {}
'''


def test_only_declared_names_leave_a_unit_and_blocks_pass_them_on() -> None:
    tree = seed_design("gpt").graft("mixer", UnitTree(parse_unit(WRITER)))
    model = build_model(tree, SHAPE)
    seen: list[dict[str, torch.Tensor]] = []
    model.blocks[1].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[1]))
    model(torch.zeros(1, 4, dtype=torch.long))
    assert set(seen[0]) == {"declared"}


@pytest.mark.parametrize(("tied", "expected"), [("", 6), (', "tied": "instances"', 2), (', "tied": "blocks"', 1)])
def test_children_are_shared_as_their_slot_says(tied: str, expected: int) -> None:
    experts = UnitTree(parse_unit(EXPERTS % tied), (), (("expert", UnitTree(unit_named("SwiGLU"))),))
    tree = seed_design("gpt").graft("channel", experts)
    model = build_model(tree, SHAPE)
    assert len({id(e) for block in model.blocks for e in block.channel.experts}) == expected
    namespace: dict[str, object] = {}
    exec(to_source(tree, SHAPE), namespace)
    assert namespace["build"]().n_params() == model.n_params()


def test_one_of_several_children_may_be_bound_apart() -> None:
    swiglu = UnitTree(unit_named("SwiGLU"))
    bound = (("expert", swiglu), ("expert[1]", swiglu.set("", "expansion", 1.0)))
    model = build_model(seed_design("gpt").graft("channel", UnitTree(parse_unit(EXPERTS % ""), (), bound)), SHAPE)
    widths = [expert.down.in_features for expert in model.blocks[0].channel.experts]
    assert widths == [88, 32, 88]


def test_an_open_slot_is_refused() -> None:
    with pytest.raises(InterfaceError, match=r"open slots: mixer\.position"):
        build_model(seed_design("gpt").prune("mixer.position"), SHAPE)


@pytest.mark.parametrize("seed", SEED_NAMES)
def test_the_exported_file_needs_torch_alone_and_gives_equal_outputs(seed: str, tmp_path: Path) -> None:
    model = build_model(seed_design(seed), SHAPE, seed=3)
    tokens = torch.randint(61, (2, 21), generator=torch.Generator().manual_seed(0))
    save_file(
        model.state_dict() | {"tokens": tokens, "expected": model(tokens).detach()}, tmp_path / "case.safetensors"
    )
    (tmp_path / "exported.py").write_text(to_source(seed_design(seed), SHAPE))
    script = (
        "import sys; from exported import build; from safetensors.torch import load_file\n"
        "case = load_file('case.safetensors'); tokens, expected = case.pop('tokens'), case.pop('expected')\n"
        "model = build(); model.load_state_dict(case)\n"
        "assert (model(tokens) - expected).abs().max() == 0\n"
        "assert not [m for m in sys.modules if m.startswith('genesys')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.')\n{script}"],
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("seed", SEED_NAMES)
def test_generation_equals_the_teacher_forced_argmax(seed: str) -> None:
    """Law 5."""
    model = build_model(seed_design(seed), SHAPE, seed=1).eval()
    prompt = torch.randint(61, (2, 5), generator=torch.Generator().manual_seed(2))
    tokens = model.generate(prompt, 12)
    logits = model(tokens[:, :-1])[:, 4:]
    top = logits.topk(2).values
    clear = (top[..., 0] - top[..., 1]) > 1e-3
    assert (logits.argmax(-1) == tokens[:, 5:])[clear].all() and clear.float().mean() > 0.5


def test_building_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    build_model(seed_design("mamba2"), SHAPE)
    assert torch.rand(1) == expected
