"""The report as one HTML file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from statistics import median
from typing import Any

from markupsafe import Markup

from stsearch.report import compared_plot
from stsearch.report.canvas import svg
from stsearch.report.charts import Curve, confusion_matrix, learning_curve
from stsearch.report.compared_text import cells, stands
from stsearch.report.confidence_text import shown_accuracy
from stsearch.report.draw import drawing
from stsearch.report.library import packed, packed_library
from stsearch.report.page import MOST, Report, some
from stsearch.report.page_plots import plots
from stsearch.report.sections import sections
from stsearch.report.strips import look
from stsearch.report.styles import ink_on
from stsearch.report.templating import environment, policy, script_of, text_of
from stsearch.search.metrics import METRICS
from stsearch.search.reading import Record
from stsearch.space.architecture import GROUPS, Architecture

DRAWN = 600
"""Drawings of dominated networks on the page: each is 13 kB before compression."""


def html(report: Report, stamp: str = "") -> str:
    """The whole page; with a ``stamp`` one that looks for another stamp where it came from, and then renews itself."""
    script = script_of("library.js", "report.js", *(["live.js"] if stamp else []))
    template = environment().get_template("report.html")
    return template.render(
        **_context(report),
        library=packed_library(),
        script=script,
        style=text_of("report.css"),
        stamp=stamp,
        policy=policy(f"\n{script}\n", live=bool(stamp)),
    )


def comparable(curves: Sequence[Curve]) -> list[Curve]:
    """The curves that fit one axis: without those whose loss rises beyond ten times the median curve's highest."""
    highest = [max((loss for _, loss, _ in curve), default=0.0) for curve in curves]
    most = 10 * median([high for high in highest if isfinite(high)] or [0.0])
    return [curve for curve, high in zip(curves, highest, strict=True) if high <= most]


def _context(report: Report) -> dict[str, Any]:
    """Everything that the template names."""
    return {
        "report": report,
        "sections": sections(report),
        "pictures": {"curves": _curves(report), "confusions": _confusions(report)},
        "shown_first": report.front[-1] if report.front else None,
        "shown_figures": _figures(report, report.front[-1].record) if report.front else [],
        "first_drawing": _drawing(report, report.front[-1].record) if report.front else "",
        "front_note": _front_note(report),
        "plots": plots(report),
        "data": _data(report),
        "drawings": packed(json.dumps(_drawings(report)).encode()),
    }


def _figures(report: Report, record: Record) -> list[tuple[str, str]]:
    sure = report.pareto.certainty(record)
    return [(head(name), shown_accuracy(name, record.metrics[name], sure)) for name in report.columns]


def _front_note(report: Report) -> str:
    """How to read the picture."""
    pareto = report.pareto
    if not report.front:
        return "No finished network keeps the budget yet, so there is no front."
    if len(pareto.objectives) < 2:
        return "With one objective there is no front to draw: this is the best network."
    objectives = len(pareto.objectives)
    joined = f" of {objectives} objectives; a line joins those that are best in the two shown" if objectives > 2 else ""
    beaten = "" if objectives > 2 else ": no other network beats it in both axes"
    some = (
        f" Of {report.complete:,} networks the front, the paper's and {len(pareto.dominated):,} evenly chosen others "
        "are drawn."
        if report.complete > MOST
        else ""
    )
    stars = " A star is a network to compare with, of another space." if compared_plot.stars(pareto) else ""
    halted = " A cross is a network that halving stopped, at the accuracy it had then." if pareto.waiting else ""
    return (
        f"Every point is a trained network; a filled one is on the front{joined}{beaten}. The paper's networks are "
        f"named where there is room; #N is trial N.{halted}{stars}{some} Point at a network to see how it is built; a "
        "click keeps it."
    )


def _curves(report: Report) -> list[tuple[str, Markup]]:
    beside = comparable([curve for network in report.detailed for curve in network.curves])
    return [(n.record.architecture, _svg(learning_curve(n.curves, n.record.network, beside))) for n in report.detailed]


def _svg(picture: Any) -> Markup:
    return Markup(svg(picture))  # noqa: S704 - the canvas escapes every text


def _drawing(report: Report, record: Record) -> Markup:
    return _svg(drawing([record.parsed()], report.clip, report.classes, [record.network]))


def _drawings(report: Report) -> dict[str, str]:
    """Every drawing of the page by the network's id."""
    own = {record.architecture: str(_drawing(report, record)) for record in _drawn(report)}
    beside = {one.network.id: one for one in report.pareto.compared if one.network.id not in own}
    return own | {
        key: str(_svg(drawing([one.network], report.clip, report.classes, [one.name]))) for key, one in beside.items()
    }


def _drawn(report: Report) -> list[Record]:
    """The front, the paper's networks, and of the dominated at most ``DRAWN``, evenly."""
    others = [*report.pareto.dominated, *(waiting.record for waiting in report.pareto.waiting)]
    return [*(n.record for n in report.networks), *others[:: -(-len(others) // DRAWN) or 1]]


def head(name: str) -> str:
    """Head of a metric's column."""
    return METRICS[name].axis


def _data(report: Report) -> dict[str, Any]:
    """What the page's script needs of every network that is drawn."""
    halted = {w.record.architecture: w for w in report.pareto.waiting}
    beside = (w.record for w in halted.values())
    records = {r.architecture: r for r in (*report.pareto.dominated, *beside, *(n.record for n in report.networks))}
    names = [n for n in report.columns if all(n in record.metrics for record in records.values())]
    places = {key: f"stopped early, after epoch {w.epoch}" for key, w in halted.items()}
    places |= {n.record.architecture: n.place for n in report.networks}
    kinds = {kind for record in records.values() for kind in _kinds(record.parsed())}
    named = {one.network.id: one for one in report.pareto.compared if one.network.id not in records}
    kinds |= {kind for one in named.values() if isinstance(one.network, Architecture) for kind in _kinds(one.network)}
    return {
        "heads": [head(name) for name in names],
        "networks": {
            key: [r.network, r.trial, places.get(key, "dominated" if r.feasible else "over the budget")]
            + [shown_accuracy(name, r.metrics[name], report.pareto.certainty(r)) for name in names]
            for key, r in records.items()
        }
        | {
            key: [one.name, None, stands(report.pareto, one), *cells(report.pareto, one, names)]
            for key, one in named.items()
        },
        "unplaced": [key for key, one in named.items() if not one.placed],
        "kinds": {kind: [*look(kind), ink_on(look(kind)[1])] for kind in sorted(kinds)},
        "groups": GROUPS,
    }


def _kinds(architecture: Architecture) -> set[str]:
    return {architecture.stem, *(kind for kinds in architecture.stages for kind in kinds)}


def _confusions(report: Report) -> list[tuple[str, Markup]]:
    found = []
    for network in some(report.front):
        counts = network.confusion(len(report.class_names)) if report.class_names else None
        if counts is not None:
            picture = confusion_matrix(report.class_names, counts, network.record.network)
            found.append((network.record.architecture, _svg(picture)))
    return found
