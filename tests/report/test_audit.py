"""The audit of a study: on a real storage, cut off and gone on with, recomputed from its records by hand."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import optuna
import pytest
import sqlalchemy as sa
from scipy import stats

from stsearch.cli import main
from stsearch.data.motions import MotionsRecipe
from stsearch.errors import UserError
from stsearch.evaluate import evaluators
from stsearch.evaluate.evaluators import Evaluation, OnEpoch, Task, evaluate_by_training
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.evaluate.train import EvaluationFailed
from stsearch.report import audit_text
from stsearch.report.audit import AuditReport, Ranking, Signal, report_of
from stsearch.report.audit_plan import _audit_recipe, fidelities, plan, sample
from stsearch.report.confidence_text import about_noise
from stsearch.report.pareto import pareto_of
from stsearch.search.audit import AUDIT, RETEST, Audit, Plan, load_clips, part_seed, work_audit
from stsearch.search.burial import MOST_LOST, interrupt
from stsearch.search.engine import run as run_engine
from stsearch.search.failed import reopen
from stsearch.search.reading import StoredStudy, read_study
from stsearch.search.repeats import accuracies, answers, audited_trainings
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.state import State, state_of
from stsearch.search.storage import open_storage
from stsearch.stats.agreement import Difference
from stsearch.stats.ranks import Correlation
from tests.conftest import TINY, Cli

pytestmark = pytest.mark.slow

SEARCHED = ["evaluate.epochs=2", "evaluate.video_clips=1", "search.trials=10", "search.start_with=paper"]
"""What is set in the study that is audited here."""
PROCESSES = multiprocessing.get_context("spawn")


def quiet(*_: object) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of 10 networks of the paper and R2D, trained for two epochs."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "tiny.yaml").write_text(TINY)
    url = f"storage=sqlite:///{folder}/tiny.db"
    study = load_study(str(folder / "tiny.yaml"), [*SEARCHED, url])
    run_engine(study, open_session(study, quiet), quiet)
    return folder


@pytest.fixture
def tiny_study(searched: Path, tmp_path: Path) -> StoredStudy:
    """A copy of its own for every test."""
    (tmp_path / "studies").mkdir()
    copied(searched, tmp_path / "studies/tiny.db")
    return read_study("tiny")


def copied(searched: Path, file: Path) -> None:
    with sqlite3.connect(searched / "tiny.db") as source, sqlite3.connect(file) as copy:
        source.backup(copy)


@pytest.fixture
def tiny_study_anywhere(searched: Path, database: str) -> StoredStudy:
    """A copy on every kind of database."""
    optuna.copy_study(
        from_study_name="tiny",
        from_storage=open_storage(f"sqlite:///{searched}/tiny.db"),
        to_storage=open_storage(database),
    )
    return read_study("tiny", database)


def planned(stored: StoredStudy, networks: int = 11, **changes: Any) -> Plan:
    parts, engine = fidelities(stored, changes.pop("overrides", ()), changes.pop("retest", None))
    chosen = sample(stored, pareto_of(stored), networks, 0)
    return replace(plan(stored, chosen, parts, engine, 0), **changes)


def audited(stored: StoredStudy, networks: int = 11) -> tuple[Plan, AuditReport]:
    made = planned(stored, networks)
    work_audit(made, quiet)
    chosen, now = sample(stored, pareto_of(stored), networks, 0), read_study(stored.name, stored.url)
    return made, report_of(now, chosen, made, Audit(made).found())


def rows_of(url: str, part: str) -> dict[str, dict[str, Any]]:
    """Records by architecture, read with SQL alone."""
    query = """
        SELECT u.value_json, s.value_json FROM trials t JOIN studies ON studies.study_id = t.study_id
        JOIN trial_user_attributes u ON u.trial_id = t.trial_id AND u.key = 'architecture'
        JOIN trial_system_attributes s ON s.trial_id = t.trial_id AND s.key = 'stsearch:record'
        WHERE t.state = 'COMPLETE' AND studies.study_name LIKE :companion"""
    with sa.create_engine(url).connect() as connection:
        found = connection.execute(sa.text(query), {"companion": f"tiny/{part}-%"}).all()
    assert len(found) == len({architecture for architecture, _ in found})
    return {json.loads(architecture): json.loads(record) for architecture, record in found}


def test_its_numbers_are_those_of_the_records(tiny_study: StoredStudy, cli: Cli) -> None:
    before = pareto_of(tiny_study)
    done = cli("audit", "tiny", "--networks=11", "--set=engine.workers=1", "--format=json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = json.loads(done.stdout)
    high, again = (rows_of(tiny_study.url, part) for part in ("audit", "retest"))
    assert len(high) == len(again) == 11, "10 and the reference R2D"
    with sqlite3.connect("studies/tiny.db") as connection:
        searched = {
            json.loads(architecture): json.loads(record)
            for architecture, record in connection.execute(
                """SELECT u.value_json, s.value_json FROM trials t JOIN studies ON studies.study_id = t.study_id
                JOIN trial_user_attributes u ON u.trial_id = t.trial_id AND u.key = 'architecture'
                JOIN trial_system_attributes s ON s.trial_id = t.trial_id AND s.key = 'stsearch:record'
                WHERE studies.study_name = 'tiny'"""
            )
        }
        (reference,) = connection.execute(
            "SELECT value_json FROM study_user_attributes WHERE key = 'reference:R2D-18'"
        ).fetchone()
    kept = json.loads(reference)
    searched[kept["architecture"]] = kept["stsearch:record"]
    order = [network["architecture"] for network in told["networks"]]
    truth = [high[name]["evaluation"]["video_top1"] for name in order]
    assert all(len(high[name]["evaluation"]["trainings"][0]["curve"]) == 6 for name in order), "three times the epochs"
    signals = {signal["signal"]: signal for signal in told["signals"]}
    by_hand = {
        "epoch 1": [searched[name]["trainings"][0]["curve"][0]["clip_top1"] for name in order],
        "epoch 2": [searched[name]["trainings"][0]["curve"][1]["clip_top1"] for name in order],
        "loss_sum": [-searched[name]["trainings"][0]["loss_sum"] for name in order],
        "video_top1": [searched[name]["video_top1"] for name in order],
        "video_top1, other seed": [again[name]["evaluation"]["video_top1"] for name in order],
        **{name: [high[a]["scores"][name]["value"] for a in order] for name in ("synflow", "naswot", "entropy")},
    }
    assert set(signals) == {*by_hand, "gmacs", "params"}
    for name, values in by_hand.items():
        assert signals[name]["values"] == values
        assert signals[name]["kendall"] == pytest.approx(stats.kendalltau(values, truth).statistic, abs=1e-9), name
        assert signals[name]["spearman"] == pytest.approx(stats.spearmanr(values, truth).statistic, abs=1e-9), name
    assert [signals[name]["clips"] for name in ("epoch 1", "video_top1", "synflow", "gmacs")] == [24, 48, 0, 0]
    assert told["audit_clips"] == 6 * 24
    assert signals["epoch 1"]["seconds"] < signals["video_top1"]["seconds"]

    spread = np.std([by_hand["video_top1"], by_hand["video_top1, other seed"]], axis=0, ddof=1)
    assert told["noise"]["between_trainings"] == pytest.approx(np.sqrt(np.mean(spread**2)))
    assert len(told["pairs"]) == 11 * 10 / 2
    means = np.mean([by_hand["video_top1"], by_hand["video_top1, other seed"]], axis=0)
    assert [n["searched"] for n in told["networks"]] == pytest.approx(means.tolist()), "all trainings at this fidelity"
    assert {n["n"] for n in told["networks"]} == {2}
    assert pareto_of(read_study("tiny").as_searched).as_dict() == before.as_dict(), "what is audited stays what it was"
    now = pareto_of(read_study("tiny"))
    pareto = json.loads(json.dumps(now.as_dict()))
    shown = {n["architecture"]: n for n in (*pareto["front"], *pareto["likely"], *pareto["references"])}
    assert len(shown) == 11, "the study has networks of the paper alone"
    for network in told["networks"]:
        known = shown[network["architecture"]]
        assert known["video_top1"] == pytest.approx(network["searched"])
        assert (known["video_top1_se"], known["n"]) == (pytest.approx(network["standard_error"]), network["n"])
    assert {key: told["noise"][key] for key in pareto["noise"]} == pareto["noise"]
    apart = {frozenset((pair["one"], pair["other"])): pair for pair in told["pairs"]}
    for pair in pareto["not_told_apart"]:
        same = apart[frozenset(pair["networks"])]
        assert not same["told_apart"]
        assert same["p"] == pytest.approx(2 * min(pair["p_first_better"], 1 - pair["p_first_better"]))
    assert now.confidence is not None
    assert about_noise(now.confidence.noise) in told["words"]
    paper = {n["network"]: n for n in told["networks"] if n["published"] is not None}
    assert paper["R2D-18"]["published"] == 59.5, "8 frames"
    ranking = {one["of"]: one for one in told["paper"]["rankings"]}["audit"]
    expected = stats.kendalltau([n["audited"] for n in paper.values()], [n["published"] for n in paper.values()])
    assert ranking["kendall"] == pytest.approx(expected.statistic)

    seeds = {seed for record in searched.values() for seed in record["seeds"]}
    for records in (high, again):
        assert not seeds & {seed for record in records.values() for seed in record["evaluation"]["seeds"]}
    table = cli("audit", "tiny", "--networks", "11", "--records", COLUMNS="80")
    assert table.returncode == 0, table.stderr
    assert max(map(len, table.stdout.splitlines())) <= 80
    assert "published order" in table.stdout
    other = cli("audit", "tiny", "--networks", "11", "--records", "--set=evaluate.epochs=5", "--seed=3", COLUMNS="200")
    assert "Audited otherwise: 11 networks with evaluate.epochs: 5 -> 6, seed: 3 -> 0." in other.stdout


def test_a_killed_audit_goes_on_and_finds_the_same(
    tiny_study_anywhere: StoredStudy, searched: Path, tmp_path: Path
) -> None:
    tiny_study = tiny_study_anywhere
    copied(searched, tmp_path / "whole.db")
    command = [
        sys.executable,
        "-m",
        "stsearch.cli",
        "audit",
        "tiny",
        "--networks=11",
        "--no-retest",
        "--set=evaluate.epochs=1",
        f"--storage={tiny_study.url}",
    ]
    process = subprocess.Popen([*command, "--set=engine.workers=2"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("[2/"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    time.sleep(1)  # the workers see that their parent is gone
    done = rows_of(tiny_study.url, "audit")
    assert 2 <= len(done) < 11
    events: list[dict[str, Any]] = []
    work_audit(planned(tiny_study, retest=False, overrides=["evaluate.epochs=1"]), events.append)
    assert Counter(event["event"] for event in events if event["event"] != "note")["done"] == 11 - len(done)
    elsewhere = planned(
        replace(tiny_study, url=f"sqlite:///{tmp_path}/whole.db"), retest=False, overrides=["evaluate.epochs=1"]
    )
    work_audit(replace(elsewhere, work=elsewhere.work[:5]), quiet)
    whole, gone_on = rows_of(elsewhere.storage, "audit"), rows_of(tiny_study.url, "audit")
    assert len(whole) == 5
    assert len(gone_on) == 11
    for architecture, record in whole.items():
        again = gone_on[architecture]
        assert record["evaluation"]["trainings"][0]["loss_sum"] == again["evaluation"]["trainings"][0]["loss_sum"]
        assert record["scores"]["synflow"]["value"] == again["scores"]["synflow"]["value"]


def test_a_network_that_fails_is_told_and_not_tried_again(
    tiny_study_anywhere: StoredStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_study = tiny_study_anywhere

    def failing(task: Task, on_epoch: OnEpoch) -> Evaluation:
        if set(task.architecture.placement.split("-")) == {"3d"}:
            raise EvaluationFailed("the loss is nan")
        return evaluate_by_training(task, on_epoch)

    monkeypatch.setitem(evaluators.EVALUATORS._items, "train", evaluators.Evaluator(TrainRecipe, failing))
    everything = sample(tiny_study, pareto_of(tiny_study), 11, 0)
    chosen = replace(everything, networks=tuple(c for c in everything.networks if "MC" not in c.record.network))
    parts, engine = fidelities(tiny_study, ["evaluate.epochs=1"], False)
    made = plan(tiny_study, chosen, parts, engine, 0)
    for _ in range(2):
        events: list[dict[str, Any]] = []
        work_audit(made, events.append)
    assert events == []
    found = report_of(tiny_study, chosen, made, Audit(made).found())
    assert found.failed == (("R3D-18", "the loss is nan"),)
    assert found.missing == 1
    assert "1 network of the sample is missing" in " ".join(audit_text.words(found))
    assert [signal.n for signal in found.signals] == [2] * len(found.signals)


def claimed_and_killed(made: Plan) -> None:
    """In a process of its own: a training takes its worker with it."""
    assert Audit(made).claim() is not None
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_network_whose_trainings_kill_their_workers_is_given_up(tiny_study: StoredStudy) -> None:
    made = planned(tiny_study, 1, retest=False, overrides=["evaluate.epochs=1"])
    said: list[str] = []
    audit = Audit(made)
    audit.note = said.append
    for _ in range(MOST_LOST):
        assert audit.left()[0] == made.work[0]
        worker = PROCESSES.Process(target=claimed_and_killed, args=(made,))
        worker.start()
        worker.join()
        assert worker.exitcode == -signal.SIGKILL
    claimed = audit.claim()
    assert claimed is not None
    assert claimed[0] == made.work[1]
    assert said == [f"{made.work[0].network}: given up: 5 workers were killed while they trained it (out of memory?)"]
    assert audit.found().failed == {(AUDIT, made.work[0].architecture): said[0].partition(": ")[2]}
    reopen(audit.storage, optuna.load_study(study_name="tiny", storage=audit.storage))  # run --retry-failed
    assert Audit(made).left()[0] == made.work[0]


def test_who_repeats_knows_what_audited_trainings_had_right(tiny_study: StoredStudy, searched: Path) -> None:
    """At the study's fidelity they are trainings like its own, so that networks are compared on the same videos."""
    work_audit(planned(tiny_study, retest=True, overrides=["evaluate.epochs=3"]), quiet)
    session = open_session(load_study(str(searched / "tiny.yaml"), SEARCHED), quiet)
    networks = [trial for trial in session.trials() if state_of(trial) is State.COMPLETE]
    labels = session.data.splits["val"].labels.tolist()
    found = [one["video_top1"] for one in accuracies(networks, [], session.audited)]
    known = answers(networks, [], labels, audited_trainings(session))
    assert [len(each) for each in found] == [2] * len(networks)
    for place, each in enumerate(found):
        assert 100 * known[place].mean(1) == pytest.approx(each)


