"""The report as one HTML file that needs no network."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stsearch.report.audit_plan import LEAST
from stsearch.report.canvas import svg
from stsearch.report.charts import Curve, confusion_matrix, learning_curve
from stsearch.report.confidence_text import about, shown_chance, shown_volume
from stsearch.report.draw import drawing
from stsearch.report.effect_tables import effect_row
from stsearch.report.effects_text import cost_unit, paragraph
from stsearch.report.learning import FITTED, TAKEN_OFF
from stsearch.report.learning_text import figures
from stsearch.report.page import MOST, Network, Report, duration
from stsearch.report.page_plots import plots
from stsearch.report.paper import SOURCE, paper_clip
from stsearch.report.styles import ink_on, style_of
from stsearch.report.words import counted
from stsearch.search.metrics import METRICS
from stsearch.search.reading import Ended, Record
from stsearch.space.architecture import GROUPS, Architecture
from stsearch.space.cost import COSTS

_TEMPLATES = Path(__file__).parent / "templates"
DRAWN = 600
"""Drawings of dominated networks on the page: each is 13 kB before compression."""
DETAILED = 24
"""Networks of the front, and as many of the paper, with a learning curve and a confusion matrix."""
_FIGURES = re.compile(r"\d+([.,]\d+)*(e[+-]?\d+)?")
LISTED = 200
"""Failed networks that are listed one by one."""


@dataclass(frozen=True)
class Cell:
    """One group in a placement strip."""

    group: str
    label: str
    blocks: int
    fill: str
    ink: str
    about: str


def html(report: Report) -> str:
    """The whole page."""
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": duration,
        "counted": counted,
        "metric": _metric,
        "head": head,
        "chance": shown_chance,
        "paragraph": paragraph,
    }
    # plotly.js and the page's own files come with the packages; everything else is escaped
    library, script = Markup(get_plotlyjs()), Markup((_TEMPLATES / "report.js").read_text(encoding="utf-8"))  # noqa: S704
    style = Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8"))  # noqa: S704
    return environment.get_template("report.html").render(
        **_context(report),
        library=library,
        script=script,
        style=style,
        policy=_policy([f"\n{library}\n", f"\n{script}\n"]),
    )


def _policy(scripts: Iterable[str]) -> str:
    """What the page may do: run its own two scripts, and fetch nothing."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"


def comparable(curves: Sequence[Curve]) -> list[Curve]:
    """The curves that fit one axis: without those whose loss rises beyond ten times the median curve's highest."""
    highest = [max((loss for _, loss, _ in curve), default=0.0) for curve in curves]
    most = 10 * median([high for high in highest if isfinite(high)] or [0.0])
    return [curve for curve, high in zip(curves, highest, strict=True) if high <= most]


def _context(report: Report) -> dict[str, Any]:
    """Everything that the template names."""
    front, paper = _some(report.front), _some([n for n in report.paper if not n.on_front])
    detailed = [network for network in (*front, *paper) if network.curves]
    beside = comparable([curve for network in detailed for curve in network.curves])
    return {
        "report": report,
        "rows": [
            (network, strip(network.record.parsed()), report.pareto.certainty(network.record))
            for network in report.networks
        ],
        "columns": report.columns,
        "repeated": any(len(network.repeats) > 1 for network in report.networks),
        "certain": about(report.pareto),
        "volume": shown_volume(report.pareto),
        "effect_rows": [effect_row(report.effects, c) for c in report.contrasts] if report.effects else [],
        "costs_said": _costs_said(report),
        "cost_head": cost_unit(report.effects.cost)[1] if report.effects else "",
        "compared_with": figures(report.pareto.learning),
        "learnt": [(n.record.network, found) for n in detailed if (found := report.learnt(n))],
        "curves": [_svg(learning_curve(n.curves, n.record.network, beside)) for n in detailed],
        "confusions": list(_confusions(report, front)),
        "few": len(front) < len(report.front) or len(paper) < sum(not n.on_front for n in report.paper),
        "shown_first": report.front[-1] if report.front else None,
        "first_drawing": _drawing(report, report.front[-1].record) if report.front else "",
        "failures": _reasons(report.loss.failed),
        "prunings": _reasons(report.loss.pruned),
        "stops": _reasons(report.loss.stopped),
        "screenings": _reasons(report.loss.screened),
        "spec": yaml.safe_dump(dict(report.resolved), sort_keys=False, allow_unicode=True),
        "plots": plots(report),
        "data": _data(report),
        "drawings": _packed({r.architecture: str(_drawing(report, r)) for r in _drawn(report)}),
        "most": MOST,
        "least": LEAST,
        "taken_off": TAKEN_OFF,
        "fitted": FITTED,
        "paper_source": SOURCE,
        "paper_clip": paper_clip(),
        "detailed": DETAILED,
        "listed": LISTED,
    }


