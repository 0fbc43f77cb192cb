"""Do the intervals of placement effects cover, and is anything claimed where nothing was planted? Run by hand.

    python tests/benchmarks/effects.py --studies 200 --seed 0 --out effects.md

Simulates studies (placements drawn from a shipped space, accuracies made up from planted
effects and noise) and prints Markdown tables: coverage of the 95 % intervals per estimator, studies
with a false claim, power; what other standard errors would do; whether the number of networks
that a study asks for is right.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path

import numpy as np
import optuna
import scipy

from stsearch.report.effect_contrasts import MIN_PAIRS, Contrast, Regression
from stsearch.report.effect_design import Design, Floats, Ints, design_of_ids
from stsearch.report.effect_estimates import Errors, Estimate
from stsearch.report.effects import FAMILY, Effects, placement_effects, placement_effects_of_ids
from stsearch.resources import find
from stsearch.space.architecture import GROUPS, Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.search_space import load_space
from stsearch.space.table import CostTable

KINDS = ("2d", "3d", "2plus1d")
SIGMA = 1.5
"""points, about the spread between seeds of small proxies"""
MAIN = np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 2, 3], [0, 6, 5]], dtype=float)
"""points by group and kind where effects are planted"""
DEPTH = 0.5
"""points per block where effects are planted"""
SIZES = (24, 60, 243)
FEW = 100
"""Intervals below which a coverage is shown with their number."""
COLUMNS = ("read", "pairs", "regression", "time", "early/late")
SEARCHED = (("evolved", 60), ("evolved", 120), ("TPE", 60))
NOISES = ("even", "uneven", "outliers")
Rng = np.random.Generator


class Space:
    """A shipped space with the id, kinds ``(N, 5)``, blocks and GMACs of every network."""

    def __init__(self, name: str) -> None:
        space = load_space(find("search_spaces", name))
        table = CostTable(space, ClipShape(), 400)
        digits, _ = table.population()
        networks = list(space.enumerate())
        self.name = name
        self.ids = np.array([network.id for network in networks])
        self.gmacs = table.costs(digits)["macs"] / 1e9
        rows = [(network.stem, *(kinds[0] for kinds in network.stages)) for network in networks]
        self.kinds: Ints = np.array([[KINDS.index(kind) for kind in row] for row in rows])
        self.blocks = np.array([sum(network.depths) for network in networks], dtype=float)

    def draw(self, n: int, rng: Rng) -> Ints:
        """``n`` distinct networks."""
        return rng.choice(len(self.ids), n, replace=False)


def noise(kind: str, kinds: Ints, rng: Rng) -> Floats:
    """Even; uneven (4 points where conv5_x is 3D, 0.7 elsewhere); 15 % of trainings lose 20 points."""
    n = len(kinds)
    if kind == "uneven":
        return rng.normal(size=n) * np.where(kinds[:, 4] == 1, 4.0, 0.7)
    if kind == "outliers":
        return rng.normal(size=n) - 20.0 * (rng.random(n) < 0.15)
    return rng.normal(size=n) * SIGMA


def interactions(rng: Rng) -> Floats:
    """Points ``(5, 3, 5, 3)`` for every two kinds of two groups, standard deviation 1."""
    table = rng.normal(size=(5, 3, 5, 3))
    table[range(5), :, range(5), :] = 0
    return table


def expected(space: Space, rows: Ints, main: Floats, both: Floats) -> Floats:
    """Accuracy without noise."""
    kinds = space.kinds[rows]
    total = 50.0 + main[range(5), kinds].sum(1)
    if main.any():
        total += DEPTH * (space.blocks[rows] - 8)
    for one in range(5):
        for other in range(one):
            total += both[one, kinds[:, one], other, kinds[:, other]]
    return np.asarray(total)


def truth(contrast: Contrast, main: Floats, both: Floats) -> float:
    """The effect on average over the space."""
    group = GROUPS.index(contrast.group)
    worth = main[group].copy()
    for other in range(5):
        worth += (both[group, :, other, :] if group > other else both[other, :, group, :].T).mean(1)
    by_kind = dict(zip(KINDS, worth, strict=True))
    by_kind["time"] = (worth[1] + worth[2]) / 2
    return float(by_kind[contrast.kind] - by_kind[contrast.against])


def evolved(space: Space, n: int, rng: Rng) -> tuple[Ints, Floats]:
    """A search that chases noise: 12 random networks, then unseen mutants of the best so far."""
    place = {tuple(kinds): row for row, kinds in enumerate(space.kinds.tolist())}
    rows = [int(row) for row in space.draw(12, rng)]
    accuracies = [50 + SIGMA * rng.normal() for _ in rows]
    while len(rows) < n:
        seen, ranked = set(rows), np.argsort(accuracies)[::-1]
        unseen = (m for parent in ranked for m in _mutants(space, rows[parent], place) if m not in seen)
        mutants = list(islice(unseen, 5))
        rows.append(mutants[int(rng.integers(len(mutants)))])
        accuracies.append(50 + SIGMA * rng.normal())
    return np.array(rows), np.array(accuracies)


def by_tpe(space: Space, n: int, rng: Rng) -> tuple[Ints, Floats]:
    """Optuna's multivariate TPE on pure noise; a network asked for again answers as before."""
    place = {tuple(kinds): row for row, kinds in enumerate(space.kinds.tolist())}
    sampler = optuna.samplers.TPESampler(seed=int(rng.integers(2**31)), multivariate=True, n_startup_trials=12)
    search = optuna.create_study(direction="maximize", sampler=sampler)
    seen: dict[int, float] = {}
    while len(seen) < n and len(search.trials) < 6 * n:
        trial = search.ask()
        row = place[tuple(trial.suggest_categorical(group, (0, 1, 2)) for group in GROUPS)]
        search.tell(trial, seen.setdefault(row, 50 + SIGMA * float(rng.normal())))
    return np.array(list(seen)), np.array(list(seen.values()))


