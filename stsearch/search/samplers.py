"""Samplers by name, and the sampler that keeps all of them within a hard budget.

Optuna proposes one parameter at a time, knows no cost beforehand, and repeats itself. Here a
whole architecture is proposed at once; one that breaks the budget or was tried before never
becomes a trial.
"""

from __future__ import annotations

import heapq
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from importlib import import_module
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial

from stsearch.search.balanced import CROSSED_SHARE, balanced
from stsearch.search.ehvi import Ehvi
from stsearch.search.nni_sampler import NNI_SAMPLERS, NniSampler
from stsearch.search.proposals import Proposal, Tried, Unseen
from stsearch.search.shown import to_think
from stsearch.space.architecture import Architecture, parse_placement
from stsearch.space.search_space import Parameter, SearchSpace, Value
from stsearch.space.table import CostTable, Ints

EHVI = "ehvi"
_TRIES = 24
_LOOKED_AT = 4000
"""Candidates that expected hypervolume improvement weighs; of a larger space a new part each time."""
_WALK = 20_000
_CHOICES = 16
"""Networks that a proposal names, in case that others were quicker with the first."""


def _tpe(seed: int, trials: int) -> BaseSampler:
    return TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=10)


def _gp(seed: int, trials: int) -> BaseSampler:
    return GPSampler(seed=seed, n_startup_trials=10)


