"""``stsearch calibrate``: its rules as truth tables, its race on planted records, and whole ones that are cut off."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from scipy import stats

from stsearch.cli import main
from stsearch.errors import StsearchError
from stsearch.report.calibration import Race
from stsearch.report.calibration_text import words
from stsearch.schema import parse_yaml
from stsearch.search.audit import Audit, Found, load_clips
from stsearch.search.calibration import Calibration, Way, calibration_of, found_of
from stsearch.search.overrides import apply_overrides
from stsearch.search.reading import read_study
from stsearch.search.records import keep_result
from stsearch.search.rewritten import rewritten
from stsearch.search.training import tell
from stsearch.stats.calibration import (
    Agreement,
    Candidate,
    Standing,
    agreement,
    pick,
    seed_to_seed,
    settles,
    standings,
    stays,
    with_reference,
)
from stsearch.stats.draws import measured
from stsearch.stats.ranks import RESAMPLES, Correlation
from tests.conftest import ROOT, TINY, Cli, awaited

TINIER = TINY.replace("clips: 24", "clips: 20")


def quiet(*_: object) -> None:
    """No progress."""


def way(
    seconds: float, tau: float | None, behind: float | None = 0.0, error: float | None = 0.1, **more: Any
) -> Standing:
    """A standing; the interval begins 0.3 below the tau unless ``low`` says otherwise."""
    low = more.get("low", None if tau is None else tau - 0.3)
    found = Correlation("Kendall", tau, low, None if low is None else 1.0)
    return Standing(seconds, found, behind, error, more.get("repeats", True), more.get("learnt", True))


@pytest.mark.parametrize(
    ("ways", "picked"),
    [
        ([], None),
        ([way(9, 0.6)], 0),
        ([way(9, 0.6), way(3, 0.55, 0.05)], 1),
        ([way(9, 0.6), way(3, 0.50, 0.1)], 1),
        ([way(9, 0.6), way(3, 0.45, 0.15)], 0),
        ([way(9, 0.6), way(3, 0.6, 0.0, learnt=False)], 0),
        ([way(9, 0.6), way(3, 0.55, 0.05, low=-0.1)], 0),
        ([way(9, 0.6), way(3, 0.55, 0.05, repeats=False)], 0),
        ([way(9, 0.2, low=-0.1), way(3, 0.1, 0.1)], None),
        ([way(9, 0.6), way(3, None, None, None)], 0),
        ([way(9, 1.0, low=None), way(3, 0.99, 0.01, None)], 0),
        ([way(9, 1.0, low=None), way(3, 1.0, 0.0, None, low=None)], 1),
        ([way(9, 0.6), way(3, 0.55, 0.05), way(1, 0.52, 0.08), way(2, 0.58, 0.02)], 2),
    ],
)
def test_what_is_picked(ways: list[Standing], picked: int | None) -> None:
    assert pick(ways) == picked


@pytest.mark.parametrize(
    ("ways", "kept"),
    [
        ([way(9, 0.6), way(3, 0.5, 0.1)], [True, True]),
        ([way(9, 0.6), way(3, 0.3, 0.3)], [True, False]),
        ([way(9, 0.6), way(3, 0.5, 0.1, learnt=False)], [True, False]),
        ([way(3, 0.6), way(9, 0.5, 0.1)], [True, False]),
        ([way(3, 0.6), way(3, 0.6)], [True, True]),
        ([way(3, 0.6), way(9, None, None, None)], [True, True]),
        ([way(3, 0.6, learnt=False), way(9, 0.5)], [False, True]),
        ([way(9, 0.6), way(5, 0.55, 0.05), way(3, 0.5, 0.1), way(4, 0.45, 0.15)], [True, True, True, False]),
    ],
)
def test_what_is_trained_again(ways: list[Standing], kept: list[bool]) -> None:
    assert stays(ways) == kept


def test_an_agreement_is_the_mean_of_the_taus() -> None:
    values = np.random.default_rng(0).normal(size=(12, 3)) + np.arange(12)[:, None] / 4
    found, other = seed_to_seed(values), np.arange(12.0)[:, None]
    expected = [stats.kendalltau(values[:, a], values[:, b]).statistic for a, b in combinations(range(3), 2)]
    assert found.tau.value == pytest.approx(np.mean(expected))
    assert found.tau.low is not None
    assert found.tau.high is not None
    assert found.tau.low < np.mean(expected) < found.tau.high
    expected = [stats.kendalltau(values[:, a], other[:, 0]).statistic for a in range(3)]
    assert with_reference(values, other).tau.value == pytest.approx(np.mean(expected))
    assert seed_to_seed(values[:, :1]).tau.value is None, "one seed repeats nothing"
    assert (seed_to_seed(values[:9]).tau.low, seed_to_seed(values[:9]).resampled) == (None, None)
    assert agreement([(np.ones(12), values[:, 0])]).tau.value is None, "no order at all"
    perfect = agreement([(np.arange(12.0), np.arange(12.0))])
    assert (perfect.tau.value, perfect.tau.low) == (1.0, None)


def test_intervals_hold_the_tau_of_other_seeds() -> None:
    """Networks and seeds are drawn anew 200 times; the tau that is promised is that of two more seeds."""
    rng, inside = np.random.default_rng(1), 0
    for _ in range(200):
        truth = rng.normal(size=(12, 1))
        values = truth + rng.normal(size=(12, 4)) / 2
        tau, new = seed_to_seed(values[:, :2]).tau, seed_to_seed(values[:, 2:]).tau.value
        assert tau.low is not None
        assert tau.high is not None
        assert new is not None
        inside += tau.low <= new <= tau.high
    assert inside >= 180


def test_standings_are_against_the_best_that_learnt() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(12.0)
    good, poor = (agreement([(truth, truth + rng.normal(size=12) * noise)]) for noise in (1, 12))
    nothing = Agreement(Correlation("Kendall", None, None, None), None)
    ways = [(5, good, good, True), (1, poor, nothing, True), (9, good, good, False), (2, nothing, poor, True)]
    first, second, third, fourth = standings([Candidate(*one) for one in ways])
    assert [one.repeats for one in (first, second, third)] == [True, False, True]
    assert (first.behind, first.error) == (0.0, 0.0)
    assert good.tau.value is not None
    assert poor.tau.value is not None
    assert second.behind == pytest.approx(good.tau.value - poor.tau.value)
    assert good.resampled is not None
    assert poor.resampled is not None
    assert second.error == pytest.approx(np.nanstd(good.resampled - poor.resampled))
    assert len(good.resampled) == RESAMPLES
    assert third.clearly_worse, "it has not learnt, however well it ranks"
    assert (fourth.behind, fourth.error, fourth.clearly_worse) == (None, None, False)
    assert {one.behind for one in standings([Candidate(5, good, good, False)])} == {None}


def test_what_a_difference_must_be_is_that_of_the_theory_of_noise() -> None:
    rng = np.random.default_rng(0)
    values = 50 + rng.normal(size=(30, 1)) + 2 * rng.normal(size=(30, 20))
    costs = np.linspace(1, 5, 30)[:, None]
    found = settles(measured(costs, values.tolist(), 600))
    assert found == pytest.approx(1.96 * math.sqrt(2) * 2, rel=0.1)
    few = measured(costs, values[:, :1].tolist(), 600)
    assert settles(few) == pytest.approx(1.96 * math.sqrt(2 * np.median(few.variances())), rel=1e-3)


YAMLS = {
    "flow": "# a\nspace: paper-18  # b\nproxy: {frames: 8, size: 24}  # c\nevaluate: {name: train}\n",
    "block": "space: paper-18\nproxy:\n  # why\n  frames: 8  # c\n  size: 24\n\nevaluate:\n  name: train  # d\n",
    "no section": "space: paper-18  # b\nevaluate: {name: train}  # c\n",
    "document": "---\nspace: paper-18\nproxy: {}  # c\nevaluate: {name: train}\n...\n",
    "long": "space: paper-18\nproxy: {frames: 8,  # c\n  size: 24}\nevaluate: {name: train, epochs: 3}\n",
}


@pytest.mark.parametrize("text", YAMLS.values(), ids=YAMLS.keys())
@pytest.mark.parametrize(
    "changes",
    [
        ["proxy.frames=4"],
        ["proxy.width=0.5", "proxy.frames=4", "evaluate.epochs=7"],
        ["evaluate.rungs=[1, 3]", "evaluate.lr=1e-4", "storage=sqlite:///a b.db"],
    ],
)
def test_a_yaml_is_changed_where_it_is_changed(text: str, changes: list[str]) -> None:
    after, commented = rewritten(text, changes)
    wanted = parse_yaml(text, "before")
    apply_overrides(wanted, changes)
    assert parse_yaml(after, "after") == wanted
    assert commented
    assert [part.split("\n")[0] for part in after.split("#")[1:]] == [p.split("\n")[0] for p in text.split("#")[1:]]


def test_a_yaml_that_cannot_be_changed_in_place_is_written_anew() -> None:
    text = "space: paper-18  # gone\nevaluate: {name: halving, rungs: [1,\n  3]}\n"
    after, commented = rewritten(text, ["evaluate.rungs=[2,6]"])
    assert not commented
    assert parse_yaml(after, "") == {"space": "paper-18", "evaluate": {"name": "halving", "rungs": [2, 6]}}
    assert rewritten(text, []) == (text, True)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The file of the tinier study."""
    path = tmp_path / "tiny.yaml"
    path.write_text(f"# mine\n{TINIER}")
    return path


