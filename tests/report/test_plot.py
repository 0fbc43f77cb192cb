"""Figures: every suffix, labels that do not overlap, families of placements."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from stsearch.errors import UserError
from stsearch.report.axes import STYLES, axes_of, kept_within, placement_class, staircase
from stsearch.report.labels import overlap, place_labels
from stsearch.report.paper import Paper, paper_beside, paper_figure
from stsearch.report.pareto import Lazy, Pareto, Waiting, published
from stsearch.report.plot import _NARROW, _PANEL, STOPPED, _labelled, _matplotlib, figure, plot
from stsearch.report.tables import print_pareto
from stsearch.search.metrics import direction_of
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.published import NETWORKS, find_network
from tests.conftest import Cli

if TYPE_CHECKING:
    from tests.browser import Open

pytest_plugins = ["tests.browser"]


@pytest.mark.parametrize(
    ("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".html", b"<!doctype html>")]
)
def test_every_suffix(tmp_path: Path, suffix: str, begins: bytes) -> None:
    file = tmp_path / "deep" / f"front{suffix}"
    plot(published(8), file)
    assert file.read_bytes().startswith(begins)
    if suffix == ".html":
        text = file.read_text()
        assert "R(2+1)D-18" in text
        assert 'src="http' not in text, "the page needs no network"


def test_unknown_suffix_and_unwritable_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown suffix '\.gif'\. .*Allowed: \.png, \.svg, \.pdf, \.html"):
        plot(published(8), tmp_path / "front.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        plot(published(8), tmp_path / "file" / "front.png")


@pytest.mark.parametrize("spread", [1.0, 0.05])
def test_names_do_not_overlap_each_other_or_points(spread: float) -> None:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.add_subplot()
    points = [(0.5 + spread * 0.04 * n, 0.5 + spread * 0.03 * (n * 7 % 12)) for n in range(12)]
    ax.scatter([x for x, _ in points], [y for _, y in points])
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    labels = place_labels(figure, ax, [(f"rMC{n}-18", point) for n, point in enumerate(points)], points, [])
    boxes = [label.box for label in labels]
    assert len(boxes) == 12
    for number, box in enumerate(boxes):
        assert overlap(box, np.array([other.extents for other in boxes[:number]]).reshape(-1, 4)) == 0
        for point in points:
            x, y = ax.transData.transform(point)
            assert not (box.x0 < x < box.x1 and box.y0 < y < box.y1)


@pytest.mark.parametrize(
    ("network", "family"),
    [
        ("f-R2D-18", "2D everywhere"), ("R2D-18", "frames collapsed (R2D)"), ("R3D-18", "time everywhere"),
        ("R(2+1)D-18", "time everywhere"), ("MC2-18", "time early (MC-like)"), ("MC5-18", "time early (MC-like)"),
        ("rMC2-18", "time late (rMC-like)"), ("rMC5-18", "time late (rMC-like)"),
        ("3d-2d-3d-2d-2d@18", "time here and there"), ("2d-3d-2d-2d-2d@18", "time here and there"),
    ],
)  # fmt: skip
def test_families(network: str, family: str) -> None:
    assert placement_class(find_network(network)) == family
    assert family in STYLES


def test_published_front() -> None:
    eight, sixteen = published(8), published(16)
    assert [r.network for r in eight.front] == ["R2D-18", "rMC3-18", "MC2-18", "R(2+1)D-18"]
    assert [r.network for r in sixteen.front] == ["R2D-18", "rMC3-18", "rMC4-18", "R(2+1)D-18"]
    assert len(eight.references) == 12
    by_name = {r.network: r for r in eight.references}
    assert eight.dominated_by(by_name["f-R2D-18"]) == ["R2D-18", "rMC3-18"]
    assert eight.dominated_by(by_name["R(2+1)D-18"]) == []
    assert by_name["MC3-18"].metrics["gmacs"] == pytest.approx(21.671419904)
    assert set(NETWORKS) >= set(by_name)


def test_the_line_is_the_front_of_the_two_axes_drawn() -> None:
    """With a third objective the front holds points that these two axes show as dominated."""
    result = published(8)
    third = replace(result, objectives={**result.objectives, "params": "minimize"}, front=result.references)
    drawn = staircase(third.front, axes_of(third))
    assert drawn == sorted((r.metrics["gmacs"], r.metrics["video_top1"]) for r in result.front)


def test_found_networks_have_their_trial_beside_them() -> None:
    """While they are few; the paper's have their names."""
    result = published(8)
    record = replace(result.front[0], network="2d-3d-2d-3d-2d@18", architecture="2d-3d-2d-3d-2d@18", trial=7)
    found = replace(result, front=(record, *result.front))
    assert _labelled(found) == [*((r.network, r) for r in result.references), ("#7", record)]
    many = [replace(record, architecture=str(number), trial=number) for number in range(13)]
    assert len(_labelled(replace(result, front=tuple(many[:12])))) == len(result.references) + 12
    assert len(_labelled(replace(result, front=tuple(many)))) == len(result.references)


