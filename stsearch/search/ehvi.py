"""Expected hypervolume improvement where costs are exact: the network that should move the front most.

Of a network that was not trained its accuracy is unknown and its cost is not. A Gaussian process (``surrogate``)
expects an accuracy, give or take; what that adds to the hypervolume (Emmerich, Giannakoglou and Naujoks, IEEE TEC
2006) is then an integral over costs of the ordinary expected improvement over the best accuracy that is had for
no more. What the device has to measure (latency, memory) is expected in the same way, without the doubt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr

from stsearch.search.attributes import ARCHITECTURE, EXPECTED_FROM
from stsearch.search.metrics import METRICS, QUALITIES, measured_names
from stsearch.search.surrogate import Distances, Floats, Surrogate
from stsearch.space.architecture import parse_placement
from stsearch.space.table import CostTable, Ints
from stsearch.stats.front import best_for_their_costs

_POINTS = 256
"""Points of the costs over which is integrated."""
_REMEMBERED = 300
"""Trainings that a surrogate is fitted to; of more, those nearest to the front, the last ones, and some of the rest."""
_NEAR, _LAST = 120, 60
"""Of these, how many are near the front, and how many the last."""
_FIRST = 3
"""Networks that are spread over the space before anything is modelled; more were worse (docs/results/samplers.md)."""


@dataclass
class Known:
    """What a study knows: one row per network of the space."""

    digits: Ints
    """``(N, 6)``"""
    values: dict[str, Floats]
    """by name, ``(N,)``; nan where unknown"""
    running: npt.NDArray[np.bool_]
    levels: Ints
    """how far trainings went, ``(N,)``: 0 to the end, else a number for each rung at which some were stopped"""

    def part(self, rows: Ints) -> Known:
        """The networks ``rows`` of it."""
        values = {name: column[rows] for name, column in self.values.items()}
        return Known(self.digits[rows], values, self.running[rows], self.levels[rows])

    def of(self, name: str) -> npt.NDArray[np.bool_]:
        """Which networks a value is known of."""
        return np.isfinite(self.values[name])


class Ehvi:
    """Proposes from ``objectives``, by name, and ``caps`` on what is measured of a network."""

    def __init__(self, table: CostTable, objectives: Sequence[str], caps: Mapping[str, float]) -> None:
        self.table, self.objectives, self.caps = table, list(objectives), dict(caps)
        self.quality = next((name for name in objectives if name in QUALITIES), None)
        self.distances = Distances(table.space)
        self._digits: dict[str, tuple[int, ...] | None] = {}

    def propose(self, trials: Sequence[FrozenTrial], candidates: Ints, rng: np.random.Generator) -> int:
        """Row of the candidate, of digits ``(N, 6)``, to train next."""
        return self.best(self.read(trials), candidates, rng, 1)[0]

    def read(self, trials: Sequence[FrozenTrial]) -> Known:
        """What ``front_of`` and ``best`` are to know, read once for both."""
        return self._known(trials)

    def best(self, known: Known, candidates: Ints, rng: np.random.Generator, count: int) -> list[int]:
        """Rows of the candidates, of digits ``(N, 6)``, that are worth most, best first; at most ``count``."""
        if self.quality is None or known.of(self.quality).sum() < _FIRST:
            return [self._farthest(known.digits, candidates, rng)]
        known = known.part(self._remembered(known, rng))
        models = {name: self._model(known, name) for name in known.values}
        gain = self._gain(known, models, candidates)
        first = int(rng.choice(np.flatnonzero(gain >= gain.max() * (1 - 1e-9))))  # equals must not hang on rounding
        rest = np.argsort(-gain, kind="stable")[:count].tolist()
        return [first, *(row for row in rest if row != first)][:count]

    def front(self, trials: Sequence[FrozenTrial]) -> Ints:
        """Digits ``(N, 6)`` of the most accurate networks for their costs so far; their neighbours are worth a look."""
        return self.front_of(self.read(trials))

    def front_of(self, known: Known) -> Ints:
        """The same of what was read."""
        if self.quality is None or not known.of(self.quality).any():
            return known.digits[:0]
        rows = known.of(self.quality)
        digits, value = known.digits[rows], known.values[self.quality][rows]
        return digits[best_for_their_costs(value, self._costs({}, digits))]

    def _remembered(self, known: Known, rng: np.random.Generator) -> Ints:
        """Rows of what a model is made of: at most so many trainings, and all that run."""
        assert self.quality is not None
        trained = np.flatnonzero(known.of(self.quality))
        if len(known.digits) <= _REMEMBERED:
            return np.arange(len(known.digits))
        value, costs = known.values[self.quality][trained], self._costs({}, known.digits[trained])
        best = best_for_their_costs(value, costs)
        affords = (costs[best][None] <= costs[:, None]).all(2)
        behind = np.where(affords, value[best], -np.inf).max(1) - value
        chosen = np.zeros(len(known.digits), dtype=bool)
        chosen[trained[np.argsort(behind, kind="stable")[:_NEAR]]] = True
        chosen[-_LAST:] = True
        rest = np.flatnonzero(~chosen)
        chosen[rng.choice(rest, min(len(rest), max(0, _REMEMBERED - int(chosen.sum()))), replace=False)] = True
        return np.flatnonzero(chosen | known.running)

    # What is known ------------------------------------------------------------------------

    def _known(self, trials: Sequence[FrozenTrial]) -> Known:
        measured = measured_names()
        asked = [name for name in dict.fromkeys([*self.objectives, *self.caps]) if name not in self.table.names]
        rows: dict[tuple[int, ...], dict[str, float]] = {}
        running: set[tuple[int, ...]] = set()
        stopped: dict[tuple[int, ...], int] = {}
        for trial in trials:
            digits = self._parsed(trial.user_attrs.get(ARCHITECTURE))
            if digits is None or trial.state == TrialState.FAIL:
                continue
            row = rows.setdefault(digits, {})
            row |= {name: trial.user_attrs[name] for name in measured if name in trial.user_attrs}
            if trial.state == TrialState.COMPLETE:
                row |= dict(zip(self.objectives, trial.values, strict=True))
                if EXPECTED_FROM in trial.user_attrs:
                    stopped[digits] = trial.user_attrs[EXPECTED_FROM]
            elif trial.state == TrialState.RUNNING:
                running.add(digits)
        values = {name: np.array([row.get(name, np.nan) for row in rows.values()]) for name in asked}
        rungs = sorted(set(stopped.values()), reverse=True)
        levels = np.array([rungs.index(stopped[row]) + 1 if row in stopped else 0 for row in rows], dtype=np.int64)
        digits_of_rows = np.array(list(rows), dtype=np.int64).reshape(len(rows), len(self.table.space.radix))
        return Known(digits_of_rows, values, np.array([row in running for row in rows], dtype=bool), levels)

    def _parsed(self, identifier: str | None) -> tuple[int, ...] | None:
        """Digits of a trial's architecture; none for one outside the space."""
        if identifier is None:
            return None
        if identifier not in self._digits:
            architecture, space = parse_placement(identifier), self.table.space
            self._digits[identifier] = space.digits(architecture) if architecture in space else None
        return self._digits[identifier]

    def _model(self, known: Known, name: str) -> Surrogate | None:
        rows = np.flatnonzero(known.of(name))
        if len(rows) < 2:
            return None
        levels = known.levels[rows] if name == self.quality else None
        model = Surrogate(self.distances, known.digits[rows], known.values[name][rows], levels)
        model.believe(known.digits[known.running & ~known.of(name)])
        return model

    # What to train next -------------------------------------------------------------------

    def _farthest(self, digits: Ints, candidates: Ints, rng: np.random.Generator) -> int:
        """The candidate that differs most from all that were begun."""
        if not len(digits):
            return int(rng.integers(len(candidates)))
        apart = self.distances.weighted(np.ones(len(self.distances.groups)), candidates, digits).min(1)
        return int(rng.choice(np.flatnonzero(apart >= apart.max() - 1e-9)))

    def _gain(self, known: Known, models: Mapping[str, Surrogate | None], candidates: Ints) -> Floats:
        """Expected hypervolume improvement ``(N,)``, times the probability of keeping the caps."""
        assert self.quality is not None
        model = models[self.quality]
        assert model is not None
        had = known.digits[known.of(self.quality) | known.running]
        mean, spread = model.predict(candidates)
        gain = improvement(
            mean, spread, self._costs(models, candidates), model.predict(had)[0], self._costs(models, had),
            floor=float(np.nanmin(known.values[self.quality])),
        )  # fmt: skip
        for name, cap in self.caps.items():
            if (measured := models[name]) is not None:
                middle, doubt = measured.predict(candidates)
                gain *= ndtr((cap - middle) / doubt)
        return gain

    def _costs(self, models: Mapping[str, Surrogate | None], digits: Ints) -> Floats:
        """All objectives but the accuracy ``(N, M)``, minimised: exact, or as expected."""
        columns = []
        for name in self.objectives:
            if name in self.table.names:
                columns.append(self.table.values(digits, name).astype(np.float64))
            elif name != self.quality and (model := models.get(name)) is not None:
                columns.append((-1.0 if METRICS[name].better == "maximize" else 1.0) * model.predict(digits)[0])
        return np.stack(columns, axis=1) if columns else np.zeros((len(digits), 0))