def planned(study: Path, *asked: str, sets: tuple[str, ...] = (), rounds: int = 2, networks: int = 11) -> Calibration:
    return calibration_of(str(study), sets, None, asked, networks, rounds, 0, quiet)


def record(top1: float, seconds: float, loss: float = 0.1) -> dict[str, Any]:
    """What a training leaves, as far as a race reads it; of two classes and ten videos."""
    curve = [{"epoch": 1, "train_loss": loss, "val_loss": loss, "train_top1": top1, "steps": 2}]
    training = {"video_top1": top1, "curve": curve, "confusion": [[0, 0, 5], [1, 1, 5]]}
    return {"evaluation": {"video_top1": top1, "seconds": seconds, "trainings": [training]}, "data_fingerprint": "f"}


Plant = Callable[[Way, int, int], dict[str, Any]]
"""A record by way, number of the network and round"""


def noisy(noise: dict[str, float], seconds: dict[str, float], losses: dict[str, float] | None = None) -> Plant:
    """Accuracies that order networks but for some noise, by a way's label."""

    def of(one: Way, network: int, number: int) -> dict[str, Any]:
        rng = np.random.default_rng([network, number, len(one.label), len(one.changes)])
        top1 = 78 + 2 * network + noise.get(one.label, 0.5) * rng.normal()
        return record(float(top1), seconds.get(one.label, 4.0), (losses or {}).get(one.label, 0.1))

    return of


