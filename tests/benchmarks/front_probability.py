"""Are probabilities of being on the front calibrated, and do hypervolume intervals cover?

Plants networks with known costs and expected accuracies, draws noisy trainings of them, asks stsearch, and
compares with the truth. Run by hand:

    python tests/benchmarks/front_probability.py --studies 300
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stsearch.search.repeats import SETTLED
from stsearch.stats.draws import Draws, draw_fronts, gains, measured
from stsearch.stats.front import hypervolume, non_dominated

Floats = npt.NDArray[np.float64]
EDGES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.001)
VIDEOS = 200
WORST = np.array([0.0, 46.0])
"""Reference point: accuracy 0, 46 GMACs."""


@dataclass(frozen=True)
class World:
    """Networks as they truly are. Accuracies follow a trend over cost; ``spread`` is how far they are off it."""

    costs: Floats
    """``(N,)`` GMACs"""
    truth: Floats
    """``(N,)`` expected accuracies, per cent"""
    noise: Floats
    """``(N,)`` standard deviation of one training, per cent"""


def world(rng: np.random.Generator, networks: int, kind: str) -> World:
    """A world of one ``kind``; noise differs by a quarter from network to network."""
    costs = np.exp(rng.uniform(np.log(10), np.log(45), networks))
    top, scale = rng.uniform(75, 95), rng.uniform(8, 25)
    trend = top - rng.uniform(20, 60) * np.exp(-costs / scale)
    spread = float(np.exp(rng.uniform(np.log(0.7), np.log(5.0))))
    dispersion = float(np.exp(rng.uniform(np.log(0.7), np.log(4.0))))
    if kind == "flat":
        trend = np.full(networks, top)
    off = rng.normal(0, spread, networks)
    if kind == "heavy tails":
        off = spread * rng.standard_t(3, networks)
    elif kind == "few good ones":
        off = -2 * rng.exponential(spread, networks)
    elif kind == "a third blind":
        off = np.where(rng.random(networks) < 1 / 3, -25.0, 0.0) + off
    truth = np.clip(trend + off, 2, 99)
    own = np.sqrt(rng.chisquare(15, networks) / 15)
    return World(costs, truth, np.sqrt(dispersion * truth * (100 - truth) / VIDEOS) * own)


KINDS = ("mixed", "flat", "heavy tails", "few good ones", "a third blind")


def train(rng: np.random.Generator, planted: World, network: int, times: int) -> list[float]:
    """Accuracies of so many trainings, whole numbers of ``VIDEOS``."""
    found = planted.truth[network] + planted.noise[network] * rng.standard_normal(times)
    return list(np.clip(np.round(found / 100 * VIDEOS) / VIDEOS * 100, 0, 100))


def look(planted: World, trainings: Sequence[Sequence[float]]) -> Draws:
    """What stsearch believes."""
    return draw_fronts([measured(planted.costs[:, None], trainings, VIDEOS)])


def where_it_matters(planted: World, trainings: list[list[float]], rng: np.random.Generator) -> int | None:
    """The network that stsearch would train again."""
    data = measured(planted.costs[:, None], trainings, VIDEOS)
    draws = draw_fronts([data])
    gain = gains(draws)
    return int(draws.networks[gain.argmax()]) if gain.max() >= SETTLED else None


def anywhere(planted: World, trainings: list[list[float]], rng: np.random.Generator) -> int | None:
    """Any network."""
    return int(rng.integers(len(trainings)))


def on_the_front(planted: World, trainings: list[list[float]], rng: np.random.Generator) -> int | None:
    """One of the front as measured, that with fewest trainings."""
    means = np.array([np.mean(found) for found in trainings])
    front = np.flatnonzero(non_dominated(np.stack([-means, planted.costs], axis=1)))
    return int(min(front, key=lambda network: len(trainings[network])))


Rule = Callable[[World, list[list[float]], np.random.Generator], int | None]
RULES: dict[str, Rule] = {"where it matters": where_it_matters, "anywhere": anywhere, "measured front": on_the_front}


@dataclass(frozen=True)
class Outcome:
    """One simulated study."""

    probabilities: Floats
    """``(N,)``"""
    truly: npt.NDArray[np.bool_]
    """``(N,)``"""
    as_measured: npt.NDArray[np.bool_]
    """``(N,)``"""
    covered: bool
    """whether the interval holds the true hypervolume"""
    excess: float
    """measured hypervolume over the true one, less 1"""


def simulate(seed: int, kind: str, networks: int, each: int, repeats: int, rule: str = "where it matters") -> Outcome:
    """A study of ``networks`` trained ``each`` times, then ``repeats`` trainings by ``rule``."""
    rng = np.random.default_rng([seed, networks, each, KINDS.index(kind)])
    planted = world(rng, networks, kind)
    trainings = [train(rng, planted, network, each) for network in range(networks)]
    for _ in range(repeats):
        network = RULES[rule](planted, trainings, rng)
        if network is None:
            break
        trainings[network] += train(rng, planted, network, 1)
    draws = look(planted, trainings)
    probabilities = np.zeros(networks)
    probabilities[draws.networks] = draws.probabilities
    means = np.array([np.mean(found) for found in trainings])
    true, found = (np.stack([-values, planted.costs], axis=1) for values in (planted.truth, means))
    volumes = [
        hypervolume(np.stack([-accuracies, draws.costs[:, 0]], axis=1), WORST)
        for accuracies in draws.accuracies[0][:400]
    ]
    volume = hypervolume(true, WORST)
    low, high = np.quantile(volumes, (0.025, 0.975))
    return Outcome(
        probabilities, non_dominated(true), non_dominated(found), bool(low <= volume <= high),
        hypervolume(found, WORST) / volume - 1,
    )  # fmt: skip


def calibration(outcomes: Sequence[Outcome]) -> list[tuple[float, float, int, float, float]]:
    """``(from, to, networks, mean probability, share truly on the front)`` of every bin that holds some."""
    chance = np.concatenate([outcome.probabilities for outcome in outcomes])
    truly = np.concatenate([outcome.truly for outcome in outcomes])
    bins = np.digitize(chance, EDGES) - 1
    return [
        (
            EDGES[b],
            EDGES[b + 1],
            int((bins == b).sum()),
            float(chance[bins == b].mean()),
            float(truly[bins == b].mean()),
        )
        for b in np.unique(bins)
    ]


def summary(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Figures of a row; ``gap`` is the mean over networks of the distance between probability and share."""
    rows = calibration(outcomes)
    total = sum(count for _, _, count, _, _ in rows)
    chance = np.concatenate([outcome.probabilities for outcome in outcomes])
    truly = np.concatenate([outcome.truly for outcome in outcomes])
    named = np.concatenate([outcome.as_measured for outcome in outcomes])
    return {
        "studies": len(outcomes),
        "gap": sum(count * abs(mean - share) for _, _, count, mean, share in rows) / total,
        "brier": float(np.mean((chance - truly) ** 2)),
        "brier_as_measured": float(np.mean(named != truly)),
        "measured_front_true": float(truly[named].mean()),
        "coverage": float(np.mean([outcome.covered for outcome in outcomes])),
        "excess": float(np.mean([outcome.excess for outcome in outcomes])),
    }


