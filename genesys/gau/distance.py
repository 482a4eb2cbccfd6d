"""How far two designs lie apart: in their trees, and in their texts. Both are metrics on normal forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genesys.gau.normal_form import form_lines, unit_form, value_text
from genesys.gau.tree import UnitTree


def tree_distance(a: UnitTree, b: UnitTree) -> float:
    """Units put in, taken out or exchanged on the cheapest way from one tree to the other.

    An exchange costs 1; where the unit stays, half of the share of its hyperparameters and filled slots that differ. A
    wrapper around a subtree is thus one step. 0 exactly for equal normal forms.

    Source: Zhang and Shasha 1989, "Simple fast algorithms for the editing distance between trees".
    """
    left, right = _Postorder.of(a), _Postorder.of(b)
    distances = [[0.0] * len(right.places) for _ in left.places]
    for i in left.key_roots:
        for j in right.key_roots:
            _forest_distances(left, right, i, j, distances)
    return distances[-1][-1]


def text_distance(a: UnitTree, b: UnitTree) -> float:
    """Edits between two designs' normal forms, line by line, in 0..1: 0 for equal ones, 1 for nothing in common.

    Source: Yujian and Bo 2007, "A Normalized Levenshtein Distance Metric".
    """
    lines_a, lines_b = tuple(form_lines(a)), tuple(form_lines(b))
    n_edits = _levenshtein(lines_a, lines_b)
    return 2.0 * n_edits / (len(lines_a) + len(lines_b) + n_edits)


@dataclass(frozen=True, slots=True)
class _Postorder:
    """A tree's places, children first.

    Attributes:
        firsts: For each place the index of the first leaf below it.
        key_roots: Places that are no first child, and the root.
    """

    places: tuple[UnitTree, ...]
    firsts: tuple[int, ...]
    key_roots: tuple[int, ...]

    @staticmethod
    def of(tree: UnitTree) -> _Postorder:
        places: list[UnitTree] = []
        firsts: list[int] = []

        def visit(place: UnitTree) -> int:
            below = [visit(child) for _, child in place.children]
            first = below[0] if below else len(places)
            places.append(place)
            firsts.append(first)
            return first

        visit(tree)
        last_with = {first: i for i, first in enumerate(firsts)}
        return _Postorder(tuple(places), tuple(firsts), tuple(sorted(last_with.values())))


def _forest_distances(left: _Postorder, right: _Postorder, i: int, j: int, distances: list[list[float]]) -> None:
    """Fill in the distances of the subtrees whose first leaves are those of places i and j."""
    first_i, first_j = left.firsts[i], right.firsts[j]
    rows, columns = i - first_i + 2, j - first_j + 2
    forest = [[float(m + n) if m * n == 0 else 0.0 for n in range(columns)] for m in range(rows)]
    for m in range(1, rows):
        for n in range(1, columns):
            x, y = first_i + m - 1, first_j + n - 1
            either = min(forest[m - 1][n], forest[m][n - 1]) + 1.0
            if left.firsts[x] == first_i and right.firsts[y] == first_j:
                forest[m][n] = min(either, forest[m - 1][n - 1] + _exchange(left.places[x], right.places[y]))
                distances[x][y] = forest[m][n]
            else:
                before = forest[left.firsts[x] - first_i][right.firsts[y] - first_j]
                forest[m][n] = min(either, before + distances[x][y])


def _exchange(a: UnitTree, b: UnitTree) -> float:
    """From one place's unit to the other's, whatever stands below them."""
    if unit_form(a.unit) != unit_form(b.unit):
        return 1.0
    own, other = _settings(a), _settings(b)
    return 0.5 * sum(x != y for x, y in zip(own, other, strict=True)) / len(own)


def _settings(place: UnitTree) -> tuple[str, ...]:
    values = sorted(place.resolved().items())
    return (" ".join(slot for slot, _ in place.children), *(f"{name} {value_text(value)}" for name, value in values))


def _levenshtein(a: Sequence[str], b: Sequence[str]) -> int:
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[start:], b[start:]  # equal beginnings and ends cost nothing: an edit is local
    end = next((i for i, (x, y) in enumerate(zip(a[::-1], b[::-1], strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[: len(a) - end], b[: len(b) - end]
    above = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        row = [i]
        for j, y in enumerate(b, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
        above = row
    return above[-1]