def raced(calibration: Calibration, plant: Plant, total: float = 1e9) -> Race:
    """The race to its end, with planted results."""
    race = Race(calibration, Found({}, {}))
    while heats := race.next_heats(total - race.spent, total):
        records = dict(race.found.records)
        for one, number in heats:
            for place, (architecture, _) in enumerate(calibration.networks):
                records[one.part(number), architecture] = plant(one, place, number)
        race = Race(calibration, Found(records, {}))
    return race


FRAMES, LR, CLIPS = "frames 2", "lr 0.5", "clips 10, epochs 1"
ASKED = ("proxy.frames=2", "evaluate.lr=0.5", "data.clips=10")


def test_a_race_stops_what_is_worse_and_picks_the_cheapest_that_ranks(study: Path) -> None:
    calibration = planned(study, *ASKED, rounds=3)
    assert [(one.label, one.role) for one in calibration.ways] == [
        ("study's own", "own"),
        ("epochs 2, longest", "longest"),
        *((label, "other") for label in sorted((FRAMES, LR, CLIPS), key=[w.label for w in calibration.ways].index)),
    ]
    costs = {FRAMES: 1.0, LR: 4.0, CLIPS: 2.0}
    race = raced(calibration, noisy({LR: 60.0}, costs, {CLIPS: 3.0}))
    rounds = {one.way.label: (one.rounds, one.stopped) for one in race.tried()}
    assert rounds[LR] == (1, 2), "its order is noise"
    assert rounds[CLIPS] == (1, 2), "it has not learnt"
    assert rounds[FRAMES] == rounds["study's own"] == rounds["epochs 2, longest"] == (3, None)
    picked = race.picked()
    assert picked is not None
    assert (picked.way.label, picked.way.changes) == (FRAMES, ("proxy.frames=2",))
    assert picked.seeds.tau.value == pytest.approx(
        np.mean(
            [
                stats.kendalltau(a, b).statistic
                for a, b in combinations(np.array(list(race.values(picked.way, 3).values())).T, 2)
            ]
        )
    )
    said = " ".join(words(race, race.tried(), picked))
    assert "Picked: frames 2, the cheapest that has learnt" in said
    assert "0.25 times the seconds" in said


