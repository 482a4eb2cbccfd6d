"""Texts in a budget of tokens: what matters least goes first, and it is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesys.roles.packing import Packed, Section, count_tokens, pack, shorten

LINES = "\n".join(f"line {at} of a text that is long enough" for at in range(40))


def test_what_fits_stays_as_it_is() -> None:
    sections = [Section(name="a", text=LINES), Section(name="b", text="short")]
    packed = pack(sections, 10_000)
    assert packed == Packed(texts={"a": LINES, "b": "short"}) and packed.note() == ""


def test_the_lowest_priority_goes_first_and_the_order_stays() -> None:
    sections = [
        Section(name="parents", text=LINES, priority=2),
        Section(name="siblings", text=LINES, priority=0),
        Section(name="failures", text=LINES, priority=1),
    ]
    size = count_tokens(LINES)
    packed = pack(sections, 2 * size + size // 2)
    assert list(packed.texts) == ["parents", "siblings", "failures"]
    assert packed.shortened == ("siblings",) and packed.texts["siblings"].endswith("of 40 lines left out]")
    packed = pack(sections, size + size // 2)
    assert packed.left_out == ("siblings",) and packed.shortened == ("failures",)
    assert packed.note() == "(For lack of room shortened: failures; left out: siblings.)"


def test_code_is_left_out_rather_than_cut() -> None:
    packed = pack([Section(name="code", text=LINES, whole=True)], count_tokens(LINES) - 1)
    assert packed.texts == {} and packed.left_out == ("code",)


def test_a_single_long_line_is_cut_inside() -> None:
    cut = shorten("ä" * 5000, 100)
    assert cut.endswith(" [... cut]") and count_tokens(cut) <= 100


def test_two_sections_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two have the same name"):
        pack([Section(name="a", text=""), Section(name="a", text="")], 10)


SECTIONS = st.lists(
    st.builds(Section, name=st.text(), text=st.text(max_size=400), priority=st.integers(0, 3), whole=st.booleans()),
    max_size=6,
    unique_by=lambda section: section.name,
)


@given(SECTIONS, st.integers(0, 600))
def test_the_budget_holds_and_nothing_goes_missing_unsaid(sections: list[Section], n_tokens: int) -> None:
    packed = pack(sections, n_tokens)
    assert sum(map(count_tokens, packed.texts.values())) <= n_tokens
    for section in sections:
        if section.name in packed.left_out:
            assert section.name not in packed.texts
        elif section.name not in packed.shortened:
            assert packed.texts[section.name] == section.text
