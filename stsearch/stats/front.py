"""Dominance, fronts and hypervolumes: the one place that knows of them, and the one that flips signs.

Values are minimised, all of them, once ``minimised`` has flipped those that are not. Where accuracies come apart from
costs (``on_front``, ``best_below``, ``best_for_their_costs``), accuracies are maximised and costs minimised.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def minimised(rows: Sequence[Sequence[float]] | Floats, directions: Iterable[str]) -> Floats:
    """Values ``(N, M)`` with those columns negated whose direction is ``maximize``; directions in any case."""
    signs = np.array([-1.0 if direction.lower() == "maximize" else 1.0 for direction in directions])
    return np.asarray(signs * np.asarray(rows, dtype=np.float64).reshape(len(rows), len(signs)))


def dominates(a: Floats, b: Floats) -> Bools:
    """Whether ``a`` ``(..., M)`` is nowhere worse than ``b`` ``(..., M)`` and somewhere better."""
    return np.asarray(np.all(a <= b, axis=-1) & np.any(a < b, axis=-1))


def non_dominated(values: Floats) -> Bools:
    """Which rows of ``(N, M)`` no other row dominates; equal rows stand or fall together.

    O(N log N) for one or two objectives, O(N x front) for more.
    """
    count, objectives = values.shape
    keep = np.zeros(count, dtype=bool)
    if not count:
        return keep
    order = np.lexsort(values.T[::-1])
    if objectives <= 2:
        first, last = values[order, 0], values[order, -1]
        best_before = np.concatenate([[np.inf], np.minimum.accumulate(last)[:-1]])
        candidates = last < best_before
        if candidates.any():  # the first row is one, unless it is infinite; rows equal to the one before are kept too
            before = np.flatnonzero(candidates)[np.cumsum(candidates) - 1]
            keep[order] = (first == first[before]) & (last == last[before])
        return keep
    front_rows: list[int] = []
    for row in order:
        if not dominates(values[front_rows], values[row]).any():
            front_rows.append(int(row))
    keep[front_rows] = True
    return keep


def hypervolume(values: Floats, reference: Floats) -> float:
    """Volume that ``values`` ``(N, M)`` dominate up to ``reference`` ``(M,)``.

    Exact: a sweep for two objectives, slicing by the last objective for more (Zitzler, 2001).
    """
    inside = values[np.all(values < reference, axis=1)]
    if not len(inside):
        return 0.0
    front = np.unique(inside[non_dominated(inside)], axis=0)
    if front.shape[1] == 1:
        return float(reference[0] - front[:, 0].min())
    if front.shape[1] == 2:
        below = np.concatenate([[reference[1]], front[:-1, 1]])
        return float(((reference[0] - front[:, 0]) * (below - front[:, 1])).sum())
    front = front[np.argsort(front[:, -1], kind="stable")]
    tops = np.concatenate([front[1:, -1], [reference[-1]]])
    return sum(
        hypervolume(front[: number + 1, :-1], reference[:-1]) * float(top - front[number, -1])
        for number, top in enumerate(tops)
        if top > front[number, -1]
    )


def on_front(accuracies: Floats, costs: Floats) -> Bools:
    """``(B, M)``: who is non-dominated in each of ``B`` truths ``(A, B, M)``, at costs ``(M, C)``."""
    if len(accuracies) == 1 and costs.shape[1] <= 1:
        return _on_staircase(accuracies[0], costs)
    cheaper = (costs[:, None] <= costs[None]).all(2)  # [j, i]: j costs no more than i
    strictly = cheaper & (costs[:, None] < costs[None]).any(2)
    members = np.empty(accuracies.shape[1:], dtype=bool)
    for number, truth in enumerate(accuracies.swapaxes(0, 1)):
        as_good = (truth[:, :, None] >= truth[:, None]).all(0) & cheaper
        better = (truth[:, :, None] > truth[:, None]).any(0) | strictly
        members[number] = ~(as_good & better).any(0)
    return members


def _on_staircase(accuracies: Floats, costs: Floats) -> Bools:
    """The same for one accuracy and at most one cost: better than all cheaper ones, and best at its own cost."""
    above, best = best_below(accuracies, costs)
    return np.asarray((accuracies > above) & (accuracies == best))


def best_below(values: Floats, costs: Floats) -> tuple[Floats, Floats]:
    """``(B, M)`` each: the best of ``values`` ``(B, M)`` at lower cost, and at no higher cost."""
    column = costs[:, 0] if costs.shape[1] else np.zeros(len(costs))
    order = np.argsort(column, kind="stable")
    ahead = np.maximum.accumulate(values[:, order], axis=1)
    ahead = np.concatenate([np.full((len(values), 1), -np.inf), ahead], axis=1)
    places = np.empty((2, len(column)), dtype=np.int64)
    places[:, order] = [np.searchsorted(column[order], column[order], side=side) for side in ("left", "right")]
    return ahead[:, places[0]], ahead[:, places[1]]


def best_for_their_costs(value: Floats, costs: Floats) -> Bools:
    """Which networks ``(N,)`` none is more accurate than for costs ``(N, M)`` that are no higher.

    One after the other from the most accurate: as many steps as there are on the front.
    """
    left = np.argsort(-value, kind="stable")
    found = np.zeros(len(value), dtype=bool)
    while len(left):
        best, left = left[0], left[1:]
        found[best] = True
        left = left[(value[left] >= value[best]) | (costs[left] < costs[best]).any(1)]
    return found
