"""A curve drawn with characters. plotext would do; between its versions 5 and 6 every name in it changed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille sign, by column and row of its 2 x 4 dots."""
_BRAILLE = 0x2800


def draw_curve(
    points: Sequence[tuple[float, float]], *, width: int = 78, height: int = 10, ascii_only: bool = False
) -> list[str]:
    """Draw y over x as lines of text, with the ends of both axes written beside it.

    Args:
        points: Two at least, x strictly increasing, all finite.
        width: Of the whole drawing, in characters.
        ascii_only: One star a character instead of 2 x 4 dots.
    """
    wide, tall = (1, 1) if ascii_only else (2, 4)
    low, high = min(y for _, y in points), max(y for _, y in points)
    labels = [f"{high:.2f}", *[""] * (height - 2), f"{low:.2f}"]
    margin = max(map(len, labels)) + 1
    n_columns = width - margin - 1
    rows = _rows(points, n_columns * wide, height * tall)
    cells = [[0] * n_columns for _ in range(height)]
    for column, (above, below) in enumerate(_strokes(rows)):
        for row in range(above, below + 1):
            cells[row // tall][column // wide] |= 1 if ascii_only else _DOTS[column % 2][row % 4]
    lines = [
        f"{label:>{margin}}|{''.join(_sign(cell, ascii_only) for cell in line)}".rstrip()
        for label, line in zip(labels, cells, strict=True)
    ]
    first, last = (f"{x:,.0f}" for x in (points[0][0], points[-1][0]))
    if len(first) + len(last) >= n_columns:
        first = ""
    return [*lines, f"{'':{margin}} {first}{last:>{n_columns - len(first)}}"]


def _rows(points: Sequence[tuple[float, float]], n_columns: int, n_rows: int) -> list[int]:
    """For each column of dots the row of the curve there, counted from the top."""
    low, high = min(y for _, y in points), max(y for _, y in points)
    first, last = points[0][0], points[-1][0]
    segments, rows = pairwise(points), []
    (x0, y0), (x1, y1) = next(segments)
    for column in range(n_columns):
        x = first + (last - first) * column / (n_columns - 1)
        while x > x1 and (segment := next(segments, None)):
            (x0, y0), (x1, y1) = segment
        y = y0 + (y1 - y0) * min(1.0, (x - x0) / (x1 - x0))
        rows.append(round((high - y) / (high - low or 1.0) * (n_rows - 1)))
    return rows


def _strokes(rows: Sequence[int]) -> list[tuple[int, int]]:
    """The rows that each column covers, so that the curve has no gap where it is steep."""
    strokes = [(rows[0], rows[0])]
    for before, row in pairwise(rows):
        strokes.append((min(row, before + 1), max(row, before - 1)))
    return strokes


def _sign(cell: int, ascii_only: bool) -> str:
    if ascii_only:
        return "*" if cell else " "
    return chr(_BRAILLE + cell) if cell else " "
