"""One kind against another, group by group: accuracy by the estimator that the design allows, cost exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from stsearch.report.effect_design import Design, Floats, Pair, Term
from stsearch.report.effect_estimates import (
    MIN_DF,
    Errors,
    Estimate,
    Fit,
    Terms,
    matched_pairs,
    of_differences,
    terms_of,
)
from stsearch.report.effect_words import ALONE, terms_in_words
from stsearch.space.architecture import GROUPS, Architecture

CostOf = Callable[[Architecture], float]
MIN_PAIRS = 10
"""Matched pairs below which the regression is read instead."""
MIN_PAIRED = 0.95
"""Share of the commoner kind's networks that must be in matched pairs, that is, nearly all networks of both kinds.

A search tries the neighbours of networks that were lucky, so in an unfinished study the pairs share that luck:
in simulated searches their 95 % intervals covered in 78 to 92 %, those of the regression in 92 to 96 %.
"""
MIN_COST_PAIRS = 3
CONTEXTS = 100
"""Networks in which a swap's cost is computed, at most."""
TIME = "time"
"""Stands for every kind but 2D and collapsed frames."""


@dataclass(frozen=True)
class CostDifference:
    """What the swap does to the cost; exact in every context, so a range and no interval."""

    mean: float
    low: float | None
    """smallest over the contexts; ``None`` where only a fit is known"""
    high: float | None
    contexts: int
    source: str
    """``computed`` (in closed form), ``pairs`` (of trained networks) or ``fitted`` (regression on costs)"""


@dataclass(frozen=True)
class Contrast:
    """One kind against another in one group."""

    group: str
    kind: str
    """a kind, or ``time`` for all kinds that see time together"""
    against: str
    pairs: int
    """matched pairs in the study"""
    method: str
    """``matched pairs``, ``regression`` or ``none``; says which of the two is ``estimate``"""
    matched: Estimate | None
    regression: Estimate | None
    why_not: str
    """why there is no estimate, else empty"""
    confounded: tuple[Term, ...]
    """effects that come together in these networks, its own among them; empty where it can be told"""
    cost: CostDifference | None
    claimed: bool = False
    """whether the joint interval of all comparisons excludes zero"""

    @property
    def estimate(self) -> Estimate | None:
        """The effect on accuracy in points, by ``method``."""
        return {"matched pairs": self.matched, "regression": self.regression}.get(self.method)

    @property
    def about_time(self) -> bool:
        """Whether this is seeing time against not seeing it."""
        return self.against == "2d" and self.kind != "collapse"

    @property
    def between_kinds(self) -> bool:
        """Whether this is one kind that sees time against another."""
        return not {self.kind, self.against} & _BLIND


class Regression:
    """Accuracy and cost of a study, each fitted on the same terms."""

    def __init__(self, design: Design, accuracies: Floats, costs: Floats, errors: Errors = "larger") -> None:
        self.terms: Terms = terms_of(design)
        self.fit, self.cost_fit = Fit(self.terms, accuracies), Fit(self.terms, costs)
        self.errors: Errors = errors
        # kinds of a group sum to one, so each group has one column more than parameters
        self.parameters = self.terms.x.shape[1] - sum(len(kinds) > 1 for kinds in design.kinds)

    def effect(self, pair: Pair) -> tuple[Estimate | None, str, tuple[Term, ...]]:
        """The estimate, or why there is none and what it is confounded with."""
        weights = self.terms.contrast(pair)
        if self.fit.df < MIN_DF:
            needed = self.parameters + MIN_DF
            return None, f"too few networks: a regression on them needs at least {needed}", ()
        if (together := self.fit.confounded(weights)) is not None:
            others = [term for term in together if term not in {(pair[1], pair[0]), (pair[2], pair[0])}]
            return None, f"cannot be told apart from {terms_in_words(others)}", tuple(together)
        estimate = self.fit.estimate(weights, self.errors)
        return estimate, "" if estimate else ALONE, ()

    def cost(self, pair: Pair) -> CostDifference | None:
        """The fitted difference of costs, where the networks can tell it."""
        weights = self.terms.contrast(pair)
        if self.cost_fit.df < MIN_DF or self.cost_fit.confounded(weights) is not None:
            return None
        return CostDifference(float(weights @ self.cost_fit.coefficients), None, None, 0, "fitted")


