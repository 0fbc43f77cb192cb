"""A study's report as one plain frozen object; ``collect`` fills it, ``html`` and ``markdown`` write it down."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stsearch.profiling.against import Disagreement
from stsearch.report.charts import Curve, confusion_counts, curves_of
from stsearch.report.confidence_text import chance_said
from stsearch.report.easier import Pair
from stsearch.report.effect_contrasts import Contrast
from stsearch.report.effect_tables import estimated
from stsearch.report.effects import Effects
from stsearch.report.effects_text import headline
from stsearch.report.effort import Effort, Loss
from stsearch.report.learning import Learnt, learnt_of
from stsearch.report.learning_text import warnings
from stsearch.report.pareto import Pareto
from stsearch.report.words import counted, storage_option
from stsearch.search.metrics import ACCURACIES, KEPT, METRICS
from stsearch.search.reading import Record
from stsearch.search.state import State
from stsearch.space.blueprint import ClipShape

_FIVE = 5
"""Classes up to which the top-5 of them says nothing"""
DETAILED = 24
"""Networks of the front, and as many of the paper, with a learning curve and a confusion matrix"""
MOST = 4000
"""Dominated networks that are drawn; more are a blot."""


@dataclass(frozen=True)
class Network:
    """A network that the report tells all of: on the front, or the paper's."""

    record: Record
    on_front: bool
    paper: bool
    dominated_by: tuple[int | None, ...]
    """trials of the front's networks"""
    details: Mapping[str, Any]
    """the full record of its trainings; empty where none is kept"""
    stopped_at: int | None = None
    """epoch after which halving stopped it; ``None`` where it was trained whole"""

    @property
    def trainings(self) -> Sequence[Mapping[str, Any]]:
        """One per repeat."""
        found: Sequence[Mapping[str, Any]] = self.details.get("trainings", ())
        return found

    @property
    def place(self) -> str:
        """Where it stands, in words."""
        if self.stopped_at is not None:
            said = f"stopped early, after epoch {self.stopped_at}"
        elif self.on_front:
            said = "on the front"
        elif by := self.dominated_by:
            said = f"dominated by #{by[0]}" + (f" and {len(by) - 1} more" if len(by) > 1 else "")
        else:
            said = "not dominated, outside the space" if self.record.trial is None else "not dominated"
        return said if self.record.feasible else f"{said}; over the budget"

    @property
    def curves(self) -> list[Curve]:
        """Of every repeat ``(epoch, training loss, clip top-1 in per cent)``."""
        return curves_of(self.trainings)

    def confusion(self, classes: int) -> npt.NDArray[np.int64] | None:
        """Videos ``(true, predicted)``, summed over repeats; ``None`` where none was kept."""
        counts = confusion_counts(self.trainings, classes)
        return counts if counts.any() else None

    def by_class(self, classes: int) -> list[tuple[int, float | None]]:
        """Videos of each class and the per cent of them that are right, over all repeats; empty without a record."""
        counts = self.confusion(classes)
        if counts is None:
            return []
        times = max(1, len(self.trainings))
        totals, right = counts.sum(1).tolist(), counts.diagonal().tolist()
        return [(n // times, 100 * r / n if n else None) for n, r in zip(totals, right, strict=True)]

    @property
    def repeats(self) -> tuple[float, ...]:
        """Video top-1 of every repeat, per cent."""
        return tuple(t["video_top1"] for t in self.trainings)


@dataclass(frozen=True)
class Report:
    """A study as it stands."""

    pareto: Pareto
    """its ``dominated`` are at most ``MOST``, evenly taken"""
    networks: tuple[Network, ...]
    """the front, cheapest first, then those of the paper that are not on it"""
    beside_details: Mapping[str, Mapping[str, Any]]
    """full records of the networks to compare with, by architecture; empty ones where none is kept"""
    states: Mapping[str, int]
    wanted: int
    """networks that the study is to train"""
    effects: Effects | None
    why_no_effects: str
    easier: tuple[Pair, ...]
    """networks that differ in 3D against (2+1)D alone"""
    growth: tuple[tuple[int, float], ...]
    """``(finished trainings, hypervolume)``"""
    effort: Effort
    loss: Loss
    latency: Disagreement | None
    timed: tuple[tuple[str, float, float], ...]
    """``(network, GMACs, ms)`` behind ``latency``, pruned ones among them"""
    clip: ClipShape
    """of the target"""
    classes: int
    """of the target"""
    class_names: tuple[str, ...]
    """of the data; numbers where they are not stored"""
    space: str
    data: str
    notes: tuple[str, ...]
    """on the data, as a run says them"""
    resolved: Mapping[str, Any]
    measured_on: Mapping[str, Any]
    """what makes measured figures comparable; empty where none is"""
    composed: str
    """how latency was summed from pieces; empty where networks were timed one by one"""
    fingerprints: Mapping[str, str]
    versions: tuple[tuple[str, str, int], ...]
    """``(what, version or device, networks)``, read from the records of ``networks``"""
    place: str
    """URL of the storage without its password"""
    written: str
    """UTC"""
    version: str
    """of stsearch, that wrote this"""
    command: str
    table: str
    """published results that are held beside the front: ``paper``, or one of ``stsearch.space.literature.TABLES``"""

    @property
    def front(self) -> tuple[Network, ...]:
        """Networks of the front, cheapest first."""
        return tuple(network for network in self.networks if network.on_front)

    @property
    def paper(self) -> tuple[Network, ...]:
        """The paper's networks that were trained whole."""
        return tuple(network for network in self.networks if network.paper and network.stopped_at is None)

    @property
    def repeated(self) -> bool:
        """Whether any of ``networks`` was trained more than once."""
        return any(len(network.repeats) > 1 for network in self.networks)

    @property
    def detailed(self) -> tuple[Network, ...]:
        """Networks whose curves are shown: of the front and of the others at most ``DETAILED`` each, evenly."""
        return tuple(network for network in (*some(self.front), *some(self._others)) if network.curves)

    @property
    def all_detailed(self) -> bool:
        """Whether there are no more."""
        return max(len(self.front), len(self._others)) <= DETAILED

    @property
    def _others(self) -> tuple[Network, ...]:
        return tuple(network for network in self.networks if not network.on_front)

    @property
    def has_confusions(self) -> bool:
        """Whether a network of the front has a confusion matrix."""
        classes = len(self.class_names)
        return bool(classes) and any(network.confusion(classes) is not None for network in some(self.front))

    @property
    def running(self) -> int:
        """Networks in training when the study was read."""
        return self.states.get(State.RUNNING, 0)

    @property
    def complete(self) -> int:
        """Networks of the space that were trained."""
        return self.pareto.trained

    @property
    def answer(self) -> tuple[str, ...]:
        """The study's answer, in at most three sentences: the front, where time pays, and what matters most besides."""
        where = headline(self.effects) if self.effects else ""
        besides = [*warnings(self.pareto.learning), *self._outdone, self._paper_said][0]
        return tuple(sentence for sentence in (self.result, where, besides) if sentence)

    @property
    def stopped(self) -> int:
        """Networks that wait at a rung of successive halving."""
        return len(self.pareto.halved.stopped) if self.pareto.halved else 0

    @property
    def result(self) -> str:
        """What came out, in one sentence."""
        if not self.complete:
            return f"No network has finished training yet; {self.running} in training, {len(self.loss.failed)} failed."
        trained = counted(self.complete, "network")
        if not self.front:
            return f"{trained} trained, and none of them keeps the budget: the front is empty."
        first, last = self.front[0], self.front[-1]
        sure = chance_said(self.pareto.certainty(first.record))
        if self.complete == 1:
            return f"1 network trained, so there is nothing to compare it with: {self.said(first)}."
        if len(self.pareto.objectives) == 1:
            (name,) = self.pareto.objectives
            return f"{trained} trained; the best in {METRICS[name].title} is {self.said(first)}."
        if len(self.front) == 1:
            better = "one was measured better than all others of the space in every objective"
            return f"{trained} trained; {better}: {self.said(first)}{sure}."
        return (
            f"{trained} trained, {len(self.front)} of them on the front: from {self.said(first)} to {self.said(last)}."
        )

    @property
    def _paper_said(self) -> str:
        """How the paper's networks did, in one sentence; empty where none was trained."""
        if not self.paper:
            return ""
        halted = sum(network.stopped_at is not None for network in self.networks)
        on_front = sum(network.on_front for network in self.paper)
        beaten = sum(bool(network.dominated_by) for network in self.paper)
        over = sum(not network.record.feasible for network in self.paper)
        parts = [f"{on_front} on the front", f"{beaten} dominated by it"]
        if over:
            parts.append(f"{over} over the budget")
        if halted:
            parts.append(f"{halted} more stopped early")
        return f"Of {counted(len(self.paper), 'network')} of the paper trained beside them: {', '.join(parts)}."

    @property
    def beside(self) -> str:
        """``_paper_said``, and which of the paper's networks dominate some of the front."""
        return " ".join([self._paper_said, *self._outdone]).strip()

    @property
    def _outdone(self) -> list[str]:
        """The paper's networks that dominate some of the front, a sentence each."""
        said = []
        for network in self.paper:
            if beats := self.pareto.dominates(network.record):
                where = "outside the space" if network.record.trial is None else "over the budget"
                whom = f"{len(beats)} of the {counted(len(self.front), 'network')} on the front"
                said.append(f"{network.record.network}, {where}, dominates {whom}.")
        return said

    @property
    def about(self) -> str:
        """What was searched, when, and how far it is."""
        when = f", {self.effort.when}" if self.effort.when else ""
        return f"Space {self.space} on the data {self.data}{when}. {self.standing}".strip()

    @property
    def standing(self) -> str:
        """Whether it is done."""
        done = self.complete + self.stopped
        said = f"{done:,} of {self.wanted:,} networks trained" + (" or stopped early" if self.stopped else "")
        if self.running:
            return f"Still running when this was written: {said}."
        if done < self.wanted:
            return f"{said}; the study can go on."
        return ""

    def learnt(self, network: Network) -> Learnt | None:
        """How far the trainings of a network came; ``None`` where no record tells."""
        learning = self.pareto.learning
        if learning is None or not network.curves:
            return None
        return learnt_of(network.record, network.details, learning.baseline, own_curve=learning.own_curves)

    @property
    def contrasts(self) -> list[Contrast]:
        """Placement effects that have an estimate, group by group."""
        return estimated(self.effects) if self.effects else []

    @property
    def accuracy(self) -> str:
        """Name of the accuracy that effects are about."""
        return METRICS[self.effects.accuracy].title if self.effects else ""

    @property
    def corner(self) -> str:
        """The hypervolume's reference point, in words."""
        point = self.pareto.reference_point.items()
        return ", ".join(f"{METRICS[name].title} {METRICS[name].amount(value)}" for name, value in point)

    def said(self, network: Network) -> str:
        """A network with its objectives: ``MC3-18 (61.2 %, 24.50 GMACs)``."""
        return f"{network.record.network} ({', '.join(self._amounts(network.record))})"

    def _amounts(self, record: Record) -> list[str]:
        """Its objectives, with standard errors; counts in millions say what they count."""
        sure = self.pareto.certainty(record)
        errors = sure.errors if sure else {}
        return [
            metric.shown(record.metrics[metric.name])
            + (f" ± {errors[metric.name]:.1f}" if metric.name in errors else "")
            + f" {metric.unit}"
            + (f" {metric.title}" if metric.unit == "M" else "")
            for metric in map(METRICS.__getitem__, self.pareto.objectives)
        ]

    @property
    def columns(self) -> tuple[str, ...]:
        """Metrics that all ``networks`` have, objectives first; activations only where they are one."""
        known = [name for name in METRICS if all(name in n.record.metrics for n in self.networks)]
        left_out = ("activations", *KEPT) if len(self.class_names) <= _FIVE else ("activations",)
        known = [name for name in known if name not in left_out]
        return tuple(dict.fromkeys([*self.pareto.objectives, *known])) if self.networks else ()

    @property
    def compared(self) -> tuple[Network, ...]:
        """The cheapest and the most accurate network of the front, where their videos by class are kept."""
        accuracy = next((name for name in self.pareto.objectives if name in ACCURACIES), "video_top1")
        known = [n for n in self.front if n.confusion(len(self.class_names)) is not None]
        if not known:
            return ()
        best = max(known, key=lambda n: n.record.metrics.get(accuracy, 0.0))
        return (best,) if known[0] is best else (known[0], best)

    @property
    def by_class(self) -> list[tuple[str, int, list[float | None]]]:
        """Every class with its validation videos and the per cent right of each network of ``compared``."""
        columns = [network.by_class(len(self.class_names)) for network in self.compared]
        return [
            (name, cells[0][0], [share for _, share in cells])
            for name, *cells in zip(self.class_names, *columns, strict=True)
            if cells
        ]

    @property
    def storage_option(self) -> str:
        """`` --storage URL`` where commands need it, else empty."""
        return storage_option(self.pareto.study, self.place)

    @property
    def audit(self) -> str:
        """The command that says what more epochs change in the ranking."""
        return f"stsearch audit {shlex.quote(self.pareto.study)}{self.storage_option}"

    @property
    def look(self) -> str:
        """The command that opens the study in a browser."""
        return f"stsearch dashboard {shlex.quote(self.pareto.study)}{self.storage_option}"

    def steps(self, network: Network) -> list[tuple[str, str]]:
        """``(what it does, command)`` for going on with a network of the front."""
        name = f"{self.pareto.study}#{network.record.trial}"
        profile = f"stsearch profile {shlex.quote(name)}{self.storage_option}"
        file = re.sub(r"[^\w.-]+", "-", name).strip("-")
        return [
            ("its exact cost, stage by stage", profile),
            ("how long it takes here, stage by stage, forward and in training", f"{profile} --measure"),
            ("a trace of the profiler", f"{profile} --trace traces"),
            ("its drawing, for a paper", f"{profile} --draw {shlex.quote(file)}.pdf"),
        ]


def some(networks: Sequence[Network]) -> list[Network]:
    """At most ``DETAILED``, evenly."""
    return list(networks[:: -(-len(networks) // DETAILED) or 1])
