"""First networks of a study, chosen so that what kinds do in each group can be told: a balanced part of the space.

Three sorts, in this order. *Nowhere*: two networks without time in any group. *Alone*: for each group one that sees
time there and nowhere else. *Crossed*: networks that see time in several groups, picked one by one where they add
most to the determinant of the information matrix of a model with the kinds of every group and the depths, then
exchanged for better ones while that helps (Fedorov, Theory of Optimal Experiments, 1972). Orthogonal arrays would
do for five groups of three kinds; spaces with other kinds in every group, depths and a budget have none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stsearch.space.architecture import Architecture
from stsearch.space.search_space import SearchSpace
from stsearch.space.table import Ints

Floats = npt.NDArray[np.float64]

BLIND = frozenset({"2d"})
"""Kinds that see no time."""
CROSSED_SHARE = 0.75
"""Of the networks that a study trains, the part that paper and design take at most: the sampler has the rest."""
MOST_CANDIDATES = 1500
NOWHERE = 2
_RIDGE = 1e-3
_SWEEPS = 3


def balanced(
    space: SearchSpace, feasible: Ints, given: Sequence[Architecture], most: int, seed: int
) -> list[Architecture]:
    """Networks of ``feasible`` ``(N, 6)`` to train beside the ``given`` ones; repeatable by ``seed``.

    With the given ones as many as twice the parameters of the model, if there are so many, and ``most`` at most.
    """
    rng = np.random.default_rng([seed, len(feasible)])
    rows = feasible[rng.permutation(len(feasible))[:MOST_CANDIDATES]]
    drawn = [space.from_digits(tuple(int(digit) for digit in row)) for row in rows]
    found = [*given, *_anchors(space, feasible, given)]
    candidates = [a for a in dict.fromkeys(drawn) if a not in found and sum(sees(a)) > 1]
    width = len(_columns(space, found or drawn[:1])[0])
    wanted = min(most, 2 * width) - len(found)
    if wanted > 0 and candidates:
        found += _crossed(space, found, candidates, wanted)
    return [a for a in found[:most] if a not in given]


def sees(architecture: Architecture) -> tuple[bool, ...]:
    """Of the five groups which see time."""
    return tuple(not BLIND.issuperset(kinds) for kinds in ((architecture.stem,), *architecture.stages))


def _anchors(space: SearchSpace, feasible: Ints, given: Sequence[Architecture]) -> list[Architecture]:
    """What is missing among ``given`` of networks without time, and with time in one group alone."""
    groups = [space.stems, *(stage.kinds for stage in space.stages)]
    if any(not BLIND.intersection(kinds) for kinds in groups):
        return []  # somewhere time is always seen: nothing is alone
    patterns = [sees(a) for a in given]
    nowhere = (False,) * len(groups)
    found: list[Architecture] = []
    for pattern in [nowhere] * NOWHERE + [tuple(k == g for k in range(len(groups))) for g in range(len(groups))]:
        needed = NOWHERE if pattern == nowhere else 1
        taken = [*given, *found]
        if patterns.count(pattern) + sum(sees(a) == pattern for a in found) >= needed:
            continue
        if (one := _of_pattern(space, feasible, pattern, taken)) is not None:
            found.append(one)
    return found


def _of_pattern(
    space: SearchSpace, feasible: Ints, pattern: tuple[bool, ...], taken: Sequence[Architecture]
) -> Architecture | None:
    """The network of ``pattern`` nearest to the middle of all depths; its first kind that sees time where there are
    several, so that kinds are compared among the crossed ones."""
    choices: list[list[tuple[str, ...]]] = [[(kind,) for kind in space.stems]]
    choices += [list(stage.options) for stage in space.stages]
    rank = [
        [_rank(option, group, options) if _fits(option, wanted) else np.inf for option in options]
        for group, (options, wanted) in enumerate(zip(choices, pattern, strict=True))
    ]
    cost = sum(np.array(row)[feasible[:, 1 + group]] for group, row in enumerate(rank)) + 1e-3 * feasible[:, 0]
    for place in np.argsort(cost, kind="stable")[: len(taken) + 1]:
        one = space.from_digits(tuple(int(digit) for digit in feasible[place]))
        if np.isfinite(cost[place]) and one not in taken:
            return one
    return None


def _fits(option: tuple[str, ...], wanted: bool) -> bool:
    """Whether a group is all of time or all without."""
    return len(set(option)) == 1 and BLIND.issuperset(option) != wanted


def _rank(option: tuple[str, ...], group: int, options: Sequence[tuple[str, ...]]) -> float:
    depths = sorted({len(one) for one in options})
    middle = depths[(len(depths) - 1) // 2]
    kinds = list(dict.fromkeys(kind for one in options for kind in one))
    return abs(len(option) - middle) + 10.0 * kinds.index(option[0])


def _columns(space: SearchSpace, networks: Sequence[Architecture]) -> Floats:
    """``(n, K)`` intercept, share of each kind but the first in each group, depths and width from -1 to 1."""
    table = [np.ones(len(networks))]
    stages = [[a.stages[number] for a in networks] for number in range(len(space.stages))]
    groups: list[tuple[tuple[str, ...], list[tuple[str, ...]]]] = [(space.stems, [(a.stem,) for a in networks])]
    groups += [(choice.kinds, own) for choice, own in zip(space.stages, stages, strict=True)]
    for kinds, own in groups:
        shares = np.array([[forms.count(kind) / len(forms) for kind in kinds] for forms in own])
        table += [2 * (shares[:, k] - shares[:, 0]) / len(kinds) for k in range(1, len(kinds))]
    for choice, own in zip(space.stages, stages, strict=True):
        low, high = min(map(len, choice.options)), max(map(len, choice.options))
        if high > low:
            table.append(2 * (np.array([len(forms) for forms in own]) - low) / (high - low) - 1)
    if len(space.widths) > 1:
        logs = np.log([a.width for a in networks])
        low, high = np.log(min(space.widths)), np.log(max(space.widths))
        table.append(2 * (logs - low) / (high - low) - 1)
    return np.stack(table, axis=1)


def _crossed(
    space: SearchSpace, found: Sequence[Architecture], candidates: Sequence[Architecture], wanted: int
) -> list[Architecture]:
    """``wanted`` candidates that say most beside ``found``: greedy, then exchanges (D-optimality)."""
    x = _columns(space, candidates)
    base = _RIDGE * np.eye(x.shape[1])
    if found:
        fixed = _columns(space, found)
        base += fixed.T @ fixed
    chosen: list[int] = []
    for _ in range(min(wanted, len(candidates))):
        chosen.append(_best(x, base + x[chosen].T @ x[chosen], chosen))
    for _ in range(_SWEEPS):
        before = list(chosen)
        for place in range(len(chosen)):
            rest = [*chosen[:place], *chosen[place + 1 :]]
            chosen[place] = _best(x, base + x[rest].T @ x[rest], rest)
        if chosen == before:
            break
    return [candidates[place] for place in chosen]


def _best(x: Floats, information: Floats, taken: Sequence[int]) -> int:
    """The row of ``x`` that multiplies the determinant of ``information`` most: by ``1 + x' M^-1 x``."""
    gain = np.einsum("nk,kj,nj->n", x, np.linalg.inv(information), x)
    gain[list(taken)] = -np.inf
    return int(gain.round(9).argmax())