def studied(networks: int = 12, **changes: Any) -> Pareto:
    """The front of a study that has trained some of the paper's networks."""
    table = published(16)
    records = tuple(replace(r, trial=number) for number, r in enumerate(table.references[:networks]))
    return replace(table, study="mine", references=records, front=records[:1], **changes)


def named_front(paper: Paper) -> list[str]:
    return [name for name, point in sorted(paper.named, key=lambda one: one[1]) if point in paper.front]


def test_the_papers_front_is_its_table_over_computed_costs() -> None:
    result = studied()
    paper = paper_beside(result, axes_of(result))
    assert paper is not None
    accuracies = {name: y for name, (_, y) in paper.named}
    assert accuracies == {
        "R2D": 58.9, "f-R2D": 60.5, "R3D": 64.2, "MC2": 64.2, "MC3": 64.7, "MC4": 65.1, "MC5": 65.1, "rMC2": 64.9,
        "rMC3": 65.0, "rMC4": 65.1, "rMC5": 63.1, "R(2+1)D": 68.0,
    }  # fmt: skip
    for name, (x, _) in paper.named:
        cost = network_cost(NETWORKS[f"{name}-18"], ClipShape(3, 16, 112, 112), 400).total
        assert x == pytest.approx(cost.macs / 1e9)
    assert named_front(paper) == ["R2D", "rMC3", "rMC4", "R(2+1)D"]
    assert paper.titles == ("multiply-adds (GMACs), 16x112x112", "video top-1 (%), Kinetics-400")


@pytest.mark.parametrize(
    ("objectives", "x", "y", "front"),
    [
        ("clip_top1 gmacs", "gmacs", "clip_top1", ["R2D", "rMC3", "rMC4", "MC5", "R(2+1)D"]),
        ("order_top1 gmacs", "gmacs", "video_top1", ["R2D", "rMC3", "rMC4", "R(2+1)D"]),
        ("params video_top1", "params", "video_top1", ["f-R2D", "MC2", "MC3", "MC4", "R(2+1)D"]),
        ("video_top1 latency_ms", "", "", []), ("score gmacs", "", "", []), ("gmacs params", "", "", []),
    ],
)  # fmt: skip
def test_the_papers_front_is_in_the_studys_axes(objectives: str, x: str, y: str, front: list[str]) -> None:
    """An accuracy that the paper has not is compared with its video top-1; no cost that must be measured."""
    result = studied(objectives={name: direction_of(name) for name in objectives.split()})
    paper = paper_beside(result, axes_of(result))
    found = ("", "", []) if paper is None else (paper.axes.x, paper.axes.y, named_front(paper))
    assert found == (x, y, front)


def test_the_papers_front_is_for_studies_of_its_placements() -> None:
    for result in (studied(2), published(16), published(8), replace(studied(), references=())):
        assert paper_beside(result, axes_of(result)) is None
    deeper = [replace(r, network=r.network.replace("-18", "-34")) for r in studied(3).references]
    result = replace(studied(), references=tuple(deeper))
    assert paper_beside(result, axes_of(result)) is not None


@pytest.mark.parametrize("room", [_PANEL, _NARROW])
def test_names_of_the_papers_front_do_not_collide(room: int) -> None:
    result = studied()
    paper = paper_beside(result, axes_of(result))
    assert paper is not None
    figure, _, labels = _matplotlib(result, axes_of(result), beside=paper, room=room)
    assert sorted(label.name for label in labels) == sorted(name for name, _ in paper.named)
    panel = figure.axes[1]
    points = [panel.transData.transform(point) for _, point in paper.named]
    for number, label in enumerate(labels):
        assert overlap(label.box, np.array([other.box.extents for other in labels[:number]]).reshape(-1, 4)) == 0
        assert not any(label.box.contains(*point) for point in points)
        assert panel.bbox.x0 <= label.box.x0
        assert label.box.x1 <= figure.bbox.x1


@pytest.mark.parametrize("suffix", [".svg", ".html"])
def test_the_papers_front_is_drawn_unless_it_is_not_wanted(tmp_path: Path, suffix: str) -> None:
    sizes, texts = [], []
    for wanted in (True, False):
        file = tmp_path / f"{wanted}{suffix}"
        with matplotlib.rc_context({"svg.fonttype": "none"}):
            plot(studied(), file, with_paper=wanted)
        texts.append(file.read_text().rpartition('id="plots">')[2])
        sizes.append(re.findall(r'<svg [^>]*width="([\d.]+)pt"|"domain": \[0, ([\d.]+)\]', texts[-1]))
    assert "Tran et al., CVPR 2018, Table 2" in texts[0]
    assert "Table 2" not in texts[1]
    assert [text.count("R(2+1)D-18") > 0 for text in texts] == [True, True]
    assert sizes[0] != sizes[1]


