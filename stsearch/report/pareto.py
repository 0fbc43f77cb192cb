"""The front of a study, or of the published table, as one plain object for tables, JSON and plots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import optuna

from stsearch.errors import UserError, unknown
from stsearch.report.front import dominates, hypervolume, minimised, non_dominated
from stsearch.resources import names
from stsearch.search.records import REFERENCE_POINT, SPEC, Record, failures, record_of, references_of
from stsearch.search.samplers import ARCHITECTURE
from stsearch.search.session import load_stored_plugins
from stsearch.search.spec import ACCURACIES, load_study
from stsearch.search.storage import exists, open_storage, shown, storage_errors
from stsearch.space.architecture import Architecture, parse_placement
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.published import NETWORKS, PUBLISHED

PUBLISHED_STUDY = "published"
_PAPER = {architecture.id: name for name, architecture in NETWORKS.items()}


@dataclass(frozen=True)
class Pareto:
    """Everything that a front's table or plot says."""

    study: str
    objectives: dict[str, str]
    """name to ``maximize`` or ``minimize``"""
    reference_point: dict[str, float]
    hypervolume: float
    trained: int
    failed: int
    front: tuple[Record, ...]
    """non-dominated among the feasible trials, cheapest first"""
    dominated: tuple[Record, ...]
    """the other trials"""
    references: tuple[Record, ...]
    """the paper's networks, trials among them"""
    budget: dict[str, float]
    cost_of: str
    """whose cost this is, in words"""
    accuracy_of: str
    """whose accuracy this is, in words"""

    def dominated_by(self, record: Record) -> list[str]:
        """Names of the front's networks that dominate ``record``."""
        mine = self._values([record])[0]
        return [
            other.network
            for other, values in zip(self.front, self._values(self.front), strict=True)
            if other.architecture != record.architecture and dominates(values, mine)
        ]

    def _values(self, records: Any) -> Any:
        return _values(records, self.objectives)

    def as_dict(self) -> dict[str, Any]:
        """The JSON of ``stsearch pareto``."""
        return {
            "study": self.study,
            "objectives": self.objectives,
            "reference_point": self.reference_point,
            "hypervolume": self.hypervolume,
            "trained": self.trained,
            "failed": self.failed,
            "budget": self.budget,
            "cost_of": self.cost_of,
            "accuracy_of": self.accuracy_of,
            "front": [
                {"trial": r.trial, "network": r.network, "architecture": r.architecture, **r.metrics}
                for r in self.front
            ],
            "references": [
                {
                    "network": r.network,
                    "trial": r.trial,
                    "architecture": r.architecture,
                    **r.metrics,
                    "feasible": r.feasible,
                    "dominated_by": self.dominated_by(r),
                }
                for r in self.references
            ],
        }


def _values(records: Any, objectives: dict[str, str]) -> Any:
    rows = [[record.metrics[name] for name in objectives] for record in records]
    return minimised(rows, [direction == "maximize" for direction in objectives.values()])


def _pareto(
    records: list[Record], references: list[Record], objectives: dict[str, str], point: dict[str, float], **rest: Any
) -> Pareto:
    feasible = [record for record in records if record.feasible]
    values = _values(feasible, objectives)
    keep = non_dominated(values)
    worst = minimised([[point[name] for name in objectives]], [d == "maximize" for d in objectives.values()])[0]
    costs = [name for name in objectives if name not in ACCURACIES]
    by = costs[0] if costs else next(iter(objectives))
    front = sorted((r for r, kept in zip(feasible, keep, strict=True) if kept), key=lambda r: r.metrics[by])
    on_front = {record.architecture for record in front}
    return Pareto(
        objectives=objectives,
        reference_point=point,
        hypervolume=hypervolume(values, worst) if len(values) else 0.0,
        front=tuple(front),
        dominated=tuple(r for r in records if r.architecture not in on_front or not r.feasible),
        references=tuple(references),
        **rest,
    )


