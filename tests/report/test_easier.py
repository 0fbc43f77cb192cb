"""Whether (2+1)D is easier to train than 3D: which networks are held against each other, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stsearch.report.collect import report_of
from stsearch.report.easier import MOST, Pair, Side, chart_name, pairs_in, section
from stsearch.report.html import html
from stsearch.report.page import Report
from stsearch.report.page_plots import plots
from stsearch.report.records import Chart, Table
from stsearch.search.reading import read_study
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.worker import work
from stsearch.space.published import NETWORKS
from tests.conftest import TINY

if TYPE_CHECKING:
    from tests.browser import Open

pytest_plugins = ["tests.browser"]
NAMED = ["R3D-18", "R(2+1)D-18", "MC3-18", "2plus1d-2plus1d-2d-2d-2d@18", "f-R2D-18"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Really trained: R3D and R(2+1)D twice, MC3 and its like once, and a network without any like it."""
    folder = tmp_path_factory.mktemp("easier")
    file = folder / "tiny.yaml"
    file.write_text(TINY)
    start = ", ".join(f'"{name}"' for name in NAMED)
    settings = [
        f"search.start_with=[{start}]",
        "search.trials=5",
        "evaluate.epochs=3",
        'search.repeat={"R3D-18": 1, "R(2+1)D-18": 1}',
    ]
    study = load_study(str(file), settings, f"sqlite:///{folder}/tiny.db")
    work(open_session(study, lambda *_: None), lambda event: None)
    return report_of(read_study("tiny", study.storage_url))


def side(train: list[list[float]], val: list[list[float]], name: str = "one") -> Side:
    return Side(name, np.array(train), np.array(val))


def test_pairs_differ_in_3d_against_2plus1d_alone() -> None:
    ids = {name: NETWORKS[name].id for name in ("R3D-18", "R(2+1)D-18", "R3D-34", "MC3-18", "rMC3-18", "f-R2D-18")}
    like_mc3 = "2plus1d-2plus1dx2-2dx2-2dx2-2dx2"
    both = "3d-2plus1dx2-2dx2-2dx2-2dx2"
    found = pairs_in([both, *ids.values(), like_mc3])
    assert found == [(ids["R3D-18"], ids["R(2+1)D-18"]), (ids["MC3-18"], like_mc3)]
    assert pairs_in([ids["R3D-34"], ids["R(2+1)D-18"], both]) == [], "of another depth, or of both kinds"
    assert pairs_in([]) == []


@pytest.mark.slow
def test_errors_are_those_of_the_records(report: Report) -> None:
    assert [pair.of_3d.network for pair in report.easier] == ["R3D-18", "MC3-18"]
    assert [pair.seeds for pair in report.easier] == [(2, 2), (1, 1)]
    kept = {network.record.network: network for network in report.networks}
    for pair in report.easier:
        for one in pair.sides:
            if one.network not in kept:
                continue
            curves: list[list[dict[str, Any]]] = [list(t["curve"]) for t in kept[one.network].trainings]
            assert one.train.tolist() == [[100 - epoch["train_top1"] for epoch in curve] for curve in curves]
            assert one.val.tolist() == [[100 - epoch["clip_top1"] for epoch in curve] for curve in curves]
            assert one.train.shape[1] == 3
    assert {"R3D-18", "R(2+1)D-18"} <= set(kept), "those of the paper are always looked at"


@pytest.mark.slow
def test_bands_are_drawn_where_both_have_several_seeds(report: Report) -> None:
    drawn = plots(report)
    first, second = (drawn[chart_name(number)]["data"] for number in (0, 1))
    assert [len(first), len(second)] == [12, 4]
    lines = [trace for trace in first if trace.get("showlegend", True)]
    assert [trace["name"] for trace in lines] == [
        "R3D-18, training", "R3D-18, validation", "R(2+1)D-18, training", "R(2+1)D-18, validation",
    ]  # fmt: skip
    r3d = report.easier[0].of_3d
    assert lines[0]["y"] == pytest.approx(r3d.train.mean(0).tolist())
    low, high = (trace["y"] for trace in first[:2])
    assert (low, high) == (r3d.train.min(0).tolist(), r3d.train.max(0).tolist())
    assert {trace["line"]["dash"] for trace in lines} == {"dash", "solid"}


def test_what_is_said_counts_pairs_and_names_single_trainings() -> None:
    assert section(()) is None
    good = Pair(side([[50.0, 30.0]], [[60.0, 40.0]]), side([[50.0, 20.0]], [[60.0, 45.0]]))
    made = section([good])
    assert made is not None
    text = " ".join(part for part in made.parts if isinstance(part, str))
    assert "Of 1 pair (2+1)D ends with the lower training error in 1 (95 % interval of the share: 0.21 to 1.00)" in text
    assert "the lower validation error in 0 (0.00 to 0.79)" in text
    assert "One pair says little." in text
    assert "trained once, so there are no bands" in text
    many = [replace(good, of_3d=side([[1.0], [3.0]], [[2.0], [2.0]]), of_2plus1d=side([[1.0], [1.0]], [[1.0], [2.0]]))]
    made = section(many * (MOST + 2))
    assert made is not None
    assert sum(isinstance(part, Chart) for part in made.parts) == MOST
    (table,) = (part for part in made.parts if isinstance(part, Table))
    assert len(table.rows) == MOST + 2
    assert [cell.text for cell in table.rows[0].cells] == ["one", "2.0", "2.0", "2", "one", "1.0", "1.5", "2"]
    text = " ".join(part for part in made.parts if isinstance(part, str))
    assert f"in {MOST + 2} (95 % interval of the share: 0.68 to 1.00)" in text
    assert "no band" not in text


@pytest.mark.slow
def test_the_page_draws_them(report: Report, tmp_path: Path, open_page: Open) -> None:
    path = tmp_path / "page.html"
    path.write_text(html(report), encoding="utf-8")
    visit = open_page(path.as_uri())
    visit.page.wait_for_selector("html[data-ready]")
    visit.page.locator("#easier > summary").click()
    for number in (0, 1):
        visit.page.wait_for_selector(f"#plot-easier{number} .main-svg")
    assert visit.page.locator("#plot-easier0 .scatterlayer .trace").count() == 12
    assert "Is (2+1)D easier to train than 3D?" in visit.page.inner_text("#easier")
    assert (visit.errors, visit.left) == ([], [])
