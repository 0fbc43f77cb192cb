"""Do the audit's intervals hold? Studies with planted accuracies and noise, many times over.

python -m tests.benchmarks.audit --simulations 1000
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from stsearch.stats.accuracy import fit
from stsearch.stats.agreement import pairs_of, stratified
from stsearch.stats.draws import measured
from stsearch.stats.front import minimised, non_dominated
from stsearch.stats.ranks import kendall, spearman

Floats = npt.NDArray[np.float64]
POPULATION = 20_000
"""networks of which the true correlation is computed"""


@dataclass(frozen=True)
class Planted:
    """A study: accuracies rise with cost and spread about it; the audit measures them better than the search.

    All in points of accuracy.
    """

    networks: int
    noise: float
    """standard deviation of one training of the search, beside the binomial one of the videos"""
    spread: float = 5.0
    """standard deviation of the true accuracies about their trend in cost"""
    trend: float = 6.0
    """accuracy that the dearest network has above the cheapest, on average"""
    audit_noise: float = 1.5
    videos: int = 400
    middle: float = 60.0

    def truth(self, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Cost (0 to 1) and true accuracy (per cent) of ``n`` networks."""
        cost = rng.random(n)
        return cost, np.clip(self.middle + self.trend * (cost - 0.5) + self.spread * rng.standard_normal(n), 1, 99)

    def measured(self, truth: Floats, noise: float, rng: np.random.Generator) -> Floats:
        """One training each: its own accuracy varies, and the validation videos are so many."""
        share = np.clip(truth + noise * rng.standard_normal(truth.shape), 1, 99) / 100
        return 100 * rng.binomial(self.videos, share) / self.videos


@dataclass(frozen=True)
class Covered:
    """How often a nominal 95 % interval held the true value."""

    name: str
    true: float
    covered: float
    """share of the simulations that have an interval"""
    width: float
    """mean"""
    without: int
    """simulations without an interval"""
    bias: float
    """mean of the estimates less the true value"""


def _true(planted: Planted, rng: np.random.Generator) -> dict[str, float]:
    _, truth = planted.truth(POPULATION, rng)
    x, y = planted.measured(truth, planted.noise, rng), planted.measured(truth, planted.audit_noise, rng)
    return {"Kendall": stats.kendalltau(x, y).statistic, "Spearman": stats.spearmanr(x, y).statistic}


def coverage(planted: Planted, simulations: int, seed: int) -> list[Covered]:
    """Every network of a study is audited; the true value is that of the population they are drawn from."""
    rng = np.random.default_rng(seed)
    true = _true(planted, rng)
    found: dict[str, list[tuple[float, float | None, float | None]]] = {"Kendall": [], "Spearman": []}
    for number in range(simulations):
        _, truth = planted.truth(planted.networks, rng)
        x, y = planted.measured(truth, planted.noise, rng), planted.measured(truth, planted.audit_noise, rng)
        _add(found, x, y, number)
    return [_covered(name, true[name], rows) for name, rows in found.items()]


def sampled_coverage(planted: Planted, study: int, simulations: int, seed: int) -> list[Covered]:
    """The front and a stratified sample out of ``study`` networks; the true value is of networks of that population."""
    rng = np.random.default_rng(seed)
    true = _true(planted, rng)
    found: dict[str, list[tuple[float, float | None, float | None]]] = {"Kendall": [], "Spearman": []}
    for number in range(simulations):
        cost, truth = planted.truth(study, rng)
        x, y = planted.measured(truth, planted.noise, rng), planted.measured(truth, planted.audit_noise, rng)
        front = np.flatnonzero(non_dominated(minimised(np.stack([x, cost], 1), ["maximize", "minimize"])))
        rest = np.setdiff1d(np.arange(study), front)
        drawn = rest[stratified(cost[rest], x[rest], planted.networks - len(front), rng)]
        chosen = np.concatenate([front, drawn])
        _add(found, x[chosen], y[chosen], number)
    return [_covered(name, true[name], rows) for name, rows in found.items()]


def _add(found: dict[str, list[tuple[float, float | None, float | None]]], x: Floats, y: Floats, seed: int) -> None:
    for name, statistic in (("Kendall", kendall), ("Spearman", spearman)):
        one = statistic(x, y, seed)
        assert one.value is not None
        found[name].append((one.value, one.low, one.high))