def test_a_race_without_what_learnt_picks_nothing(study: Path) -> None:
    calibration = planned(study, "proxy.frames=2")
    race = raced(calibration, noisy({}, {}, {one.label: 3.0 for one in calibration.ways}))
    assert race.picked() is None
    assert "has learnt" in words(race, race.tried(), None)[-1]
    race = raced(calibration, lambda one, network, number: record(80.0 + (-1) ** number * network, 4.0))
    assert {one.seeds.tau.value for one in race.tried() if one.rounds == 2} == {-1.0}
    assert race.picked() is None
    assert "is it known that it ranks at all" in words(race, race.tried(), None)[-1]


def test_a_race_keeps_to_its_time(study: Path) -> None:
    calibration = planned(study, *ASKED, rounds=3)
    plant, each = noisy({}, {}), 4.0 * len(planned(study).networks)
    for rounds in (0.5, 2.5, 4.5, 7.2, 100):
        race = raced(calibration, plant, rounds * each)
        assert race.spent <= max(rounds, 1) * each, "one round is begun before anybody knows what it takes"
    assert [one.rounds for one in raced(calibration, plant, 2.5 * each).tried()] == [1, 1, 0, 0, 0]
    assert (
        "Not tried, since the time did not reach"
        in words(race := raced(calibration, plant, 2.5 * each), race.tried(), None)[0]
    )
    first = Race(calibration, Found({}, {})).next_heats(9.0, 9.0)
    assert [(one.role, number) for one, number in first] == [("own", 0)]


def test_networks_that_fail_are_left_out(study: Path) -> None:
    calibration = planned(study, "proxy.frames=2")
    plant, (broken, name) = noisy({}, {}), calibration.networks[3]
    whole = raced(calibration, plant)
    kept = {key: value for key, value in whole.found.records.items() if key[1] != broken}
    failed = {key: "the loss is nan" for key in whole.found.records if key[1] == broken}
    race = Race(calibration, Found(kept, failed))
    assert race.next_heats(1e9, 1e9) == []
    assert {one.networks for one in race.tried() if one.rounds} == {len(calibration.networks) - 1}
    assert (name, "the loss is nan") in race.tried()[0].failed


def test_what_is_tried_unasked(study: Path) -> None:
    sets = ("target.frames=16", "evaluate.epochs=3", "proxy.frames=8", "proxy.size=24", "data.clips=40")
    ways = planned(study, sets=sets).ways
    assert {one.label for one in ways} == {
        "study's own", "epochs 6, longest", "epochs 2", "frames 4", "frames 16", "size 16", "size 32",
        "width 0.0625", "width 0.25", "clips 20, epochs 3", "lr 0.03", "lr 0.12",
    }  # fmt: skip
    size = 40, 10
    parsed = [Race(planned(study), Found({}, {}))._parsed]
    work = [one.work(parsed[0], *size) for one in ways[2:]]
    assert work == sorted(work), "from cheap to dear"
    assert {one.share for one in ways} == {0.5, 1.0}
    halving = planned(study, sets=("evaluate={name: halving, rungs: [1, 3, 9], batch: 12}",)).ways
    assert halving[1].changes == ("evaluate.rungs=[2,6,18]",)
    assert halving[1].recipe.epochs == 18
    parts = [one.part(number) for one in ways for number in range(3)]
    assert len(set(parts)) == len(parts)


def test_networks_are_the_papers_and_keep_the_budget(study: Path) -> None:
    names = [name for _, name in planned(study, networks=11).networks]
    assert {"f-R2D-18", "R3D-18", "R(2+1)D-18", "MC3-18", "rMC3-18"} <= set(names)
    more = planned(study, networks=30)
    assert len(more.networks) == len(set(more.networks)) == 30
    assert set(names) <= {name for _, name in more.networks}
    assert planned(study, networks=30).networks == more.networks
    few = planned(study, sets=("budget.gmacs=1.2",), networks=20)
    from stsearch.space.architecture import parse_placement
    from stsearch.space.cost import network_cost

    clip = few.own.target_clip()
    assert all(network_cost(parse_placement(a), clip, 2).total.macs <= 1.2e9 for a, _ in few.networks)