def _mutants(space: Space, row: int, place: dict[tuple[int, ...], int]) -> Iterator[int]:
    kinds = space.kinds[row].tolist()
    for group in range(5):
        for kind in range(3):
            if kind != kinds[group]:
                yield place[(*kinds[:group], kind, *kinds[group + 1 :])]


@dataclass
class Tally:
    """Counts over the studies of one scenario."""

    studies: int = 0
    covered: dict[str, list[bool]] = field(default_factory=dict)
    false: int = 0
    found: dict[str, int] = field(default_factory=dict)

    def add(self, effects: Effects, true: Callable[[Contrast], float], early_late: Estimate | None) -> None:
        """One study; ``early_late`` is that of the same networks without noise."""
        self.studies += 1
        wrong = False
        for contrast in effects.contrasts:
            worth = true(contrast)
            several = {"pairs": contrast.matched if contrast.pairs >= MIN_PAIRS else None}
            several["time" if contrast.kind == "time" else "regression"] = contrast.regression
            several["read"] = contrast.estimate
            for name, estimate in several.items():
                if estimate is not None:
                    low, high = estimate.interval()
                    self.covered.setdefault(name, []).append(low <= worth <= high)
            if contrast.claimed and contrast.estimate is not None:
                wrong |= contrast.estimate.mean * worth <= 0
                key = f"{contrast.group} {contrast.kind} {contrast.against}"
                self.found[key] = self.found.get(key, 0) + 1
        both = effects.early_late
        if both.estimate is not None and early_late is not None:
            low, high = both.estimate.interval()
            self.covered.setdefault("early/late", []).append(low <= early_late.mean <= high)
            wrong |= both.claimed and both.estimate.mean * early_late.mean <= 0
            self.found["early/late"] = self.found.get("early/late", 0) + both.claimed
        self.false += wrong

    def coverage(self, name: str) -> str:
        """Per cent, or a dash where the estimator was not used."""
        found = self.covered.get(name, [])
        few = f" ({len(found)})" if len(found) < FEW else ""
        return f"{100 * np.mean(found):.1f}{few}" if found else "-"

    def power(self, name: str) -> str:
        """Per cent of studies that claim it."""
        return f"{100 * self.found.get(name, 0) / self.studies:.0f}"


