"""Rules of successive halving on made-up and on recorded curves, and what samplers learn from stopped networks.

    python tests/benchmarks/halving.py rules      # seconds
    python tests/benchmarks/halving.py samplers   # some minutes
    python tests/benchmarks/halving.py table docs/results/placements.json.gz --seeds 30

`table` looks recorded trainings up, the first of each network; rungs are those of nine epochs, scaled to the table's.
The curves of the others say nothing about videos: accuracy is 40 + slope x cost + N(0, spread) per cent, lower by about
25 points at epoch 1 and 10 at epoch 3, with more noise the earlier, and binomial noise of 400 videos.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from stsearch.evaluate.replay import read_table
from stsearch.resources import find
from stsearch.search.attributes import ARCHITECTURE, RUNGS, STOPPED
from stsearch.search.networks import once_per_network
from stsearch.search.samplers import HardBudget, suggest
from stsearch.space.architecture import parse_placement
from stsearch.space.blueprint import ClipShape
from stsearch.space.search_space import load_space
from stsearch.space.table import CostTable
from stsearch.stats.front import hypervolume, non_dominated
from stsearch.stats.ranks import Correlation, kendall
from stsearch.stats.rungs import Ladder, Replay, Verdict

RUNGS_AT = (1, 3, 9)
VIDEOS = 400


class _Share(Verdict):
    """The other rule: fewer than a third of the networks that cost no more may be better."""

    @property
    def goes_on(self) -> bool:
        return self.better < -(-self.among // 3)


class _ShareLadder(Ladder):
    def _verdicts(self, networks: Any, epoch: int) -> Any:
        return [_Share(**vars(found)) for found in super()._verdicts(networks, epoch)]


@dataclass(frozen=True)
class World:
    """Made-up networks."""

    costs: dict[str, float]
    found: dict[str, dict[int, float]]

    def front(self) -> set[str]:
        """By the accuracies of the last rung."""
        names = list(self.costs)
        values = np.array([[-self.found[n][9], self.costs[n]] for n in names])
        return {name for name, on in zip(names, non_dominated(values), strict=True) if on}


def world(costs: dict[str, float], slope: float, spread: float, noise: float, seed: int) -> World:
    """Curves of networks with these costs, which are scaled to 1 to 3."""
    rng = np.random.default_rng(seed)
    low, high = min(costs.values()), max(costs.values())
    found = {}
    for name, cost in costs.items():
        final = 40 + slope * (1 + 2 * (cost - low) / (high - low)) + rng.normal(0, spread)
        curve = {}
        for epoch, drop in ((1, 25.0), (3, 10.0), (9, 0.0)):
            clean = final - drop * (1 + rng.normal(0, 0.15)) + rng.normal(0, noise * drop / 25)
            curve[epoch] = 100 * rng.binomial(VIDEOS, np.clip(clean, 1, 99) / 100) / VIDEOS
        found[name] = curve
    return World(costs, found)


def rules(seeds: int) -> None:
    """Cost and lost part of the true front, for three rules."""
    made = {"accuracy alone (ASHA)": Ladder, "share of those that cost no more": _ShareLadder, "this one": Ladder}
    print("slope spread noise | " + " | ".join(f"{name}: cost, lost, lost of cheaper half" for name in made))
    for slope, spread in ((0, 8), (8, 8), (15, 8), (15, 3)):
        for noise in (2, 6):
            cells = [_rule(name, kind, slope, spread, noise, seeds) for name, kind in made.items()]
            print(f"{slope:5} {spread:6} {noise:5} | " + " | ".join(cells), flush=True)


def _rule(name: str, kind: type[Ladder], slope: float, spread: float, noise: float, seeds: int) -> str:
    spent, lost, lost_cheap = [], [], []
    for seed in range(seeds):
        rng = np.random.default_rng(1000 + seed)
        one = world({str(n): float(c) for n, c in enumerate(rng.uniform(1, 3, 120))}, slope, spread, noise, seed)
        order = iter(rng.permutation(list(one.costs)).tolist())
        alone = name.startswith("accuracy")
        search = Replay(
            kind(RUNGS_AT, 3, None, VIDEOS),
            lambda n, e, one=one: one.found[n][e],  # type: ignore[misc]
            lambda n, one=one, alone=alone: [] if alone else [one.costs[n]],  # type: ignore[misc]
            trials=120,
        )
        pieces = list(search.run(lambda order=order: next(order, None)))  # type: ignore[misc]
        complete = {piece.network for piece in pieces if piece.complete}
        spent.append(sum(piece.epochs for piece in pieces) / (9 * 120))
        front = sorted(one.front(), key=one.costs.__getitem__)
        lost += [network not in complete for network in front]
        lost_cheap += [network not in complete for network in front[: len(front) // 2]]
    return f"{np.mean(spent):4.0%} {np.mean(lost):4.0%} {np.mean(lost_cheap):4.0%}"


LADDERS = (((1, 3, 9), 3), ((1, 3, 9), 2), ((1, 2, 4, 9), 4), ((3, 9), 3), ((4, 9), 3), ((5, 9), 3))
"""Rungs of a training of nine epochs, and reductions"""


def recorded(path: Path, seeds: int, videos: int | None) -> None:
    """What rungs spend and lose where the curves are those of a table: networks in random order.

    ``videos`` of validation are read off the table where its data set says them.
    """
    kept = read_table(path)
    networks = {name: each[0] for name, each in kept.trainings.items() if not name.startswith("collapse")}
    identity, one = kept.about["identity"], next(iter(networks.values()))
    target, epochs = identity["target"], len(one.clip_top1)
    videos = videos or identity["data"]["val_clips"]
    table = CostTable(
        load_space(find("search_spaces", "paper-18")),
        ClipShape(3, target["frames"], target["size"], target["size"]),
        len(one.per_class),
    )
    costs = {name: table.cost_of(parse_placement(name))["gmacs"] for name in networks}
    curves = {name: one.clip_top1 for name, one in networks.items()}
    values = np.array(list(curves.values()))
    print(f"{len(networks)} networks, {seeds} orders; front: of the networks that a search begins")
    for epoch in sorted({at(rung, epochs) for rungs, _ in LADDERS for rung in rungs[:-1]}):
        tau = kendall(values[:, epoch - 1], values[:, -1])
        print(f"epoch {epoch:2}: tau with epoch {epochs} {shown(tau)}")
    print("networks, rungs, reduction | epochs spent | of the front stopped (n) | hypervolume kept")
    for count in sorted({min(40, len(networks)), len(networks)}):
        for nine, reduction in LADDERS:
            rungs = tuple(at(rung, epochs) for rung in nine)
            found = [_stops(curves, costs, videos, count, rungs, reduction, seed) for seed in range(seeds)]
            spent, lost, front, share = np.array(found).T
            print(
                f"{count:3}, {rungs}, {reduction} | {spent.mean():.0%} | {lost.sum() / front.sum():.1%}"
                f" ({front.sum():.0f}) | {share.mean():.2%}",
                flush=True,
            )


def at(rung: int, epochs: int) -> int:
    """The epoch of a training of so many epochs that ``rung`` is of one of nine."""
    return max(1, round(rung * epochs / 9))


def shown(tau: Correlation) -> str:
    """Value and interval."""
    if tau.value is None or tau.low is None:
        return "unknown"
    return f"{tau.value:.2f} ({tau.low:.2f} to {tau.high:.2f})"


def _stops(
    curves: dict[str, tuple[float, ...]], costs: dict[str, float], videos: int, count: int, rungs: tuple[int, ...],
    reduction: int, seed: int,
) -> tuple[float, int, int, float]:  # fmt: skip
    """Share of all epochs spent, front networks stopped, front networks, share of the front's hypervolume kept."""
    begun = np.random.default_rng(seed).permutation(list(curves)).tolist()[:count]
    order = iter(begun)
    search = Replay(
        Ladder(rungs, reduction, None, videos), lambda n, e: curves[n][e - 1], lambda n: [costs[n]], trials=count
    )
    pieces = list(search.run(lambda: next(order, None)))
    complete = [piece.network for piece in pieces if piece.complete]
    values = np.array([[-curves[name][-1], costs[name]] for name in begun])
    front = [name for name, on in zip(begun, non_dominated(values), strict=True) if on]
    kept = np.array([[-curves[name][-1], costs[name]] for name in complete])
    worst = values.max(0)
    spent = sum(piece.epochs for piece in pieces) / (rungs[-1] * count)
    lost = sum(name not in complete for name in front)
    return spent, lost, len(front), hypervolume(kept, worst) / hypervolume(values, worst)


