"""A Gaussian process over placements: what a network that was not trained yet is expected to reach.

Networks are alike where they agree in a stage's kinds or depth; how much each stage matters is learnt from the
trainings. The kernel is ``s^2 exp(-sum_g w_g d_g)`` with ``d_g`` in [0, 1] the share of a group of decisions that
differ (a weighted Hamming distance: Hutter, Hoos and Leyton-Brown, LION 2011, section 4.1); for depths and widths the
distance of the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

from stsearch.space.search_space import SearchSpace, StageChoices
from stsearch.space.table import Ints

Floats = npt.NDArray[np.float64]
_JITTER = 1e-6
_LEARNT_FROM, _OF_MANY = 256, 128
"""Trainings from which weights are learnt; more make it slow and change little. Of more than these, fewer."""
_PRIOR_MEAN = {"weight": float(np.log(0.5)), "signal": 0.0, "noise": float(np.log(0.1))}
_PRIOR_SD = {"weight": 1.0, "signal": 0.7, "noise": 1.0}
"""Of the logarithms, for standardised values: half of what there is to learn is in two stages, a tenth is noise."""


@dataclass(frozen=True)
class _Group:
    """Decisions that share a weight."""

    digit: int
    codes: Floats
    """``(options, columns)``: what each option of the digit decides"""
    ordered: bool

    def apart(self, a: Ints, b: Ints) -> Floats:
        """Distances ``(N, M)`` in [0, 1] of digits ``(N, 6)`` and ``(M, 6)``."""
        left, right = self.codes[a[:, self.digit]], self.codes[b[:, self.digit]]
        total: Floats = np.zeros((len(a), len(b)))
        for one, other in zip(left.T, right.T, strict=True):
            gap = one[:, None] - other[None, :]
            total += np.abs(gap) if self.ordered else gap != 0
        share: Floats = total / self.codes.shape[1]
        return share


class Distances:
    """How far apart the architectures of ``space`` are, per group of decisions."""

    def __init__(self, space: SearchSpace) -> None:
        groups = [_ordered(0, space.widths), _Group(1, np.arange(len(space.stems), dtype=np.float64)[:, None], False)]
        for digit, stage in enumerate(space.stages, 2):
            groups += [_kinds(digit, stage), _ordered(digit, [len(kinds) for kinds in stage.options])]
        self.groups = [group for group in groups if len(np.unique(group.codes, axis=0)) > 1]

    def each(self, a: Ints, b: Ints) -> Floats:
        """``(G, N, M)`` of digits ``(N, 6)`` and ``(M, 6)``."""
        return np.stack([group.apart(a, b) for group in self.groups])

    def weighted(self, weights: Floats, a: Ints, b: Ints) -> Floats:
        """Their weighted sum ``(N, M)``. Few options are many times among the digits: each pair is compared once."""
        total = np.zeros((len(a), len(b)))
        for digit in dict.fromkeys(group.digit for group in self.groups):
            (left, rows), (right, columns) = (np.unique(x[:, digit], return_inverse=True) for x in (a, b))
            options = np.zeros((max(len(left), len(right)), a.shape[1]), dtype=np.int64)
            one, other = options[: len(left)].copy(), options[: len(right)].copy()
            one[:, digit], other[:, digit] = left, right
            pairs = np.zeros((len(left), len(right)))
            for weight, group in zip(weights, self.groups, strict=True):
                if group.digit == digit:
                    pairs += weight * group.apart(one, other)
            total += pairs[rows][:, columns]
        return total


def _ordered(digit: int, numbers: npt.ArrayLike) -> _Group:
    values = np.asarray(numbers, dtype=np.float64)
    span = float(np.ptp(values)) or 1.0
    return _Group(digit, ((values - values.min()) / span)[:, None], True)


def _kinds(digit: int, stage: StageChoices) -> _Group:
    """The kind of every block, of the first alone where a stage is of one kind; -1 beyond the last."""
    columns = max(stage.depths) if stage.per_block else 1
    place = {kind: number for number, kind in enumerate(stage.kinds)}
    rows = [[place[kind] for kind in option[:columns]] for option in stage.options]
    return _Group(digit, np.array([row + [-1] * (columns - len(row)) for row in rows], dtype=np.float64), False)


class Surrogate:
    """Fitted to values ``(N,)`` of architectures given as digits ``(N, 6)``; weights at their most probable values.

    ``levels`` ``(N,)``, from 0, say which values are equally sure: those of trainings that were stopped early have a
    noise of their own, learnt as well.
    """

    def __init__(self, distances: Distances, digits: Ints, values: Floats, levels: Ints | None = None) -> None:
        self.distances, self.digits = distances, digits
        self.mean, self.sd = float(values.mean()), float(values.std()) or 1.0
        standard = (values - self.mean) / self.sd
        level: Ints = np.zeros(len(digits), dtype=np.int64) if levels is None else levels
        few = np.linspace(0, len(digits) - 1, len(digits) if len(digits) <= _LEARNT_FROM else _OF_MANY).astype(np.int64)
        self.weights, self.signal, self.noise = self._learn(digits[few], standard[few], level[few])
        self._condition(digits, standard, level)

    def _learn(self, digits: Ints, values: Floats, levels: Ints) -> tuple[Floats, float, Floats]:
        apart = self.distances.each(digits, digits)
        count = len(apart)
        names = ["weight"] * count + ["signal"] + ["noise"] * (int(levels.max()) + 1)
        centre, spread = (np.array([prior[name] for name in names]) for prior in (_PRIOR_MEAN, _PRIOR_SD))
        at = levels == np.arange(int(levels.max()) + 1)[:, None]
        one = np.eye(len(digits))

        def loss(logs: Floats) -> tuple[float, Floats]:
            """Negative log posterior, up to a constant, and its gradient."""
            weights, noise = np.exp(logs[:count]), np.exp(logs[count + 1 :])
            clean = np.exp(logs[count] - np.tensordot(weights, apart, 1))
            root = np.linalg.cholesky(clean + np.diag(noise[levels] + _JITTER))
            solved = cho_solve((root, True), values)
            slope = 0.5 * (cho_solve((root, True), one) - np.outer(solved, solved))
            inner = slope * clean
            gradient = [-weight * float((inner * gap).sum()) for weight, gap in zip(weights, apart, strict=True)]
            off = (logs - centre) / spread
            value = 0.5 * float(values @ solved) + float(np.log(np.diag(root)).sum()) + 0.5 * float(off @ off)
            return value, np.array([*gradient, inner.sum(), *(noise * (at @ np.diag(slope)))]) + off / spread

        bounds = list(zip(centre - 5 * spread, centre + 5 * spread, strict=True))
        logs = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}).x
        return np.exp(logs[:count]), float(np.exp(logs[count])), np.exp(logs[count + 1 :])

    def _condition(self, digits: Ints, standard: Floats, levels: Ints) -> None:
        self.digits, self._levels = digits, levels
        alike = self._alike(digits, digits) + np.diag(self.noise[levels] + _JITTER)
        self._root = np.linalg.cholesky(alike)
        self._solved = cho_solve((self._root, True), standard)
        self._standard = standard

    def _alike(self, a: Ints, b: Ints) -> Floats:
        alike: Floats = self.signal * np.exp(-self.distances.weighted(self.weights, a, b))
        return alike

    def predict(self, digits: Ints) -> tuple[Floats, Floats]:
        """Mean and standard deviation ``(N,)`` of what networks reach on average over seeds."""
        alike = self._alike(digits, self.digits)
        explained = (solve_triangular(self._root, alike.T, lower=True) ** 2).sum(0)
        spread = np.sqrt(np.maximum(self.signal - explained, 1e-9))
        return self.mean + self.sd * (alike @ self._solved), self.sd * spread

    def believe(self, digits: Ints) -> None:
        """Take networks in training to come out as expected, so that no other worker asks the same of them."""
        if len(digits):
            expected = (self.predict(digits)[0] - self.mean) / self.sd
            levels = np.concatenate([self._levels, np.zeros(len(digits), dtype=np.int64)])
            self._condition(np.concatenate([self.digits, digits]), np.concatenate([self._standard, expected]), levels)
