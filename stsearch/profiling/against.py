"""``disagreement``: how far FLOPs order networks as measured latency does, and where they mislead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from stsearch.errors import UserError
from stsearch.stats.ranks import LEAST, LEAST_FOR_INTERVAL, Correlation, Floats, kendall, spearman, varies

SHOWN = 5


@dataclass(frozen=True)
class Misled:
    """A network and its places, 1 the cheapest or fastest; ties share the mean of their places."""

    network: str
    gmacs: float
    latency_ms: float
    gmacs_rank: float
    latency_rank: float

    @property
    def difference(self) -> float:
        """Places that it is slower (above 0) or faster (below 0) than its GMACs promise."""
        return self.latency_rank - self.gmacs_rank


@dataclass(frozen=True)
class Pair:
    """Two networks of which the one with fewer GMACs is slower."""

    fewer: str
    more: str
    gmacs_ratio: float
    """of ``fewer`` over ``more``, below 1"""
    latency_ratio: float
    """of ``fewer`` over ``more``, above 1"""


@dataclass(frozen=True)
class Disagreement:
    """GMACs (closed form) against latency (measured) over a set of networks."""

    n: int
    spearman: Correlation
    kendall: Correlation
    misled: tuple[Misled, ...]
    """the largest rank differences first, at most 5, none that is 0"""
    pair: Pair | None
    """the pair that GMACs order wrongly by the largest ratio of latencies"""
    wrong_pairs: int
    pairs: int
    """of different GMACs and different latencies"""
    seed: int
    """of the bootstrap"""
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        data = asdict(self)
        for row, network in zip(data["misled"], self.misled, strict=True):
            row["difference"] = network.difference
        return data


def disagreement(networks: Sequence[tuple[str, float, float]], seed: int = 0) -> Disagreement:
    """Compare ``(name, gmacs, latency_ms)``; ``UserError`` for figures that are not positive numbers."""
    for name, gmacs, latency in networks:
        if not (0 < gmacs < float("inf") and 0 < latency < float("inf")):
            raise UserError(f"{name}: GMACs and latency are numbers above 0; given {gmacs} and {latency}")
    cost = np.array([gmacs for _, gmacs, _ in networks], dtype=np.float64)
    time = np.array([latency for _, _, latency in networks], dtype=np.float64)
    wrong, pairs, pair = _pairs(networks)
    return Disagreement(
        n=len(networks),
        spearman=spearman(cost, time, seed),
        kendall=kendall(cost, time, seed),
        misled=_misled(networks, cost, time),
        pair=pair,
        wrong_pairs=wrong,
        pairs=pairs,
        seed=seed,
        notes=_notes(cost, time),
    )


def _misled(networks: Sequence[tuple[str, float, float]], cost: Floats, time: Floats) -> tuple[Misled, ...]:
    from scipy.stats import rankdata  # here, as it takes most of a second that reports without latency do not need

    ranks = zip(rankdata(cost), rankdata(time), strict=True)
    rows = [Misled(*network, float(a), float(b)) for network, (a, b) in zip(networks, ranks, strict=True)]
    rows.sort(key=lambda row: (-abs(row.difference), row.network))
    return tuple(row for row in rows[:SHOWN] if row.difference)


def _pairs(networks: Sequence[tuple[str, float, float]]) -> tuple[int, int, Pair | None]:
    wrong, pairs, worst = 0, 0, None
    for one, other in combinations(networks, 2):
        fewer, more = (one, other) if one[1] < other[1] else (other, one)
        if fewer[1] == more[1] or fewer[2] == more[2]:
            continue
        pairs += 1
        if fewer[2] > more[2]:
            wrong += 1
            found = Pair(fewer[0], more[0], fewer[1] / more[1], fewer[2] / more[2])
            if worst is None or found.latency_ratio > worst.latency_ratio:
                worst = found
    return wrong, pairs, worst


def _notes(cost: Floats, time: Floats) -> tuple[str, ...]:
    n = len(cost)
    if n < LEAST:
        return (f"{n} network{'s' * (n != 1)}: a rank correlation needs at least {LEAST}",)
    notes = []
    for what, values in (("GMACs", cost), ("latency", time)):
        if not varies(values):
            notes.append(f"all networks have the same {what}: there is no order to compare")
    if n < LEAST_FOR_INTERVAL:
        notes.append(f"{n} networks are too few for an interval; it takes {LEAST_FOR_INTERVAL}")
    return tuple(notes)
