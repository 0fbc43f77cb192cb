"""The front of a study, or of the published table, as one plain object for tables, JSON and plots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from stsearch.errors import UserError
from stsearch.report.compared import Compared, compared_of
from stsearch.report.confidence import Certainty, Confidence, confidence_of
from stsearch.report.learning import Learning, learning_of
from stsearch.report.learning_text import warnings
from stsearch.search.attributes import ARCHITECTURE, STOPPED
from stsearch.search.calibrated import Calibrated, calibration_in
from stsearch.search.halved import Halved, halved
from stsearch.search.metrics import QUALITIES
from stsearch.search.reading import Ended, Record, StoredStudy, read_study
from stsearch.search.screened import Screened, screened
from stsearch.search.state import State
from stsearch.space.architecture import Architecture, parse_placement
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.published import NETWORKS, PUBLISHED
from stsearch.stats.front import dominates, hypervolume, minimised, non_dominated

T = TypeVar("T")

PUBLISHED_STUDY = "published"
_PAPER = {architecture.id: name for name, architecture in NETWORKS.items()}


@dataclass(frozen=True)
class Lazy(Generic[T]):
    """What most commands do without: records, and what they say."""

    load: Callable[[], T]

    @cached_property
    def value(self) -> T:
        """What is loaded, once."""
        return self.load()


@dataclass(frozen=True)
class Waiting:
    """A network that successive halving stopped."""

    record: Record
    """its accuracies are those at its rung"""
    epoch: int
    """the rung"""

    @property
    def paper(self) -> bool:
        """Whether it is one of the paper's."""
        return self.record.architecture in _PAPER


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
    pruned: int
    """over a measured budget; those that halving stopped are in ``halved``, those screened out in ``screened``"""
    front: tuple[Record, ...]
    """non-dominated among the feasible trials, cheapest first"""
    others: Lazy[tuple[Record, ...]]
    """see ``dominated``"""
    references: tuple[Record, ...]
    """the paper's networks, trials among them"""
    budget: dict[str, float]
    cost_of: str
    """whose cost this is, in words"""
    accuracy_of: str
    """whose accuracy this is, in words"""
    halved: Halved | None = None
    """``None`` where the study does no successive halving"""
    screened: Screened | None = None
    """``None`` where no score decides what is trained"""
    confidence: Confidence | None = None
    """how sure it is; ``None`` where nothing is known of the noise"""
    compared: tuple[Compared, ...] = ()
    """networks that ``search.compare_with`` names; of the front only where the space holds them"""
    failures: tuple[Ended, ...] = ()
    """the ``failed``, each with its reason"""
    learnt: Lazy[Learning | None] = field(default_factory=lambda: Lazy(lambda: None))
    """see ``learning``"""
    waits: Lazy[tuple[Waiting, ...]] = field(default_factory=lambda: Lazy(lambda: ()))
    """see ``waiting``"""
    measured: Lazy[Calibrated | None] = field(default_factory=lambda: Lazy(lambda: None))
    """see ``calibrated``"""

    @property
    def calibrated(self) -> Calibrated | None:
        """How well the proxy is known to rank; read when first asked for. ``None`` where nobody measured it."""
        return self.measured.value

    @property
    def learning(self) -> Learning | None:
        """Whether its networks have learnt; read when first asked for. ``None`` where none was trained."""
        return self.learnt.value

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """Networks that halving stopped, by trial; read when first asked for."""
        return self.waits.value

    def certainty(self, record: Record) -> Certainty | None:
        """How sure a network's accuracy and place are, if that is known."""
        return self.confidence.of(record) if self.confidence else None

    @property
    def spared(self) -> str:
        """What was trained less or not at all, after a semicolon: ``; 9 stopped early; 14 screened out by naswot``."""
        return "".join(f"; {found.said}" for found in (self.halved, self.screened) if found)

    @property
    def dominated(self) -> tuple[Record, ...]:
        """The other trained networks, those over the budget among them; read when first asked for."""
        return self.others.value

    def dominated_by(self, record: Record) -> list[str]:
        """Names of the front's networks that dominate ``record``."""
        by = dominates(self._values(self.front), self._values([record])[0])
        others = zip(self.front, by, strict=True)
        return [one.network for one, better in others if better and one.architecture != record.architecture]

    def dominates(self, record: Record) -> list[str]:
        """Names of the front's networks that ``record`` dominates, as one outside the space or over the budget may."""
        over = dominates(self._values([record])[0], self._values(self.front))
        return [other.network for other, beaten in zip(self.front, over, strict=True) if beaten]

    @property
    def outside(self) -> tuple[Record, ...]:
        """Networks outside the space that were trained beside it, each once."""
        found = [*self.references, *(one.record for one in self.compared if one.record)]
        return tuple({one.architecture: one for one in found if one.trial is None and one.feasible}.values())

    def outdone_by(self, record: Record) -> list[Record]:
        """Networks outside the space that dominate ``record``."""
        return [one for one in self.outside if dominates(self._values([one])[0], self._values([record]))[0]]

    def _row(self, record: Record) -> dict[str, Any]:
        sure = self.certainty(record)
        named = {"trial": record.trial, "network": record.network, "architecture": record.architecture}
        return {**named, **record.metrics, **(sure.as_dict() if sure else {})}

    def _beside(self, one: Compared) -> dict[str, Any]:
        sure = self.certainty(one.record) if one.record else None
        stands: dict[str, Any] = {"feasible": None, "dominated_by": None, "dominates": None}
        if one.record:
            by, over = self.dominated_by(one.record), self.dominates(one.record)
            stands = {"feasible": one.record.feasible, "dominated_by": by, "dominates": over}
        return {**one.as_dict(), **(sure.as_dict() if sure else {}), **stands}

    def _values(self, records: Any) -> Any:
        return _values(records, self.objectives)

    def as_dict(self) -> dict[str, Any]:
        """The JSON of ``stsearch pareto``."""
        return {
            "study": self.study,
            "objectives": self.objectives,
            "reference_point": self.reference_point,
            "hypervolume": self.hypervolume,
            "hypervolume_interval": list(self.confidence.hypervolume) if self.confidence else None,
            "trained": self.trained,
            "failed": self.failed,
            "failures": [asdict(one) for one in self.failures],
            "pruned": self.pruned,
            "halving": self.halved.as_dict() if self.halved else None,
            "screen": self.screened.as_dict() if self.screened else None,
            "budget": self.budget,
            "cost_of": self.cost_of,
            "accuracy_of": self.accuracy_of,
            "calibration": self.calibrated.as_dict() if self.calibrated else None,
            "front": [self._row(record) for record in self.front],
            "likely": [self._row(record) for record in self.confidence.likely] if self.confidence else [],
            "not_told_apart": [
                {
                    "trials": [pair.first.trial, pair.second.trial],
                    "networks": [pair.first.network, pair.second.network],
                    "p_first_better": pair.probability,
                }
                for pair in (self.confidence.pairs if self.confidence else ())
            ],
            "noise": self.confidence.noise.as_dict() if self.confidence else None,
            "learning": {**self.learning.as_dict(), "said": warnings(self.learning)} if self.learning else None,
            "references": [
                {
                    **self._row(r),
                    "feasible": r.feasible,
                    "dominated_by": self.dominated_by(r),
                    "dominates": self.dominates(r),
                }
                for r in self.references
            ],
            "compared": [self._beside(one) for one in self.compared],
        }


