"""The published convention at run time: children, arguments, stand-ins, and neighbours of our own contract."""

from __future__ import annotations

import textwrap

import pytest
import torch
from torch import Tensor, nn

from genesys.gau import Kind, Unit, UnitTree, parse_unit
from genesys.gau.library import seed_design
from genesys.gau.published import published_text
from genesys.ladder import LADDERS
from genesys.model import ModelShape, build_model, tune_sizes, unit_class
from genesys.model.published import Arguments, GAUBase
from genesys.model.stand_ins import ACT2FN, RotaryPositionalEmbeddings

SHAPE = ModelShape(vocab_size=16, d_model=32, n_blocks=2)


def published(
    source: str,
    name: str,
    *slots: str,
    kind: Kind = "block",
    writes: tuple[str, ...] = ("*",),
    borrowed: tuple[str, ...] = (),
) -> Unit:
    return parse_unit(published_text(source, name=name, kind=kind, slots=slots, writes=writes, borrowed=borrowed))


def scaled(name: str, body: str = "return 2 * X", arguments: str = "", setup: str = "") -> str:
    setup = textwrap.indent(textwrap.dedent(setup), " " * 8)
    return (
        f"class {name}(GAUBase):\n"
        f"    def __init__(self, embed_dim, block_loc, kwarg_all, {arguments}device=None, dtype=None, **kwargs):\n"
        f"        super().__init__(embed_dim, block_loc, kwarg_all)\n{setup}\n"
        f"    def _forward(self, X, **Z):\n        {body}\n"
    )


def hidden(tree: UnitTree, *, n_blocks: int = 2) -> Tensor:
    model = build_model(tree, ModelShape(vocab_size=16, d_model=32, n_blocks=n_blocks))
    return model.hidden(torch.ones(1, 4, 32))


def test_one_of_our_units_serves_as_the_child_of_a_published_one() -> None:
    setup = "self.norm = Norm(embed_dim=16, block_loc=block_loc, kwarg_all=kwarg_all, **self.kwarg_all)"
    halves = "return X + torch.cat([self.norm(half, **Z)[0] for half in X.chunk(2, dim=-1)], dim=-1)"
    parent = published(scaled("Parent", halves, setup=setup), "Parent", "Norm")
    model = build_model(UnitTree(parent, (), (("Norm", seed_design("gpt").at("norm_mixer")),)), SHAPE)
    weights = {name: tuple(p.shape) for name, p in model.blocks[0].named_parameters() if "norm" in name}
    assert list(weights.values()) == [(16,)]
    assert model(torch.zeros(1, 5, dtype=torch.long)).shape == (1, 5, 16)


def test_a_published_unit_serves_as_the_child_of_one_of_ours() -> None:
    tree = seed_design("gpt").graft("mixer", UnitTree(published(scaled("Double"), "Double", kind="mixer")))
    assert build_model(tree, SHAPE)(torch.zeros(1, 5, dtype=torch.long)).shape == (1, 5, 16)


def test_only_the_names_of_the_signature_arrive() -> None:
    text = scaled("Reader", "assert not Z; return X + (0 if seen is None else seen), {'seen': X, 'other': X}")
    unit = published(text.replace("X, **Z", "X, seen=None, **Z"), "Reader", writes=("seen", "other"))
    assert torch.equal(hidden(UnitTree(unit)), 2 * torch.ones(1, 4, 32))


def test_what_a_unit_does_not_declare_stays_inside() -> None:
    text = scaled("Writer", "return X + (0 if seen is None else seen), {'seen': X}").replace("X, **Z", "X, seen=None")
    assert torch.equal(hidden(UnitTree(published(text, "Writer", writes=()))), torch.ones(1, 4, 32))


def test_two_units_with_one_hyperparameter_keep_their_own_values() -> None:
    child = published(scaled("Child", "return self.factor * X", "factor=3.0, ", "self.factor = factor"), "Child")
    setup = "self.factor = factor\nself.child = Child(embed_dim, block_loc, kwarg_all, **kwarg_all)"
    parent = published(
        scaled("Parent", "return self.factor * self.child(X)[0]", "factor=5.0, ", setup), "Parent", "Child"
    )
    tree = UnitTree(parent, (), (("Child", UnitTree(child)),))
    assert float(hidden(tree, n_blocks=1)[0, 0, 0]) == 15
    assert float(hidden(tree.set("Child", "factor", 2.0), n_blocks=1)[0, 0, 0]) == 10


def test_what_a_parent_sets_in_kwarg_all_reaches_its_child() -> None:
    child = published(scaled("Child", "return self.factor * X", "factor=3.0, ", "self.factor = factor"), "Child")
    setup = "self.kwarg_all['factor'] = 7.0\nself.child = Child(embed_dim, block_loc, kwarg_all, **kwarg_all)"
    parent = published(scaled("Parent", "return self.child(X)", setup=setup), "Parent", "Child")
    assert float(hidden(UnitTree(parent, (), (("Child", UnitTree(child)),)), n_blocks=1)[0, 0, 0]) == 7


def test_an_argument_without_default_comes_from_a_unit_that_has_one() -> None:
    child = published(scaled("Child", "return factors[0] * X", "rank, ", "factors.append(rank)"), "Child",
                      borrowed=("factors = []",))  # fmt: skip
    setup = "self.child = Child(embed_dim, block_loc, kwarg_all)"
    parent = published(scaled("Parent", "return self.child(X)", "rank=6, ", setup), "Parent", "Child")
    assert float(hidden(UnitTree(parent, (), (("Child", UnitTree(child)),)), n_blocks=1)[0, 0, 0]) == 6