def _costs_said(report: Report) -> str:
    """Where the costs of the effects come from."""
    if report.effects is None or report.effects.cost in COSTS:
        return "Costs are exact: mean, and least to most over contexts."
    return "Costs were measured: mean, and least to most over matched pairs; 'about' is a regression's estimate."


def _some(networks: Sequence[Network]) -> list[Network]:
    """At most ``DETAILED``, evenly."""
    return list(networks[:: -(-len(networks) // DETAILED) or 1])


def _svg(picture: Any) -> Markup:
    return Markup(svg(picture))  # noqa: S704 - the canvas escapes every text


def _drawing(report: Report, record: Record) -> Markup:
    return _svg(drawing([record.parsed()], report.clip, report.classes, [record.network]))


def _drawn(report: Report) -> list[Record]:
    """The front, the paper's networks, and of the dominated at most ``DRAWN``, evenly."""
    others = report.pareto.dominated
    return [*(n.record for n in report.networks), *others[:: -(-len(others) // DRAWN) or 1]]


def _packed(texts: dict[str, str]) -> str:
    """JSON, gzip, base64: drawings are alike and shrink to a tenth."""
    return base64.b64encode(gzip.compress(json.dumps(texts).encode(), mtime=0)).decode()


def head(name: str) -> str:
    """Head of a metric's column."""
    return METRICS[name].axis


def _metric(record: Record, name: str) -> str:
    return METRICS[name].shown(record.metrics[name])


def strip(architecture: Architecture) -> list[Cell]:
    """A placement in five cells."""
    cells = []
    for group, kinds in zip(GROUPS, ((architecture.stem,), *architecture.stages), strict=True):
        runs = [(kind, len(list(run))) for kind, run in groupby(kinds)]
        about = ", ".join(style_of(kind).label + (f" x{n}" if n > 1 else "") for kind, n in runs)
        label, fill = ("mix", "#e4e4e4") if len(set(kinds)) > 1 else _look(kinds[0])
        cells.append(Cell(group, label, len(kinds), fill, ink_on(fill), about))
    return cells


def _look(kind: str) -> tuple[str, str]:
    return style_of(kind).label, style_of(kind).fill


def _data(report: Report) -> dict[str, Any]:
    """What the page's script needs of every network that is drawn."""
    records = {r.architecture: r for r in (*report.pareto.dominated, *(n.record for n in report.networks))}
    names = [n for n in report.columns if all(n in record.metrics for record in records.values())]
    places = {n.record.architecture: n.place for n in report.networks}
    kinds = {kind for record in records.values() for kind in _kinds(record.parsed())}
    return {
        "heads": [head(name) for name in names],
        "networks": {
            key: [r.network, r.trial, places.get(key, "dominated" if r.feasible else "over the budget")]
            + [METRICS[name].shown(r.metrics[name]) for name in names]
            for key, r in records.items()
        },
        "kinds": {kind: [*_look(kind), ink_on(_look(kind)[1])] for kind in sorted(kinds)},
        "groups": GROUPS,
    }


def _kinds(architecture: Architecture) -> set[str]:
    return {architecture.stem, *(kind for kinds in architecture.stages for kind in kinds)}


def _confusions(report: Report, networks: Iterable[Network]) -> Iterable[Markup]:
    for network in networks:
        counts = network.confusion(len(report.class_names)) if report.class_names else None
        if counts is not None:
            yield _svg(confusion_matrix(report.class_names, counts, network.record.network))


def _reasons(ended: Sequence[Ended]) -> list[tuple[str, int, bool]]:
    """A reason, how many are alike but for their figures, and whether these differ; the most frequent first."""
    alike: dict[str, list[str]] = {}
    for trial in ended:
        alike.setdefault(_FIGURES.sub("0", trial.reason), []).append(trial.reason)
    found = ((reasons[0], len(reasons), len(set(reasons)) > 1) for reasons in alike.values())
    return sorted(found, key=lambda one: -one[1])