def test_a_failure_that_comes_after_its_training_was_given_up_is_no_fault(
    tiny_study: StoredStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = planned(tiny_study, 1, retest=False, overrides=["evaluate.epochs=1"])
    audit, slept = Audit(made), list[bool]()

    def failing(task: Task, on_epoch: OnEpoch) -> Evaluation:
        if not slept:
            slept.append(True)
            interrupt(audit.storage, next(t for _, t in audit.trials() if not t.state.is_finished())._trial_id)
            raise EvaluationFailed("out of memory")
        return evaluate_by_training(task, on_epoch)

    monkeypatch.setitem(evaluators.EVALUATORS._items, "train", evaluators.Evaluator(TrainRecipe, failing))
    work_audit(made, quiet)
    found = audit.found()
    assert (len(found.records), found.failed) == (len(made.work), {})


def test_records_of_other_fidelities_stay_apart(tiny_study: StoredStudy) -> None:
    one, other = planned(tiny_study), planned(tiny_study, overrides=["evaluate.epochs=3", "proxy.width=0.25"])
    assert one.companion(AUDIT) != other.companion(AUDIT)
    assert one.companion(RETEST) == other.companion(RETEST)
    assert one.companion(AUDIT) == planned(tiny_study, overrides=["engine.workers=7"]).companion(AUDIT)
    assert planned(tiny_study, seed=1).companion(AUDIT) != one.companion(AUDIT)
    assert len({part_seed(seed, part) for seed in range(3) for part in (AUDIT, RETEST)}) == 6


def test_what_is_sampled(tiny_study: StoredStudy) -> None:
    pareto = pareto_of(tiny_study)
    always = {record.architecture for record in (*pareto.front, *pareto.references)}
    assert {c.record.architecture for c in sample(tiny_study, pareto, 3, 0).networks} == always
    everything = sample(tiny_study, pareto, 99, 0)
    assert len(everything.networks) == everything.trained == 11
    assert {c.record.architecture for c in everything.networks} >= always
    assert sample(tiny_study, pareto, 12, 1) == sample(tiny_study, pareto, 12, 1)
    with pytest.raises(UserError, match="needs at least 3 trained networks; the study 'tiny' has 0"):
        sample(tiny_study, replace(pareto, front=(), references=(), others=replace(pareto.others, load=tuple)), 9, 0)


def test_the_fidelity_by_default(tiny_study: StoredStudy) -> None:
    parts, _ = fidelities(tiny_study, (), None)
    assert parts[AUDIT].recipe.epochs == 6
    assert parts[AUDIT].clip == parts[RETEST].clip == tiny_study.proxy_clip
    assert parts[RETEST].recipe.epochs == 2
    halving = {**tiny_study.resolved["evaluate"], "name": "halving", "rungs": [1, 3, 9], "reduction": 3}
    assert _audit_recipe(halving)["epochs"] == 9
    assert "rungs" not in _audit_recipe(halving)
    assert _audit_recipe({"name": "score", "score": "synflow"}) == {"name": "train", "repeats": 1, "trace": "none"}
    parts, engine = fidelities(tiny_study, ["proxy.frames=6", "engine.workers=2"], None)
    assert (parts[AUDIT].clip.frames, parts[RETEST].clip.frames, engine.workers) == (6, 4, 2)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--set=data.clips=9", "--set of data: an audit changes evaluate, proxy, engine alone"),
        ("--set=evaluate.epoch=9", "unknown key 'epoch'. Did you mean 'epochs'?"),
        ("--set=proxy.width=2", "width: should be less than or equal to 1; given 2"),
        ("--set=engine.device=tpu", "device"),
        ("--networks=2", "2 is not in the range 3<=x<=100000"),
        ("--storage=sqlite:///nowhere.db", "the study 'tiny' has not been run here"),
    ],
)
def test_wrong_input_is_answered_in_a_line(tiny_study: StoredStudy, argument: str, said: str) -> None:
    with pytest.raises((UserError, click.BadParameter), match=re.escape(said)) as caught:
        main(["audit", "tiny", argument], standalone_mode=False)
    assert getattr(caught.value, "exit_code") == 2
    with sqlite3.connect("studies/tiny.db") as connection:
        assert connection.execute("SELECT study_name FROM studies").fetchall() == [("tiny",)], "nothing is written"
    assert not Path("nowhere.db").exists()


