"""Published tables beside a study's front: which points they have, in which axes, and what asks for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stsearch.errors import UserError
from stsearch.report.axes import axes_of
from stsearch.report.literature import entries
from stsearch.report.paper import HEAD, OTHERS, paper_beside, paper_figure
from stsearch.report.pareto import Pareto, published
from stsearch.report.plot import _matplotlib
from stsearch.report.write import write_report
from stsearch.search.reading import StoredStudy, read_study
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.worker import work
from stsearch.space.literature import TABLES, main_dataset
from stsearch.space.zoo import ZOO
from tests.conftest import TINY, Cli
from tests.report.test_plot import studied

if TYPE_CHECKING:
    from tests.browser import Open

pytest_plugins = ["tests.browser"]


@pytest.mark.parametrize("table", TABLES)
def test_points_are_the_tables_over_costs_of_our_rule(table: str) -> None:
    """Also of a study without any network of the paper, since it was asked for."""
    result = replace(studied(), references=())
    paper = paper_beside(result, axes_of(result), table)
    assert paper is not None
    own = [one for one in entries(table) if one.macs is not None and one.row.dataset.startswith(main_dataset(table))]
    wanted = [(one.row.network, ((one.macs or 0) / 1e9, one.row.top1)) for one in own if one.row.top1 is not None]
    assert [(mark.network, mark.point) for mark in paper.marks] == wanted
    assert set(paper.front) == {point for (_, point), one in zip(wanted, own, strict=True) if one.on_front}
    assert paper.titles == ("multiply-adds (GMACs), one view", f"video top-1 (%), {main_dataset(table)}")
    assert 1 < len(paper.named) <= 14
    kinds = {mark.network: mark.kind for mark in paper.marks}
    for name, kind in kinds.items():
        assert (kind == OTHERS) is not name.startswith("R(2+1)D")


def test_costs_are_those_of_the_studys_axis() -> None:
    result = replace(studied(), objectives={"video_top1": "maximize", "params": "minimize"})
    paper = paper_beside(result, axes_of(result), "zoo")
    assert paper is not None
    x3d = next(mark for mark in paper.marks if mark.network == "X3D-S")
    assert x3d.point[0] == pytest.approx(3.794274), "millions"
    assert not next(p for p in [paper_beside(studied(), axes_of(studied()))] if p).log
    assert "X3D-S" in ZOO


def test_a_wide_range_of_costs_is_drawn_logarithmically() -> None:
    result = studied()
    paper = paper_beside(result, axes_of(result), "zoo")
    assert paper is not None
    assert paper.log
    drawn = paper_figure(result, (600, 380), (), "zoo")
    assert drawn.layout.xaxis.type == "log"
    low, high = (10**end for end in drawn.layout.xaxis.range)
    assert all(low <= x <= high for trace in drawn.data if trace.mode == "markers" for x in trace.x)
    named = {note.text: 10**note.x for note in drawn.layout.annotations}
    for name, (x, _) in paper.named:
        assert name not in named or named[name] == pytest.approx(x)
    assert len(named) > 8
    figure, _, labels = _matplotlib(result, axes_of(result), beside=paper)
    assert figure.axes[1].get_xscale() == "log"
    assert len(labels) > 8


def test_the_default_is_the_papers() -> None:
    result = studied()
    paper = paper_beside(result, axes_of(result))
    assert paper is not None
    assert paper.head == HEAD
    assert [mark.network for mark in paper.marks] == [record.network for record in published(16).references]
    assert paper_beside(replace(result, references=()), axes_of(result)) is None


def latency(result: Pareto) -> Pareto:
    return replace(result, objectives={"video_top1": "maximize", "latency_ms": "minimize"})


def test_a_table_that_has_nothing_in_these_axes_is_refused() -> None:
    result = latency(studied())
    said = r"--table zoo: published results are an accuracy over a cost that is counted; .* video_top1 over latency_ms"
    with pytest.raises(UserError, match=said):
        paper_beside(result, axes_of(result), "zoo")
    assert paper_beside(result, axes_of(result)) is None


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredStudy:
    folder = tmp_path_factory.mktemp("tables")
    (folder / "tiny.yaml").write_text(TINY)
    study = load_study(str(folder / "tiny.yaml"), ["search.trials=2"], f"sqlite:///{folder}/tiny.db")
    work(open_session(study, lambda *_: None), lambda event: None)
    return read_study("tiny", study.storage_url)


@pytest.mark.slow
def test_the_page_has_the_table_that_is_asked_for(stored: StoredStudy, tmp_path: Path, open_page: Open) -> None:
    path = tmp_path / "page.html"
    write_report(stored, path, table="kinetics")
    visit = open_page(path.as_uri())
    visit.page.wait_for_selector("html[data-ready]")
    visit.page.evaluate("document.querySelector('#paper').open = true")
    visit.page.wait_for_selector("#plot-paper .main-svg")
    assert visit.page.locator("#plot-paper .scatterlayer .trace").count() >= 3
    said = visit.page.inner_text("#paper")
    assert "Does the front look like what others published?" in said
    assert "10 rows on Kinetics-400" in said
    assert visit.names_apart("#plot-paper") >= 4
    assert (visit.errors, visit.left) == ([], [])
    assert "--table kinetics" in path.read_text(), "the page says what made it"


@pytest.mark.slow
def test_commands_take_it(stored: StoredStudy, cli: Cli, tmp_path: Path) -> None:
    place = ("tiny", "--storage", stored.url)
    assert cli("report", *place, "--table", "UCF101", "-o", "none.html").returncode == 2
    done = cli("report", *place, "--table", "ucf101", "-o", "ucf.html")
    assert done.returncode == 0, done.stderr
    assert "UCF101, fine-tuned" in Path("ucf.html").read_text()
    done = cli("pareto", *place, "--table", "zoo", "--plot", "front.svg")
    assert done.returncode == 0, done.stderr
    assert Path("front.svg").stat().st_size > 20_000
    for words, said in {
        ("report", *place, "--table", "zo"): "unknown table 'zo'. Did you mean 'zoo'? Allowed: paper, kinetics",
        ("pareto", *place, "--table", "zo", "--plot", "a.svg"): "unknown table 'zo'. Did you mean 'zoo'?",
        ("dashboard", *place, "--table", "zo"): "unknown table 'zo'. Did you mean 'zoo'?",
    }.items():
        done = cli(*words)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not Path("none.html").exists()