def samplers(seeds: int, names: list[str], trials: int) -> None:
    """Hypervolume found, as a share of the true front's, with stopped networks shown or hidden."""
    space = load_space(find("search_spaces", "paper-18"))
    table = CostTable(space, ClipShape(3, 8, 32, 32), 4)
    everything = [space.architecture(n) for n in range(space.size)]
    costs = {a.id: table.cost_of(a)["gmacs"] for a in everything}
    print("sampler, trials | stopped shown as expected: share of hypervolume, epochs | shown as PRUNED: the same")
    for name in names:
        cells = []
        for shown in (True, False):
            found = [_searched(name, trials, shown, table, costs, seed) for seed in range(seeds)]
            share, epochs = np.array(found).T
            error = share.std(ddof=1) / np.sqrt(seeds)
            cells.append(f"{share.mean():.3f} +- {error:.3f}, {epochs.mean():.0f} epochs")
        print(f"{name:6} {trials} | " + " | ".join(cells), flush=True)


def _searched(
    name: str, trials: int, shown: bool, table: CostTable, costs: dict[str, float], seed: int
) -> tuple[float, int]:
    one = _smooth(world(costs, 5, 0, 4, seed), table, seed)
    sampler = HardBudget(name, table, {}, seed=seed, trials=trials)
    if shown:
        sampler.view = lambda study: once_per_network(study, ["video_top1", "gmacs"])
    study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
    waiting: dict[str, optuna.Trial] = {}

    def propose() -> str:
        trial = study.ask()
        architecture = suggest(trial, table.space)
        trial.set_user_attr(ARCHITECTURE, architecture.id)
        waiting[architecture.id] = trial
        return architecture.id

    ladder = Ladder(RUNGS_AT, 3, None, VIDEOS)
    search = Replay(ladder, lambda n, e: one.found[n][e], lambda n: [costs[n]], trials=trials)
    epochs, complete = 0, []
    for piece in search.run(propose):
        epochs += piece.epochs
        _tell(study, sampler, waiting, piece.network, piece.end, piece.complete, one)
        if piece.complete:
            complete.append(piece.network)
    worst = np.array([0.0, max(costs.values())])
    values = np.array([[-one.found[n][9], costs[n]] for n in costs])
    mine = np.array([[-one.found[n][9], costs[n]] for n in complete])
    return hypervolume(mine, worst) / hypervolume(values, worst), epochs


