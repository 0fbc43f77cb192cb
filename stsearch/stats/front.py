"""Fronts and hypervolumes. Everything is minimised here; directions are flipped at the boundary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def minimised(rows: Sequence[Sequence[float]] | Floats, maximise: Sequence[bool]) -> Floats:
    """Values ``(N, M)`` with the maximised columns negated."""
    values = np.asarray(rows, dtype=np.float64).reshape(len(rows), len(maximise))
    return values * np.where(np.asarray(maximise), -1.0, 1.0)


def dominates(a: Floats, b: Floats) -> bool:
    """Whether ``a`` is nowhere worse than ``b`` and somewhere better."""
    return bool(np.all(a <= b) and np.any(a < b))


def non_dominated(values: Floats) -> npt.NDArray[np.bool_]:
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
        members = values[front_rows]
        beaten = np.all(members <= values[row], axis=1) & np.any(members < values[row], axis=1)
        if not beaten.any():
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
