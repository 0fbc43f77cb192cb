"""Which networks are on the front, as far as their trainings tell, and which training would tell more.

Joint draws of all expected accuracies (``stsearch.stats.accuracy``) are each looked at as if they were the truth:
the share of draws in which a network is on the front is its probability of being there. Costs are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stsearch.stats.accuracy import Floats, Ints, Measured, Posterior, fit
from stsearch.stats.front import Bools, best_below, on_front
from stsearch.stats.paired import paired_of

CONTENDERS = {True: 600, False: 120}
"""Networks that enter the draws, at most, for up to two objectives and for more."""
_FAR = 4.0
"""Standard errors that a network is given before it is ruled out."""
_PARTS = 60
"""Of the cost axis, from each of which as many are taken where there are too many"""
_CELLS, _MOST_DRAWS = 600_000, 4000


@dataclass(frozen=True)
class Draws:
    """Possible truths: ``B`` of them, for the ``M`` networks that may be on the front."""

    networks: Ints
    """``(M,)`` their places among all that were measured"""
    costs: Floats
    """``(M, C)``"""
    accuracies: Floats
    """``(A, B, M)``, per cent, one block per accuracy that is an objective"""
    members: Bools
    """``(B, M)``, on the front"""
    expected: Floats
    """``(A, N)`` accuracies to expect of one more training of every network"""
    posteriors: tuple[Posterior, ...]
    """of each accuracy, over all networks"""

    @property
    def probabilities(self) -> Floats:
        """``(M,)`` of being on the front."""
        return np.asarray(self.members.mean(0))

    def elsewhere(self, seed: int = 0) -> Floats:
        """``accuracies`` on other videos like these: with the luck that networks have together, which no front holds.

        Where it is not known which videos were right they are those on the videos at hand.
        """
        generator, moved = np.random.default_rng(seed), self.accuracies.copy()
        for accuracies, posterior in zip(moved, self.posteriors, strict=True):
            if (paired := posterior.measured.paired) is not None:
                accuracies += paired.luck(self.networks, len(accuracies), generator)
        return np.asarray(np.clip(moved, 0.0, 100.0))


def measured(
    costs: Floats,
    trainings: Sequence[Sequence[float]],
    videos: int,
    within: Bools | None = None,
    correct: Mapping[int, Bools] | None = None,
) -> Measured:
    """Networks with ``costs`` ``(N, C)``, and of each the accuracies (per cent) of its trainings.

    ``correct`` as for ``stsearch.stats.paired.paired_of``, where it is known which videos trainings had right.
    """
    values = [np.asarray(found, dtype=np.float64) for found in trainings]
    data = Measured(
        costs,
        np.array([found.mean() for found in values]),
        np.array([len(found) for found in values], dtype=np.int64),
        np.array([np.square(found - found.mean()).sum() for found in values]),
        videos,
        within=within,
    )
    return replace(data, paired=paired_of(correct, data.binomial(), data.searched)) if correct else data


def draw_fronts(accuracies: Sequence[Measured], seed: int = 0) -> Draws:
    """Draws for networks measured in one or more accuracies, with the same costs in each.

    A function of its arguments alone. Several accuracies are drawn independently of each other.
    """
    posteriors = [fit(data) for data in accuracies]
    expected = np.stack([posterior.expected() for posterior in posteriors])
    networks = contenders(accuracies, expected)
    generator = np.random.default_rng(seed)
    count = min(_MOST_DRAWS, max(200, _CELLS // max(1, len(networks))))
    drawn = np.stack([posterior.draw(count, networks, generator) for posterior in posteriors])
    costs = accuracies[0].costs[networks]
    return Draws(networks, costs, drawn, on_front(drawn, costs), expected, tuple(posteriors))


def contenders(accuracies: Sequence[Measured], expected: Floats) -> Ints:
    """Networks of the search that no other surely beats, ascending; of too many the nearest to it, all along costs.

    One is surely beaten by another of no higher cost that is better by ``_FAR`` standard errors of each.
    A third that only the beaten one would beat is beaten by its beater too, so nothing is lost.
    """
    inside = np.flatnonzero(accuracies[0].searched)
    costs, expected = accuracies[0].costs[inside], expected[:, inside]
    errors = np.stack([data.errors()[inside] for data in accuracies])
    low, high = expected - _FAR * errors, expected + _FAR * errors
    margin = np.full(len(costs), np.inf)
    if len(accuracies) == 1 and costs.shape[1] <= 1:
        margin = high[0] - best_below(low, costs)[1][0]
    else:
        for strong in _strong(low[0], costs):
            below = (costs[strong] <= costs).all(1)
            margin[below] = np.minimum(margin[below], (high[:, below] - low[:, [strong]]).max(0))
    found = np.flatnonzero(margin >= 0)
    most = CONTENDERS[len(accuracies) + costs.shape[1] <= 2]
    if len(found) > most:
        column = costs[found, 0] if costs.shape[1] else np.zeros(len(found))
        parts = np.array_split(found[np.argsort(column, kind="stable")], _PARTS)
        best = [part[np.argsort(-margin[part], kind="stable")[: most // _PARTS]] for part in parts]
        found = np.sort(np.concatenate(best))
    return inside[found]


def _strong(low: Floats, costs: Floats) -> Ints:
    """Networks that are surely good at their cost: along each cost, those above all cheaper ones."""
    found = [int(np.argmax(low))]
    for column in costs.T:
        order = np.lexsort((-low, column))
        ahead = np.maximum.accumulate(low[order])
        found += order[low[order] > np.concatenate([[-np.inf], ahead[:-1]])].tolist()
    return np.unique(np.array(found, dtype=np.int64))


def gains(draws: Draws) -> Floats:
    """``(M,)``: how much of the doubt about the front one more training of each network is expected to settle.

    The doubt is the variance of all memberships, ``sum p (1 - p)``. Of several accuracies the first is looked at.
    To first order, a training settles what membership and accuracy have in common, times the share of the
    accuracy's variance that it removes (the expected value of sample information of a linear decision).
    """
    variances = draws.posteriors[0].measured.variances()[draws.networks]
    values = draws.accuracies[0] - draws.accuracies[0].mean(0)
    members = draws.members - draws.probabilities
    count = len(values)
    spread = np.square(values).mean(0)
    common = np.square(values.T @ members / count).sum(1)
    chance = spread * np.square(members).mean(0).sum() / count  # what unrelated draws have in common
    lasting = draws.posteriors[0].measured.lasting()[draws.networks]
    known = np.maximum(spread - lasting, 0.0)  # of which more trainings tell; the luck with the videos stays
    settled = np.square(known / np.maximum(spread, 1e-12)) / (known + variances)
    return np.asarray(np.maximum(common - chance, 0.0) * settled)
