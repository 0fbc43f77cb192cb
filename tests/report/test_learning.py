"""Whether networks have learnt: what curves say, and that run, pareto and report say it where they have not."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from stsearch.cli import main
from stsearch.report import learning as rules
from stsearch.report.collect import report_of
from stsearch.report.html import html
from stsearch.report.learning import Baseline, Learning, baseline_of, learning_of, learnt_of, take_off
from stsearch.report.learning_text import figures, remedy, warnings
from stsearch.report.markdown import markdown
from stsearch.report.pareto import pareto_of
from stsearch.search.reading import Record, StoredStudy, read_study
from stsearch.space.blueprint import ClipShape, sees_order
from stsearch.space.published import NETWORKS
from tests.conftest import ROOT

RESULTS = ROOT / "docs" / "results"
STUDY = """\
space: paper-18
target: {frames: 8, size: 32}
proxy: {frames: 4, size: 16, width: 0.125}
data: {name: motions, classes: 4, clips: 200, val_clips: 100}
evaluate: {name: train, epochs: 8}
search: {sampler: random, trials: 4, start_with: [R3D-18, f-R2D-18, MC3-18, rMC3-18]}
engine: {workers: 1}
"""
SHORT = ["--set", "data.clips=50", "--set", "evaluate={name: train, epochs: 1}"]
HOT = ["--set", "evaluate={name: train, epochs: 1, batch: 100, optimizer: sgd, lr: 100}"]


def ran(*arguments: str) -> str:
    """What a command that succeeds prints on stdout, on one line."""
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def learning_in(study: str) -> dict[str, Any]:
    """Its part of the JSON of ``pareto``, which must be JSON to the letter."""
    text = CliRunner().invoke(main, ["pareto", study, "--format", "json"], catch_exceptions=False).stdout
    found: dict[str, Any] = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))["learning"]
    return found


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A folder with three studies that were really trained, and what `run` said at the end of each."""
    folder = tmp_path_factory.mktemp("learning")
    before, threads, cache = Path.cwd(), torch.get_num_threads(), os.environ.get("STSEARCH_CACHE")
    os.chdir(folder)
    torch.set_num_threads(1)
    os.environ["STSEARCH_CACHE"] = str(folder / "cache")
    Path("base.yaml").write_text(STUDY)
    studies: dict[str, list[str]] = {"long": [], "short": SHORT, "hot": HOT}
    words = {name: ran("run", "base.yaml", "--quiet", "--set", f"name={name}", *more) for name, more in studies.items()}
    words["folder"] = str(folder)
    yield words
    os.chdir(before)
    torch.set_num_threads(threads)
    os.environ.pop("STSEARCH_CACHE")
    if cache is not None:
        os.environ["STSEARCH_CACHE"] = cache


