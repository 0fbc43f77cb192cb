r"""Training-free scores as a screen, measured on the table of all placements.

    python tests/benchmarks/screening.py docs/results/placements.json.gz

Every placement is scored at the table's proxy, as a study would; trainings are looked up (the first of each, video@1
after its last epoch). A random search trains in random order what the screen lets pass, until it has 95 % of the true
front's hypervolume. `chance` is a score drawn at random, anew for every order.
"""

from __future__ import annotations

import argparse
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from stsearch.data.sources import DATASETS, open_data
from stsearch.data.videos import ClipData
from stsearch.evaluate.evaluators import ScoreRecipe, Task, evaluate_by_score
from stsearch.evaluate.replay import read_table
from stsearch.evaluate.scores import SCORES
from stsearch.resources import find
from stsearch.schema import validate
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.search_space import load_space
from stsearch.space.table import CostTable
from stsearch.stats.front import hypervolume
from stsearch.stats.rungs import Ladder

Floats = npt.NDArray[np.float64]
SHARE = 0.95
REDUCTIONS = (2, 3)
TENTHS = 10
DRAWS = 2000


@dataclass(frozen=True)
class Problem:
    """All placements, ``(N,)`` each."""

    names: list[str]
    costs: Floats
    """GMACs of the target"""
    accuracies: Floats
    """video@1, per cent"""
    scores: dict[str, Floats]

    def __post_init__(self) -> None:
        assert np.isfinite(np.stack([self.costs, self.accuracies, *self.scores.values()])).all()

    @property
    def points(self) -> Floats:
        """Accuracy and cost, both minimised ``(N, 2)``."""
        return np.stack([-self.accuracies, self.costs], axis=1)


def problem(path: Path, clips: int, seed: int) -> Problem:
    """Read from the table and score; the whole space must be in it."""
    kept = read_table(path)
    identity = kept.about["identity"]
    target, proxy = identity["target"], identity["proxy"]
    space = load_space(find("search_spaces", "paper-18"))
    data = open_data(validate(DATASETS[identity["data"]["name"]].recipe, identity["data"], str(path)))
    clip = ClipShape(3, proxy["frames"], proxy["size"], proxy["size"])
    loaded = data.load(clip.frames, clip.height, lambda *_: None)
    if loaded.fingerprint != identity["data_fingerprint"]:
        raise SystemExit("the clips rendered here are not those of the table")
    shape = ClipShape(3, target["frames"], target["size"], target["size"])
    table = CostTable(space, shape, target["classes"] or len(loaded.classes))
    networks = [space.architecture(number) for number in range(space.size)]
    return Problem(
        [one.id for one in networks],
        np.array([table.cost_of(one)["gmacs"] for one in networks]),
        np.array([kept.trainings[one.id][0].video_top1 for one in networks]),
        {name: scored(name, networks, proxy["width"], clip, loaded, clips, seed) for name in SCORES},
    )


def scored(
    name: str, networks: Sequence[Architecture], width: float, clip: ClipShape, data: ClipData, clips: int, seed: int
) -> Floats:
    """One score of every network, larger is better."""
    recipe, cpu = ScoreRecipe(score=name, clips=clips), torch.device("cpu")
    tasks = (Task(one.scaled(width), clip, data, recipe, seed, cpu) for one in networks)
    return np.array([evaluate_by_score(task, lambda repeat, epoch: None).score for task in tasks])


# Does a score order networks? -----------------------------------------------------------------


def tau(x: Floats, y: Floats, pairs: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """Kendall's tau-b over ``pairs`` ``(N, N)``, with its 95 % interval (bootstrap over networks)."""
    a, b = (np.sign(v[:, None] - v[None, :]) * pairs for v in (x, y))
    rng = np.random.default_rng(0)
    draws = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=DRAWS).astype(float)

    def of(weights: Floats) -> Floats:
        agree, left, right = (((weights @ m) * weights).sum(1) for m in (a * b, np.abs(a), np.abs(b)))
        return np.asarray(agree / np.sqrt(left * right))

    low, high = np.quantile(of(draws), (0.025, 0.975))
    return float(of(np.ones((1, len(x))))[0]), float(low), float(high)


def alike(costs: Floats) -> npt.NDArray[np.bool_]:
    """Pairs of networks in the same tenth of all costs ``(N, N)``: what is left there is not the cost's doing."""
    tenth = np.argsort(np.argsort(costs, kind="stable"), kind="stable") * TENTHS // len(costs)
    return np.asarray(tenth[:, None] == tenth[None, :])


# Does a screen save trainings? ----------------------------------------------------------------


@dataclass(frozen=True)
class Searched:
    """One random search."""

    trained: float
    """trainings until 95 % of the hypervolume; infinite if they were never reached"""
    passed: float
    """share of all networks that the screen let pass, had it gone on to the end"""