def _smooth(one: World, table: CostTable, seed: int) -> World:
    """Accuracies that depend on the placement: a value per stage and kind, and one per pair of neighbours."""
    rng = np.random.default_rng(seed)
    alone, pairs = rng.normal(0, 4, (5, 3)), rng.normal(0, 2, (4, 3, 3))
    kinds = {"2d": 0, "3d": 1, "2plus1d": 2}
    found = {}
    for number in range(table.space.size):
        architecture = table.space.architecture(number)
        row = [kinds[architecture.stem], *(kinds[stage[0]] for stage in architecture.stages)]
        gain = sum(alone[stage, kind] for stage, kind in enumerate(row))
        gain += sum(pairs[stage, a, b] for stage, (a, b) in enumerate(pairwise(row)))
        found[architecture.id] = {
            epoch: float(np.clip(value + gain, 0, 100)) for epoch, value in one.found[architecture.id].items()
        }
    return replace(one, found=found)


def _tell(
    study: optuna.Study, sampler: HardBudget, waiting: dict[str, optuna.Trial], network: str, end: int,
    complete: bool, one: World,
) -> None:  # fmt: skip
    """Tell the study what became of a network; one that goes on gets a further trial."""
    trial = waiting.pop(network, None)
    if trial is None:
        sampler.given = sampler._known(network)
        trial = study.ask()
        suggest(trial, sampler.space)
        sampler.given = None
        trial.set_user_attr(ARCHITECTURE, network)
    reached = {str(epoch): one.found[network][epoch] for epoch in RUNGS_AT if epoch <= end}
    known = {RUNGS: reached, "video_top1": one.found[network][end], "gmacs": one.costs[network]}
    for key, value in known.items():
        trial.set_user_attr(key, value)
    if complete:
        study.tell(trial, [one.found[network][9], one.costs[network]])
    else:
        trial.set_user_attr(STOPPED, end)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def _quietly() -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rules", "samplers", "table"])
    parser.add_argument("file", type=Path, nargs="?", help="of `table`")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--sampler", nargs="+", default=["tpe", "nsga2", "gp"])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--videos", type=int, help="of validation, for a `table` that does not say")
    given = parser.parse_args()
    for _ in _quietly():
        if given.what == "rules":
            rules(given.seeds)
        elif given.what == "table":
            recorded(given.file, given.seeds, given.videos)
        else:
            samplers(given.seeds, given.sampler, given.trials)


if __name__ == "__main__":
    main()
