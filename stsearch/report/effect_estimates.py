"""Three estimators of what a kind does: matched pairs, a regression, pairs of equal cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from stsearch.report.effect_design import Design, Floats, Ints, Pair, Term

Errors = Literal["larger", "classical", "hc2"]
"""How a regression's error is computed: the larger of classical and HC2, or one of them."""
MIN_DF = 4
"""Residual degrees of freedom below which a regression is not read."""
_NULL = 1e-9
"""Eigenvalues of the normal matrix, relative to the largest, that count as zero."""
_ALONE = 1e-8
_ZERO = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A mean with what its interval needs."""

    mean: float
    error: float
    """standard error, in the unit of the mean"""
    df: float
    """degrees of freedom of the t distribution"""
    n: int
    """pairs, or networks, behind it"""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The two-sided t interval at ``level``."""
        half = float(stdtrit(self.df, (1 + level) / 2)) * self.error
        return self.mean - half, self.mean + half

    def excludes_zero(self, level: float) -> bool:
        """Whether the interval at ``level`` lies on one side of zero."""
        low, high = self.interval(level)
        return low > _ZERO or high < -_ZERO


def of_differences(differences: Floats) -> Estimate | None:
    """Mean and t error of independent differences; ``None`` for fewer than two."""
    n = len(differences)
    if n < 2:
        return None
    return Estimate(float(differences.mean()), float(differences.std(ddof=1)) / n**0.5, n - 1, n)


def of_groups(some: Floats, others: Floats) -> Estimate | None:
    """Mean of ``some`` less that of ``others``, with one variance for both; ``None`` where either is alone."""
    if min(len(some), len(others)) < 2:
        return None
    df = len(some) + len(others) - 2
    squares = sum(float(((one - one.mean()) ** 2).sum()) for one in (some, others))
    error = (squares / df * (1 / len(some) + 1 / len(others))) ** 0.5
    return Estimate(float(some.mean() - others.mean()), error, df, df + 2)


def matched_pairs(design: Design, pair: Pair) -> tuple[Ints, Ints]:
    """Rows of networks that are alike but for the kind of one uniform group: those with it, those against.

    The networks of ``design`` are distinct, so each is in at most one pair.
    """
    group, kind, against = pair
    sides = []
    for one in (kind, against):
        rows = np.flatnonzero(design.share(group, one) == 1)
        sides.append((design.contexts[group][rows], rows))
    (left, rows), (right, others) = sides
    _, here, there = np.intersect1d(left, right, assume_unique=True, return_indices=True)
    return rows[here], others[there]


def cost_matched(early: Floats, late: Floats, caliper: float) -> tuple[Ints, Ints]:
    """As many disjoint pairs as there can be whose costs differ by at most ``caliper`` of the larger.

    On a line the greedy walk along both sorted lists is such a largest matching.
    """
    left, right = np.argsort(early, kind="stable"), np.argsort(late, kind="stable")
    a, b = early[left].tolist(), late[right].tolist()
    i = j = 0
    found: list[tuple[int, int]] = []
    while i < len(a) and j < len(b):
        if abs(a[i] - b[j]) <= caliper * max(abs(a[i]), abs(b[j])):
            found.append((i, j))
            i, j = i + 1, j + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    chosen = np.array(found, dtype=np.int64).reshape(-1, 2)
    return left[chosen[:, 0]], right[chosen[:, 1]]


@dataclass(frozen=True)
class Terms:
    """The columns of a regression: intercept, share of every kind in every group, covariates that vary."""

    names: tuple[Term, ...]
    """of the columns after the intercept"""
    x: Floats
    """``(N, 1 + len(names))``"""

    def contrast(self, pair: Pair) -> Floats:
        """The weights ``(P,)`` that give the effect of one kind against another."""
        group, kind, against = pair
        weights = np.zeros(self.x.shape[1])
        weights[1 + self.names.index((kind, group))] = 1
        weights[1 + self.names.index((against, group))] = -1
        return weights