PLANS = {"once": (1, 0, KINDS), "once, 10 repeats": (1, 10, ("mixed",)), "three times": (3, 0, KINDS)}
"""Name to trainings of each network, repeats after them, and worlds (repeats one by one take their time)."""


def rows(plan: str, studies: int) -> None:
    """A line of JSON per world, then the bins over all of them."""
    each, repeats, kinds = PLANS[plan]
    whole: list[Outcome] = []
    for kind in kinds:
        outcomes = [simulate(seed, kind, 30, each, repeats) for seed in range(studies)]
        whole += outcomes
        print(json.dumps({"world": kind, "plan": plan, **summary(outcomes)}), flush=True)
    print(f"\n{plan}: {json.dumps(summary(whole))}\n")
    print("| p(front) | networks | mean | truly on it |\n|---|--:|--:|--:|")
    for low, high, count, mean, share in calibration(whole):
        print(f"| {low:g} to {min(high, 1):g} | {count:,} | {mean:.3f} | {share:.3f} |")


def main() -> None:
    """All rows as JSON, and the bins as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--only", choices=(*PLANS, "rules"), default=None)
    asked = parser.parse_args()
    print(
        f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, "
        f"seeds 0 to {asked.studies - 1}"
    )
    for plan in PLANS:
        if asked.only in (None, plan):
            rows(plan, asked.studies)
    if asked.only in (None, "rules"):
        for rule in RULES:
            outcomes = [simulate(seed, "mixed", 30, 1, 10, rule) for seed in range(asked.studies)]
            print(json.dumps({"rule": rule, **summary(outcomes)}), flush=True)


if __name__ == "__main__":
    main()
