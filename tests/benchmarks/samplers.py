r"""Samplers measured on the table of all placements: trainings until the front is found.

    python tests/benchmarks/samplers.py docs/results/placements.json.gz --seeds 30 --plot docs/results/samplers.png
    python tests/benchmarks/samplers.py docs/results/placements.json.gz --only auto "plain random"
    python tests/benchmarks/samplers.py docs/results/placements.json.gz --rungs 1 2 4 9 --reduction 4 \
        --only random "random, halving"

Every training is looked up. `plain` samplers are Optuna's own, without our hard budget and uniqueness: what they
propose twice is trained twice. `auto` begins with the cheapest network, as in a study. With `halving`, clips are
counted and a network counts once it is trained whole.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from stsearch.evaluate.replay import read_table
from stsearch.resources import find
from stsearch.search.attributes import ARCHITECTURE, RUNGS, STOPPED
from stsearch.search.networks import once_per_network
from stsearch.search.samplers import HardBudget, suggest
from stsearch.space.architecture import parse_placement
from stsearch.space.blueprint import ClipShape
from stsearch.space.search_space import load_space
from stsearch.space.table import CostTable
from stsearch.stats.front import hypervolume
from stsearch.stats.rungs import Ladder, Replay

SHARES = (0.90, 0.95, 0.99)
PLAIN: dict[str, Callable[[int], BaseSampler]] = {
    "plain random": lambda seed: RandomSampler(seed=seed),
    "plain NSGA-II": lambda seed: NSGAIISampler(seed=seed),
    "plain default (TPE)": lambda seed: TPESampler(seed=seed),
    "plain TPE, multivariate": lambda seed: TPESampler(seed=seed, multivariate=True),
    "plain GP": lambda seed: GPSampler(seed=seed, deterministic_objective=True),
}
OURS = ("auto", "ehvi", "random", "tpe", "nsga2", "gp")


@dataclass(frozen=True)
class Problem:
    """What a search sees: the first training of every network."""

    costs: dict[str, float]
    """GMACs"""
    curves: dict[str, tuple[float, ...]]
    """accuracy after each epoch, per cent"""
    table: CostTable
    videos: int
    """of validation"""
    worst: np.ndarray
    """reference point: the least accurate and the dearest network"""
    whole: float
    """hypervolume of the true front"""
    rungs: tuple[int, ...]
    """of halving, epochs"""
    reduction: int

    @property
    def epochs(self) -> int:
        """Of a whole training."""
        return len(next(iter(self.curves.values())))

    def share(self, found: Sequence[str]) -> float:
        """Of the true front's hypervolume, by the networks ``found``."""
        return hypervolume(self._points(found), self.worst) / self.whole if found else 0.0

    def _points(self, names: Sequence[str]) -> np.ndarray:
        return np.array([[-self.curves[name][-1], self.costs[name]] for name in names])


def problem(path: Path, rungs: tuple[int, ...], reduction: int) -> Problem:
    """Read from the table; the whole space must be in it."""
    kept = read_table(path)
    space = load_space(find("search_spaces", "paper-18"))
    target, data = kept.about["identity"]["target"], kept.about["identity"]["data"]
    table = CostTable(space, ClipShape(3, target["frames"], target["size"], target["size"]), data["classes"])
    networks = [space.architecture(number) for number in range(space.size)]
    missing = [one.id for one in networks if one.id not in kept.trainings]
    if missing:
        raise SystemExit(f"{len(missing)} of {space.size} placements are not in {path}, {missing[0]} among them")
    costs = {one.id: table.cost_of(one)["gmacs"] for one in networks}
    curves = {one.id: kept.trainings[one.id][0].clip_top1 for one in networks}
    points = np.array([[-curves[name][-1], cost] for name, cost in costs.items()])
    worst = points.max(0)
    return Problem(costs, curves, table, data["val_clips"], worst, hypervolume(points, worst), rungs, reduction)


Course = list[tuple[float, float]]
"""``(epochs spent, share of the hypervolume)`` after each training"""