def study(space: Space, rows: Ints, accuracies: Floats) -> Effects:
    """The effects of one simulated study."""
    return placement_effects_of_ids(space.ids[rows].tolist(), accuracies, space.gmacs[rows], importance=False)


def scenario(space: Space, n: int, planted: str, spread: str, studies: int, rng: Rng) -> Tally:
    """``planted``: nothing, effects, or effects with interactions."""
    tally = Tally()
    main = MAIN if planted != "nothing" else np.zeros_like(MAIN)
    for _ in range(studies):
        both = interactions(rng) if planted == "interactions" else np.zeros((5, 3, 5, 3))
        rows = space.draw(n, rng)
        clean = expected(space, rows, main, both)
        noisy = clean + noise(spread, space.kinds[rows], rng)
        early_late = study(space, rows, clean).early_late.estimate
        tally.add(study(space, rows, noisy), lambda c, m=main, b=both: truth(c, m, b), early_late)  # type: ignore[misc]
    return tally


def coverage_tables(spaces: list[Space], studies: int, rng: Rng) -> Iterator[str]:
    """Coverage and false claims everywhere, power where something is planted."""
    yield f"| space | networks | planted | noise | {' | '.join(COLUMNS)} | studies with a false claim |"
    yield "|---|--:|---|---|--:|--:|--:|--:|--:|--:|"
    power = [
        "| space | networks | planted | noise | conv5_x time (5.5) | conv5_x 3D (6) | conv4_x time (2.5) | early/late |"
    ]
    power.append("|---|--:|---|---|--:|--:|--:|--:|")
    for space in spaces:
        for n in SIZES:
            for planted in ("nothing", "effects", "interactions"):
                for spread in NOISES if planted != "interactions" else NOISES[:1]:
                    tally = scenario(space, n, planted, spread, studies, rng)
                    start = f"| {space.name} | {n} | {planted} | {spread} |"
                    yield f"{start} {' | '.join(map(tally.coverage, COLUMNS))} | {tally.false} of {tally.studies} |"
                    if planted != "nothing":
                        names = ("conv5_x time 2d", "conv5_x 3d 2d", "conv4_x time 2d", "early/late")
                        power.append(f"{start} {' | '.join(map(tally.power, names))} |")
    for name, n in SEARCHED:
        tally = Tally()
        for _ in range(studies):
            rows, accuracies = (evolved if name == "evolved" else by_tpe)(spaces[0], n, rng)
            flat = study(spaces[0], rows, np.full(len(rows), 50.0))
            tally.add(study(spaces[0], rows, accuracies), lambda _: 0.0, flat.early_late.estimate)
        start = f"| {spaces[0].name} | {n}, {name} | nothing | even |"
        yield f"{start} {' | '.join(map(tally.coverage, COLUMNS))} | {tally.false} of {tally.studies} |"
    yield ""
    yield from power


def error_table(spaces: list[Space], studies: int, rng: Rng) -> Iterator[str]:
    """The regression of kinds with other standard errors, where nothing is planted."""
    yield "| space | networks | noise | errors | coverage | studies with a false claim | joint half-width, points |"
    yield "|---|--:|---|---|--:|--:|--:|"
    for space in spaces:
        for n in (24, 60):
            for spread in NOISES:
                drawn = [space.draw(n, rng) for _ in range(studies)]
                data = [(design_of_ids(space.ids[r].tolist()), noise(spread, space.kinds[r], rng)) for r in drawn]
                for errors in ("classical", "hc2", "larger"):
                    yield f"| {space.name} | {n} | {spread} | {errors} | {' | '.join(_errors(data, errors))} |"


def _errors(data: list[tuple[Design, Floats]], errors: Errors) -> tuple[str, str, str]:
    covered, false, halves = [], 0, []
    for design, accuracies in data:
        regression = Regression(design, accuracies, accuracies, errors)
        estimates = [e for pair in design.pairs if (e := regression.effect(pair)[0]) is not None]
        level = 1 - (1 - FAMILY) / max(1, len(estimates))
        covered += [e.interval()[0] <= 0 <= e.interval()[1] for e in estimates]
        false += any(e.excludes_zero(level) for e in estimates)
        halves += [e.interval(level)[1] - e.mean for e in estimates]
    return f"{100 * np.mean(covered):.1f}", f"{false} of {len(data)}", f"{np.median(halves):.1f}"