def _values(records: Any, objectives: dict[str, str]) -> Any:
    rows = [[record.metrics[name] for name in objectives] for record in records]
    return minimised(rows, objectives.values())


def published_clip(frames: int) -> ClipShape:
    """What the networks of the paper's table see."""
    return ClipShape(3, frames, 112, 112)


def published(frames: int) -> Pareto:
    """The front of the paper's own table over computed MACs: 18 layers, Kinetics-400, 112x112."""
    clip = published_clip(frames)
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
    objectives = {"video_top1": "maximize", "gmacs": "minimize"}
    point = {"video_top1": 0.0, "gmacs": max(r.metrics["gmacs"] for r in records)}
    values = _values(records, objectives)
    keep = non_dominated(values)
    chosen = sorted((r for r, kept in zip(records, keep, strict=True) if kept), key=lambda r: r.metrics["gmacs"])
    rest = tuple(r for r, kept in zip(records, keep, strict=True) if not kept)
    return Pareto(
        study=f"{PUBLISHED_STUDY} ({frames} frames)",
        objectives=objectives,
        reference_point=point,
        hypervolume=hypervolume(values, minimised([list(point.values())], objectives.values())[0]),
        trained=len(records),
        failed=0,
        pruned=0,
        front=tuple(chosen),
        others=Lazy(lambda: rest),
        references=tuple(records),
        budget={},
        cost_of=f"clip {clip}, 400 classes, computed",
        accuracy_of=f"clip {clip}, Kinetics-400 validation, as published (Tran et al., CVPR 2018)",
    )


