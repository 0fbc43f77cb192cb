"""Published tables: every accuracy as printed, costs by one rule, and a word where the printed ones are others."""

from __future__ import annotations

import csv
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from stsearch.report.labels import overlap
from stsearch.report.literature import drawn, entries
from stsearch.space.literature import TABLES, Published, main_dataset, published
from tests.conftest import Cli


def source(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((files("stsearch.space.tables") / f"{name}.csv").read_text("utf-8").splitlines()))


@pytest.mark.parametrize("table", TABLES)
def test_every_printed_accuracy_is_there(table: str) -> None:
    rows = published(table)
    if table == "zoo":
        printed = [(r["network"], float(r["top1"]), float(r["top5"] or 0)) for r in source("published_zoo")]
    else:
        group, dataset = ("ucf101_hmdb51" if table in ("ucf101", "hmdb51") else table), main_dataset(table)
        mine = [r for r in source("published_tables") if r["table"] == group and r["dataset"] == dataset]
        fifth = {(r["row"], r["pretrain"]): float(r["value"]) for r in mine if r["metric"] == "top5"}
        first = [r for r in mine if r["metric"] == "top1"]
        printed = [(r["row"], float(r["value"]), fifth.get((r["row"], r["pretrain"]), 0.0)) for r in first]
    assert [(row.network, row.top1, row.top5 or 0.0) for row in rows] == printed
    assert all(row.source for row in rows)


def cost(row: Published) -> float:
    assert row.macs is not None
    return row.macs / 1e9


def test_costs_of_one_rule() -> None:
    two_stream = next(row for row in published("kinetics") if row.network == "R(2+1)D-Two-Stream")
    rgb, flow = (next(r for r in published("kinetics") if r.network == f"R(2+1)D-{m}") for m in ("RGB", "Flow"))
    assert cost(two_stream) == pytest.approx(cost(rgb) + cost(flow))
    assert cost(rgb) == pytest.approx(152.36, abs=0.01)  # "152" in later papers
    zoo = published("zoo")
    pure = [
        row for row in zoo if row.printed_gmacs and row.macs and row.note.startswith("multiply-adds of conv + linear")
    ]
    pure = [row for row in pure if "plus" not in row.note]
    assert len(pure) >= 6
    for row in zoo:
        if row.macs is None or row.printed_gmacs is None:
            assert row.differs == ""
        elif "plus 5" in row.note or "plus 2" in row.note:
            assert row.printed_gmacs >= cost(row) * 0.97, row
        else:
            assert row.printed_gmacs == pytest.approx(cost(row), rel=0.03), row
    assert all(row.differs == "" for row in pure)
    said = [row for row in zoo if "slip of the source" in row.note]
    assert [row.differs[:14] for row in said] == ["printed +13.6%"]
    assert any(row.network == "X3D-M" and row.differs.startswith("printed +8.6%: multiply-adds") for row in zoo)


def test_networks_that_are_none_of_ours_have_no_cost() -> None:
    without = {row.network for row in published("zoo") if row.macs is None}
    assert {"SlowFast-R101 (50-50)", "C3D", "MoViNet-A0 (base)", "I3D-R50 (Heavy)"} <= without
    of_mmaction = [r for r in published("zoo") if r.network == "I3D-R50" and r.source.startswith("MMAction2")]
    assert of_mmaction
    assert all(row.macs is None for row in of_mmaction)  # it strides time in its stem


def test_views_multiply_and_the_front_is_of_one_data_set() -> None:
    one, thirty = entries("zoo"), entries("zoo", 30)
    assert [e.macs * 30 for e in one if e.macs] == [e.macs for e in thirty if e.macs]
    assert [e.on_front for e in one] == [e.on_front for e in thirty]
    front = [entry for entry in one if entry.on_front]
    assert all(entry.row.dataset.startswith("Kinetics-400") for entry in front)
    assert {"X3D-S", "X3D-M", "ir-CSN-152"} <= {entry.row.network for entry in front}
    for entry in front:
        assert not any(
            other.macs and entry.macs and other.macs < entry.macs and (other.row.top1 or 0) >= (entry.row.top1 or 0)
            for other in one
            if other.row.dataset.startswith("Kinetics-400")
        )


@pytest.mark.parametrize("views", [1, 30])
@pytest.mark.parametrize("table", TABLES)
def test_names_in_a_plot_are_apart_and_its_costs_are_plain_numbers(table: str, views: int) -> None:
    found = entries(table, views)
    figure, labels = drawn(table, views, found)
    (ax,) = figure.axes
    assert len(labels) >= 4
    for number, label in enumerate(labels):
        others = [other.box.extents for other in labels[:number]]
        assert overlap(label.box, np.array(others).reshape(-1, 4)) == 0, label.name
        assert ax.bbox.x0 <= label.box.x0 <= label.box.x1 <= figure.bbox.x1, label.name
    figure.canvas.draw()
    low, high = ax.get_xlim()
    shown = [tick.label1.get_text() for tick in ax.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    assert len(shown) >= 2
    assert all(low <= float(text.replace(",", "")) <= high for text in shown)


def test_the_command(tmp_path: Path, cli: Cli) -> None:
    plot = tmp_path / "zoo.svg"
    shown = cli("pareto", "published", "--table", "zoo", "--views", "30", "--plot", str(plot))
    assert shown.returncode == 0, shown.stderr
    assert "1,971.35" in shown.stdout
    assert "plus 5 per element entering a BatchNorm" in " ".join(shown.stdout.split())
    assert plot.stat().st_size > 10_000
    told = json.loads(cli("pareto", "published", "--table", "ig65m", "--format", "json").stdout)
    best = max(told["rows"], key=lambda row: row["top1"])
    assert (best["network"], best["top1"], best["gmacs"]) == ("R(2+1)D-152 (SE)", 81.3, None)
    assert next(r for r in told["rows"] if r["network"] == "R(2+1)D-152")["gmacs"] == pytest.approx(252, abs=0.1)
    rows = list(csv.DictReader(cli("pareto", "published", "--table", "hmdb51", "--format", "csv").stdout.splitlines()))
    assert [row["top1"] for row in rows if row["network"] == "R(2+1)D-Two-Stream"] == ["72.7", "78.7"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["published", "--table", "zo"], "unknown table 'zo'. Did you mean 'zoo'?"),
        (["published", "--views", "30"], "--views goes with --table"),
        (["quickstart", "--table", "zoo"], "--table of a study's front goes with --plot, without --no-paper"),
        (["quickstart", "--table", "zoo", "--views", "30"], "--views goes with --table of `stsearch pareto published`"),
        (["published", "--table", "zoo", "--frames", "8"], "--table goes with --views, --plot and --format only"),
        (["published", "--table", "zoo", "--plot", "x.gif"], "unknown suffix '.gif'"),
    ],
)
def test_what_cannot_be_asked(arguments: list[str], said: str, cli: Cli) -> None:
    answer = cli("pareto", *arguments)
    assert answer.returncode == 2
    assert said in answer.stderr
    assert answer.stderr.count("\n") == 1