def improvement(mean: Floats, spread: Floats, costs: Floats, had: Floats, paid: Floats, floor: float) -> Floats:
    """Expected hypervolume improvement ``(N,)``, in units of the accuracy, by networks of normal accuracy.

    ``costs`` ``(N, M)`` and ``paid`` ``(K, M)``, of the candidates and of those trained, whose accuracies are
    ``had``; below ``floor`` nothing counts. Exact for one cost and up to 256 of its values.
    """
    points, shares = _grid(costs, paid)
    reached = np.full(len(points), floor)
    for accuracy, cost in zip(had, paid, strict=True):
        here = (cost <= points).all(1)
        reached[here] = np.maximum(reached[here], accuracy)
    ahead = (mean[:, None] - reached) / spread[:, None]
    expected = spread[:, None] * (ahead * ndtr(ahead) + np.exp(-np.square(ahead) / 2) / np.sqrt(2 * np.pi))
    affords = (costs[:, None, :] <= points).all(2)
    gain: Floats = (expected * affords) @ shares
    return gain


def _grid(costs: Floats, paid: Floats) -> tuple[Floats, Floats]:
    """Points of the costs ``(P, M)`` and the share of all costs that each stands for ``(P,)``."""
    every = np.concatenate([costs, paid])
    low, high = every.min(0), every.max(0)
    if costs.shape[1] == 1:
        edges = np.unique(every)
        if len(edges) > _POINTS + 1:
            edges = np.unique(np.quantile(edges, np.linspace(0, 1, _POINTS + 1), method="nearest"))
        if len(edges) > 1:
            return edges[:-1, None], np.diff(edges) / (edges[-1] - edges[0])
    if costs.shape[1] == 0 or (low == high).all():
        return high[None], np.ones(1)
    from scipy.stats import qmc  # here, as it takes most of a second that other samplers do not need

    points = low + (high - low) * qmc.Sobol(costs.shape[1], rng=np.random.default_rng(0)).random(_POINTS)
    return points, np.full(_POINTS, 1 / _POINTS)