def planted(calibration: Calibration, plant: Plant) -> None:
    """Put a whole race into its storage."""
    places = {architecture: number for number, (architecture, _) in enumerate(calibration.networks)}
    rounds = {one.part(number): (one, number) for one, number in calibration.everything}
    plan = calibration.plan(calibration.everything)
    audit, data = Audit(plan), load_clips(plan, quiet)
    while claimed := audit.claim():
        work, trial = claimed
        one, number = rounds[work.part]
        made = {
            **plant(one, places[work.architecture], number),
            "data_fingerprint": data[plan.input(work.part)].fingerprint,
        }
        keep_result(audit.storage, trial, {}, made)
        assert tell(audit.storage, trial, None, [made["evaluation"]["video_top1"]])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_pick_is_written_and_found_again(study: Path, cli: Cli) -> None:
    command = ("calibrate", "tiny.yaml", "--networks=10", "--rounds=2", "--try=data.clips=10")
    before, fresh = study.read_text(), cli("run", "tiny.yaml", "--set=name=other")
    assert fresh.returncode == 0, fresh.stderr
    assert "note: nobody has measured how well this proxy ranks networks; `" in fresh.stderr
    assert "calibrate tiny.yaml --set=name=other` does" in fresh.stderr
    assert read_study("other").name == "other"
    calibration = planned(study, "data.clips=10", networks=10)
    noise = {**dict.fromkeys((one.label for one in calibration.ways), 2.0), CLIPS: 1.5}
    planted(calibration, noisy(noise, {CLIPS: 2.0}))

    told = cli(*command, "--format=json", "--write=new.yaml")
    assert told.returncode == 0, told.stderr
    assert "written: new.yaml" in told.stderr
    found = json.loads(told.stdout)
    assert found["picked"] == CLIPS
    assert found["changes"] == ["data.clips=10", "evaluate.epochs=1"]
    ways = {one["way"]: one for one in found["ways"]}
    assert ways[CLIPS]["rounds"] == 2
    tau = ways[CLIPS]["tau_seeds"]
    section = (ROOT / "docs" / "cli.md").read_text().partition("## `stsearch calibrate")[2].partition("\n## ")[0]
    keys = {key for part in (found, ways[CLIPS], tau, found["networks"][0]) for key in part}
    assert keys <= set(re.findall(r"\w+", section)), "all are documented"
    assert study.read_text() == before
    new = Path("new.yaml").read_text()
    wanted = parse_yaml(before, "")
    wanted["data"]["clips"] = 10
    assert parse_yaml(new, "") == wanted
    assert new.startswith("# mine\n")
    assert "+data: {name: motions, classes: 2, clips: 10, val_clips: 10}" in found["diff"].splitlines()

    again = cli(*command, "--write=new.yaml")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "new.yaml is there already" in again.stderr
    changed = cli(*command, "--in-place")
    assert changed.returncode == 0, changed.stderr
    assert study.read_text() == new

    for name, file in (("new", "new.yaml"), ("tiny", "tiny.yaml")):
        ran = cli("run", file, "--format=json")
        assert ran.returncode == 0, ran.stderr
        line = next(line for line in ran.stderr.splitlines() if "calibrated on" in line)
        assert f"tau from seed to seed {tau['value']:.2f} ({tau['low']:.2f} to {tau['high']:.2f})" in line
        assert f"differences of {ways[CLIPS]['settles']:.1f} points can be settled" in line
        kept = json.loads(ran.stdout)["calibration"]
        assert (kept["tau"], kept["low"], kept["rounds"]) == (tau["value"], tau["low"], 2), name
        assert "calibrated on" in cli("pareto", file).stdout
    assert "nobody has measured" in cli("run", "tiny.yaml", "--set=name=third", "--set=evaluate.lr=0.02").stderr


def start(*more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "stsearch.cli", "calibrate", "tiny.yaml", "--networks=10", "--rounds=2", *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def accuracies(calibration: Calibration) -> dict[tuple[str, str], float]:
    found = found_of(calibration).records
    return {key: value["evaluation"]["video_top1"] for key, value in found.items()}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("workers", "how"), [(1, signal.SIGINT), (2, signal.SIGKILL)])