def _covered(name: str, true: float, rows: list[tuple[float, float | None, float | None]]) -> Covered:
    known = [(low, high) for _, low, high in rows if low is not None and high is not None]
    return Covered(
        name=name,
        true=true,
        covered=float(np.mean([low <= true <= high for low, high in known])),
        width=float(np.mean([high - low for low, high in known])),
        without=len(rows) - len(known),
        bias=float(np.mean([value for value, _, _ in rows]) - true),
    )


@dataclass(frozen=True)
class Told:
    """What the search's accuracies tell apart, against the truth."""

    told_apart: float
    """share of all pairs"""
    false_share: float
    """of the pairs told apart, those whose true accuracies are equal or the other way round; mean over studies"""
    false_of_all: float
    """the same of the pairs of all studies together"""
    null_told_apart: float
    """share of the simulations in which two networks of the same true accuracy were told apart"""


def planted_pairs(planted: Planted, simulations: int, seed: int, *, retest: bool = True) -> Told:
    """Networks 0 and 1 of every study have the same true accuracy; each network was trained once, and once again."""
    rng = np.random.default_rng(seed)
    pairs, told, false, share, null = 0, 0, 0, [], []
    for _ in range(simulations):
        cost, truth = planted.truth(planted.networks, rng)
        truth[1] = truth[0]
        trainings = [planted.measured(truth, planted.noise, rng) for _ in range(2 if retest else 1)]
        posterior = fit(measured(0.1 + cost[:, None], np.stack(trainings, axis=1).tolist(), planted.videos))
        found = pairs_of(posterior, np.arange(planted.networks), truth)
        apart = [pair for pair in found if pair.told_apart]
        wrong = sum(pair.agrees is not True for pair in apart)
        pairs, told, false = pairs + len(found), told + len(apart), false + wrong
        share.append(wrong / max(1, len(apart)))
        null.append(next(pair.told_apart for pair in found if (pair.one, pair.other) == (0, 1)))
    return Told(told / pairs, float(np.mean(share)), false / max(1, told), float(np.mean(null)))


def main() -> None:
    """Print the tables of docs/results/audit.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("pairs",), help="the last table alone")
    given = parser.parse_args()
    begun = time.perf_counter()
    if given.only is None:
        _intervals(given.simulations, given.seed)
    _pairs(given.simulations, given.seed)
    print(f"\n{given.simulations} simulations each, seed {given.seed}, {time.perf_counter() - begun:.0f} s")


def _intervals(simulations: int, seed: int) -> None:
    print("| networks | noise | statistic | true | covered | mean width | bias | without |")
    print("| --: | --: | --- | --: | --: | --: | --: | --: |")
    for networks in (12, 24, 48):
        for noise in (1.0, 4.0, 12.0):
            for one in coverage(Planted(networks, noise), simulations, seed):
                print(f"| {networks} | {noise:g} | {_cells(one)} |", flush=True)
    print("\nthe front and a stratified sample out of 200 networks\n")
    for networks in (24, 48):
        for noise in (1.0, 4.0, 12.0):
            for one in sampled_coverage(Planted(networks, noise), 200, simulations, seed):
                print(f"| {networks} | {noise:g} | {_cells(one)} |", flush=True)


def _pairs(simulations: int, seed: int) -> None:
    print("\n| networks | noise | retest | told apart | false among them | of all studies | equal pair told apart |")
    print("| --: | --: | --- | --: | --: | --: | --: |")
    for networks in (12, 24, 48):
        for noise in (1.0, 4.0, 12.0):
            for retest in (True, False):
                told = planted_pairs(Planted(networks, noise), simulations, seed, retest=retest)
                print(
                    f"| {networks} | {noise:g} | {'yes' if retest else 'no'} | {told.told_apart:.1%} | "
                    f"{told.false_share:.1%} | {told.false_of_all:.1%} | {told.null_told_apart:.1%} |",
                    flush=True,
                )


def _cells(one: Covered) -> str:
    return f"{one.name} | {one.true:.2f} | {one.covered:.1%} | {one.width:.2f} | {one.bias:+.3f} | {one.without}"


if __name__ == "__main__":
    main()
