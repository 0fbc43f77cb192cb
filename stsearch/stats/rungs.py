"""Successive halving for several objectives: who goes on at a rung. No torch, no Optuna, no clock.

Successive halving (Jamieson and Talwalkar, AISTATS 2016), asynchronous as in ASHA (Li et al., MLSys
2020), ranks by accuracy, which would delete every cheap network. Here a network is compared at a rung
only with those that cost no more in any cost objective, and networks are ranked by how many of those
are better: a non-dominated rank with a tolerance. Those that none beats go on, and of all the best
``1 / reduction`` by that rank; nobody, as in ASHA, from a rung that fewer than ``reduction`` have
reached while further networks begin. See docs/fidelities.md.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import sqrt

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_CELLS = 4_000_000
"""comparisons held in memory at once"""
_ROUNDING = 1e-9
"""points; accuracies are quotients, and 57.0 - 56.0 is a little more than 1 as floats"""


def binomial_tolerance(accuracy: float, videos: int) -> float:
    """One standard error, in points, of an accuracy (per cent) measured on so many videos.

    From the centre of the interval of Agresti and Coull (1998), two right and two wrong videos more, so
    that it is above 0 for 0 and 100 % too.
    """
    share = (accuracy / 100 * videos + 2) / (videos + 4)
    return 100 * sqrt(share * (1 - share) / videos)


def rivals(costs: Floats, accuracies: Floats, tolerances: Floats | float) -> tuple[Ints, Ints]:
    """For each of ``N`` networks: how many cost no more, and how many of those are better.

    ``costs`` ``(N, C)`` are minimised; one that is equal in all of them costs no more, and so does the
    network itself. Better is more accurate by more than the network's own tolerance, in points.
    O(N log N) but for insertions for one cost, O(N x N) comparisons of rows for more.
    """
    limits = accuracies + np.broadcast_to(np.asarray(tolerances, dtype=np.float64), accuracies.shape) + _ROUNDING
    if costs.shape[1] == 1:
        return _one_cost(costs[:, 0], accuracies, limits)
    among, better = np.zeros(len(limits), dtype=np.int64), np.zeros(len(limits), dtype=np.int64)
    at_once = max(1, _CELLS // max(1, len(limits)))
    for begin in range(0, len(limits), at_once):
        part = slice(begin, begin + at_once)
        no_dearer = np.ones((len(limits[part]), len(limits)), dtype=bool)
        for column in costs.T:
            no_dearer &= column[None, :] <= column[part][:, None]
        among[part] = no_dearer.sum(1)
        better[part] = (no_dearer & (accuracies[None, :] > limits[part][:, None])).sum(1)
    return among, better


def _one_cost(costs: Floats, accuracies: Floats, limits: Floats) -> tuple[Ints, Ints]:
    """From the cheapest up, with the accuracies met so far in order."""
    order = np.argsort(costs, kind="stable")
    among = np.searchsorted(costs[order], costs, side="right")
    better = np.zeros(len(costs), dtype=np.int64)
    met: list[float] = []
    for row in order:
        for other in order[len(met) : among[row]]:  # those of equal cost are all met first
            insort(met, float(accuracies[other]))
        better[row] = len(met) - bisect_right(met, float(limits[row]))
    return among.astype(np.int64), better


def ranks(better: Ints) -> Ints:
    """For each network, how many have fewer better rivals; equals have one rank."""
    return np.searchsorted(np.sort(better), better, side="left").astype(np.int64)


def places(networks: int, reduction: int) -> int:
    """How many go on at least: ``networks / reduction``, rounded up."""
    return -(-networks // reduction)


@dataclass(frozen=True)
class Verdict:
    """Where a network stands at a rung."""

    among: int
    """networks that cost no more, itself among them"""
    better: int
    """of these, more accurate by over ``tolerance``"""
    rank: int
    """networks at this rung with fewer such rivals"""
    networks: int
    """at this rung"""
    places: int
    tolerance: float
    """points"""
    few: bool
    """whether the rung waits for more networks before anyone goes on"""

    @property
    def goes_on(self) -> bool:
        """Whether it is trained up to the next rung: nothing beats it at its cost, or few enough do."""
        return not self.few and (self.better == 0 or self.rank < self.places)


@dataclass
class Ladder:
    """Results at the rungs, and who goes on. A network has one result per rung; a later one replaces it."""

    rungs: Sequence[int]
    """epochs, ascending; the last is that of a whole training"""
    reduction: int = 3
    tolerance: float | None = None
    """points; ``None``: ``binomial_tolerance`` of each network's accuracy on ``videos``"""
    videos: int = 0
    more: bool = False
    """whether further networks will begin: then a rung that fewer than ``reduction`` have reached waits for them"""
    _costs: dict[str, tuple[float, ...]] = field(default_factory=dict, repr=False)
    _found: dict[int, dict[str, float]] = field(default_factory=dict, repr=False)

    def record(self, network: str, costs: Sequence[float], epoch: int, accuracy: float) -> None:
        """Note the accuracy (per cent) of a network at a rung; ``costs`` are its cost objectives."""
        self._costs[network] = tuple(costs)
        self._found.setdefault(epoch, {})[network] = accuracy

    def verdict(self, network: str, epoch: int) -> Verdict:
        """Whether ``network`` goes on from the rung at ``epoch``, where it has a result."""
        return self._verdicts([network], epoch)[0]

    def promotable(self, stopped: Mapping[str, int]) -> list[str]:
        """Of the ``stopped`` networks, each with the epoch of its rung, those that go on by now.

        From the highest rung down, within a rung in the order given.
        """
        found: list[str] = []
        for epoch in sorted(set(stopped.values()), reverse=True):
            waiting = [name for name, at in stopped.items() if at == epoch and name in self._found.get(epoch, {})]
            verdicts = self._verdicts(waiting, epoch)
            found += [name for name, verdict in zip(waiting, verdicts, strict=True) if verdict.goes_on]
        return found

    def reason(self, network: str, epoch: int) -> str | None:
        """Why ``network`` stops at the rung at ``epoch``; ``None`` if it goes on."""
        found = self.verdict(network, epoch)
        if found.goes_on:
            return None
        if found.few:
            return (
                f"stopped at epoch {epoch} of {self.rungs[-1]} until {self.reduction} networks have come so far: "
                f"it is number {found.networks}"
            )
        return (
            f"stopped at epoch {epoch} of {self.rungs[-1]}: {found.better} of {found.among - 1} networks that cost no "
            f"more are better by over {found.tolerance:.1f} points, which is place {found.rank + 1} of "
            f"{found.networks}, with room for {found.places}"
        )

    def _verdicts(self, networks: Sequence[str], epoch: int) -> list[Verdict]:
        if not networks:
            return []
        names = list(self._found[epoch])
        accuracies = np.array([self._found[epoch][name] for name in names])
        costs = np.array([self._costs[name] for name in names], dtype=np.float64).reshape(len(names), -1)
        tolerances = np.array([self._margin(accuracy) for accuracy in accuracies])
        among, better = rivals(costs, accuracies, tolerances)
        rank, row_of = ranks(better), {name: row for row, name in enumerate(names)}
        count, few = places(len(names), self.reduction), self.more and len(names) < self.reduction
        return [
            Verdict(int(among[row]), int(better[row]), int(rank[row]), len(names), count, float(tolerances[row]), few)
            for row in (row_of[name] for name in networks)
        ]

    def _margin(self, accuracy: float) -> float:
        return binomial_tolerance(float(accuracy), self.videos) if self.tolerance is None else self.tolerance