def test_kwarg_all_reads_every_unit_but_passes_on_only_what_was_set() -> None:
    arguments = Arguments({"n_heads": 4})
    arguments["width"] = 3
    assert {**arguments} == {"width": 3}
    assert arguments["n_heads"] == 4 and "n_heads" in arguments and arguments.get("n_heads", 8) == 4
    assert arguments.get("missing", 8) == 8
    with pytest.raises(KeyError, match="missing"):
        arguments["missing"]


def test_a_child_is_built_in_a_constructor_only() -> None:
    late = published(scaled("Late", "return Child(32, (0, 2), {})(X)"), "Late", "Child")
    tree = UnitTree(late, (), (("Child", UnitTree(published(scaled("Child"), "Child"))),))
    with pytest.raises(RuntimeError, match="Cannot build child 'Child': no constructor is running"):
        hidden(tree)


def test_a_single_block_counts_as_the_first_of_two() -> None:
    unit = published(scaled("Ratio", "return X + self.r", setup="self.r = block_loc[0] / (block_loc[1] - 1)"), "Ratio")
    assert torch.equal(hidden(UnitTree(unit), n_blocks=1), torch.ones(1, 4, 32))


def test_a_constructor_that_reads_a_tensors_value_has_a_size() -> None:
    setup = "self.rate = torch.linspace(0, 1, 5)[2].item()\nself.map = nn.Linear(embed_dim, embed_dim)"
    unit = published(scaled("Rate", "return X + self.rate * self.map(X)", setup=setup), "Rate")
    (size,) = tune_sizes(UnitTree(unit), LADDERS["cpu"].scales[:1], 64)
    d = size.shape.d_model
    assert size.n_block_params == size.shape.n_blocks * (d * d + d)


GUARDED = """
try:
    import causal_conv1d.cuda
    found = True
except ImportError:
    found = False
import flash_attn.flash_attn_interface as interface
from mamba_ssm.ops.triton.layernorm_gated import RMSNorm
assert not found and interface.flash_attn_func is None and RMSNorm is None
"""
TRANSFORMERS = """
import transformers.activations
from transformers import ACT2FN as table
from transformers.activations import ACT2FN, get_activation
from transformers.utils import is_torch_available, logging, ModelOutput
from transformers.utils.import_utils import is_flash_attn_2_available
assert transformers.activations.ACT2FN is ACT2FN is table
assert not is_flash_attn_2_available() and not is_torch_available()
logging.get_logger(__name__).debug("imported")
assert get_activation("relu")(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]
"""
BASE = """
import model_discovery.model.utils.modules as modules
from model_discovery.model.utils.modules import *
from model_discovery.model.utils.modules import GAUBase, GABBase, UnitDecl, gau_test
assert modules.GAUBase is GAUBase
CHILDREN_DECLARATIONS = [UnitDecl(unitname="A", requirements="", inputs=["X"], outputs=["Y"])]
assert CHILDREN_DECLARATIONS[0].unitname == "A"
"""


@pytest.mark.parametrize("head", [GUARDED, TRANSFORMERS, BASE], ids=["absent", "transformers", "base"])
def test_imports_are_served_as_the_texts_expect(head: str) -> None:
    assert issubclass(unit_class(published(head + scaled("Unit"), "Unit")), nn.Module)


def test_a_name_without_a_stand_in_can_be_imported_and_derived_from_but_not_used() -> None:
    head = "from transformers import LlamaModel, PretrainedConfig\nclass Config(PretrainedConfig):\n    n = 3\n"
    body = "return X + Config(width=4).n"
    assert torch.equal(hidden(UnitTree(published(head + scaled("Unit", body), "Unit"))), 7 * torch.ones(1, 4, 32))
    with pytest.raises(NotImplementedError, match=r"Cannot use transformers\.LlamaModel: Genesys has no stand-in"):
        hidden(UnitTree(published(head + scaled("Unit", setup="self.model = LlamaModel(3)"), "Unit")))


def test_stand_ins_leave_the_process_as_it_was() -> None:
    import sys

    unit_class(published(TRANSFORMERS + BASE + scaled("Clean"), "Clean"))
    assert not {name.partition(".")[0] for name in sys.modules} & {"model_discovery", "torchtune"}


@pytest.mark.parametrize(
    ("name", "reference"),
    [("gelu", nn.GELU()), ("gelu_new", nn.GELU("tanh")), ("silu", nn.SiLU()), ("mish", nn.Mish()), ("tanh", nn.Tanh())],
)
def test_activations_are_those_of_torch(name: str, reference: nn.Module) -> None:
    x = torch.linspace(-3, 3, 13)
    assert torch.equal(ACT2FN[name](x), reference(x))


def test_rotation_keeps_norms_and_depends_on_distance_alone() -> None:
    x, y = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0)).double()
    rope = RotaryPositionalEmbeddings(8)
    turned_x, turned_y = rope(x.expand(1, 9, 1, 8)), rope(y.expand(1, 9, 1, 8))
    products = torch.einsum("blhd,bmhd->lm", turned_x, turned_y)
    assert torch.allclose(turned_x.norm(dim=-1), x.norm(dim=-1).expand(1, 9, 1))
    assert torch.allclose(products.diagonal(2), products[0, 2]) and not torch.allclose(products[0, 1], products[0, 2])


def test_a_unit_that_defines_no_forward_says_so() -> None:
    with pytest.raises(NotImplementedError, match="GAUBase defines no _forward"):
        GAUBase(8)(torch.zeros(1, 2, 8))