def searched(name: str, seed: int, given: Problem, most: int) -> Course:
    """The course of one search, of at most ``most`` trainings, until it has the largest of ``SHARES``."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name.endswith(", halving"):
            return _halved(name.removesuffix(", halving"), seed, given, most)
        return _whole(name, seed, given, most)


def _whole(name: str, seed: int, given: Problem, most: int) -> Course:
    plain = name in PLAIN
    sampler = PLAIN[name](seed) if plain else _ours(name, seed, given, most)
    study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
    found: dict[str, None] = {}
    course: Course = []
    while len(course) < most:
        trial = study.ask()
        network = suggest(trial, given.table.space).id
        trial.set_user_attr(ARCHITECTURE, network)
        study.tell(trial, [given.curves[network][-1], given.costs[network]])
        found[network] = None
        course.append((given.epochs * (len(course) + 1), given.share(list(found))))
        if course[-1][1] >= SHARES[-1]:
            break
    return course


def _ours(name: str, seed: int, given: Problem, most: int) -> HardBudget:
    start = [given.table.extreme("gmacs")] if name == "auto" else []
    return HardBudget(name, given.table, {}, seed=seed, trials=most, start=start)


def _halved(name: str, seed: int, given: Problem, most: int) -> Course:
    sampler = _ours(name, seed, given, most)
    sampler.view = lambda study: once_per_network(study, ["video_top1", "gmacs"])
    study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
    waiting: dict[str, optuna.Trial] = {}

    def propose() -> str | None:
        if not sampler.left(study.get_trials(deepcopy=False)):
            return None
        trial = study.ask()
        network = suggest(trial, given.table.space).id
        trial.set_user_attr(ARCHITECTURE, network)
        waiting[network] = trial
        return network

    ladder = Ladder(given.rungs, given.reduction, None, given.videos)
    replay = Replay(ladder, lambda n, e: given.curves[n][e - 1], lambda n: [given.costs[n]], trials=most)
    complete: list[str] = []
    spent, course = 0, []
    for piece in replay.run(propose):
        spent += piece.epochs
        _tell(study, sampler, waiting, piece.network, piece.end, piece.complete, given)
        complete += [piece.network] * piece.complete
        course.append((float(spent), given.share(complete)))
        if course[-1][1] >= SHARES[-1]:
            break
    return course


def _tell(
    study: optuna.Study, sampler: HardBudget, waiting: dict[str, optuna.Trial], network: str, end: int,
    complete: bool, given: Problem,
) -> None:  # fmt: skip
    """What became of a network; one that goes on gets a further trial, as in a study."""
    trial = waiting.pop(network, None)
    if trial is None:
        sampler.given = parse_placement(network)
        trial = study.ask()
        suggest(trial, sampler.space)
        sampler.given = None
        trial.set_user_attr(ARCHITECTURE, network)
    curve = given.curves[network]
    reached = {str(epoch): curve[epoch - 1] for epoch in given.rungs if epoch <= end}
    for key, value in {RUNGS: reached, "video_top1": curve[end - 1], "gmacs": given.costs[network]}.items():
        trial.set_user_attr(key, value)
    if complete:
        study.tell(trial, [curve[-1], given.costs[network]])
    else:
        trial.set_user_attr(STOPPED, end)
        study.tell(trial, state=TrialState.PRUNED)


def needed(course: Course, share: float, epochs: int) -> float:
    """Whole trainings' worth of epochs until ``share`` was reached; infinite if it was not."""
    return next((spent / epochs for spent, reached in course if reached >= share), math.inf)


def row(name: str, courses: Sequence[Course], epochs: int) -> str:
    """Median and 95 % interval (bootstrap over seeds) for each of ``SHARES``."""
    cells = []
    for share in SHARES:
        middle, drawn = medians(courses, share, epochs)
        cells.append(_with_interval(middle, drawn))
    return f"| {name} | " + " | ".join(cells) + " |"


def medians(courses: Sequence[Course], share: float, epochs: int) -> tuple[float, np.ndarray]:
    """The median over seeds, and 2,000 of seeds drawn with replacement."""
    values = np.array([needed(course, share, epochs) for course in courses])
    rows = np.random.default_rng(0).integers(len(values), size=(2000, len(values)))
    return float(np.median(values)), np.asarray(np.median(values[rows], axis=1))


def ratios(found: dict[str, list[Course]], epochs: int) -> list[str]:
    """What `auto` needs of what others need, and every sampler with halving of what it needs without, at 95 %."""
    pairs = [("auto", name) for name in ("plain random", "random", "plain default (TPE)", "plain GP")]
    pairs += [(name, name.removesuffix(", halving")) for name in found if name.endswith(", halving")]
    lines = []
    for one, other in pairs:
        if one in found and other in found:
            (ours, drawn), (theirs, others) = (medians(found[name], SHARES[1], epochs) for name in (one, other))
            shuffled = np.random.default_rng(1).permutation(others)  # seeds of two samplers have nothing in common
            lines.append(f"| {one} / {other} | {_with_interval(ours / theirs, drawn / shuffled)} |")
    return lines


def _with_interval(middle: float, drawn: np.ndarray) -> str:
    low, high = np.sort(drawn)[[50, -51]]
    return f"{_shown(middle)} ({_shown(low)} to {_shown(high)})"


def _shown(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "more"


def draw(found: dict[str, list[Course]], epochs: int, path: Path) -> None:
    """Median share of the hypervolume over trainings."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    grid = np.arange(1, 101)
    for number, (name, courses) in enumerate(found.items()):
        rows = []
        for course in courses:
            spent, share = np.array(course).T
            place = np.searchsorted(spent / epochs, grid + 1e-9, side="right") - 1
            rows.append(np.where(place >= 0, share[place.clip(min=0)], 0.0))
        style = "--" if name.startswith("plain") else ":" if name.endswith("halving") else "-"
        axes.plot(grid, 100 * np.median(rows, axis=0), style, color=f"C{number % 10}", label=name)
    axes.set(
        xlabel="trainings (9 epochs each)", ylabel="hypervolume, % of the true front's", xscale="log", ylim=(40, 101)
    )
    axes.axhline(95, color="0.8", zorder=0)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure and print."""
    names = [*PLAIN, *OURS, "auto, halving", "ehvi, halving", "random, halving", "tpe, halving", "nsga2, halving"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("table", type=Path)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--most", type=int, default=243, help="trainings of one search")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--rungs", type=int, nargs="+", default=[1, 3, 9], help="of halving, epochs")
    parser.add_argument("--reduction", type=int, default=3)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    given = problem(options.table, tuple(options.rungs), options.reduction)
    print(
        f"{platform.machine()}, Python {platform.python_version()}, Optuna {optuna.__version__}; {options.seeds} seeds"
    )
    print("| sampler | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |\n|---|--:|--:|--:|")
    found: dict[str, list[Course]] = {}
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn")) as pool:
        for name in options.only:
            most = min(options.most, 80) if "gp" in name.lower() or name.startswith("auto") else options.most
            work = partial(searched, name, given=given, most=most)
            found[name] = list(pool.map(work, range(options.seeds)))
            print(row(name, found[name], given.epochs), flush=True)
    print("\n| ratio at 95% | |\n|---|--:|")
    print("\n".join(ratios(found, given.epochs)))
    if options.plot:
        draw(found, given.epochs, options.plot)


if __name__ == "__main__":
    main()