def trial_architecture(text: str, storage: str | None = None) -> Architecture:
    """The architecture of ``STUDY#TRIAL``; ``UserError`` for a study or trial that is not there."""
    name, _, number = text.rpartition("#")
    stored = read_study(name, storage)
    rows = np.flatnonzero(stored.numbers == int(number)) if number.isdecimal() else np.zeros(0, dtype=np.int64)
    (found,) = stored.attributes([ARCHITECTURE], rows) if len(rows) else ({},)
    if ARCHITECTURE not in found:
        known = f"0 to {stored.numbers.max()}" if len(stored.numbers) else "none yet"
        raise UserError(f"the study {name!r} has no trial {number!r}; its trials: {known}")
    return parse_placement(found[ARCHITECTURE])


def pareto_of(stored: StoredStudy) -> Pareto:
    """The front of a study as it stands; the study may be running."""
    names, point = list(stored.objectives), stored.reference_point
    feasible = stored.complete[stored.feasible[stored.complete]]
    values = minimised(stored.values[feasible], stored.objectives.values())
    worst = minimised([[point[name] for name in names]], stored.objectives.values())[0]
    best = non_dominated(values)
    kept = feasible[best]
    cost = next((column for column, name in enumerate(names) if name not in QUALITIES), 0)
    kept = kept[np.argsort(stored.values[kept, cost], kind="stable")]
    front = stored.records(kept)
    paper = np.intersect1d(stored.find(ARCHITECTURE, list(_PAPER)), stored.complete)
    named = [replace(record, network=_PAPER[record.architecture]) for record in stored.records(paper)]
    order = list(_PAPER.values())
    shown = {*stored.resolved["search"].get("compare_with", ()), *(name for name in order if name.startswith("R2D-"))}
    named += [r for r in stored.references() if r.architecture in _PAPER and r.network in shown]
    halving, screen = halved(stored), screened(stored)
    flow = " (optical flow)" if stored.identity["data"].get("modality") == "flow" else ""
    return Pareto(
        study=stored.name,
        objectives=stored.objectives,
        reference_point=point,
        hypervolume=hypervolume(values[best], worst),
        trained=len(stored.complete),
        failed=len(failures := stored.ended(State.FAILED)),
        failures=tuple(failures),
        pruned=len(stored.rows(State.OVER)),
        front=tuple(front),
        others=Lazy(lambda: tuple(stored.records(np.setdiff1d(stored.complete, kept)))),
        references=tuple(sorted(named, key=lambda r: order.index(r.network))),
        compared=compared_of(stored),
        budget=stored.resolved["budget"],
        cost_of=f"target, clip {stored.target_clip}",
        accuracy_of=(
            f"proxy, clip {stored.proxy_clip}, width x{stored.identity['proxy']['width']:g}, "
            f"data {stored.identity['data']['name']}{flow}"
            + (f", not trained: score {score}" if (score := stored.identity["evaluate"].get("score")) else "")
        ),
        halved=halving,
        screened=screen,
        confidence=confidence_of(stored, kept),
        learnt=Lazy(lambda: learning_of(stored, kept)),
        waits=Lazy(lambda: _waiting(stored, halving)),
        measured=Lazy(lambda: calibration_in(stored.url, stored.identity)),
    )


def _waiting(stored: StoredStudy, halving: Halved | None) -> tuple[Waiting, ...]:
    if halving is None or not halving.stopped:
        return ()
    rows = np.flatnonzero(np.isin(stored.numbers, [one.trial for one in halving.stopped]))
    known = zip(stored.records(rows), stored.attributes([STOPPED], rows), strict=True)
    return tuple(Waiting(record, at[STOPPED]) for record, at in known)


def whole(pareto: Pareto) -> Pareto:
    """``pareto`` with all that is printed of it read, so that a storage that goes away meanwhile is noticed here."""
    _ = pareto.learning, pareto.waiting, pareto.calibrated
    return pareto