def advice_table(space: Space, studies: int, rng: Rng) -> Iterator[str]:
    """Studies of pure noise say how many networks an effect of 2 points takes; is it claimed at that size?"""
    yield "| space | networks | asks for (median) | claims 2 points of time in conv3_x at that size |"
    yield "|---|--:|--:|--:|"
    main = np.zeros_like(MAIN)
    main[2, 1:] = 2
    for n in (30, 60):
        asked, found = [], 0
        for _ in range(studies):
            rows = space.draw(n, rng)
            needed = study(space, rows, noise("even", space.kinds[rows], rng)).networks_needed(2.0)
            assert needed is not None, "30 networks are enough for a regression"
            asked.append(needed)
            rows = space.draw(needed, rng)
            clean = expected(space, rows, main, np.zeros((5, 3, 5, 3))) - DEPTH * (space.blocks[rows] - 8)
            claims = study(space, rows, clean + noise("even", space.kinds[rows], rng)).claims
            found += any(c.group == "conv3_x" and c.kind == "time" for c in claims)
        yield f"| {space.name} | {n} | {np.median(asked):.0f} | {100 * found / studies:.0f} % |"


def time_table(networks: int, rng: Rng) -> Iterator[str]:
    """Seconds for a study of very many networks, importances included."""
    depths = {"mixed stages, depths 1 to 3": (1, 2, 3), "uniform stages, depths 1 to 9": range(1, 10)}
    yield "| networks | distinct | seconds from ids, best of 3 | seconds from architectures |"
    yield "|---|--:|--:|--:|"
    for title, allowed in depths.items():
        repeats = [
            product(KINDS, repeat=d) if d <= 3 and "mixed" in title else [(k,) * d for k in KINDS] for d in allowed
        ]
        stages = [stage for forms in repeats for stage in forms]
        picks, stems = rng.integers(len(stages), size=(networks, 4)), rng.integers(3, size=networks)
        drawn = [
            Architecture(KINDS[stem], tuple(stages[i] for i in row))
            for stem, row in zip(stems, picks.tolist(), strict=True)
        ]
        ids, values = [a.id for a in drawn], rng.normal(50, 3, (2, networks))
        metrics = [{"video_top1": a, "gmacs": b} for a, b in values.T.tolist()]
        pairs = list(zip(drawn, metrics, strict=True))
        spent: dict[str, list[float]] = {"ids": [], "architectures": []}
        for _ in range(3):
            for way, seconds in spent.items():
                begun = time.perf_counter()
                effects = placement_effects_of_ids(ids, *values) if way == "ids" else placement_effects(pairs)
                seconds.append(time.perf_counter() - begun)
        best = " | ".join(f"{min(seconds):.1f}" for seconds in spent.values())
        yield f"| {title} | {effects.networks:,} of {networks:,} | {best} |"


def _tables(options: argparse.Namespace, rng: Rng) -> dict[str, Iterator[str]]:
    if options.time:
        return {"Time": time_table(options.time, rng)}
    spaces = [Space("paper-18"), Space("r18")]
    return {
        "Coverage, false claims, power": coverage_tables(spaces, options.studies, rng),
        "Standard errors": error_table(spaces, options.studies, rng),
        "Networks asked for": advice_table(spaces[1], options.studies, rng),
    }


def main() -> None:
    """Simulate and write Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", type=int, default=200, help="simulated studies per scenario")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time", type=int, metavar="N", help="time a study of N networks and simulate nothing")
    parser.add_argument("--out", type=Path, help="also write the tables to this file")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    begun = time.perf_counter()
    versions = f"python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}"
    lines = [f"{versions}, optuna {optuna.__version__}, seed {options.seed}, {options.studies} studies per scenario"]
    for title, table in _tables(options, rng).items():
        lines += ["", f"## {title}", ""]
        for line in table:
            lines.append(line)
            print(f"{time.perf_counter() - begun:6.0f} s  {line}", file=sys.stderr, flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
