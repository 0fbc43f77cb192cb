"""How far one short training tells networks apart: the same networks, trained with several seeds, ranked by each.

``python -m tests.benchmarks.variance STUDY.yaml --networks paper --seeds 5 --out FILE.json`` trains what FILE does not
hold yet and prints the table; ``--set`` as for ``stsearch run``; ``--networks 40`` draws so many placements of the
study's space besides. Every seed is that of a study of its own: weights, order of clips and cuts, but not the data.
``--vary weights`` or ``--vary clips`` changes one of the two alone; the other keeps seed 0.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stsearch.data.sources import open_data
from stsearch.data.videos import ClipData
from stsearch.evaluate.evaluators import Task, begun, trainer_of
from stsearch.search.fitting import fitted
from stsearch.search.spec import Study, load_study
from stsearch.space.architecture import Architecture
from stsearch.space.published import NETWORKS, PLACEMENTS, PUBLISHED
from stsearch.stats.ranks import kendall

STUDY: Study
DATA: ClipData
VARIED = "both"


def chosen(study: Study, asked: str, drawn_with: int) -> dict[str, Architecture]:
    """The paper's twelve networks of 18 layers, or so many random ones of the study's space."""
    if asked == "paper":
        return {name: NETWORKS[f"{name}-18"] for name in dict.fromkeys(["R2D", *PLACEMENTS])}
    random = np.random.default_rng(drawn_with)
    found: dict[str, Architecture] = {}
    while len(found) < int(asked):
        network = study.space.architecture(int(random.integers(study.space.size)))
        found[network.id] = network
    return found


def trained(job: tuple[str, Architecture, int]) -> dict[str, Any]:
    """One training, as a row."""
    torch.set_num_threads(1)
    name, architecture, seed = job
    proxy = architecture.scaled(STUDY.spec.proxy.width)
    task = Task(proxy, STUDY.proxy_clip(), DATA, STUDY.spec.evaluate, 0, torch.device("cpu"))
    network, _ = begun(replace(task, seed=0 if VARIED == "clips" else seed), 0)
    _, order = begun(replace(task, seed=0 if VARIED == "weights" else seed), 0)
    trainer = trainer_of(task, network, order)
    while trainer.done < task.recipe.length:
        trainer.epoch()
    found = trainer.result()
    curve = found.curve
    return {
        "network": name,
        "architecture": architecture.id,
        "seed": seed,
        "top1": found.video_top1,
        "order": found.order_top1,
        "frames": found.frames_top1,
        "train_loss": curve[-1].train_loss,
        "val_loss": curve[-1].val_loss,
        "predicted": [answer for answer, _ in found.predictions],
        "curve": [[epoch.train_loss, epoch.clip_top1] for epoch in curve],
        "seconds": found.seconds,
    }


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Means, what varies within a network, and how seeds agree."""
    names = sorted(
        {row["network"] for row in rows}, key=lambda n: -np.mean([r["top1"] for r in rows if r["network"] == n])
    )
    seeds = sorted({row["seed"] for row in rows})
    for name in names:
        own = [row for row in rows if row["network"] == name]
        mean = {key: np.mean([row[key] for row in own]) for key in ("top1", "train_loss", "seconds")}
        parts = "".join(
            f" | {key} {np.mean([row[key] for row in own]):.1f}"
            for key in ("order", "frames")
            if own[0][key] is not None
        )
        each = " ".join(f"{row['top1']:.0f}" for row in sorted(own, key=lambda row: row["seed"]))
        parts += f" | loss {mean['train_loss']:.2f} | {mean['seconds']:.0f} s"
        yield f"{name:32s} {mean['top1']:5.1f} ({each}){parts}"
    by = {(row["network"], row["seed"]): row["top1"] for row in rows}
    whole = [name for name in names if all((name, seed) in by for seed in seeds)]
    values = np.array([[by[name, seed] for seed in seeds] for name in whole])
    if len(seeds) > 1:
        taus = [kendall(values[:, a], values[:, b]).value or 0.0 for a, b in combinations(range(len(seeds)), 2)]
        within = values.var(1, ddof=1).mean()
        between = values.mean(1).var(ddof=1) - within / len(seeds)
        yield f"n = {len(whole)} networks, {len(seeds)} seeds: seed-to-seed tau {np.mean(taus):.2f} "
        yield f"deviation of one training {within**0.5:.1f}, intraclass correlation {between / (between + within):.3f}"
    if "R2D" in whole:
        known = {r.network: r.video_top1 for r in PUBLISHED if r.frames == 16}
        published = np.array([known[f"{name}-18"] for name in whole])
        found = kendall(values.mean(1), published)
        yield f"tau of the means with the paper's order {found.value} ({found.low} to {found.high})"


def main() -> None:
    """Train what is missing, then print."""
    global STUDY, DATA, VARIED
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--networks", default="paper")
    parser.add_argument("--names", nargs="*")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--drawn-with", type=int, default=0)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--vary", choices=["both", "weights", "clips"], default="both")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    VARIED = asked.vary
    STUDY = load_study(asked.study, asked.overrides)
    clip = STUDY.proxy_clip()
    DATA = open_data(STUDY.spec.data).load(clip.frames, clip.height, lambda *_: None)
    STUDY = fitted(STUDY, DATA)
    kept = json.loads(asked.out.read_text()) if asked.out.exists() else {"trainings": []}
    kept["recipe"] = STUDY.spec.evaluate.model_dump()
    done = {(row["network"], row["seed"]) for row in kept["trainings"]}
    networks = chosen(STUDY, asked.networks, asked.drawn_with)
    networks = {name: networks[name] for name in asked.names or networks}
    jobs = [(name, a, seed) for seed in range(asked.seeds) for name, a in networks.items() if (name, seed) not in done]
    with ProcessPoolExecutor(asked.workers, mp_context=multiprocessing.get_context("fork")) as pool:
        for number, row in enumerate(pool.map(trained, jobs), 1):
            kept["trainings"].append(row)
            asked.out.write_text(json.dumps(kept))
            print(f"{number} of {len(jobs)}: {row['network']} seed {row['seed']}: {row['top1']:.1f}", flush=True)
    print(json.dumps(kept["recipe"]))
    print("\n".join(table(kept["trainings"])))


if __name__ == "__main__":
    main()