@pytest.fixture
def there(said: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The same, from within that folder."""
    monkeypatch.chdir(said["folder"])
    return said


# In the commands


@pytest.mark.slow
def test_nothing_is_said_of_a_study_that_learnt(there: dict[str, str]) -> None:
    assert "warning" not in there["long"]
    assert "warning" not in ran("pareto", "long")
    found = learning_in("long")
    assert (found["verdict"], found["said"]) == ("learnt", [])
    assert found["median"]["train_loss"] < 0.4 * math.log(4)
    assert found["chance"] == found["majority"] == 25
    rows = {row["network"]: row for row in found["networks"]}
    blind = rows.pop("f-R2D-18")
    assert not blind["judged"], "it sits at a ceiling of its own"
    assert blind["video_top1"] <= 50
    assert (found["judged"], found["not_learnt"]) == (3, 0)
    for row in rows.values():
        assert row["learnt"]
        assert row["steps"] == 8 * 7
        assert 0 < row["take_off_steps"] == 7 * row["take_off_epoch"] < 8 * 7
        assert row["train_top1"] > 60
        assert row["val_loss"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("study", ["short", "hot"])
def test_networks_that_have_not_learnt_are_said_everywhere(there: dict[str, str], study: str) -> None:
    found = learning_in(study)
    assert found["verdict"] == "not learnt"
    loss = found["median"]["train_loss"]
    shown = f"{loss:.2f}" if loss < 1000 else f"{loss:.3g}"
    for text in (there[study], ran("pareto", study), " ".join(found["said"])):
        assert "None of the 3 networks that were looked at (of 4 trained) had learnt yet" in text
        assert "so the ranking is of luck" in text
        assert f"the training loss of the middle network is {shown} nats, where a guess has ln(4) = 1.39" in text
        assert "where naming the largest class every time has 25.0 %" in text
        assert f"`stsearch audit {study}`" in text
    report = report_of(read_study(study))
    for text in (html(report), markdown(report)):
        assert "had learnt yet when their training ended, so the ranking is of luck" in text
        assert "Chance is 25.0 %; naming the largest class of the 100 validation videos every time gives 25.0 %" in text


@pytest.mark.slow
def test_what_to_type_next(there: dict[str, str]) -> None:
    for study in ("long", "short", "hot"):
        lines = there[study].split("Next:")[1]
        assert (" stsearch report long" in lines) == (study == "long")
        assert "--set=search.repeats=10" in lines or study != "long", "one training each, and ties"
    longer = "--set=evaluate.epochs=48 --set=name=short-48"
    assert (
        f"stsearch run base.yaml --set=data.clips=50 '--set=evaluate={{name: train, epochs: 1}}' {longer}"
        in (there["short"])
    )
    assert "Train longer. " in there["short"]
    unfound = ran("pareto", "short")  # its file has another name, so that there is no command to propose
    assert "Train longer (`stsearch run` as before, with `--set evaluate.epochs=48 --set name=short-48`)" in unfound
    for text in (there["short"], unfound):
        assert text.count("evaluate.epochs=48") == 1, "advice is given once"
    picked = ran("pareto", "short", "--pick", "max-accuracy")
    assert "Warning: Most networks had not learnt: it is chosen from a ranking of luck, so train longer" in picked
    assert "Most networks had not learnt" not in ran("pareto", "long", "--pick", "max-accuracy")
    assert "search.repeats trains near-ties" not in there["long"], "that is below Next"
    assert "since no network was trained twice." in there["long"]
    assert "train with a smaller learning rate" in there["hot"]
    assert "--set=evaluate.lr=10 --set=name=hot-lr-10" in there["hot"]
    assert "evaluate.epochs" not in there["long"]


@pytest.mark.slow
def test_the_report_takes_no_flat_end_for_convergence(there: dict[str, str]) -> None:
    page = html(report_of(read_study("long")))
    assert "still rises at its end" not in page
    assert "An end that is flat is no sign that a network has learnt all it can" in page
    assert "Figures of the last epoch, 4 networks" in page
    assert "had learnt yet" not in page
    assert "<code>stsearch audit long</code>" in page
    (_, _, said) = report_of(read_study("short")).answer
    assert "had learnt yet when their training ended, so the ranking is of luck" in said


@pytest.mark.slow
def test_records_of_earlier_versions(there: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They know neither training accuracy, validation loss, steps nor predictions; still earlier ones no confusion."""
    (tmp_path / "studies").mkdir()
    for name in ("long", "short"):
        _copied(Path(f"studies/{name}.db"), tmp_path / "studies" / f"{name}.db")
    monkeypatch.chdir(tmp_path)
    for gone, majority in ((("predictions",), 25), (("predictions", "confusion"), None)):
        for name, verdict in (("long", "learnt"), ("short", "not learnt")):
            _forget(name, gone)
            found = learning_in(name)
            assert (found["verdict"], found["majority"]) == (verdict, majority)
            assert all(row["train_loss"] is not None for row in found["networks"])
            assert all(row["train_top1"] is row["val_loss"] is row["steps"] is None for row in found["networks"])
            assert (found["networks"][0]["take_off_epoch"] is None) == (name == "short")
            assert ("had learnt yet" in ran("pareto", name)) == (name == "short")
            assert "Chance is 25.0 %" in html(report_of(read_study(name)))
    _forget("long", ("curve",))
    assert learning_in("long") is None
    assert "Chance is" not in html(report_of(read_study("long")))


def _copied(database: Path, to: Path) -> None:
    """A copy of a database, with what its log holds that is open elsewhere in this process."""
    with contextlib.closing(sqlite3.connect(database)) as old, contextlib.closing(sqlite3.connect(to)) as new:
        old.backup(new)


def _forget(study: str, gone: tuple[str, ...]) -> None:
    """Take keys that earlier versions did not have out of the records of a study's trainings."""
    with sqlite3.connect(f"studies/{study}.db") as connection:
        rows = connection.execute(
            "SELECT trial_system_attribute_id, value_json FROM trial_system_attributes WHERE key = 'stsearch:record'"
        ).fetchall()
        assert len(rows) == 4
        for row, text in rows:
            record = json.loads(text)
            for training in record["trainings"]:
                for epoch in training["curve"]:
                    for key in ("train_top1", "val_loss", "steps"):
                        epoch.pop(key, None)
                for key in gone:
                    training.pop(key, None)
                if "curve" in gone:
                    training["curve"] = []
            connection.execute(
                "UPDATE trial_system_attributes SET value_json = ? WHERE trial_system_attribute_id = ?",
                (json.dumps(record), row),
            )
    connection.close()


@pytest.mark.slow
def test_of_many_networks_some_are_looked_at(there: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "LOOKED_AT", 2)
    read: list[int] = []
    details = StoredStudy.details

    def counting(self: StoredStudy, rows: Any) -> list[dict[str, Any]]:
        read.extend(rows.tolist())
        return details(self, rows)

    monkeypatch.setattr(StoredStudy, "details", counting)
    stored = read_study("short")
    found = learning_of(stored, stored.complete[:1])
    assert found is not None
    assert read == [0, 2], "R3D and MC3, the front's among them"
    assert [network.network for network in found.judged] == ["R3D-18", "MC3-18"]
    assert warnings(found)[0].startswith("None of the 2 networks that were looked at (of 4 trained) had learnt yet")


@pytest.mark.slow
def test_a_blind_network_alone_says_nothing_of_a_study(there: dict[str, str]) -> None:
    words = ran(
        "run", "base.yaml", "--quiet", "--set", "name=blind", *SHORT, "--set", "search.trials=1",
        "--set", "search.start_with=[f-R2D-18]",
    )  # fmt: skip
    assert "warning" not in words
    assert "stsearch audit" not in words, "an audit needs three networks"
    assert "evaluate.epochs" not in words, "nothing is wrong"
    assert learning_in("blind")["verdict"] == "unknown"


# In themselves

FOUR = Baseline(4, 100, 25.0)


def network(
    losses: list[float], top1: float, name: str = "R3D-18", **last: Any
) -> tuple[Record, dict[str, Any], Mapping[str, Any]]:
    """A record with one training of such losses, all of it that is needed."""
    curve: list[dict[str, Any]] = [{"epoch": n, "train_loss": loss} for n, loss in enumerate(losses, 1)]
    curve[-1].update(last)
    return Record(0, "", name, {}, True), {"trainings": [{"curve": curve, "video_top1": top1}]}, last


def judge(*found: tuple[list[float], float], **evaluate: Any) -> Learning:
    """What is said of a study with such networks: losses, and video@1."""
    learnt = [learnt_of(*network(*pair)[:2], FOUR) for pair in found]
    recipe = {"name": "train", "epochs": 4, "lr": 0.06, **evaluate}
    networks = tuple(replace(one, judged=True) for one in learnt)
    return Learning(networks, FOUR, len(networks), recipe, None, "mine", "sqlite:///studies/mine.db")


@pytest.mark.parametrize(
    ("losses", "epoch"),
    [([0.5], 1), ([2.0, 0.5, 0.4], 2), ([2.0, 0.5, 1.3, 0.4], 4), ([2.0, 1.1], None), ([0.5, math.nan], None),
     ([], None)],
)  # fmt: skip
def test_take_off_is_where_the_loss_stays_below_for_good(losses: list[float], epoch: int | None) -> None:
    assert take_off(losses, 1.0) == epoch


def test_the_luck_of_guessing_depends_on_the_number_of_videos() -> None:
    assert FOUR.luck == pytest.approx(25 + 1.645 * math.sqrt(25 * 75 / 100))
    assert Baseline(4, 10_000, 25.0).luck == pytest.approx(25 + 1.645 * math.sqrt(25 * 75 / 10_000))
    assert Baseline(4, 0, None).luck is None
    assert Baseline(4, 5, 100.0).luck is None, "of one class nothing can be learnt, and nothing said"
    videos = {"confusion": [[0, 1, 30], [0, 0, 30], [2, 0, 40]]}
    assert baseline_of(4, [{"trainings": [videos]}, {}]) == Baseline(4, 100, 60.0)


def test_verdicts() -> None:
    guess = math.log(4)
    luck, halfway, done = ([1.4, 0.97 * guess], 27.0), ([1.4, 0.7 * guess], 60.0), ([1.4, 0.1 * guess], 90.0)
    learnt_by_heart = ([1.4, 0.1 * guess], 26.0)
    assert judge(done, done, luck).verdict == "learnt"
    assert judge(done, luck).verdict == "learnt", "half of the networks are not most of them"
    assert judge(done, luck, luck).verdict == "not learnt"
    assert judge(halfway, halfway, done).verdict == "learning speed"
    assert judge(halfway, luck, done).verdict == "learning speed"
    assert judge(learnt_by_heart, learnt_by_heart, done).verdict == "not learnt"
    (told, advice, audit) = warnings(judge(halfway, halfway, done))
    assert told == (
        "2 of the 3 networks had not fitted their training clips when their training ended, so the ranking is of how "
        f"fast they learn: the training loss of the middle network is {0.7 * guess:.2f} nats, where a guess has ln(4) "
        "= 1.39."
    )
    assert advice == "Train longer (`stsearch run` as before, with `--set evaluate.epochs=12 --set name=mine-12`)."
    assert warnings(judge(halfway, halfway, done), ["longer", "calibrate"])[1] == "Train longer."
    assert audit == "What more epochs change in the ranking is what `stsearch audit mine` measures."
    assert "does not carry over" in warnings(judge(learnt_by_heart))[1]
    assert remedy(judge(learnt_by_heart)) == []
    assert warnings(judge(done)) == []
    assert remedy(judge(done)) == []
    assert figures(judge(done)).startswith("Chance is 25.0 %; naming the largest class of the 100 validation videos")


def test_halving_trains_longer_by_its_rungs() -> None:
    found = judge(([1.4], 25.0), name="halving", rungs=[1, 3, 9])
    assert remedy(found) == ["evaluate.rungs=[3,9,27]", "name=mine-27"]
    assert warnings(judge(([1.4], 25.0), name="replay"))[1] == "Train longer."


def test_a_loss_of_validation_below_half_is_fitted_too() -> None:
    """In one long epoch the mean loss is that of a network on its way; the centre clips are seen at the end."""
    record, details, _ = network([1.2], 80.0, val_loss=0.3)
    assert learnt_of(record, details, FOUR).fitted
    record, details, _ = network([1.2], 80.0)
    assert not learnt_of(record, details, FOUR).fitted


def test_a_training_that_diverged_and_a_supernet() -> None:
    record, details, _ = network([math.inf], 25.0, val_loss=math.nan)
    found = learnt_of(record, details, FOUR)
    assert (found.train_loss, found.val_loss, found.learnt, found.fitted) == (None, None, False, False)
    record, details, _ = network([1.38], 70.0)
    inherited = learnt_of(record, details, FOUR, own_curve=False)
    assert (inherited.train_loss, inherited.learnt, inherited.fitted) == (None, True, None)


def test_repeats_of_a_network_count_together() -> None:
    record, details, _ = network([1.0, 0.4], 80.0, steps=5)
    _, again, _ = network([1.3, 0.8], 60.0, steps=5)
    details["trainings"] += again["trainings"]
    found = learnt_of(record, details, FOUR)
    assert found.train_loss == pytest.approx(0.6)
    assert found.video_top1 == 70.0
    assert found.take_off_epoch == 2, "the later of the two"


def test_which_networks_are_blind_to_order() -> None:
    blind = {name for name, found in NETWORKS.items() if not sees_order(found, ClipShape(3, 8, 32, 32))}
    assert blind == {"f-R2D-18", "f-R2D-34"}


@pytest.mark.parametrize(
    ("epochs", "verdict"), [(1, "not learnt"), (2, "learning speed"), (9, "learnt")]
)  # fmt: skip
def test_the_recorded_table_of_placements(epochs: int, verdict: str) -> None:
    """Accuracies after the first of its nine epochs order networks by luck, after the second hardly better."""
    table = json.loads(gzip.decompress((RESULTS / "placements.json.gz").read_bytes()))["trainings"]
    base = Baseline(8, 800, 12.5)
    networks = []
    for name, (first, *_) in table.items():
        record, details, _ = network(first["train_loss"][:epochs], first["clip_top1"][epochs - 1], name)
        networks.append(replace(learnt_of(record, details, base), judged=True))
    found = Learning(tuple(networks), base, len(networks), {"name": "replay"}, None, "placements", "")
    assert found.verdict == verdict, found.as_dict()["median"]


def test_published_networks_have_no_curves() -> None:
    assert learning_in("published") is None


def test_a_study_without_trainings(tiny: Path) -> None:
    ran("run", str(tiny), "--quiet", "--set", "objectives={score: maximize, gmacs: minimize}",
        "--set", "evaluate={name: score, score: synflow}")  # fmt: skip
    assert learning_in("tiny") is None
    assert pareto_of(read_study("tiny")).learning is None
    assert "warning" not in ran("pareto", "tiny")
