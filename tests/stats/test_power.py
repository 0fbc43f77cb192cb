"""What a design can settle, before and after it is spent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stsearch.stats.accuracy import told_apart
from stsearch.stats.power import POWER, expected_error, settled
from tests.conftest import Cli
from tests.search.test_repeats import run


def test_a_difference_that_can_be_settled_is_in_four_of_five_cases() -> None:
    """A z test of two figures whose difference has a standard error of 1.5 points."""
    rng = np.random.default_rng(0)
    found = rng.normal(settled(1.5), 1.5, 40_000) / 1.5
    from scipy.special import ndtr

    assert told_apart(ndtr(found)).mean() == pytest.approx(POWER, abs=0.01)


def test_more_videos_and_more_trainings_settle_more() -> None:
    assert expected_error(2400, 1) == pytest.approx(expected_error(600, 1) / 2)
    assert expected_error(600, 4) == pytest.approx(expected_error(600, 1) / 2)


def test_run_says_it_before_and_pareto_after(tiny: Path, cli: Cli) -> None:
    """First from the number of videos, on the second run from the study's own answers."""
    settings = ("--set=search.trials=3", "--set=data.val_clips=40", "--set=search.start_with=paper")
    first = cli("run", str(tiny), *settings)
    assert first.returncode == 0, first.stderr
    said = " ".join(first.stderr.split())
    points = f"{settled(expected_error(40, 1)):.1f}"
    assert f"3 networks, one training each: differences of {points} points can be settled, in 4 of 5 cases" in said
    assert "an estimate from 40 validation videos" in said
    again = " ".join(cli("run", str(tiny), *settings).stderr.split())
    assert "can be settled, in 4 of 5 cases (what seeds add is a guess so far)" in again
    shown = " ".join(cli("pareto", "tiny").stdout.split())
    assert "can be settled, in 4 of 5 cases (what seeds add to the videos' noise is a guess)" in shown


def test_of_scores_nothing_is_said(tiny: Path, cli: Cli) -> None:
    scored = cli(
        "run", str(tiny), "--set=search.trials=2", "--set=search.start_with=none",
        "--set=objectives={score: maximize, gmacs: minimize}", "--set=evaluate={name: score, score: synflow}",
    )  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    assert "can be settled" not in scored.stderr + scored.stdout


def test_pareto_and_run_agree(tiny: Path, cli: Cli) -> None:
    run(tiny, "search.trials=3", "search.repeats=4", "data.val_clips=40")
    shown = " ".join(cli("pareto", "tiny").stdout.split())
    assert "trainings each: differences of" in shown
    assert "by the study's own noise, partly a guess" in shown