def test_cut_off_and_gone_on_with_it_is_as_if_nothing_had_been(
    study: Path, cli: Cli, workers: int, how: signal.Signals
) -> None:
    more = ("--try=proxy.frames=2", "--minutes=900", f"--set=engine.workers={workers}")
    calibration = planned(study, "proxy.frames=2", networks=10)
    process = start(*more)
    assert awaited(process, lambda: Path("studies/tiny.db").exists() and len(accuracies(calibration)) >= 3)
    process.send_signal(how)
    _, said = process.communicate()
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on" in said
    time.sleep(1)  # the workers see that their parent is gone
    before = accuracies(calibration)
    assert 3 <= len(before) < 40
    done = cli("calibrate", "tiny.yaml", "--networks=10", "--rounds=2", *more, "--format=json", timeout=900)
    assert done.returncode == 0, done.stderr
    assert f"resumed: {len(before)} trainings" in done.stderr
    after = accuracies(calibration)
    assert before.items() <= after.items(), "nothing is trained twice"
    told = json.loads(done.stdout)
    assert [one["rounds"] for one in told["ways"] if one["role"] != "other"] == [2, 2]

    whole = planned(study, "proxy.frames=2", networks=10, sets=("storage=sqlite:///whole.db",))
    uninterrupted = cli(
        "calibrate", "tiny.yaml", "--networks=10", "--rounds=2", *more, "--storage=sqlite:///whole.db", timeout=900
    )
    assert uninterrupted.returncode == 0, uninterrupted.stderr
    other = accuracies(whole)
    always = {one.part(number) for one in calibration.ways[:2] for number in range(2)}
    always |= {one.part(0) for one in calibration.ways}
    assert {key: value for key, value in after.items() if key[0] in always} == {
        key: value for key, value in other.items() if key[0] in always
    }
    records = cli("calibrate", "tiny.yaml", "--networks=10", "--rounds=2", *more, "--records", COLUMNS="80")
    assert records.returncode == 0, records.stderr
    assert max(map(len, records.stdout.splitlines())) <= 80 or "Picked" in records.stdout
    assert accuracies(calibration) == after


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["quickstrat"], "Did you mean 'quickstart'?"),
        (["tiny.yaml", "--minutes=0"], "0"),
        (["tiny.yaml", "--networks=9"], "9"),
        (["tiny.yaml", "--rounds=1"], "1"),
        (["tiny.yaml", "--try="], "--try: takes key=value"),
        (["tiny.yaml", "--try=frames=4"], "given 'frames=4'"),
        (["tiny.yaml", "--try=evaluate.name=score"], "given 'evaluate.name=score'"),
        (["tiny.yaml", "--try=data.classes=2"], "given 'data.classes=2'"),
        (["tiny.yaml", "--try=proxy.framez=4"], "Did you mean 'frames'?"),
        (["tiny.yaml", "--try=proxy.width=2"], "proxy.width"),
        (["tiny.yaml", "--try=data.fraction=0.5"], "fraction"),
        (["tiny.yaml", "--set=space=paper-19"], "paper-18"),
        (
            ["tiny.yaml", "--set=evaluate={name: score, score: naswot}", "--set=objectives={score: maximize}"],
            "evaluate.name is train or halving",
        ),
        (["tiny.yaml", "--set=budget.gmacs=0.01"], "gmacs"),
        (["tiny.yaml", "--write=new.txt"], "ends in .yaml or .yml; given 'new.txt'"),
        (["tiny.yaml", "--write=tiny.yaml"], "tiny.yaml is there already"),
        (["tiny.yaml", "--write=new.yaml", "--in-place"], "give one of them"),
        (["quickstart", "--in-place"], "ships with stsearch"),
        (["tiny.yaml", "--storage=nowhere"], "no database URL"),
        (["tiny.yaml", "--format=xml"], "xml"),
    ],
)
def test_bad_input(study: Path, arguments: list[str], said: str) -> None:
    with pytest.raises((StsearchError, click.ClickException)) as caught:
        main(["calibrate", *arguments], standalone_mode=False)
    assert getattr(caught.value, "exit_code") == 2
    assert said in str(caught.value) or said in getattr(caught.value, "message", "")
    assert not Path("studies").exists()
    assert not Path("new.yaml").exists()