def _nsga2(seed: int, trials: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=min(50, max(8, trials // 4)))


def _random(seed: int, trials: int) -> BaseSampler:
    return RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[int, int], BaseSampler] | None] = {
    "auto": None,
    EHVI: None,
    "random": _random,
    "tpe": _tpe,
    "nsga2": _nsga2,
    "gp": _gp,
    "exhaustive": None,
    **dict.fromkeys(NNI_SAMPLERS, None),
}
"""Name to ``(seed, trials) -> sampler``; those without are resolved by ``HardBudget``."""


class Exhausted(Exception):
    """Every architecture within the budget has been tried."""


def distribution(parameter: Parameter) -> BaseDistribution:
    """Depths in equal steps are integers, all else is categorical."""
    values = parameter.values
    if all(isinstance(value, int) for value in values):
        steps = {int(b) - int(a) for a, b in itertools.pairwise(values)}
        if len(steps) == 1:
            return IntDistribution(int(values[0]), int(values[-1]), step=steps.pop())
    return CategoricalDistribution(values)


def suggest(trial: optuna.Trial, space: SearchSpace) -> Architecture:
    """Ask ``trial`` for every decision of ``space``."""
    values: dict[str, Value] = {}
    for parameter in space.parameters:
        kind = distribution(parameter)
        if isinstance(kind, IntDistribution):
            values[parameter.name] = trial.suggest_int(parameter.name, kind.low, kind.high, step=kind.step)
        else:
            values[parameter.name] = cast(Value, trial.suggest_categorical(parameter.name, parameter.values))
    return space.decode(values)


class HardBudget(BaseSampler):
    """Proposes architectures that keep ``budget`` and are new; ``name`` is one of ``SAMPLERS``.

    ``start`` is proposed first, whatever it costs; ``soft`` are caps on what is known only once it was
    measured. A proposal depends on ``seed`` and on the trials so far alone, so a resumed study goes on as it
    would have.
    """

    def __init__(
        self,
        name: str,
        table: CostTable,
        budget: Mapping[str, float],
        *,
        seed: int,
        trials: int,
        start: Sequence[Architecture] = (),
        objectives: Sequence[str] = ("video_top1", "gmacs"),
        soft: Mapping[str, float] | None = None,
    ) -> None:
        self.table, self.space, self.budget = table, table.space, dict(budget)
        self.seed, self.trials = seed, trials
        self.start = list(start)
        digits, self.whole = table.population(seed)
        self._feasible = digits[table.within(digits, self.budget)]
        self.name = self._resolve(name)
        if self.name in NNI_SAMPLERS:
            import_module("stsearch.nni")  # says now, before anything is written, if NNI is missing
        self.given: Architecture | None = None
        """proposed next, whatever else; for a network that is taken up again"""
        self.view: Callable[[OptunaStudy], OptunaStudy] = lambda study: study
        """the study as the inner sampler is to see it"""
        self.distributions = {p.name: distribution(p) for p in self.space.parameters}
        self._tried = Tried()
        self._unseen = Unseen(self._feasible, self.space.radix, self._digits)
        self._ehvi = Ehvi(table, objectives, soft or {})
        self._inner: BaseSampler = RandomSampler(seed=seed)

    def _resolve(self, name: str) -> str:
        if name != "auto":
            return name
        if self.whole and len(self._feasible) <= self.trials:
            return "exhaustive"
        return EHVI

    @property
    def feasible(self) -> int | None:
        """How many architectures keep the budget; ``None`` where the space is too large to count."""
        return len(self._feasible) if self.whole else None

    def satisfiable(self) -> bool:
        """Whether any architecture keeps all caps at once."""
        if self.whole:
            return len(self._feasible) > 0
        try:
            self._walk(self._at(self.table.population(self.seed)[0][0]), set())
        except Exhausted:
            return False
        return True

    def balance(self) -> None:
        """Add networks to ``start`` from which effects of kinds can be told, and leave a part of the trials over."""
        most = int(CROSSED_SHARE * self.trials)
        self.start += balanced(self.space, self._feasible, self.start, most, self.seed)

    def insist(self, named: Iterable[Architecture]) -> None:
        """Propose ``named`` also where they were screened out, or found over a measured cap, before they were named."""
        self._tried.named = frozenset(architecture.id for architecture in named)

    def left(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether anything is left to propose."""
        seen = self._tried.of(trials)
        if any(architecture.id not in seen for architecture in self.start):
            return True
        return not self.whole or self._unseen.left(seen)

    def think(self, study: OptunaStudy, trials: list[FrozenTrial], salt: Sequence[int] = ()) -> Proposal:
        """What to train next, given the ``trials`` of ``study``. No trial is written: the caller holds no lock.

        With ``salt``, workers whose proposal was overtaken do not all come to the same next one.
        """
        seen = self._tried.of(trials)
        dry, trial, notes = to_think(study, trials)
        self._prepare(dry, trial, seen, salt)
        rng = np.random.default_rng([self.seed, len(seen), *salt])
        alike = (self.whole and self.name in ("exhaustive", "random")) or any(a.id not in seen for a in self.start)
        try:
            choices = tuple(self._choices(self.view(dry), trial, seen, rng))
        except Exhausted:
            choices = ()
        return Proposal(choices, alike, len(seen), notes)

    def seen(self, trials: Sequence[FrozenTrial]) -> set[str]:
        """Networks that are not to be proposed again, by their ids."""
        return self._tried.of(trials)

    def again(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether networks that failed are to be tried again, and were not yet."""
        return bool(self._tried.again(trials))

    def begun(self, trials: Sequence[FrozenTrial]) -> int:
        """How many these are."""
        return len(self.seen(trials))

    def free(self, proposal: Proposal, trials: Sequence[FrozenTrial], *, any_of_them: bool) -> Architecture | None:
        """A network of ``proposal`` that nobody has begun; ``None`` where it is to be made again."""
        return proposal.free(self._tried.of(trials), any_of_them=any_of_them)

    def keeps(self, architecture: Architecture) -> bool:
        """Whether ``architecture`` is within the budget."""
        costs = self.table.cost_of(architecture)
        return all(costs[name] <= cap for name, cap in self.budget.items())

    # Optuna's interface -------------------------------------------------------------------

    def infer_relative_search_space(self, study: OptunaStudy, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self.distributions)

    def before_trial(self, study: OptunaStudy, trial: FrozenTrial) -> None:
        if self.given is not None:
            return
        self._prepare(study, trial, self._tried.of(_others(study, trial)), ())

    def _prepare(self, study: OptunaStudy, trial: FrozenTrial, seen: Set[str], salt: Sequence[int]) -> None:
        """The inner sampler for one proposal."""
        seed = self.seed * 1_000_003 % 2**31 + len(seen) + sum(7919 * number for number in salt)
        if self.name in NNI_SAMPLERS:
            self._inner = NniSampler(self.name, self.space, seed=seed, trials=self.trials)
        else:
            make = SAMPLERS.get(self.name) or _random
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._inner = make(seed % 2**32, self.trials)
        self._inner.before_trial(self.view(study), trial)

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self.given is not None:
            return dict(self.space.encode(self.given))
        seen = self._tried.of(_others(study, trial))
        rng = np.random.default_rng([self.seed, len(seen)])
        return dict(self.space.encode(next(iter(self._choices(self.view(study), trial, seen, rng)))))

    def sample_independent(
        self, study: OptunaStudy, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} was not proposed with the rest of the architecture")

    # Proposals ----------------------------------------------------------------------------

    def _choices(
        self, study: OptunaStudy, trial: FrozenTrial, seen: Set[str], rng: np.random.Generator
    ) -> Iterator[Architecture]:
        """Networks to train next, best first; at least one, or ``Exhausted``."""
        start = [architecture for architecture in self.start if architecture.id not in seen]
        if start:
            yield from start
        elif self.whole and self.name in ("exhaustive", "random"):
            unseen = self._unseen.rows(seen)
            if not len(unseen):
                raise Exhausted
            for _ in range(_CHOICES):
                yield self._at(self._feasible[unseen[rng.integers(len(unseen))]])
        elif self.name == EHVI:
            yield from self._improving(_others(study, trial), seen, rng)
        else:
            yield self._inner_choice(study, trial, seen, rng)

    def _inner_choice(
        self, study: OptunaStudy, trial: FrozenTrial, seen: Set[str], rng: np.random.Generator
    ) -> Architecture:
        """What the inner sampler proposes, or the nearest to it that is new and keeps the budget."""
        proposal = self._ask(study, trial)
        for _ in range(1 if self.name == "gp" else _TRIES):
            if proposal.id not in seen and self.keeps(proposal):
                return proposal
            proposal = self._ask(study, trial)
        return self._nearest(proposal, seen, rng)

    def _improving(self, trials: Sequence[FrozenTrial], seen: Set[str], rng: np.random.Generator) -> list[Architecture]:
        """Those that should add most to the front, among all that are new or, of many, a part and the front's
        neighbours."""
        rows, known = self._unseen.rows(seen), self._ehvi.read(trials)
        if not self.whole or len(rows) > _LOOKED_AT:
            some = self._feasible[rng.choice(rows, min(len(rows), _LOOKED_AT), replace=False)]
            around = {a for row in self._ehvi.front_of(known) for a in self.space.neighbours(self._at(row))}
            near = [self.space.digits(a) for a in around if a.id not in seen and self.keeps(a)]
            candidates = np.concatenate([some, np.array(sorted(near), dtype=np.int64).reshape(-1, some.shape[1])])
        else:
            candidates = self._feasible[rows]
        if not len(candidates):
            if self.whole:
                raise Exhausted
            return [self._walk(self.table.extreme("gmacs"), seen)]
        best = self._ehvi.best(known, candidates, rng, _CHOICES)
        return list(dict.fromkeys(self._at(candidates[row]) for row in best))

    def _ask(self, study: OptunaStudy, trial: FrozenTrial) -> Architecture:
        """One joint proposal of the inner sampler, which knows neither budget nor history of proposals."""
        values = self._inner.sample_relative(study, trial, self.distributions)
        for name, kind in self.distributions.items():
            if name not in values:
                values[name] = self._inner.sample_independent(study, trial, name, kind)
        return self.space.decode(values)

    def _at(self, digits: Ints) -> Architecture:
        return self.space.from_digits(tuple(int(digit) for digit in digits))

    def _digits(self, identifier: str) -> tuple[int, ...] | None:
        architecture = self._known(identifier)
        return None if architecture is None else self.space.digits(architecture)

    def _known(self, identifier: str) -> Architecture | None:
        architecture = parse_placement(identifier)
        return architecture if architecture in self.space else None

    def _nearest(self, wish: Architecture, seen: Set[str], rng: np.random.Generator) -> Architecture:
        """A feasible new architecture that differs from ``wish`` in as few decisions as can be."""
        if not self.whole:
            return self._walk(wish, seen)
        unseen = self._feasible[self._unseen.rows(seen)]
        if not len(unseen):
            raise Exhausted
        distance = sum(
            (row[unseen[:, column]] for column, row in enumerate(self._distances(wish))),
            start=np.zeros(len(unseen), dtype=np.int64),
        )
        nearest = np.flatnonzero(distance == distance.min())
        return self._at(unseen[rng.choice(nearest)])

    def _distances(self, wish: Architecture) -> list[npt.NDArray[np.int64]]:
        """Per digit and option, in how many decisions (depth: steps) it differs from ``wish``."""
        space = self.space
        width = space.widths.index(wish.width)
        rows = [
            np.abs(np.arange(len(space.widths)) - width),
            np.array([int(stem != wish.stem) for stem in space.stems]),
        ]
        for stage, kinds in zip(space.stages, wish.stages, strict=True):

            def away(option: tuple[str, ...], own: tuple[str, ...] = kinds, per_block: bool = stage.per_block) -> int:
                pairs = zip(option, own, strict=False) if per_block else zip(option[:1], own[:1], strict=True)
                return abs(len(option) - len(own)) + sum(a != b for a, b in pairs)

            rows.append(np.array([away(option) for option in stage.options]))
        return rows

    def _walk(self, wish: Architecture, seen: Set[str]) -> Architecture:
        """Best first over neighbours, least over budget and nearest first, where enumeration is out of reach."""
        anchors = [self.table.extreme(cost) for cost in self.budget]
        for begin in (wish, *anchors):
            found = self._climb(begin, seen)
            if found is not None:
                return found
        raise Exhausted

    def _climb(self, begin: Architecture, seen: Set[str]) -> Architecture | None:
        queue = [(self._over(begin), 0, begin.id, begin)]
        visited = {begin.id}
        while queue and len(visited) < _WALK:
            over, steps, identifier, here = heapq.heappop(queue)
            if over == 0 and identifier not in seen:
                return here
            for other in self.space.neighbours(here):
                if other.id not in visited:
                    visited.add(other.id)
                    heapq.heappush(queue, (self._over(other), steps + 1, other.id, other))
        return None

    def _over(self, architecture: Architecture) -> float:
        """By what share of its caps an architecture is over budget; 0 where it keeps all."""
        costs = self.table.cost_of(architecture)
        return sum(max(0.0, costs[name] / cap - 1) for name, cap in self.budget.items())


def _others(study: OptunaStudy, trial: FrozenTrial) -> list[FrozenTrial]:
    return [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
