"""Costs of a whole space, vectorised: what a stage costs depends on its form and on the shape
that enters it, and few shapes can. So stages are tabulated once and architectures are gathers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from stsearch.errors import UserError
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape, Unit, blueprint, head_ops, stage_units, stem_unit
from stsearch.space.cost import COSTS, COUNTS, Cost, Shape, cost_of_unit
from stsearch.space.search_space import SearchSpace

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
ENUMERABLE = 5_000_000
"""Spaces up to this size are enumerated whole; larger ones are sampled."""
_SAMPLE = 200_000
_INT64 = 2**63
Piece = tuple[Unit, Shape]
"""A unit, or the head as one, and the shape that enters it."""


@dataclass(frozen=True)
class _Step:
    """One group: what its options add ``(states, options, ...)``, and the state that leaves ``(states, options)``."""

    adds: npt.NDArray[np.int64 | np.float64]
    leaves: Ints


@dataclass(frozen=True)
class _Chain:
    """Networks of one width: their groups, and what the head adds, ``(states, ...)``."""

    steps: tuple[_Step, ...]
    head: npt.NDArray[np.int64 | np.float64]


@dataclass(frozen=True)
class _Layout:
    """What the options of one width are made of."""

    forms: tuple[tuple[tuple[Unit, ...], ...], ...]
    """of each group, by option"""
    entering: tuple[tuple[Shape, ...], ...]
    """shapes that enter each group, and the head"""
    leaves: tuple[Ints, ...]
    """of each group ``(states, options)``"""
    head: Unit

    def chain(self, adds: Callable[[tuple[Unit, ...], Shape], object], kind: type[np.int64 | np.float64]) -> _Chain:
        """With what units in a row add to something."""
        steps = [
            _Step(np.array([[adds(units, shape) for units in forms] for shape in shapes], dtype=kind), leaves)
            for forms, shapes, leaves in zip(self.forms, self.entering, self.leaves, strict=False)
        ]
        return _Chain(tuple(steps), np.array([adds((self.head,), shape) for shape in self.entering[-1]], dtype=kind))


class CostTable:
    """Exact costs of the architectures of ``space`` on clips of shape ``clip``, and sums that were added."""

    def __init__(self, space: SearchSpace, clip: ClipShape, classes: int) -> None:
        self.space, self.clip, self.classes = space, clip, classes
        self._layouts = [self._layout(width) for width in space.widths]
        self._sums: dict[str, list[_Chain]] = {}
        try:
            self._chains = [layout.chain(_counts, np.int64) for layout in self._layouts]
            largest = max(
                sum(int(step.adds.max()) for step in chain.steps) + int(chain.head.max()) for chain in self._chains
            )
        except OverflowError:
            largest = _INT64
        if largest >= _INT64:
            raise UserError(f"clips of {clip} (C x T x H x W) are too large: costs do not fit in 64 bits")

    def _layout(self, width: float) -> _Layout:
        space = self.space
        forms: list[tuple[tuple[Unit, ...], ...]] = [
            tuple((stem_unit(stem, self.clip, width),) for stem in space.stems)
        ]
        forms += [
            tuple(stage_units(number, kinds, space.block, width) for kinds in stage.options)
            for number, stage in enumerate(space.stages, 1)
        ]
        entering: list[tuple[Shape, ...]] = [(self.clip.sizes,)]
        leaves = []
        for options in forms:
            left = [[_leaving(units, shape) for units in options] for shape in entering[-1]]
            shapes = tuple(dict.fromkeys(shape for row in left for shape in row))
            leaves.append(np.array([[shapes.index(shape) for shape in row] for row in left], dtype=np.int64))
            entering.append(shapes)
        head = Unit(head_ops(space.block, width, self.classes))
        return _Layout(tuple(forms), tuple(entering), tuple(leaves), head)

    @property
    def names(self) -> tuple[str, ...]:
        """Costs that it knows of every network: those of ``COSTS``, and those that were added."""
        return (*COSTS, *self._sums)

    def add(self, name: str, of: Callable[[Piece], float]) -> None:
        """Let every network have one more cost: the sum of what ``of`` says of its pieces."""

        def summed(units: tuple[Unit, ...], shape: Shape) -> float:
            return sum(map(of, pieces_in(units, shape)), 0.0)

        self._sums[name] = [layout.chain(summed, np.float64) for layout in self._layouts]

    def pieces(self) -> list[Piece]:
        """What the networks of the space are made of, each piece once, in an order that the space settles."""
        found: dict[Piece, None] = {}
        for layout in self._layouts:
            for forms, shapes in zip(layout.forms, layout.entering, strict=False):
                found |= dict.fromkeys(p for shape in shapes for units in forms for p in pieces_in(units, shape))
            found |= dict.fromkeys((layout.head, shape) for shape in layout.entering[-1])
        return list(found)

    def pieces_of(self, architecture: Architecture) -> list[Piece]:
        """The pieces of one network of the space, in the order in which they are computed, the head last."""
        plan = blueprint(architecture, self.clip, self.classes)
        units = [unit for group in plan.groups for unit in group.units]
        return pieces_in((*units, Unit(plan.head)), self.clip.sizes)

    def costs(self, digits: Ints) -> dict[str, Ints]:
        """``params, params_without_norm, macs, activations`` of architectures given as digits ``(N, 6)``."""
        total = np.zeros((len(digits), len(COUNTS)), dtype=np.int64)
        self._gather(self._chains, digits, total)
        return {name: total[:, column] for column, name in enumerate(COUNTS)}

    def _gather(self, chains: Sequence[_Chain], digits: Ints, total: npt.NDArray[np.int64 | np.float64]) -> None:
        """Fill in ``total`` ``(N, ...)`` of architectures ``(N, 6)``."""
        for number, chain in enumerate(chains):
            chosen = np.flatnonzero(digits[:, 0] == number) if len(chains) > 1 else slice(None)
            mine = digits[chosen]
            state = np.zeros(len(mine), dtype=np.int64)
            sums = np.zeros((len(mine), *total.shape[1:]), dtype=total.dtype)
            for column, step in enumerate(chain.steps, 1):
                option = mine[:, column]
                sums += step.adds[state, option]
                state = step.leaves[state, option]
            total[chosen] = sums + chain.head[state]

    def digits_of(self, indices: Ints) -> Ints:
        """Numbers of architectures ``(N,)`` to digits ``(N, 6)``."""
        digits = np.empty((len(indices), len(self.space.radix)), dtype=np.int64)
        rest = indices
        for column in range(len(self.space.radix) - 1, -1, -1):
            rest, digits[:, column] = np.divmod(rest, self.space.radix[column])
        return digits

    def population(self, seed: int = 0) -> tuple[Ints, bool]:
        """Digits of the whole space, or of a seeded sample where it is too large; and whether it is whole."""
        if self.space.size <= ENUMERABLE:
            return self.digits_of(np.arange(self.space.size)), True
        rng = np.random.default_rng(seed)
        return np.stack([rng.integers(radix, size=_SAMPLE) for radix in self.space.radix], axis=1), False

    def extreme(self, cost: str, *, largest: bool = False) -> Architecture:
        """The cheapest (or dearest) architecture in ``cost``, exactly, whatever the size of the space."""
        sign = -1 if largest else 1
        best: tuple[float, tuple[int, ...]] | None = None
        for number, chain in enumerate(self._chains_of(cost)):
            value = sign * chain.head
            picks: list[Ints] = []
            for step in reversed(chain.steps):
                through = sign * step.adds + value[step.leaves]
                picks.append(through.argmin(1))
                value = through.min(1)
            found = value[0].item()
            if best is None or found < best[0]:
                best = found, (number, *self._follow(chain.steps, picks[::-1]))
        assert best is not None
        return self.space.from_digits(best[1])

    def _chains_of(self, cost: str) -> Sequence[_Chain]:
        """With one number of each option, by width."""
        if cost in self._sums:
            return self._sums[cost]
        weights = np.array(COSTS[cost].vector)
        return [
            _Chain(tuple(_Step(step.adds @ weights, step.leaves) for step in chain.steps), chain.head @ weights)
            for chain in self._chains
        ]

    @staticmethod
    def _follow(steps: Sequence[_Step], picks: list[Ints]) -> list[int]:
        state, digits = 0, []
        for step, pick in zip(steps, picks, strict=True):
            digits.append(int(pick[state]))
            state = int(step.leaves[state, digits[-1]])
        return digits

    def cost_of(self, architecture: Architecture) -> dict[str, float]:
        """The costs that it knows, ``names``, of one architecture of the space."""
        digits = np.array([self.space.digits(architecture)])
        total = Cost(**{name: int(column[0]) for name, column in self.costs(digits).items()})
        sums = {name: float(self.values(digits, name)[0]) for name in self._sums}
        return {name: measure(total) for name, measure in COSTS.items()} | sums

    def within(self, digits: Ints, budget: Mapping[str, float]) -> npt.NDArray[np.bool_]:
        """Which architectures keep every cap of ``budget`` (keys of ``names``)."""
        table = self.costs(digits)
        keep = np.ones(len(digits), dtype=bool)
        for cost, cap in budget.items():
            keep &= (_column(table, cost) if cost in COSTS else self.values(digits, cost)) <= cap
        return keep

    def values(self, digits: Ints, cost: str) -> Floats:
        """One of ``names`` of architectures ``(N, 6)``."""
        if cost in COSTS:
            return _column(self.costs(digits), cost)
        total = np.zeros(len(digits))
        self._gather(self._sums[cost], digits, total)
        return total

    def check_budget(self, budget: Mapping[str, float]) -> None:
        """``UserError`` naming the cheapest network where no architecture can keep ``budget``."""
        for cost, cap in budget.items():
            cheapest = self.extreme(cost)
            least = self.cost_of(cheapest)[cost]
            if least > cap:
                raise UserError(
                    f"no network of the space {self.space.name!r} keeps the budget {cost} <= {cap:g}: the cheapest, "
                    f"{cheapest.id}, has {least:,.6g} {cost} on clips of {self.clip} (C x T x H x W)"
                )


def _column(table: Mapping[str, Ints], cost: str) -> npt.NDArray[np.float64]:
    return np.asarray(COSTS[cost].of(table), dtype=np.float64)


def pieces_in(units: Sequence[Unit], shape: Shape) -> list[Piece]:
    """Units in a row with the shape that enters each, ``shape`` the first."""
    found = []
    for unit in units:
        found.append((unit, shape))
        shape = _cost_of(unit, shape)[1]
    return found


_cost_of = lru_cache(maxsize=4096)(cost_of_unit)
"""Options share their units."""


def _leaving(units: Sequence[Unit], shape: Shape) -> Shape:
    for unit in units:
        shape = _cost_of(unit, shape)[1]
    return shape


def _counts(units: Sequence[Unit], shape: Shape) -> list[int]:
    total = sum((_cost_of(*piece)[0] for piece in pieces_in(units, shape)), Cost())
    return [getattr(total, name) for name in COUNTS]
