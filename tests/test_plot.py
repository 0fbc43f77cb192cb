"""Figures: every suffix, labels that do not overlap, families of placements."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from stsearch.errors import UserError
from stsearch.report.labels import overlap, place_labels
from stsearch.report.pareto import published
from stsearch.report.plot import STYLES, _axes, _labelled, _staircase, placement_class, plot
from stsearch.space.published import NETWORKS, find_network


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
    drawn = _staircase(third, _axes(third))
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