def test_other_clips_are_not_audited(tiny_study: StoredStudy) -> None:
    changed = MotionsRecipe(name="motions", classes=2, clips=20, val_clips=10)
    with pytest.raises(UserError, match="the data of the study 'tiny' have changed since it was run"):
        load_clips(planned(tiny_study, data=changed), quiet)


def test_a_study_of_scores_is_audited_by_training(tiny: Path) -> None:
    free = ["objectives={score: maximize, gmacs: minimize}", "evaluate={name: score, score: naswot}"]
    study = load_study(str(tiny), free)
    run_engine(study, open_session(study, quiet), quiet)
    stored = read_study("tiny")
    with pytest.raises(UserError, match="--retest: the study was not evaluated by plain training"):
        fidelities(stored, (), True)
    made = planned(stored, overrides=["evaluate.epochs=1", "evaluate.batch=12"])
    work_audit(made, quiet)
    found = report_of(stored, sample(stored, pareto_of(stored), 24, 0), made, Audit(made).found())
    assert [s.name for s in found.signals] == ["synflow", "naswot", "entropy", "score of the study", "gmacs", "params"]
    assert found.noise is None
    assert found.pairs == ()
    assert "The search's score of the study" in " ".join(audit_text.words(found)) or "do not vary" in " ".join(
        audit_text.words(found)
    )
    json.dumps(audit_text.as_dict(found))