def terms_of(design: Design) -> Terms:
    """Main effects of kinds per group; depth, log2 of width and block type where they vary."""
    columns: dict[Term, Floats] = {
        (kind, group): design.share(group, kind)
        for group, kinds in enumerate(design.kinds)
        if len(kinds) > 1
        for kind in kinds
    }
    covariates: dict[Term, Floats] = {("depth", group): design.depth(group).astype(float) for group in range(1, 5)}
    covariates["width", -1] = np.log2([width for _, width in design.frames])[design.frame]
    covariates["block", -1] = np.array([float(block == "bottleneck") for block, _ in design.frames])[design.frame]
    for name, values in covariates.items():
        low, high = values.min(), values.max()
        if high > low:
            columns[name] = (values - low) / (high - low)
    return Terms(tuple(columns), np.stack([np.ones(len(design)), *columns.values()], axis=1))


class Fit:
    """Least squares of one metric on ``terms``, by the pseudo-inverse of the normal matrix."""

    def __init__(self, terms: Terms, y: Floats) -> None:
        x = terms.x
        values, vectors = np.linalg.eigh(x.T @ x)
        kept = values > _NULL * values[-1]
        self.terms, self.rank = terms, int(kept.sum())
        self.null = vectors[:, ~kept]
        self.inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
        centre = y.mean()
        self.coefficients = self.inverse @ (x.T @ (y - centre))
        self.residuals = y - centre - x @ self.coefficients
        self.leverage = np.einsum("np,np->n", x @ self.inverse, x)
        self.df = len(y) - self.rank
        self.variance = float(self.residuals @ self.residuals) / self.df if self.df > 0 else float("nan")

    def confounded(self, weights: Floats) -> list[Term] | None:
        """Terms that can move together without changing any fitted value, where a contrast moves with them.

        Its own among them; ``None`` where the networks can tell the contrast.
        """
        direction = self.null @ (self.null.T @ weights)
        if np.abs(direction).max(initial=0) < 1e-6:
            return None
        return self._odd(dict(zip(self.terms.names, direction[1:].round(6).tolist(), strict=True)))

    @staticmethod
    def _odd(moved: dict[Term, float]) -> list[Term]:
        """Within a group only differences count: its kinds that do not move with the most of them."""
        odd = []
        for group in sorted({group for _, group in moved}):
            kinds = {t: v for t, v in moved.items() if t[1] == group and t[0] not in ("depth", "width", "block")}
            values = list(kinds.values())
            usual = max(values, key=lambda v: (values.count(v), -abs(v))) if values else 0.0
            odd += [term for term, value in kinds.items() if abs(value - usual) > 1e-5]
            odd += [t for t, v in moved.items() if t[1] == group and t not in kinds and abs(v) > 1e-5]
        return odd

    def estimate(self, weights: Floats, errors: Errors = "larger") -> Estimate | None:
        """An estimable contrast; ``None`` where its noise rests on a network that alone fixes a coefficient.

        Classical errors are too small where noise differs between networks, HC2 (MacKinnon and
        White, 1985) where networks are few; the larger of the two (Angrist and Pischke, Mostly
        Harmless Econometrics, 2009, section 8.1) covers in both (docs/results/effects.md).
        """
        pull = self.terms.x @ (self.inverse @ weights)
        free = 1 - self.leverage
        alone = free < _ALONE
        if np.abs(pull[alone]).max(initial=0) > _ALONE:
            return None
        squares = np.where(alone, 0.0, pull**2)
        variances = {
            "classical": float(squares.sum()) * self.variance,
            "hc2": float(squares @ (self.residuals**2 / np.where(alone, 1.0, free))),
        }
        variances["larger"] = max(variances.values())
        return Estimate(float(weights @ self.coefficients), variances[errors] ** 0.5, float(self.df), len(pull))
