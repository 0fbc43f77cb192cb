"""Costs of a whole space, vectorised: what a stage costs depends on its form and on the shape
that enters it, and few shapes can. So stages are tabulated once and architectures are gathers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stsearch.errors import UserError
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape, head_ops, stage_units, stem_unit
from stsearch.space.cost import COSTS, COUNTS, Cost, Shape, cost_of_ops, cost_of_unit, cost_of_units
from stsearch.space.search_space import SearchSpace

Ints = npt.NDArray[np.int64]
ENUMERABLE = 5_000_000
"""Spaces up to this size are enumerated whole; larger ones are sampled."""
_SAMPLE = 200_000
_INT64 = 2**63


@dataclass(frozen=True)
class _Step:
    """One group: cost ``(states, options, 4)`` and the state that leaves it ``(states, options)``."""

    cost: Ints
    leaves: Ints


class CostTable:
    """Exact costs of the architectures of ``space`` on clips of shape ``clip``."""

    def __init__(self, space: SearchSpace, clip: ClipShape, classes: int) -> None:
        self.space, self.clip, self.classes = space, clip, classes
        try:
            self._chains = [self._tabulate(width) for width in space.widths]
            largest = max(sum(int(step.cost.max()) for step in steps) + int(head.max()) for steps, head in self._chains)
        except OverflowError:
            largest = _INT64
        if largest >= _INT64:
            raise UserError(f"clips of {clip} (C x T x H x W) are too large: costs do not fit in 64 bits")

    def _tabulate(self, width: float) -> tuple[list[_Step], Ints]:
        """The steps of one width, and the cost ``(4,)`` of its head."""
        space = self.space
        shapes: list[Shape] = [self.clip.sizes]
        stems = [cost_of_unit(stem_unit(stem, self.clip, width), shapes[0]) for stem in space.stems]
        step, shapes = _step([stems])
        steps = [step]
        for number, stage in enumerate(space.stages, 1):
            forms = [stage_units(number, kinds, space.block, width) for kinds in stage.options]
            step, shapes = _step([[cost_of_units(units, shape) for units in forms] for shape in shapes])
            steps.append(step)
        head, _ = cost_of_ops(head_ops(space.block, width, self.classes), shapes[0])
        return steps, _row(head)

    def costs(self, digits: Ints) -> dict[str, Ints]:
        """``params, params_without_norm, macs, activations`` of architectures given as digits ``(N, 6)``."""
        total = np.zeros((len(digits), len(COUNTS)), dtype=np.int64)
        for number, (steps, head) in enumerate(self._chains):
            chosen = np.flatnonzero(digits[:, 0] == number) if len(self._chains) > 1 else slice(None)
            mine = digits[chosen]
            state = np.zeros(len(mine), dtype=np.int64)
            sums = np.tile(head, (len(mine), 1))
            for column, step in enumerate(steps, 1):
                option = mine[:, column]
                sums += step.cost[state, option]
                state = step.leaves[state, option]
            total[chosen] = sums
        return {name: total[:, column] for column, name in enumerate(COUNTS)}

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
        weights = np.array(COSTS[cost].vector)
        best: tuple[float, tuple[int, ...]] | None = None
        for number, (steps, head) in enumerate(self._chains):
            value = np.zeros(steps[-1].leaves.max() + 1, dtype=weights.dtype)
            picks: list[Ints] = []
            for step in reversed(steps):
                through = sign * (step.cost @ weights) + value[step.leaves]
                picks.append(through.argmin(1))
                value = through.min(1)
            found = value[0].item() + sign * (head @ weights).item()
            if best is None or found < best[0]:
                best = found, (number, *self._follow(steps, picks[::-1]))
        assert best is not None
        return self.space.from_digits(best[1])

    @staticmethod
    def _follow(steps: list[_Step], picks: list[Ints]) -> list[int]:
        state, digits = 0, []
        for step, pick in zip(steps, picks, strict=True):
            digits.append(int(pick[state]))
            state = int(step.leaves[state, digits[-1]])
        return digits

    def cost_of(self, architecture: Architecture) -> dict[str, float]:
        """The costs of ``COSTS`` of one architecture of the space."""
        table = self.costs(np.array([self.space.digits(architecture)]))
        total = Cost(**{name: int(column[0]) for name, column in table.items()})
        return {name: measure(total) for name, measure in COSTS.items()}

    def within(self, digits: Ints, budget: Mapping[str, float]) -> npt.NDArray[np.bool_]:
        """Which architectures keep every cap of ``budget`` (keys of ``COSTS``)."""
        table = self.costs(digits)
        keep = np.ones(len(digits), dtype=bool)
        for cost, cap in budget.items():
            keep &= _column(table, cost) <= cap
        return keep

    def values(self, digits: Ints, cost: str) -> npt.NDArray[np.float64]:
        """One of ``COSTS`` of architectures ``(N, 6)``."""
        return _column(self.costs(digits), cost)

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


def _row(cost: Cost) -> Ints:
    return np.array([getattr(cost, name) for name in COUNTS], dtype=np.int64)


def _step(table: list[list[tuple[Cost, Shape]]]) -> tuple[_Step, list[Shape]]:
    """Number the shapes that leave a group and lay out its costs."""
    shapes = list(dict.fromkeys(shape for row in table for _, shape in row))
    place = {shape: number for number, shape in enumerate(shapes)}
    cost = np.array([[_row(cost) for cost, _ in row] for row in table], dtype=np.int64)
    return _Step(cost, np.array([[place[shape] for _, shape in row] for row in table], dtype=np.int64)), shapes
