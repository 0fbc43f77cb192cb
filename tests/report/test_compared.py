"""Networks to compare with in what is printed, drawn and served: marked, and never as one of the study's."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stsearch.cli import main
from stsearch.report.axes import axes_of
from stsearch.report.collect import report_of
from stsearch.report.compared import NOTE
from stsearch.report.compared_plot import MARK, STAR, marks, stars
from stsearch.report.compared_text import stands
from stsearch.report.html import html
from stsearch.report.notes import study_note
from stsearch.report.pareto import pareto_of
from stsearch.report.plot import figure, plot
from stsearch.search.reading import StoredStudy, read_study
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.worker import work
from tests.conftest import TINY

if TYPE_CHECKING:
    from tests.browser import Open

pytest_plugins = ["tests.browser"]
pytestmark = pytest.mark.slow
NAMED = ["SlowFast-R50-4x16", "S3D", "MC3-18", "2d-3d-2d-2d-3d@34"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredStudy:
    """Really trained: one of the zoo, one of the space, one of another space; S3D sees no clips of 16 pixels."""
    folder = tmp_path_factory.mktemp("compared")
    file = folder / "tiny.yaml"
    file.write_text(TINY)
    named = f"search.compare_with=[{', '.join(NAMED)}]"
    study = load_study(str(file), [named, "search.trials=3"], f"sqlite:///{folder}/tiny.db")
    work(open_session(study, lambda *_: None), lambda event: None)
    return read_study("tiny", study.storage_url)


def shown(capsys: pytest.CaptureFixture[str], stored: StoredStudy, *options: str) -> str:
    main(["pareto", stored.name, "--storage", stored.url, *options], standalone_mode=False)
    return capsys.readouterr().out


def test_json_has_them_apart(stored: StoredStudy, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(shown(capsys, stored, "--format", "json"))
    slowfast, s3d, mc3, deep = told["compared"]
    assert [one["network"] for one in told["compared"]] == NAMED
    assert (slowfast["trained"], slowfast["trial"], slowfast["n"], slowfast["feasible"]) == (True, None, 1, True)
    assert slowfast["published"]["top1"] == 75.34
    assert "p_front" not in slowfast
    assert (s3d["trained"], s3d["feasible"], s3d["dominated_by"]) == (False, None, None)
    assert "too small" in s3d["why_not"]
    assert "video_top1" not in s3d
    assert s3d["gmacs"] > 0
    assert mc3["trial"] == 0
    assert (deep["published"], deep["trial"]) == (None, None)
    of_the_study = [one["network"] for key in ("front", "likely", "references") for one in told[key]]
    assert not {"SlowFast-R50-4x16", "S3D", "2d-3d-2d-2d-3d@34"} & set(of_the_study)
    assert told["trained"] == 3


def test_tables_mark_them(stored: StoredStudy, capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(shown(capsys, stored).split())
    assert "compared with" in text
    assert "SlowFast-R50-4x16 75.3 % on Kinetics-400" in text
    assert NOTE in text
    rows = list(csv.DictReader(io.StringIO(shown(capsys, stored, "--format", "csv"))))
    assert {row["network"]: row["trial"] for row in rows if row["place"] == "compared with"} == {
        "SlowFast-R50-4x16": "",
        "2d-3d-2d-2d-3d@34": "",
    }
    note = study_note(stored, pareto_of(stored))
    assert "### Compared with" in note
    assert "75.3 % on Kinetics-400" in note


def test_how_they_stand_is_worked_out_against_the_front(stored: StoredStudy) -> None:
    pareto = pareto_of(stored)
    slowfast = pareto.compared[0]
    assert slowfast.record is not None
    worst = {"video_top1": 0.0, "gmacs": 1e3}
    poor = replace(slowfast, record=replace(slowfast.record, metrics=worst))
    first = next(record.network for record in pareto.front)
    more = f" and {len(pareto.front) - 1} more" if len(pareto.front) > 1 else ""
    assert stands(pareto, poor) == f"dominated by {first}{more}; outside the space"
    best = replace(slowfast, record=replace(slowfast.record, metrics={"video_top1": 100.0, "gmacs": 0.0}))
    count = len(pareto.front)
    assert stands(pareto, best) == f"not dominated, dominates {count} of the {count} on the front; outside the space"


def test_a_plot_has_stars_and_marks_on_the_axis(stored: StoredStudy, tmp_path: Path) -> None:
    pareto = pareto_of(stored)
    axes = axes_of(pareto)
    assert [one.name for one in stars(pareto)] == ["SlowFast-R50-4x16", "2d-3d-2d-2d-3d@34"]
    assert [one.name for one in marks(pareto, axes)] == ["S3D"]
    assert marks(pareto, replace(axes, x="clip_top1")) == []
    drawn = figure(pareto)
    by_name = {trace.name: trace for trace in drawn.data}
    assert list(by_name[STAR].customdata) == [one.network.id for one in stars(pareto)]
    (x,), (y,) = by_name[MARK].x, by_name[MARK].y
    low, high = drawn.layout.yaxis.range
    assert x == pareto.compared[1].costs["gmacs"]
    assert low <= y <= low + 0.03 * (high - low), "on the axis of costs: no accuracy of this scale"
    assert any("S3D: 68.4 % on Kinetics-400" in note.text for note in drawn.layout.annotations)
    for suffix in (".png", ".svg", ".html"):
        plot(pareto, tmp_path / f"front{suffix}")
        assert (tmp_path / f"front{suffix}").stat().st_size > 10_000
    assert "S3D: 68.4" in (tmp_path / "front.html").read_text()


def test_the_page_shows_how_a_star_is_built(stored: StoredStudy, tmp_path: Path, open_page: Open) -> None:
    path = tmp_path / "page.html"
    path.write_text(html(report_of(stored)), encoding="utf-8")
    visit = open_page(path.as_uri())
    page = visit.page
    page.wait_for_selector("html[data-ready]")
    page.evaluate("document.querySelector('#compared').open = true")
    for name, strips in (("SlowFast-R50-4x16", 0), ("2d-3d-2d-2d-3d@34", 1), ("S3D", 0)):
        page.locator("#compared button.show", has_text=name).click()
        page.wait_for_function("name => document.querySelector('#panel h2').textContent === name", arg=name)
        page.wait_for_selector("#panel .drawing svg")
        assert page.locator("#panel .strip").count() == strips
    said = page.inner_text("#compared")
    assert "with a share of 0.125 of their channels" in said
    assert "68.4 % on Kinetics-400 (torchvision" in said
    assert visit.names_apart("#plot-front") >= 3
    assert (visit.errors, visit.left) == ([], [])
