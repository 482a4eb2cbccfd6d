"""Hypothesis strategies for unit sources and unit trees; nothing here is executed."""

from __future__ import annotations

from hypothesis import strategies as st

from genesys.gau import UnitTree, parse_unit

_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
_DEFAULTS = st.sampled_from(["1", "2.5", "True", "'tanh'", "None", "1 / 64", "math.log(2)", "(1, 2)"])


@st.composite
def sources(draw: st.DrawFn, *, n_slots: int) -> str:
    """A unit's text with strings, comments and continued lines that composition must leave alone."""
    name = draw(st.sampled_from(["Gate", "Mix", "Norm"]))
    note, secret = draw(_TEXT), draw(_TEXT)
    hyper = ", ".join(f"h{i}: float = {draw(_DEFAULTS)}" for i in range(draw(st.integers(0, 3))))
    slots = ", ".join(f'"slot{i}": "child {i}"' for i in range(n_slots))
    multi = draw(
        st.sampled_from(['"""two\n  lines\n\tand a tab"""', "'one\\\n  continued'", 'f"""{1 +\n1} x"""', "(1,\n2)"])
    )
    return (
        f"import math\n# {note.strip()}\nSHARED = {secret!r}\nTEXT = {multi}\n\n"
        f"def helper():\n    return SHARED\n\nclass {name}:\n    '''Doc of\n  the unit.'''\n    kind = 'wrapper'\n"
        f"    slots = {{{slots}}}\n\n    def __init__(self, d: int, ctx{', *, ' + hyper if hyper else ''}):\n"
        f"        self.value = helper() if d else \\\n    None\n"
    )


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> UnitTree:
    """A tree of up to four levels, with open slots here and there."""
    n_slots = draw(st.integers(0, 2 if depth else 0))
    unit = parse_unit(draw(sources(n_slots=n_slots)))
    filled = [i for i in range(n_slots) if draw(st.booleans())]
    children = tuple((f"slot{i}", draw(trees(depth=depth - 1))) for i in filled)
    values = tuple((h.name, draw(st.floats(-1e6, 1e6))) for h in unit.hyperparameters if draw(st.booleans()))
    return UnitTree(unit, values, children)
