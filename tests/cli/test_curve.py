"""A curve of characters: within its bounds, without gaps, readable at its ends."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from genesys.cli._curve import draw_curve

POINTS = st.lists(
    st.tuples(st.integers(1, 10**9), st.floats(-1e6, 1e6)), min_size=2, max_size=60, unique_by=lambda point: point[0]
).map(sorted)


@given(points=POINTS, width=st.integers(30, 100), height=st.integers(2, 20), ascii_only=st.booleans())
def test_any_curve_fits_and_fills_every_column(
    points: list[tuple[float, float]], width: int, height: int, ascii_only: bool
) -> None:
    *rows, axis = draw_curve(points, width=width, height=height, ascii_only=ascii_only)
    assert len(rows) == height and max(map(len, (*rows, axis))) <= width
    assert not ascii_only or all(line.isascii() for line in rows)
    margin = rows[0].index("|")
    drawn = [row[margin + 1 :].ljust(width - margin - 1) for row in rows]
    assert all(any(row[column] != " " for row in drawn) for column in range(width - margin - 1))
    assert f"{max(y for _, y in points):.2f}" in rows[0] and f"{min(y for _, y in points):.2f}" in rows[-1]
    assert axis.endswith(f"{points[-1][0]:,}")


def test_a_loss_falls_from_the_top_left_to_the_bottom_right() -> None:
    rows = draw_curve([(n, 2 + 4 * math.exp(-n / 20)) for n in range(1, 101)], ascii_only=True, width=40, height=8)
    assert rows[0].rstrip().endswith("|*") or rows[0].count("*") < 4
    assert rows[-2].rstrip().endswith("*") and rows[-2].count("*") > 10
    columns = [row.find("*") for row in rows[:-1]]
    assert columns == sorted(columns)
