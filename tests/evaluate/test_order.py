"""``order_top1`` and ``frames_top1``: what networks make of the order of frames, from training to every reader."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.data.videos import ClipData
from stsearch.errors import SpecError
from stsearch.evaluate.accuracy import frames_top1, order_top1, video_accuracies
from stsearch.evaluate.evaluators import Task, evaluate_by_training
from stsearch.evaluate.halving import HalvingRecipe, evaluate_by_halving
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.evaluate.results import Training
from stsearch.evaluate.train import train, video_probabilities
from stsearch.nets.build import build
from stsearch.report.notes import study_note
from stsearch.report.pareto import pareto_of
from stsearch.search.metrics import OF_PAIRS
from stsearch.search.reading import StoredStudy, read_study
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.training import Event
from stsearch.search.worker import work
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import NETWORKS
from tests.conftest import Cli

CLIP = ClipShape(3, 4, 16, 16)
CPU = torch.device("cpu")
OBJECTIVES = "objectives={order_top1: maximize, gmacs: minimize}"


@pytest.fixture(scope="module")
def motions() -> ClipData:
    return load_motions(MotionsRecipe(classes=4, clips=80, val_clips=40), CLIP.frames, CLIP.height)


def trained(data: ClipData, name: str, **recipe: object) -> tuple[Training, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    network = build(NETWORKS[name].scaled(0.125), CLIP, len(data.classes), generator=generator)
    chosen = TrainRecipe.model_validate({"epochs": 3, "batch": 8, **recipe})
    where = {"frames": 4, "size": 16, "device": CPU}
    result = train(network, data, chosen, generator=generator, **where)  # type: ignore[arg-type]
    return result, video_probabilities(network, data, chosen, **where)  # type: ignore[arg-type]


def quiet(*_: object) -> None:
    """No progress."""


def run(tiny: Path, *settings: str) -> list[Event]:
    events: list[Event] = []
    work(open_session(load_study(str(tiny), list(settings)), quiet), events.append)
    return events


def test_of_known_probabilities() -> None:
    opposite = (1, 0, 3, 2)
    rows = torch.tensor([[0.45, 0.1, 0.25, 0.2], [0.2, 0.1, 0.6, 0.1], [0.1, 0.1, 0.4, 0.4], [0.5, 0.1, 0.1, 0.3]])
    labels = torch.tensor([0, 1, 2, 3])
    assert order_top1(rows, labels, opposite) == 50.0, "the first and the last; equal ones are not right"
    assert frames_top1(rows, labels, opposite) == 50.0
    assert frames_top1(rows[2:], labels[2:], opposite) == 50.0
    assert order_top1(rows, labels, (3, 2, 1, 0)) == 50.0
    assert order_top1(rows, torch.tensor([0, 0, 2, 2]), (3, 2, 1, 0)) == 75.0, "pairs need not be neighbours"
    found = video_accuracies(rows, labels, opposite)
    assert (found["order_top1"], found["frames_top1"]) == (50.0, 50.0)
    assert not {"order_top1", "frames_top1"} & video_accuracies(rows, labels).keys()


@pytest.mark.parametrize("opposite", [(1, 0), (1, 2, 3, 0), (1, 0, 3, 4), (1, 0, 3, 2, 5, 4)])
def test_opposites_that_are_no_pairs(motions: ClipData, opposite: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="4 classes, in pairs"):
        replace(motions, opposite=opposite)


def test_the_built_in_set_has_pairs_and_is_the_same_as_ever(motions: ClipData) -> None:
    assert [(motions.classes[a], motions.classes[b]) for a, b in enumerate(motions.opposite)] == [
        ("right", "left"), ("left", "right"), ("approach", "recede"), ("recede", "approach"),
    ]  # fmt: skip
    older = load_motions(MotionsRecipe(classes=4, clips=40, val_clips=20), 4, 16)
    assert older.fingerprint == "635c0204da4fae68", "as before there were opposites"


@pytest.mark.parametrize("name", ["f-R2D-18", "R2D-18", "R3D-18"])
def test_a_training_says_what_its_probabilities_do(motions: ClipData, name: str) -> None:
    result, probabilities = trained(motions, name)
    labels = motions.splits["val"].labels
    own = probabilities[torch.arange(40), labels] > probabilities[torch.arange(40), labels ^ 1]
    assert result.order_top1 == pytest.approx(100 * float(own.double().mean()))
    right = (probabilities[:, 0::2] + probabilities[:, 1::2]).argmax(1) == labels // 2
    assert result.frames_top1 == pytest.approx(100 * float(right.double().mean()))
    assert result.order_top1 is not None
    assert result.video_top1 <= result.order_top1, "a class that is above all is above its opposite"


@pytest.mark.parametrize("epochs", [1, 6])
def test_a_network_blind_to_order_is_at_one_half_at_most(motions: ClipData, epochs: int) -> None:
    result, _ = trained(motions, "f-R2D-18", epochs=epochs, lr=0.02)
    assert result.order_top1 is not None
    assert result.order_top1 <= 50.0
    assert result.frames_top1 is not None


def test_order_is_what_a_blind_network_lacks(motions: ClipData) -> None:
    """Seen in time the same recipe goes beyond one half on the videos that it was trained on."""
    same = replace(motions, splits={**motions.splits, "val": motions.splits["train"]})
    seeing, blind = (trained(same, name, epochs=25)[0] for name in ("R3D-18", "f-R2D-18"))
    assert seeing.order_top1 is not None
    assert blind.order_top1 is not None
    assert seeing.order_top1 > 60.0
    assert blind.order_top1 <= 50.0


def test_without_pairs_there_is_none(motions: ClipData) -> None:
    result, _ = trained(replace(motions, opposite=()), "MC3-18", epochs=1)
    assert (result.order_top1, result.frames_top1) == (None, None)
    with_pairs, _ = trained(motions, "MC3-18", epochs=1)
    assert (result.video_top1, result.loss_sum) == (with_pairs.video_top1, with_pairs.loss_sum)


def test_evaluations_are_means_and_say_what_there_is(motions: ClipData) -> None:
    recipe = TrainRecipe(epochs=1, batch=8, repeats=2)
    task = Task(NETWORKS["R3D-18"].scaled(0.125), CLIP, motions, recipe, 0, CPU)
    found = evaluate_by_training(task, quiet)
    for name in OF_PAIRS:
        assert found.metrics[name] == sum(getattr(training, name) for training in found.trainings) / 2
    bare = evaluate_by_training(replace(task, data=replace(motions, opposite=())), quiet)
    assert set(bare.metrics) == {"video_top1", "clip_top1"}


def test_rungs_have_it(motions: ClipData) -> None:
    recipe = HalvingRecipe(rungs=[1, 2], batch=8)
    task = Task(NETWORKS["R3D-18"].scaled(0.125), CLIP, motions, recipe, 0, CPU)
    (training,) = evaluate_by_halving(task, quiet).trainings
    assert [rung.epoch for rung in training.rungs] == [1, 2]
    assert (training.rungs[-1].order_top1, training.rungs[-1].frames_top1) == (
        training.order_top1, training.frames_top1,
    )  # fmt: skip
    assert training.order_top1 is not None


@pytest.fixture
def study(tiny: Path) -> StoredStudy:
    """Searched for order, with repeats of near-ties and the reference outside the space."""
    events = run(tiny, OBJECTIVES, "search.trials=5", "search.repeats=3", "search.start_with=paper", "data.classes=4")
    assert any("again" in event for event in events)
    assert all(0 <= event["order_top1"] <= 100 for event in events if event["event"] == "done")
    return read_study("tiny")


@pytest.mark.slow
def test_a_study_that_searches_for_it(study: StoredStudy, cli: Cli) -> None:
    """As objective with repeats, error and probability, as column of CSV and JSON, and in words everywhere."""
    pareto = pareto_of(study)
    assert list(study.objectives) == ["order_top1", "gmacs"]
    for record, details in zip(study.records(study.complete), study.details(study.complete), strict=True):
        for name in OF_PAIRS:
            values = [training[name] for training in details["trainings"]]
            assert record.metrics[name] == pytest.approx(sum(values) / len(values))
    assert any(len(details["trainings"]) > 1 for details in study.details(study.complete))
    assert all(set(OF_PAIRS) <= record.metrics.keys() for record in study.references())
    shown = json.loads(cli("pareto", "tiny", "--format", "json").stdout)
    assert all({"order_top1", "order_top1_se", "frames_top1", "p_front"} <= row.keys() for row in shown["front"])
    rows = list(csv.DictReader(io.StringIO(cli("pareto", "tiny", "--format", "csv").stdout)))
    assert all(float(row["order_top1"]) <= 100 and float(row["frames_top1"]) <= 100 for row in rows)
    best = max(pareto.front, key=lambda record: record.metrics["order_top1"])
    said = f"{best.metrics['order_top1']:.1f} % ({best.network}) of the videos (order@1; at most 50 %"
    texts = [" ".join(cli("pareto", "tiny").stdout.split()), study_note(study, pareto)]
    assert "order@1 (%)" in texts[0]
    assert cli("report", "tiny", "-o", "tiny.html").returncode == 0
    assert 'id="plot-paper"' in Path("tiny.html").read_text()
    texts += [Path("tiny.html").read_text(), cli("report", "tiny", "--format", "md").stdout]
    for text in texts:
        assert said in text.replace("\\", ""), text[-2000:]
    assert all("order top-1" in text for text in texts[1:])


@pytest.mark.slow
def test_records_of_earlier_versions_lack_it(tiny: Path, cli: Cli) -> None:
    """A study that an earlier version began is read, goes on and gets repeats; what lacks the figures is left blank."""
    settings = ["search.start_with=paper", "data.classes=4"]
    run(tiny, "search.trials=3", *settings)
    forget("studies/tiny.db")
    everything = [("pareto", "tiny"), ("pareto", "tiny", "--format", "csv"), ("report", "tiny", "-o", "tiny.html")]
    for command in everything:
        ran = cli(*command)
        assert ran.returncode == 0, ran.stderr
        assert "order" not in ran.stdout
    page = Path("tiny.html").read_text()
    assert "order@1" not in page
    assert "order top-1" not in page
    assert all(not set(OF_PAIRS) & record.metrics.keys() for record in pareto_of(read_study("tiny")).front)
    run(tiny, "search.trials=5", "search.repeats=4", *settings)
    stored = read_study("tiny")
    known = [set(OF_PAIRS) <= record.metrics.keys() for record in stored.records(stored.complete)]
    assert known.count(True) == 2
    assert len(stored.repeats) >= 1
    for command in everything:
        ran = cli(*command)
        assert ran.returncode == 0, ran.stderr


def forget(database: str) -> None:
    """Take from every trial and reference what earlier versions did not write."""

    def older(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: older(inner) for key, inner in value.items() if key not in OF_PAIRS}
        return [older(inner) for inner in value] if isinstance(value, list) else value

    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM trial_user_attributes WHERE key IN (?, ?)", OF_PAIRS)
        for table, owner in (("trial_system_attributes", "trial_id"), ("study_user_attributes", "study_id")):
            found = connection.execute(f"SELECT {owner}, key, value_json FROM {table}").fetchall()  # noqa: S608
            query = f"UPDATE {table} SET value_json = ? WHERE {owner} = ? AND key = ?"  # noqa: S608
            connection.executemany(query, [(json.dumps(older(json.loads(text))), *key) for *key, text in found])
    connection.close()


@pytest.mark.parametrize("name", OF_PAIRS)
def test_data_without_pairs_are_refused_before_anything_is_written(
    tiny: Path, clips: Path, name: str, cli: Cli
) -> None:
    ran = cli("run", str(tiny), f"--set=objectives={{{name}: maximize}}", f"--set=data={{name: folder, path: {clips}}}")
    assert ran.returncode == 2
    assert f"objectives.{name}: is of data whose classes are pairs" in ran.stderr
    assert "those of 'folder' are not" in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1, ran.stderr
    assert not Path("studies").exists()
    assert not Path("cache").exists()


def test_a_score_does_not_say_it(tiny: Path) -> None:
    settings = [OBJECTIVES, "evaluate={name: score, score: synflow}"]
    with pytest.raises(SpecError, match=r"objectives\.order_top1: .*score.* does not tell it"):
        load_study(str(tiny), settings)


@pytest.mark.slow
def test_halving_compares_it(tiny: Path) -> None:
    events = run(tiny, OBJECTIVES, "evaluate={name: halving, rungs: [1, 2], batch: 12}", "search.trials=5")
    stored = read_study("tiny")
    for found in stored.attributes(["rungs", "order_top1"], stored.complete):
        assert found["rungs"]["2"] == found["order_top1"]
    assert any(event["event"] == "done" for event in events)


def test_evaluate_says_it(tiny: Path, cli: Cli) -> None:
    run(tiny, "search.start_with=[MC3-18]", "search.trials=1")
    (record,) = read_study("tiny").records(read_study("tiny").complete)
    found = json.loads(cli("evaluate", "tiny#0", "--format", "json", "--quiet").stdout)["networks"][0]
    assert {name: found[name] for name in OF_PAIRS} == {name: record.metrics[name] for name in OF_PAIRS}
    assert "frames@1 (%)" in cli("evaluate", "tiny#0", "--quiet").stdout
