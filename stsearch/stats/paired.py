"""What the same validation videos tell of differences: the noise that all networks share is taken out.

A training of network ``i`` has video ``v`` right or wrong. Some videos are easy and some hard for every network, so
most of a network's binomial noise is luck with the videos that the others share, and no difference between two
networks holds it. Of the mean correctness ``y_iv`` the mean over networks and the network's own are taken off (over
the networks of the search: what they are compared with is to change nothing of theirs); the
covariance of what is left, over videos, is that of the networks' mean accuracies beside each other. For two networks
trained once it is McNemar's: ``var(y_i - y_j) = var_v(y_iv - y_jv) / V`` exactly.

That variance has two parts: ``lasting``, videos that suit one network and not another, which no further training
removes; and the chance of each training at each video, ``unit``, which trainings average. What moves all videos of
a training at once is in neither: ``stsearch.stats.accuracy`` puts it on top as a dispersion of ``unit``. So trainings
and videos are two crossed samples, as readers and cases are in studies of diagnosis (Gallas, Academic Radiology
2006; Dietterich, Neural Computation 1998, on one split). Accuracies are per cent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FEWEST_VIDEOS = 20
"""Validation videos below which variances over videos are too rough to stand on."""
_LEAST = 0.1
"""Right answers that a network is taken to have or lack beside the others, at least: none is a copy of another."""


@dataclass(frozen=True)
class Paired:
    """``K`` of ``N`` networks whose trainings' answers to the same ``V`` validation videos are known."""

    rows: Ints
    """``(N,)`` which row of ``residuals`` is a network's; -1 where its answers are not known"""
    residuals: Floats
    """``(K, V)`` mean correctness over trainings, in points of accuracy: divided by ``V``, less what the video and
    the network have on average"""
    shared: float
    """variance that the mean over networks took with it, given back to each alike: it is in no difference"""
    unit: Floats
    """``(N,)`` variance of one training by its chance at each video"""
    lasting: Floats
    """``(N,)`` variance that more trainings do not remove"""
    easiness: Floats
    """``(V,)`` how easy each video is for all networks, beside the others; in points, as ``residuals``"""

    @property
    def least(self) -> float:
        """Variance that a network's mean has at least: no network is a copy of another."""
        return _LEAST * 1e4 / float(self.residuals.shape[1]) ** 2

    def covariance(self, first: Ints, second: Ints) -> Floats:
        """``(P,)`` of the mean accuracies of networks ``first`` and ``second`` ``(P,)``; 0 where one is not known."""
        one, other = self.rows[first], self.rows[second]
        found = np.einsum("pv,pv->p", self.residuals[one], self.residuals[other]) + self.shared
        return np.where((one < 0) | (other < 0), 0.0, found)

    def own(self, networks: Ints) -> Floats:
        """``(n,)`` variance of the mean accuracies of ``networks`` ``(n,)`` by their residuals; 0 where unknown."""
        return self.covariance(networks, networks)

    def draw(self, networks: Ints, count: int, generator: np.random.Generator) -> Floats:
        """``(count, n)`` joint draws of the noise that residuals show; 0 where they are not known."""
        rows = self.rows[networks]
        known = self.residuals[rows]
        covariance = np.where((rows[:, None] < 0) | (rows < 0), 0.0, known @ known.T + self.shared)
        return np.where(rows < 0, 0.0, _drawn(covariance, count, generator))

    def luck(self, networks: Ints, count: int, generator: np.random.Generator) -> Floats:
        """``(count, n)`` joint draws of what other videos like these would do to ``networks`` ``(n,)`` together.

        With the noise of ``residuals`` it makes up the covariance of whole answers; it is in no difference.
        """
        rows = self.rows[networks]
        slopes = np.where(rows < 0, 0.0, self.residuals[rows] @ self.easiness)
        together = max(float(np.square(self.easiness).sum()) - self.shared, 0.0)
        return _drawn(slopes[:, None] + slopes + together, count, generator)


def _drawn(covariance: Floats, count: int, generator: np.random.Generator) -> Floats:
    """``(count, n)`` normal draws with the nearest covariance ``(n, n)`` that there can be."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return np.asarray(generator.standard_normal((count, len(covariance))) @ root.T)


def paired_of(correct: Mapping[int, Bools], binomial: Floats, searched: Bools | None = None) -> Paired | None:
    """Pairs among ``N`` networks with the ``binomial`` variances ``(N,)`` of one training.

    ``correct`` has, by place among them, whether each of ``n`` trainings had each video right, ``(n, V)``. What a
    video is for all is the mean over networks that are ``searched`` ``(N,)``, where two of them are known; by default,
    and elsewhere, over all. ``None`` where fewer than two networks or than ``FEWEST_VIDEOS`` videos are known: there is
    nothing to pair.
    """
    places = np.array(sorted(correct), dtype=np.int64)
    videos = correct[int(places[0])].shape[1] if len(places) else 0
    if len(places) < 2 or videos < FEWEST_VIDEOS:
        return None
    means = np.stack([correct[place].mean(0) for place in places.tolist()]) * (100 / videos)
    own = np.arange(len(places)) if searched is None else np.flatnonzero(searched[places])
    own = own if len(own) > 1 else np.arange(len(places))
    easiness = means[own].mean(0)
    residuals = means - easiness
    residuals -= residuals.mean(1, keepdims=True)
    rows = np.full(len(binomial), -1, dtype=np.int64)
    rows[places] = np.arange(len(places))
    squares = np.square(residuals).sum(1)
    shared = float(squares[own].sum()) / (len(own) * (len(own) - 1))  # so that covariances are 0 on average
    variance = np.maximum(squares + shared, _LEAST * 1e4 / videos**2)
    trainings = np.array([len(correct[place]) for place in places.tolist()])
    several = np.flatnonzero(trainings > 1)
    unit = variance * trainings  # as if all of it were the trainings' chance: of one training nobody knows better
    if len(several):
        chance = np.array([correct[int(place)].var(0, ddof=1).sum() for place in places[several]]) * 1e4 / videos**2
        once = variance[several] + chance * (1 - 1 / trainings[several])
        told = np.isin(several, own)
        told = told if told.any() else ~told
        unit *= min(1.0, float(chance[told].sum() / max(once[told].sum(), 1e-12)))
        unit[several] = np.maximum(chance, _LEAST * 1e4 / videos**2)
    lasting = np.maximum(variance - unit / trainings, 0.0)
    lent = binomial / binomial[places[own]].sum()  # to networks whose answers are not known
    unit, lasting = (np.where(rows < 0, lent * known[own].sum(), known[rows]) for known in (unit, lasting))
    return Paired(rows, residuals, shared, unit, lasting, easiness - easiness.mean())