def test_classes_that_only_the_paper_has_are_in_the_legend() -> None:
    for networks, missing in ((12, []), (4, ["time late (rMC-like)"])):
        known = {placement_class(record.parsed()) for record in studied(networks).references}
        drawn = paper_figure(studied(networks), (600, 380), known)
        assert [trace.name for trace in drawn.data if trace.showlegend] == missing
    assert paper_figure(published(16), (600, 380), ()) is None


def test_no_paper_goes_with_a_plot(cli: Cli) -> None:
    ran = cli("pareto", "published", "--no-paper")
    assert (ran.returncode, ran.stderr.strip()) == (2, "stsearch: --no-paper goes with --plot")
    assert cli("pareto", "published", "--no-paper", "--plot", "front.svg").returncode == 0


def drawn_at(*accuracies: float, waiting: tuple[Waiting, ...] = ()) -> Pareto:
    """A study whose front has these accuracies over the costs of the paper's first networks."""
    table = published(16)
    cheap = sorted(table.references, key=lambda record: record.metrics["gmacs"])
    records = tuple(
        replace(record, trial=number, metrics={**record.metrics, "video_top1": accuracy})
        for number, (record, accuracy) in enumerate(zip(cheap, accuracies, strict=False))
    )
    waits: Lazy[tuple[Waiting, ...]] = Lazy(lambda: waiting)
    return replace(table, study="mine", references=records, front=records, others=Lazy(lambda: ()), waits=waits)


@pytest.mark.parametrize("accuracies", [(0.0, 50.0, 100.0), (97.0, 98.0, 100.0), (0.0, 1.0, 2.0), (50.0,)])
def test_axes_hold_nothing_that_cannot_be(accuracies: tuple[float, ...]) -> None:
    result = drawn_at(*accuracies)
    axes = axes_of(result)
    ax = _matplotlib(result, axes)[0].axes[0]
    low, high = ax.get_ylim()
    assert 0 <= low <= min(accuracies)
    assert max(accuracies) <= high <= 100
    assert ax.get_xlim()[0] >= 0
    page = figure(result)
    assert 0 <= page.layout.yaxis.range[0] < page.layout.yaxis.range[1] <= 100


def test_a_metric_below_zero_keeps_its_room() -> None:
    assert kept_within("score", (-7.0, 3.0), [-5.0, 2.0]) == (-7.0, 3.0)
    assert kept_within("video_top1", (-7.0, 103.0), [2.0, 99.0]) == (0.0, 100.0)
    assert kept_within("gmacs", (-7.0, 103.0), [2.0, 99.0]) == (0.0, 103.0)


@pytest.mark.parametrize(("accuracies", "lines"), [((50.0,), 0), ((40.0, 60.0), 1)])
def test_a_front_of_one_point_is_no_line(accuracies: tuple[float, ...], lines: int) -> None:
    result = drawn_at(*accuracies)
    assert sum(trace.name == "front" for trace in figure(result).data) == lines
    drawn = _matplotlib(result, axes_of(result))[0]
    told = [text.get_text() for legend in drawn.legends for text in legend.get_texts()]
    assert told.count("front") == lines


def test_networks_that_halving_stopped_are_drawn_and_named() -> None:
    record = replace(published(16).references[4], trial=9)
    result = drawn_at(40.0, 60.0, waiting=(Waiting(record, 3),))
    (trace,) = [trace for trace in figure(result).data if trace.name == STOPPED]
    assert list(trace.customdata) == [record.architecture]
    assert "stopped early, after epoch 3" in trace.hovertext[0]
    assert (f"{record.network} (stopped)", record) in _labelled(result)
    text = io.StringIO()
    print_pareto(result, Console(file=text, width=200))
    (row,) = [line for line in text.getvalue().splitlines() if line.startswith(f" {record.network} ")][-1:]
    assert row.rstrip().endswith("- (stopped early, after epoch 3)")


def test_a_name_that_has_room_only_on_another_one_is_left_out() -> None:
    figure = Figure(figsize=(2.2, 1.2), layout="constrained")
    ax = figure.add_subplot()
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    points = [(0.5, 0.5)] * 30
    labels = place_labels(figure, ax, [(f"rMC{n}-18", point) for n, point in enumerate(points)], points[:1], [])
    assert 0 < len(labels) < 30
    for number, label in enumerate(labels):
        assert overlap(label.box, np.array([other.box.extents for other in labels[:number]]).reshape(-1, 4)) == 0


@pytest.mark.slow
def test_the_page_of_a_plot_works_offline_and_is_small(tmp_path: Path, open_page: Open) -> None:
    plot(studied(), tmp_path / "front.html")
    assert (tmp_path / "front.html").stat().st_size < 1_200_000
    visit = open_page((tmp_path / "front.html").as_uri(), 1000)
    visit.page.wait_for_selector("html[data-ready]")
    assert visit.page.locator("#plot-figure .main-svg").count() > 0
    assert visit.names_apart() > 8
    assert (visit.errors, visit.left) == ([], [])
