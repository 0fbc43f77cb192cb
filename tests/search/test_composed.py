"""Latency as a sum of measured pieces: the sums, the pieces, and a study with a hard cap on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from stsearch.errors import UserError
from stsearch.profiling.device import Setting
from stsearch.resources import find
from stsearch.search.attributes import ARCHITECTURE
from stsearch.search.composed import TWICE, Composed, compose, composed_of
from stsearch.search.session import open_session
from stsearch.search.spec import Study, load_study
from stsearch.search.storage import open_storage
from stsearch.search.worker import work
from stsearch.space.architecture import parse_placement
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import cost_of_unit
from stsearch.space.search_space import load_space
from stsearch.space.table import CostTable

SHAPE, CLASSES = ClipShape(3, 4, 16, 16), 4
SETTING = Setting(torch.device("cpu"), "fp32", (2,), 1, min_run_s=0.01, max_run_s=0.01)
SPACE = """
name: small
stem: {kind: [2d, 3d]}
stages:
  conv2_x: {kind: [2d, 2plus1d], depth: 1}
  conv3_x: {kind: [2d, 3d], depth: [1, 2]}
  conv4_x: {kind: [2d], depth: 1}
  conv5_x: {kind: [2d, 3d], depth: 1}
plugins: [stsearch.testing]
"""
STUDY = """
space: small.yaml
target: {frames: 4, size: 16}
data: {name: motions, clips: 16, val_clips: 10}
objectives: {video_top1: maximize, latency_ms: minimize}
measure: {latency: composed}
evaluate: {name: simulated, seconds: 0}
search: {trials: 6, sampler: random, start_with: none}
engine: {device: cpu}
"""


def table_of(space: str) -> CostTable:
    return CostTable(load_space(find("search_spaces", space)), SHAPE, CLASSES)


@pytest.mark.parametrize("space", ["paper-18", "blockwise-18", "x3d-like"])
def test_an_added_cost_is_the_sum_over_the_pieces_of_a_network(space: str) -> None:
    table = table_of(space)
    took = {piece: float(number) for number, piece in enumerate(table.pieces(), 1)}
    table.add("sum", took.__getitem__)
    digits, _ = table.population()
    some = digits[np.random.default_rng(0).permutation(len(digits))[:200]]
    expected = [sum(took[piece] for piece in table.pieces_of(table.space.from_digits(tuple(row)))) for row in some]
    assert table.values(some, "sum").tolist() == expected
    assert table.within(some, {"sum": expected[0]}).tolist() == [value <= expected[0] for value in expected]
    every = table.values(digits, "sum")
    for largest, end in ((False, every.min()), (True, every.max())):
        assert table.cost_of(table.extreme("sum", largest=largest))["sum"] == end


@pytest.mark.parametrize("space", ["paper-18", "blockwise-18", "x3d-like", "r18-kinds"])
def test_an_added_count_is_the_exact_one(space: str) -> None:
    table = table_of(space)
    table.add("macs", lambda piece: cost_of_unit(*piece)[0].macs)
    digits, _ = table.population()
    assert table.values(digits, "macs").tolist() == table.costs(digits)["macs"].tolist()


def test_pieces_are_timed_in_few_networks_and_checked_on_others(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SPACE)
    table = CostTable(load_space(tmp_path / "small.yaml"), SHAPE, CLASSES)
    told: list[tuple[str, int, int]] = []
    composed = compose(table, SETTING, lambda *step: told.append(step))
    assert len(composed.pieces_ms) == len(table.pieces())
    assert TWICE <= composed.networks < table.space.size
    assert composed.errors
    assert told[0][1] == 0
    assert told[-1][1] == told[-1][2] == composed.networks + len(composed.errors)
    assert Composed.of(composed.as_dict()) == composed
    composed.enter(table)
    digits, _ = table.population()
    predicted = table.values(digits, "latency_ms")
    assert (predicted > 0).all()
    deeper = table.space.from_digits(tuple(digits[0].tolist()))
    assert table.cost_of(deeper)["latency_ms"] == predicted[0]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a study, in the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SPACE)
    Path("timed.yaml").write_text(STUDY)
    return Path("timed.yaml")


def begun(file: Path, *overrides: str) -> Study:
    """A study with all its networks."""
    chosen = load_study(str(file), overrides)
    work(open_session(chosen, lambda *_: None), lambda event: None)
    return chosen


def test_a_cap_on_composed_latency_is_hard_and_stays_with_the_study(study: Path) -> None:
    first = begun(study)  # an objective whose worst value is known needs no cap
    storage = open_storage(first.storage_url)
    (stored,) = storage.get_all_studies()
    composed = composed_of(stored.user_attrs)
    assert composed is not None
    table = CostTable(first.space, first.target_clip(), 4)
    composed.enter(table)
    digits, _ = table.population()
    every = sorted(table.values(digits, "latency_ms"))
    assert stored.user_attrs["reference_point"]["latency_ms"] == every[-1]
    for trial in storage.get_all_trials(stored._study_id):
        found = trial.user_attrs
        assert found["latency_ms"] == table.cost_of(parse_placement(found[ARCHITECTURE]))["latency_ms"]

    session = open_session(load_study(str(study), ("search.trials=8",)), lambda *_: pytest.fail("measured again"))
    work(session, lambda event: None)
    assert composed_of(session.optuna_study.user_attrs) == composed
    assert len(session.trials()) == 8


def test_networks_over_the_cap_are_never_proposed(study: Path) -> None:
    chosen = load_study(str(study), ("budget.latency_ms=1e9", "search.trials=100", "name=wide"))
    session = open_session(chosen, lambda *_: None)
    table = session.sampler.table
    digits, _ = table.population()
    cap = float(np.median(table.values(digits, "latency_ms")))
    kept = int((table.values(digits, "latency_ms") <= cap).sum())
    stored = session.optuna_study.user_attrs["latency_composed"]

    capped = load_study(str(study), (f"budget.latency_ms={cap!r}", "search.trials=100", "name=capped"))
    known = optuna.create_study(  # begun by another process that was killed right after it had measured
        storage=open_storage(capped.storage_url), study_name="capped", directions=["maximize", "minimize"]
    )
    known.set_user_attr("latency_composed", stored)
    session = open_session(capped, lambda *_: pytest.fail("measured again"))
    work(session, lambda event: None)
    trials = session.trials()
    assert len(trials) == kept
    assert all(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials)
    assert all(trial.user_attrs["latency_ms"] <= cap for trial in trials)


def test_a_cap_that_nothing_keeps_ends_before_anything_is_written(study: Path) -> None:
    chosen = load_study(str(study), ("budget.latency_ms=1e-9",))
    with pytest.raises(UserError, match="no network of the space 'small' keeps the budget latency_ms <= 1e-09"):
        open_session(chosen, lambda *_: None)
    assert not Path("studies").exists()


def test_studies_that_were_begun_before_there_was_a_choice_go_on(study: Path) -> None:
    each = load_study(str(study), ("measure={}", "budget.latency_ms=50"))
    assert each.identity()["measure"] == {"precision": "auto", "threads": 1}
    with pytest.raises(UserError, match=r"objectives\.latency_ms: is measured, so its worst value is not known"):
        load_study(str(study), ("measure={}",))
    assert load_study(str(study)).identity()["measure"]["latency"] == "composed"