@dataclass(frozen=True)
class Segment:
    """A piece of a replayed training, without a break."""

    network: str
    begin: int
    """epochs that it had before"""
    end: int
    complete: bool
    """whether it reached the last rung; else it was stopped"""

    @property
    def epochs(self) -> int:
        """Epochs trained in this piece."""
        return self.end - self.begin


@dataclass
class Replay:
    """The search on recorded curves: what ``stsearch run`` does, in no time.

    ``workers`` trainings run side by side, an epoch of a network taking ``epoch_time``; a free worker
    first promotes, then begins a new network, up to ``trials`` of them.
    """

    ladder: Ladder
    """filled on the way"""
    accuracy: Callable[[str, int], float]
    """``(network, epoch)``: recorded at a rung, per cent"""
    costs: Callable[[str], Sequence[float]]
    """cost objectives"""
    trials: int
    workers: int = 1
    epoch_time: Callable[[str], float] = lambda network: 1.0
    _now: float = 0.0
    _begun: int = 0
    _all_proposed: bool = False
    _stopped: dict[str, int] = field(default_factory=dict)
    _running: list[tuple[float, int, Segment]] = field(default_factory=list)
    """``(when, tie-break, what will then have been trained)``, a heap"""
    _order: Iterator[int] = field(default_factory=count)

    def run(self, propose: Callable[[], str | None]) -> Iterator[Segment]:
        """Yield every piece when it has ended; ``propose`` gives the next new network, ``None`` if there is none.

        Nothing is proposed between the end of a piece and its being yielded, so a caller can tell its sampler.
        """
        while self._fill(propose):
            self._now, _, piece = heapq.heappop(self._running)
            network, done = piece.network, piece.end
            self.ladder.more = self._more
            self.ladder.record(network, self.costs(network), done, self.accuracy(network, done))
            if piece.complete:
                yield piece
            elif self.ladder.verdict(network, done).goes_on:
                self._train(network, piece.begin, done)
            else:
                self._stopped[network] = done
                yield piece

    @property
    def _more(self) -> bool:
        """Whether further networks will begin."""
        return self._begun < self.trials and not self._all_proposed

    def _fill(self, propose: Callable[[], str | None]) -> bool:
        """Give work to free workers; whether any works."""
        while len(self._running) < self.workers:
            self.ladder.more = self._more
            promoted = self.ladder.promotable(self._stopped)
            if promoted:
                done = self._stopped.pop(promoted[0])
                self._train(promoted[0], done, done)
            elif not self.ladder.more:
                break
            elif (new := propose()) is None:
                self._all_proposed = True
            else:
                self._begun += 1
                self._train(new, 0, 0)
        return bool(self._running)

    def _train(self, network: str, begin: int, done: int) -> None:
        rung = min(rung for rung in self.ladder.rungs if rung > done)
        piece = Segment(network, begin, rung, rung == self.ladder.rungs[-1])
        ready = self._now + (rung - done) * self.epoch_time(network)
        heapq.heappush(self._running, (ready, next(self._order), piece))
