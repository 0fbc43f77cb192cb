"""What inflation is worth at equal clips: 2D weights inflated and trained on, against training from scratch.

``python -m tests.benchmarks.inflation STUDY.yaml --work FOLDER --out FILE.json`` trains, for every seed, the 2D network
(f-R2D, which averages over frames) for ``--flat`` epochs, every network for ``--tuned`` epochs from its weights, and
every network for the sum of both from scratch. Each is one ``stsearch train`` with the recipe ``quick`` into a folder
of FOLDER, so that what was stopped goes on; the study gives data, clip (``proxy:``) and width.
``python -m tests.benchmarks.inflation table FILE.json`` prints the table again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stsearch.data.sources import open_data
from stsearch.nets.inflate import flat
from stsearch.search.spec import Study, load_study
from stsearch.space.architecture import Architecture
from stsearch.space.published import NETWORKS
from stsearch.stats.accuracy import fit, told_apart
from tests.benchmarks.paired import Z, look

FLAT = "f-R2D"


@dataclass(frozen=True)
class Job:
    """One training."""

    network: str
    way: str
    """``scratch``: random weights; ``centre``, ``repeat``: the 2D weights in the middle tap or in all taps"""
    seed: int
    epochs: int
    architecture: Architecture
    """at the proxy's width"""
    begins: str = ""
    """the folder of the 2D training whose weights are inflated"""

    @property
    def folder(self) -> str:
        """Its place in the work folder."""
        return f"{self.network}-{self.way}-{self.seed}"


def jobs(asked: argparse.Namespace, width: float) -> Iterator[Job]:
    """All trainings, network by network, and the second way to inflate at last."""
    sized = {name: NETWORKS[f"{name}-18"].scaled(width) for name in (*asked.networks, *asked.repeat)}
    plane = flat(sized[asked.networks[0]])
    flats = [Job(FLAT, "scratch", seed, asked.flat, plane) for seed in range(asked.seeds)]
    yield from flats
    for name in asked.networks:
        for first in flats:
            yield Job(name, "scratch", first.seed, asked.flat + asked.tuned, sized[name])
            yield Job(name, "centre", first.seed, asked.tuned, sized[name], first.folder)
    for name in asked.repeat:
        for first in flats:
            yield Job(name, "repeat", first.seed, asked.tuned, sized[name], first.folder)


def trained(job: Job, asked: argparse.Namespace, study: Study) -> dict[str, Any]:
    """The row of one training, which ``stsearch train`` does or has done."""
    clip, out = study.proxy_clip(), asked.work / job.folder
    command = [sys.executable, "-m", "stsearch", "train", job.architecture.id, "--data", asked.study]
    command += ["--frames", str(clip.frames), "--size", str(clip.height), "--threads", "1", "--seed", str(job.seed)]
    command += ["--set", f"evaluate.epochs={job.epochs}", "--out", str(out), "--quiet", "--format", "json"]
    if job.begins:
        command += ["--inflate-from", str(asked.work / job.begins / "weights.pt"), "--inflate", job.way]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    record = json.loads((out / "record.json").read_text())
    found = record["training"]
    return {
        "network": job.network,
        "way": job.way,
        "seed": job.seed,
        "epochs": job.epochs,
        "architecture": job.architecture.id,
        "video_top1": found["video_top1"],
        "clip_top1": found["clip_top1"],
        "clips": found["clips"],
        "seconds": found["seconds"],
        "curve": [[epoch["train_loss"], epoch["clip_top1"]] for epoch in found["curve"]],
        "predicted": [answer for answer, _ in found["predictions"]],
        "versions": record["about"]["versions"],
    }


def table(kept: dict[str, Any]) -> Iterator[str]:
    """Means and gains, of what has been trained with every seed."""
    rows, labels = kept["trainings"], np.array(kept["labels"])
    by = {(row["network"], row["way"], row["seed"]): row for row in rows}
    seeds = sorted({seed for _, _, seed in by})
    every = dict.fromkeys((network, way) for network, way, _ in by)
    names = [name for name in every if all((*name, seed) in by for seed in seeds)]
    places = {name: place for place, name in enumerate(names)}
    answers = [[by[*name, seed]["predicted"] for seed in seeds] for name in names]
    data = look({place: np.array(found) == labels for place, found in enumerate(answers)})
    yield f"{len(labels)} videos, seeds {seeds}"
    yield "| network | begins with | clips after that | video@1 %, mean ± standard error | each |"
    yield "|---|---|--:|--:|---|"
    for place, name in enumerate(names):
        found = [by[*name, seed] for seed in seeds]
        each = " ".join(f"{row['video_top1']:.1f}" for row in found)
        yield (
            f"| {' | '.join(name)} | {found[0]['clips']:,} | {data.means[place]:.1f} ± {data.errors()[place]:.1f} "
            f"| {each} |"
        )
    yield "\n| network | way | gain over scratch, points (95 %) | told apart |\n|---|---|--:|---|"
    posterior = fit(data)
    for network, way in names:
        if way == "scratch":
            continue
        one, other = (np.array([places[network, which]]) for which in (way, "scratch"))
        gain, half = (data.means[one] - data.means[other])[0], Z * data.differences(one, other)[0]
        told = "yes" if told_apart(posterior.orders(one, other))[0] else "no"
        yield f"| {network} | {way} | {gain:+.1f} ({gain - half:+.1f} to {gain + half:+.1f}) | {told} |"


def main() -> None:
    """Train what is missing, then print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="a study's YAML file, or `table`")
    parser.add_argument("file", type=Path, nargs="?", help="with `table`: what --out wrote")
    parser.add_argument("--networks", nargs="*", default=["R3D", "MC3", "R(2+1)D"])
    parser.add_argument("--repeat", nargs="*", default=["R3D"], help="networks that are inflated in both ways")
    parser.add_argument("--flat", type=int, default=5, help="epochs of the 2D network")
    parser.add_argument("--tuned", type=int, default=5, help="epochs of an inflated one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder of the trainings")
    parser.add_argument("--out", type=Path, help="file of the results")
    asked = parser.parse_args()
    if asked.study == "table":
        print("\n".join(table(json.loads(asked.file.read_text()))))
        return
    study = load_study(asked.study)
    clip = study.proxy_clip()
    validation = open_data(study.spec.data).load(clip.frames, clip.height, lambda *_: None).splits["val"]
    kept: dict[str, Any] = {"labels": validation.labels.tolist(), "trainings": []}
    todo = list(jobs(asked, study.spec.proxy.width))
    for number, job in enumerate(todo, 1):
        row = trained(job, asked, study)
        kept["trainings"].append(row)
        asked.out.write_text(json.dumps(kept))
        print(f"{number} of {len(todo)}: {job.folder}: {row['video_top1']:.1f}", flush=True)
    print("\n".join(table(kept)))


if __name__ == "__main__":
    main()