def published(frames: int) -> Pareto:
    """The front of the paper's own table over computed MACs: 18 layers, Kinetics-400, 112x112."""
    clip = ClipShape(3, frames, 112, 112)
    records = []
    for row in PUBLISHED:
        if row.frames == frames:
            architecture = NETWORKS[row.network]
            total = network_cost(architecture, clip, 400).total
            records.append(
                Record(
                    None,
                    architecture.id,
                    row.network,
                    {
                        "video_top1": row.video_top1,
                        "clip_top1": row.clip_top1,
                        "gmacs": total.macs / 1e9,
                        "params": total.params,
                        "activations": total.activations,
                    },
                    True,
                )
            )
    point = {"video_top1": 0.0, "gmacs": max(r.metrics["gmacs"] for r in records)}
    return _pareto(
        records,
        records,
        {"video_top1": "maximize", "gmacs": "minimize"},
        point,
        study=f"{PUBLISHED_STUDY} ({frames} frames)",
        trained=len(records),
        failed=0,
        budget={},
        cost_of=f"clip {clip}, 400 classes, computed",
        accuracy_of=f"clip {clip}, Kinetics-400 validation, as published (Tran et al., CVPR 2018)",
    )


def study_place(name: str, storage: str | None) -> tuple[str, str]:
    """``(study name, storage URL)`` of a study that a user names by file or by name."""
    if name.endswith((".yaml", ".yml")) or (storage is None and name in names("studies")):
        study = load_study(name)
        return study.name, storage or study.storage_url
    return name, storage or f"sqlite:///studies/{name}.db"


def open_study(name: str, storage: str | None = None) -> optuna.Study:
    """A study that was begun before; ``UserError`` says how to begin it. Its plug-ins are loaded."""
    study_name, url = study_place(name, storage)
    if not exists(url):
        known = names("studies")
        hint = f"`stsearch run {name}` begins it" if name in known or "." in name else unknown("study", name, known)
        raise UserError(f"the study {study_name!r} has not been run here ({shown(url)} is not there); {hint}")
    opened = open_storage(url, to_write=False)
    with storage_errors(url):
        stored = {summary.study_name: summary for summary in opened.get_all_studies()}
        if study_name not in stored:
            held = unknown("study", study_name, stored) if stored else f"no study {study_name!r} has begun yet"
            raise UserError(f"{held} (in {shown(url)})")
        study = optuna.load_study(study_name=study_name, storage=opened)
        if SPEC not in study.user_attrs:
            raise UserError(f"the study {study_name!r} was not begun by stsearch")
        load_stored_plugins(study)
    return study


def trial_architecture(text: str, storage: str | None = None) -> Architecture:
    """The architecture of ``STUDY#TRIAL``; ``UserError`` for a study or trial that is not there."""
    name, _, number = text.rpartition("#")
    study = open_study(name, storage)
    trials = {str(t.number): t for t in study.get_trials(deepcopy=False) if ARCHITECTURE in t.user_attrs}
    if number not in trials:
        known = f"0 to {max(map(int, trials))}" if trials else "none yet"
        raise UserError(f"the study {name!r} has no trial {number!r}; its trials: {known}")
    return parse_placement(trials[number].user_attrs[ARCHITECTURE])


def pareto_of(study: optuna.Study) -> Pareto:
    """The front of a study as it stands; the study may be running."""
    attributes = study.user_attrs
    resolved, identity = attributes[SPEC]["resolved"], attributes[SPEC]["identity"]
    objectives = {name: resolved["objectives"][name] for name in study.metric_names or resolved["objectives"]}
    records = [r for r in map(record_of, study.get_trials(deepcopy=False)) if r is not None]
    paper = [replace(r, network=_PAPER[r.architecture]) for r in records if r.architecture in _PAPER]
    order = list(_PAPER.values())
    references = sorted([*references_of(study), *paper], key=lambda r: order.index(r.network))
    target, proxy = identity["target"], identity["proxy"]
    return _pareto(
        records,
        references,
        objectives,
        attributes[REFERENCE_POINT],
        study=study.study_name,
        trained=len(records),
        failed=len(failures(study)),
        budget=resolved["budget"],
        cost_of=f"target, clip {ClipShape(3, target['frames'], target['size'], target['size'])}",
        accuracy_of=(
            f"proxy, clip {ClipShape(3, proxy['frames'], proxy['size'], proxy['size'])}, "
            f"width x{proxy['width']:g}, data {identity['data']['name']}"
        ),
    )


def unit_of(name: str) -> str:
    """Unit of a metric, for tables and axes."""
    return {"video_top1": "%", "clip_top1": "%", "gmacs": "GMACs", "params": "M", "activations": "M"}[name]


def shown_value(name: str, value: float) -> str:
    """A metric as tables print it: per cent, GMACs, or millions."""
    if name in ("params", "activations"):
        return f"{value / 1e6:.2f}"
    return f"{value:.1f}" if name in ACCURACIES else f"{value:.2f}"