def searched(given: Problem, order: npt.NDArray[np.int64], score: Floats | None, reduction: int) -> Searched:
    """Networks in ``order``, each trained unless ``score`` screens it out."""
    points, worst = given.points, given.points.max(0)
    enough = SHARE * hypervolume(points, worst)
    chosen = order.tolist() if score is None else passing(given, order, score, reduction)
    return Searched(_until(points[chosen], worst, enough), len(chosen) / len(order))


def passing(given: Problem, order: npt.NDArray[np.int64], score: Floats, reduction: int) -> list[int]:
    """The networks that the screen lets pass, in ``order``."""
    ladder = Ladder((0, 1), reduction, tolerance=0.0)
    chosen: list[int] = []
    for network in order.tolist():
        ladder.record(given.names[network], [given.costs[network]], 0, float(score[network]))
        if ladder.verdict(given.names[network], 0).goes_on:
            chosen.append(network)
    return chosen


def _until(points: Floats, worst: Floats, enough: float) -> float:
    """How many of ``points``, in order, have a hypervolume of ``enough``: by halving the interval, as it only grows."""
    if hypervolume(points, worst) < enough:
        return math.inf
    low, high = 0, len(points)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if hypervolume(points[:middle], worst) >= enough else (middle, high)
    return float(high)


def row(name: str, found: Sequence[Searched], plain: Sequence[Searched]) -> str:
    """Medians with 95 % intervals (bootstrap over orders), the same orders for all."""
    counts, base = (np.array([one.trained for one in some]) for some in (found, plain))
    picks = np.random.default_rng(0).integers(len(counts), size=(DRAWS, len(counts)))
    drawn, theirs = np.median(counts[picks], axis=1), np.median(base[picks], axis=1)
    passed, missed = np.mean([one.passed for one in found]), np.isinf(counts).mean()
    cells = [_shown(float(np.median(counts)), drawn)]
    cells.append(_shown(float(np.median(counts) / np.median(base)), drawn / theirs) if found is not plain else "1")
    return f"| {name} | {' | '.join(cells)} | {100 * passed:.0f} % | {100 * missed:.0f} % |"


def _shown(middle: float, drawn: Floats) -> str:
    low, high = np.sort(drawn)[[DRAWS // 40, -DRAWS // 40 - 1]]
    return "{} ({} to {})".format(*(f"{v:.3g}" if math.isfinite(v) else "more" for v in (middle, low, high)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("table", type=Path)
    parser.add_argument("--clips", type=int, default=32, help="that naswot looks at")
    parser.add_argument("--seed", type=int, default=0, help="of the scores and of the orders")
    parser.add_argument("--orders", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    given = problem(options.table, options.clips, options.seed)
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}"
    print(
        f"{platform.machine()}, {versions}; {len(given.names)} networks, {options.orders} orders, seed {options.seed}"
    )
    print_taus(given)
    print_searches(given, options.orders, options.seed)


def print_taus(given: Problem) -> None:
    """How scores, and the cost, order networks."""
    everything, near = np.ones((len(given.costs),) * 2, dtype=bool), alike(given.costs)
    print("\n| score | tau with video@1 | tau among networks of about equal cost | tau with GMACs |\n|---|--:|--:|--:|")
    for name, values in {**given.scores, "GMACs": given.costs}.items():
        found = [tau(values, given.accuracies, pairs) for pairs in (everything, near)]
        found.append(tau(values, given.costs, everything))
        print(f"| {name} | " + " | ".join("{:.2f} ({:.2f} to {:.2f})".format(*one) for one in found) + " |")


def print_searches(given: Problem, orders: int, seed: int) -> None:
    """Trainings of a random search with and without a screen."""
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(len(given.names)) for _ in range(orders)]
    chances = [rng.random(len(given.names)) for _ in range(orders)]
    print("\n| screen | trainings to 95 % | of those without | pass | never reach 95 % |\n|---|--:|--:|--:|--:|")
    plain = [searched(given, order, None, 1) for order in shuffled]
    print(row("none", plain, plain))
    screens = {name: [score] * orders for name, score in given.scores.items()}
    for name, scores in {**screens, "chance": chances}.items():
        for reduction in REDUCTIONS:
            found = [searched(given, *pair, reduction) for pair in zip(shuffled, scores, strict=True)]
            print(row(f"{name}, reduction {reduction}", found, plain), flush=True)
    for reduction in REDUCTIONS:
        print_quarters(
            given, [passing(given, *pair, reduction) for pair in zip(shuffled, chances, strict=True)], reduction
        )


def print_quarters(given: Problem, passed: Sequence[Sequence[int]], reduction: int) -> None:
    """Which networks a random number lets pass, by their cost."""
    counts = np.bincount([network for chosen in passed for network in chosen], minlength=len(given.names))
    quarters = np.array_split(counts[np.argsort(given.costs, kind="stable")] / len(passed), 4)
    shown = ", ".join(f"{100 * quarter.mean():.0f} %" for quarter in quarters)
    print(f"\nchance, reduction {reduction}: pass, from the cheapest quarter of the networks to the dearest: {shown}")


if __name__ == "__main__":
    main()