def correlated(value: float | None, low: float | None, high: float | None) -> Correlation:
    return Correlation("Kendall", value, low, high)


@pytest.mark.parametrize(
    ("tau", "said", "not_said"),
    [
        (correlated(0.5, 0.2, 0.7), "better than chance; it puts about 75 of 100 pairs", "not shown"),
        (correlated(0.3, -0.1, 0.6), "that it is better than chance is not shown", "it puts"),
        (correlated(-0.5, -0.8, -0.1), "the wrong way round", "better than chance"),
        (correlated(1.0, None, None), "a bootstrap sees too little variation", "better than chance"),
        (correlated(None, None, None), "no order to compare", "better than chance"),
    ],
)
def test_words_claim_what_the_interval_supports(
    tiny_study: StoredStudy, tau: Correlation, said: str, not_said: str
) -> None:
    made = planned(tiny_study)
    found = report_of(tiny_study, sample(tiny_study, pareto_of(tiny_study), 11, 0), made, Audit(made).found())
    assert audit_text.words(found) == ["Nothing has been trained in this audit yet."]
    none = Difference(None, None, None)
    signal = Signal("video_top1", "training", (), 24, tau, tau, none, 48, 1)
    text = audit_text._proxy(replace(found, signals=(signal,)))
    assert said in text
    assert not_said not in text