def kind_contrasts(
    design: Design, accuracies: Floats, costs: Floats, cost_of: CostOf | None, regression: Regression
) -> list[Contrast]:
    """Every pair of kinds of every group."""
    found = []
    for pair in design.pairs:
        rows, others = matched_pairs(design, pair)
        matched = of_differences(accuracies[rows] - accuracies[others])
        estimate, why_not, confounded = regression.effect(pair)
        method = _method(design, pair, len(rows), estimate)
        found.append(
            Contrast(
                group=GROUPS[pair[0]],
                kind=pair[1],
                against=pair[2],
                pairs=len(rows),
                method=method,
                matched=matched,
                regression=estimate,
                why_not=why_not if method == "none" else "",
                confounded=confounded if method == "none" else (),
                cost=_cost_difference(design, pair, costs[rows] - costs[others], cost_of) or regression.cost(pair),
            )
        )
    return found


def time_contrasts(design: Design, accuracies: Floats, costs: Floats, kinds: list[Contrast]) -> list[Contrast]:
    """Seeing time by any kind against 2D, where a group has several kinds that see it.

    One regression with fewer parameters than that of the kinds, so it can tell more from fewer
    networks; how far the kinds differ is noise to it.
    """
    several = [group for group, found in enumerate(design.kinds) if "2d" in found and len(set(found) - _BLIND) > 1]
    if not several:
        return []
    pooled = pooled_over_kinds(design)
    regression = Regression(pooled, accuracies, costs)
    found = []
    for group in several:
        pair = (group, TIME, "2d")
        estimate, why_not, confounded = regression.effect(pair)
        parts = [c.cost for c in kinds if c.group == GROUPS[group] and c.about_time]
        method = "regression" if estimate else "none"
        cost = _together(parts) or regression.cost(pair)
        found.append(Contrast(GROUPS[group], TIME, "2d", 0, method, None, estimate, why_not, confounded, cost))
    return found


_BLIND = {"2d", "collapse"}


def pooled_over_kinds(design: Design) -> Design:
    """The same networks with one kind, ``TIME``, for all that see it."""
    return replace(design, forms=tuple(tuple(map(_pooled, forms)) for forms in design.forms))


def _pooled(form: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(kind if kind in _BLIND else TIME for kind in form)


def _together(parts: list[CostDifference | None]) -> CostDifference | None:
    """Several kinds' differences as one: the mean of their means over the range of all."""
    known = [part for part in parts if part is not None and part.low is not None and part.high is not None]
    if len(known) < len(parts):
        return None
    return CostDifference(
        mean=sum(part.mean for part in known) / len(known),
        low=min(part.low for part in known if part.low is not None),
        high=max(part.high for part in known if part.high is not None),
        contexts=sum(part.contexts for part in known),
        source=known[0].source,
    )


def _method(design: Design, pair: Pair, pairs: int, regression: Estimate | None) -> str:
    """Matched pairs where nearly every network has its twin, else the regression where it can be read."""
    group, *kinds = pair
    commoner = max(int((design.share(group, kind) > 0).sum()) for kind in kinds)
    if pairs >= MIN_PAIRS and pairs >= MIN_PAIRED * commoner:
        return "matched pairs"
    return "none" if regression is None else "regression"


def _cost_difference(design: Design, pair: Pair, differences: Floats, cost_of: CostOf | None) -> CostDifference | None:
    source = "pairs"
    if cost_of is not None:
        differences, source = _computed(design, pair, cost_of), "computed"
    if len(differences) < (1 if cost_of else MIN_COST_PAIRS):
        return None
    low, high = float(differences.min()), float(differences.max())
    return CostDifference(float(differences.mean()), low, high, len(differences), source)


def _computed(design: Design, pair: Pair, cost_of: CostOf) -> Floats:
    """Differences of cost in the contexts of the study, evenly drawn where there are many."""
    group, kind, against = pair
    uniform = np.flatnonzero((design.share(group, kind) == 1) | (design.share(group, against) == 1))
    _, first = np.unique(design.contexts[group][uniform], return_index=True)
    rows = uniform[np.sort(first)]
    if len(rows) > CONTEXTS:
        rows = rows[np.linspace(0, len(rows) - 1, CONTEXTS).round().astype(int)]
    swaps = ([_swapped(design.architecture(row), group, one) for one in (kind, against)] for row in rows)
    return np.array([cost_of(one) - cost_of(other) for one, other in swaps])


def _swapped(architecture: Architecture, group: int, kind: str) -> Architecture:
    if group == 0:
        return replace(architecture, stem=kind)
    stages = list(architecture.stages)
    stages[group - 1] = (kind,) * len(stages[group - 1])
    return replace(architecture, stages=tuple(stages))
