"""Do paired intervals of differences cover, and how much narrower are they than unpaired ones?

``python -m tests.benchmarks.paired simulate --studies 300`` draws videos of beta-distributed difficulty, networks and
trainings of them, whose expected accuracies on all such videos are known in closed form.
``python -m tests.benchmarks.paired held-out FILE.json STUDY.yaml`` takes the trainings that
``tests.benchmarks.variance`` wrote for that study: intervals from some seeds, against the mean of the others.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

from stsearch.stats.accuracy import Measured, fit, told_apart
from stsearch.stats.draws import measured

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Z = 1.959964
"""of a two-sided 95 % interval"""
EASY, HARD = 0.4, 0.12
"""Of the beta distribution of a video's easiness: most are easy, some hopeless, as in the built-in set."""
SAME = 0.9
"""Share of the videos that are as easy for one network as for all; the others are drawn anew for each"""
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)


@dataclass(frozen=True)
class World:
    """A study of ``M`` networks, each trained ``n`` times."""

    truth: Floats
    """``(M,)`` expected accuracies on all videos like these, per cent"""
    correct: Mapping[int, Bools]
    """``(n, V)`` by network"""


def world(seed: int, networks: int, trainings: int, videos: int, common: float, spread: float = 0.15) -> World:
    """Networks have a video of easiness ``d`` right with probability ``d ** g``; ``log g`` varies by ``spread`` between
    networks and by ``common`` between trainings of one, which moves all videos of a training at once."""
    rng = np.random.default_rng([seed, networks, trainings, videos, round(100 * common)])
    levels = rng.normal(0.0, spread, networks)
    everyone = rng.beta(EASY, HARD, videos)
    correct = {}
    for network, level in enumerate(levels):
        easy = np.where(rng.random(videos) < SAME, everyone, rng.beta(EASY, HARD, videos))
        powers = np.exp(level + common * rng.normal(size=(trainings, 1)))
        correct[network] = rng.random((trainings, videos)) < easy**powers
    drawn = np.exp(levels[:, None] + common * _NODES)
    truth = 100 * np.exp(betaln(EASY + drawn, HARD) - betaln(EASY, HARD)) @ _WEIGHTS / _WEIGHTS.sum()
    return World(truth, correct)


def look(correct: Mapping[int, Bools]) -> Measured:
    """What stsearch makes of it, networks without costs."""
    found = [(100 * correct[network].mean(1)).tolist() for network in range(len(correct))]
    return measured(np.zeros((len(correct), 0)), found, correct[0].shape[1], correct=correct)


@dataclass(frozen=True)
class Outcome:
    """Of one study, one rule."""

    covered: float
    """share of 95 % intervals of differences that hold the truth"""
    width: float
    """of the interval, median, points"""
    told: int
    """pairs told apart"""
    wrong: int
    """of these, in the wrong order"""


def outcome(data: Measured, truth: Floats) -> Outcome:
    """All pairs of networks against their true (or held-out) accuracies ``(M,)``."""
    one, other = (np.array(side) for side in zip(*combinations(range(len(truth)), 2), strict=True))
    off = data.means[one] - data.means[other] - (truth[one] - truth[other])
    half = Z * data.differences(one, other)
    first = fit(data).orders(one, other)
    told = told_apart(first)
    wrong = told & ((first > 0.5) != (truth[one] > truth[other]))
    covered = float((np.abs(off) <= half).mean())
    return Outcome(covered, float(2 * np.median(half)), int(told.sum()), int(wrong.sum()))


def both(data: Measured, truth: Floats) -> tuple[Outcome, Outcome]:
    """Paired, and as if no answers were kept."""
    return outcome(data, truth), outcome(replace(data, paired=None), truth)


def shown(title: str, found: Sequence[tuple[Outcome, Outcome]]) -> str:
    """A row of the table."""
    cells = []
    for rule in (0, 1):
        rows = [pair[rule] for pair in found]
        told = sum(row.told for row in rows)
        wrong = f"{100 * sum(row.wrong for row in rows) / told:.1f}" if told else "-"
        cells += [f"{100 * np.mean([row.covered for row in rows]):.1f}", f"{np.mean([r.width for r in rows]):.1f}"]
        cells += [f"{told / len(rows):.1f}", wrong]
    ratio = np.mean([unpaired.width / paired.width for paired, unpaired in found])
    return f"| {title} | {' | '.join(cells)} | {ratio:.2f} |"


HEAD = (
    "| {} | paired covers, % | width | told apart | wrong, % | unpaired covers, % | width | told apart | wrong, % "
    "| unpaired/paired width |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def simulated(studies: int) -> Iterator[str]:
    """The table of planted studies."""
    yield HEAD.format("networks, trainings, videos, common noise")
    for networks, trainings, videos in ((12, 1, 600), (24, 1, 600), (12, 2, 600), (12, 5, 600), (12, 2, 100)):
        for common in (0.0, 0.06, 0.12):
            worlds = [world(seed, networks, trainings, videos, common) for seed in range(studies)]
            found = [both(look(planted.correct), planted.truth) for planted in worlds]
            yield shown(f"{networks}, {trainings}, {videos}, {common:g}", found)


def held_out(file: Path, study: str) -> Iterator[str]:
    """The table of trained networks: intervals from ``n`` seeds, the mean of the others for the truth."""
    from stsearch.data.sources import open_data
    from stsearch.search.spec import load_study

    spec = load_study(study)
    clip = spec.proxy_clip()
    labels = open_data(spec.spec.data).load(clip.frames, clip.height, lambda *_: None).splits["val"].labels.numpy()
    rows = json.loads(file.read_text())["trainings"]
    answers = {(row["network"], row["seed"]): np.array(row["predicted"]) == labels for row in rows}
    names = sorted({name for name, _ in answers})
    seeds = sorted({seed for _, seed in answers if all((name, seed) in answers for name in names)})
    yield f"{len(names)} networks, seeds {seeds}, {len(labels)} videos"
    yield HEAD.format("intervals from")
    for count in range(1, min(3, len(seeds))):
        found = []
        for chosen in combinations(seeds, count):
            rest = [seed for seed in seeds if seed not in chosen]
            right = {k: np.stack([answers[name, seed] for seed in chosen]) for k, name in enumerate(names)}
            truth = np.array([np.mean([100 * answers[name, seed].mean() for seed in rest]) for name in names])
            found.append(both(look(right), truth))
        yield shown(f"{count} of {len(seeds)} seeds", found)


def main() -> None:
    """Print one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    simulate = commands.add_parser("simulate")
    simulate.add_argument("--studies", type=int, default=300)
    out = commands.add_parser("held-out")
    out.add_argument("file", type=Path)
    out.add_argument("study")
    asked = parser.parse_args()
    lines = simulated(asked.studies) if asked.command == "simulate" else held_out(asked.file, asked.study)
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