def test_the_searchs_ranking_beside_the_papers_keeps_networks_whose_audit_failed(tiny_study: StoredStudy) -> None:
    made, whole = audited(tiny_study)
    everything = Audit(made).found()
    lost = {("audit", n.record.architecture) for n in whole.networks if n.record.network in ("R3D-18", "MC3-18")}
    assert len(lost) == 2
    found = replace(everything, records={key: record for key, record in everything.records.items() if key not in lost})
    report = report_of(tiny_study, sample(tiny_study, pareto_of(tiny_study), 11, 0), made, found)
    of_search, of_audit = report.paper
    assert (of_search, of_audit.n) == (whole.paper[0], whole.paper[0].n - 2)
    assert f"search's on {of_search.n} of them with tau" in audit_text._paper(report)
    assert f"audit's on {of_audit.n} of them with tau" in audit_text._paper(report)


def test_words_compare_cheaper_signals_by_their_differences(tiny_study: StoredStudy) -> None:
    made = planned(tiny_study)
    found = report_of(tiny_study, sample(tiny_study, pareto_of(tiny_study), 11, 0), made, Audit(made).found())
    tau = correlated(0.5, 0.2, 0.7)

    def signal(name: str, clips: float, low: float, high: float) -> Signal:
        return Signal(name, "training", (), 24, tau, tau, Difference((low + high) / 2, low, high), clips, 1)

    none = Difference(None, None, None)
    own = replace(signal("video_top1", 48, 0, 0), against_search=Difference(0, None, None))
    flat = replace(signal("epoch 4", 24, 0, 0), against_search=none)
    early = (signal(f"epoch {epoch}", 24, -0.2, 0.1) for epoch in (1, 2, 3))
    signals = (*early, flat, signal("synflow", 0, -0.6, -0.1), own, signal("dear", 99, -1, -0.5))
    text = audit_text._cheaper(replace(found, signals=signals))
    assert text == (
        "Of the signals that cost less training (5, jointly at 95 %): worse than it: synflow; not shown to be worse or "
        "better: epochs 1 to 3; without an interval, as they vary too little: epoch 4."
    )
    rankings = (Ranking("search", 12, correlated(0.1, -0.3, 0.5), tau), Ranking("audit", 12, tau, tau))
    assert "the search's with tau 0.10 (-0.30 to 0.50) and the audit's with tau 0.50" in audit_text._paper(
        replace(found, paper=rankings)
    )
