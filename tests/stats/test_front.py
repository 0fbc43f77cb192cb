"""Fronts against truth tables, hypervolumes against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stsearch.stats.front import Floats, dominates, hypervolume, minimised, non_dominated


@pytest.mark.parametrize(
    ("a", "b", "answer"),
    [
        ((0, 0), (1, 1), True),
        ((0, 1), (1, 1), True),
        ((1, 0), (1, 1), True),
        ((1, 1), (1, 1), False),  # equal
        ((0, 2), (1, 1), False),
        ((2, 0), (1, 1), False),
        ((1, 2), (1, 1), False),
    ],
)
def test_dominance(a: tuple[float, ...], b: tuple[float, ...], answer: bool) -> None:
    assert bool(dominates(np.array(a, float), np.array(b, float))) is answer


def test_front_of_a_drawn_grid() -> None:
    # F: front, both twins at (2, 2) included; d: dominated
    #   4 F . . . d
    #   3 . d . . .
    #   2 . . F . d
    #   1 . . . . F
    #     0 1 2 3 4
    grid = {(0, 4): True, (4, 4): False, (1, 3): True, (2, 2): True, (4, 2): False, (4, 1): True}
    del grid[(1, 3)]
    rows = [*grid, (2, 2), (1, 5)]
    expected = [*grid.values(), True, False]
    assert non_dominated(np.array(rows, float)).tolist() == expected


def brute(values: Floats) -> list[bool]:
    return [not any(dominates(other, row) for other in values) for row in values]


ROWS = st.integers(1, 3).flatmap(
    lambda m: arrays(np.float64, st.tuples(st.integers(0, 30), st.just(m)), elements=st.integers(0, 6).map(float))
)


@given(ROWS)
def test_front_is_what_brute_force_finds(values: Floats) -> None:
    assert non_dominated(values).tolist() == brute(values)


@pytest.mark.parametrize(
    ("rows", "reference", "volume"),
    [
        ([[1, 1]], [3, 4], 6),
        ([[0, 2], [1, 1], [2, 0]], [3, 3], 6),
        ([[0, 2], [1, 1], [2, 0], [2, 2], [1, 1]], [3, 3], 6),  # dominated and equal rows add nothing
        ([[3, 0]], [3, 3], 0),  # on the reference's edge
        ([[5, 5]], [3, 3], 0),
        ([[2]], [5], 3),
        ([[0, 0, 0]], [1, 2, 3], 6),
        ([[0, 1, 1], [1, 0, 1], [1, 1, 0]], [2, 2, 2], 4),
    ],
)
def test_hypervolume_in_closed_form(rows: list[list[float]], reference: list[float], volume: float) -> None:
    assert hypervolume(np.array(rows, float), np.array(reference, float)) == pytest.approx(volume)


@given(ROWS)
def test_hypervolume_counts_unit_cells(values: Floats) -> None:
    """On integer points it is the number of unit cells that some point dominates."""
    reference = np.full(values.shape[1], 7.0)
    corners = np.stack(np.meshgrid(*[np.arange(7)] * values.shape[1], indexing="ij"), -1).reshape(-1, values.shape[1])
    cells = sum(bool(np.all(values <= corner, axis=1).any()) for corner in corners)
    assert hypervolume(values, reference) == pytest.approx(cells)


def test_flipping_happens_once() -> None:
    assert minimised([(3.0, 4.0)], ["maximize", "minimize"]).tolist() == [[-3.0, 4.0]]


def test_a_hundred_thousand_points_are_quick_enough_to_be_of_the_right_order() -> None:
    values = np.random.default_rng(0).random((100_000, 2))
    keep = non_dominated(values)
    assert 0 < keep.sum() < 100
    assert hypervolume(values, np.ones(2)) == pytest.approx(hypervolume(values[keep], np.ones(2)))
