"""Whole studies of trainings that only take time, whose workers are killed and stopped by a plan."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
import torch

from stsearch.data.sources import open_data
from stsearch.evaluate.evaluators import EVALUATORS, Evaluation, Task
from stsearch.evaluate.simulated import SimulatedRecipe, accuracy
from stsearch.search.spec import load_study
from stsearch.space.published import NETWORKS
from tests.conftest import ROOT, awaited

pytestmark = pytest.mark.slow


def faults(database: str, folder: Path, *options: str) -> list[str]:
    command = [sys.executable, "-m", "tests.benchmarks.faults", database, "--folder", str(folder / "faults")]
    return [*command, "--limit=200", *options]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("[{do: kill, at: [1, 3]}, {do: stop, at: [2], for: 3}]", {"kill", "stop"}),
        ("[{do: cut, at: [2, 4, 6, 8, 10, 12, 14, 16]}]", {"cut"}),
    ],
    ids=["workers", "connections"],
)
def test_nothing_is_lost_or_trained_twice(plan: str, said: Collection[str], database: str, tmp_path: Path) -> None:
    if "cut" in plan and database.startswith("sqlite"):
        pytest.skip("a file has no connections that somebody else can cut")
    Path("plan.yaml").write_text(plan)
    options = ["--workers=3", "--trials=12", "--seconds=1.5", "--plan", str(tmp_path / "plan.yaml")]
    done = subprocess.run(faults(database, tmp_path, *options), capture_output=True, text=True, cwd=ROOT)
    found = json.loads(done.stdout)
    assert done.returncode == 0, found
    assert (found["complete"], found["distinct"], found["lost"]) == (12, 12, 0)
    assert found["front_as_computed_at_once"]
    assert set(found["came"]) == set(said), "some were killed, stopped or cut"
    assert found["exit_codes"].get("-9", 0) == found["came"].get("kill", 0)


def test_workers_end_with_what_began_them(tmp_path: Path) -> None:
    command = faults(f"sqlite:///{tmp_path}/faults.db", tmp_path, "--workers=2", "--trials=4", "--seconds=100")
    process = subprocess.Popen(command, cwd=ROOT)
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def both() -> list[str]:
        pids = listed.read_text().split() if (tmp_path / "faults" / "1.log").exists() else []
        return pids if len(pids) == 2 else []

    began = awaited(process, both)
    process.kill()
    process.wait()
    assert began
    for pid in began:
        assert subprocess.run(["tail", "-f", "/dev/null", f"--pid={pid}"], timeout=60, check=False).returncode == 0


def test_an_accuracy_is_a_function_of_network_and_seed() -> None:
    blind, seeing = NETWORKS["f-R2D-18"], NETWORKS["R3D-18"]
    assert accuracy(blind, 1, 2.0) == accuracy(blind, 1, 2.0) != accuracy(blind, 2, 2.0)
    assert abs(accuracy(seeing, 1, 2.0) - accuracy(seeing, 2, 2.0)) <= 4
    assert accuracy(seeing, 1, 0.0) == accuracy(seeing, 2, 0.0)


def test_an_accuracy_is_a_percentage_whatever_the_noise() -> None:
    found = [accuracy(NETWORKS["f-R2D-18"], seed, 50.0) for seed in range(300)]
    assert min(found) == 0
    assert max(found) <= 99


def test_repeats_are_the_trainings_that_would_have_been(tiny: Path) -> None:
    """``again`` makes the training of a number that ``repeats`` would have made."""
    evaluator, study = EVALUATORS["simulated"], load_study(str(tiny))
    clip = study.proxy_clip()
    data = open_data(study.spec.data).load(clip.frames, clip.height, lambda *_: None)

    def task(repeats: int) -> Task:
        recipe = SimulatedRecipe(name="simulated", seconds=0, repeats=repeats)
        return Task(NETWORKS["MC3-18"], clip, data, recipe, 5, torch.device("cpu"))

    whole = evaluator.run(task(3), lambda *_: None)
    assert isinstance(whole, Evaluation)
    assert evaluator.again is not None
    each = [evaluator.again(task(1), number, lambda *_: None) for number in range(3)]
    assert [one.trainings[0] for one in each] == list(whole.trainings)
    assert whole.video_top1 == pytest.approx(sum(one.video_top1 for one in each) / 3)
