"""Fills a report: a study's storage is read once, and nothing is read for each of its trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from stsearch import __version__
from stsearch.errors import UserError
from stsearch.profiling.against import disagreement
from stsearch.report.easier import easier_of
from stsearch.report.effects import Effects
from stsearch.report.effort import Effort, Loss
from stsearch.report.page import MOST, Network, Report
from stsearch.report.paper import PAPER
from stsearch.report.pareto import Lazy, Pareto, pareto_of
from stsearch.report.study_effects import study_effects, wanted_keys
from stsearch.search.attributes import COMPOSED, NETWORK, REFERENCE, SPEC, WORKER
from stsearch.search.place import shown
from stsearch.search.reading import Record, Rows, StoredStudy
from stsearch.search.rows import is_reference
from stsearch.search.state import State
from stsearch.stats.front import hypervolume, minimised, non_dominated

TIMED = 500
"""Networks whose FLOPs are held against their latency, at most: all pairs are compared."""
POINTS = 200
"""Of the line of the hypervolume, at most"""
POINTS_OF_MANY = 25
"""The same for three objectives and more, where a hypervolume takes up to a second"""

Floats = npt.NDArray[np.float64]


def report_of(stored: StoredStudy, command: str = "", table: str = PAPER) -> Report:
    """Read everything that the report of ``stored`` says; the study may be running, or empty.

    ``table`` is the published one that is held beside its front.
    """
    began, ended = stored.times()
    whole = pareto_of(stored)
    details = _details(stored, whole)
    wanted = [*wanted_keys(stored), "seconds", "clips_per_second", WORKER]
    attributes = stored.attributes(wanted, stored.complete)
    effort = _effort(stored, attributes, whole, began, ended)
    pareto = _thinned(stored, whole)
    networks = tuple(_networks(pareto, details))
    effects, why_no_effects = _effects(stored, pareto, attributes)
    timed = _timed(stored, pareto.references)
    return Report(
        pareto=pareto,
        networks=networks,
        beside_details={one.network.id: details.get(one.network.id, {}) for one in whole.compared},
        states=dict(zip(*(column.tolist() for column in np.unique(stored.states, return_counts=True)), strict=True)),
        wanted=stored.resolved["search"]["trials"],
        effects=effects,
        why_no_effects=why_no_effects,
        easier=easier_of(stored, attributes),
        growth=_growth(stored, ended),
        effort=effort,
        loss=_loss(stored, whole, effort, began, ended),
        latency=disagreement(timed) if len(timed) > 1 else None,
        timed=timed,
        clip=stored.target_clip,
        classes=stored.classes,
        class_names=tuple(stored.class_names),
        space=stored.identity["space"]["name"],
        data=stored.identity["data"]["name"],
        notes=tuple(stored.user_attributes[SPEC].get("notes", ())),  # earlier versions kept none
        resolved=stored.resolved,
        measured_on=stored.identity.get("measured_on", {}),
        composed=_composed(stored),
        fingerprints={
            "space": str(stored.identity["space"].get("fingerprint", "")),
            "data": str(stored.identity.get("data_fingerprint", "")),
        },
        versions=_versions(networks),
        place=shown(stored.url),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        version=__version__,
        command=command,
        table=table,
    )


def _rows_of(stored: StoredStudy, records: Iterable[Record]) -> Rows:
    """Rows of the trials among ``records``."""
    numbers = [record.trial for record in records if record.trial is not None]
    return np.searchsorted(stored.numbers, np.array(numbers, dtype=np.int64)).astype(np.int64)


def _thinned(stored: StoredStudy, pareto: Pareto) -> Pareto:
    """``pareto`` with at most ``MOST`` dominated networks, evenly by number, so that not all are read."""
    rest = np.setdiff1d(stored.complete, _rows_of(stored, pareto.front))
    some = rest[:: -(-len(rest) // MOST) or 1]
    return replace(pareto, others=Lazy(lambda: tuple(stored.records(some))))


def _details(stored: StoredStudy, pareto: Pareto) -> dict[str, Mapping[str, Any]]:
    """Architecture to full record, for the front, the paper's networks and those to compare with."""
    halted = [waiting.record for waiting in pareto.waiting if waiting.paper]
    beside = [one.record for one in pareto.compared if one.record is not None]
    shown = (*pareto.references, *pareto.front, *halted, *beside)
    chosen = {record.architecture: record for record in shown if record.trial is not None}
    found = stored.details(_rows_of(stored, chosen.values()))
    return {**stored.reference_details(), **dict(zip(chosen, found, strict=True))}


def _networks(pareto: Pareto, details: Mapping[str, Mapping[str, Any]]) -> Iterable[Network]:
    paper = {record.architecture for record in pareto.references}
    on_front = {record.architecture for record in pareto.front}
    trials = {record.network: record.trial for record in pareto.front}
    for record in pareto.front:
        yield Network(record, True, record.architecture in paper, (), details.get(record.architecture, {}))
    for record in pareto.references:
        if record.architecture not in on_front:
            by = tuple(trials[name] for name in pareto.dominated_by(record))
            yield Network(record, False, True, by, details.get(record.architecture, {}))
    for waiting in pareto.waiting:
        if waiting.paper:
            record, known = waiting.record, details.get(waiting.record.architecture, {})
            yield Network(record, False, True, (), known, stopped_at=waiting.epoch)


def _effects(
    stored: StoredStudy, pareto: Pareto, attributes: Sequence[Mapping[str, Any]]
) -> tuple[Effects | None, str]:
    """Placement effects, or why there are none."""
    try:
        return study_effects(stored, pareto, attributes), ""
    except UserError as error:
        return None, str(error)


def _growth(stored: StoredStudy, ended: Sequence[str]) -> tuple[tuple[int, float], ...]:
    """The hypervolume after so many finished trainings, at ``POINTS`` of them or fewer."""
    names, point = list(stored.objectives), stored.reference_point
    order = np.array(sorted(stored.complete.tolist(), key=lambda row: (ended[row], row)), dtype=np.int64)
    if not len(order):
        return ()
    values, feasible = minimised(stored.values[order], stored.objectives.values()), stored.feasible[order]
    worst = minimised([[point[name] for name in names]], stored.objectives.values())[0]
    front, begin, volume = values[:0], 0, 0.0
    line: list[tuple[int, float]] = []
    points = POINTS if len(names) <= 2 else POINTS_OF_MANY
    for end in np.unique(np.linspace(1, len(order), points).round().astype(int)).tolist():
        new = values[begin:end][feasible[begin:end]]
        new = new[[not bool((front <= row).all(1).any()) for row in new]]
        if len(new):
            joined = np.concatenate([front, new])
            front = joined[non_dominated(joined)]
            volume = hypervolume(front, worst)
        line.append((end, volume))
        begin = end
    return tuple(line)


def _effort(
    stored: StoredStudy,
    attributes: Sequence[Mapping[str, Any]],
    pareto: Pareto,
    began: Sequence[str],
    ended: Sequence[str],
) -> Effort:
    kept = [v for k, v in stored.user_attributes.items() if k.startswith(REFERENCE) and is_reference(v)]
    trainings = [*attributes, *kept]
    seconds = [found["seconds"] for found in trainings if "seconds" in found]
    speeds = [found["clips_per_second"] for found in trainings if "clips_per_second" in found]
    workers = {(w.get("host"), w.get("pid"), w.get("born")) for f in trainings if isinstance(w := f.get(WORKER), dict)}
    further = [repeat for found in stored.repeats.values() for repeat in found if not repeat.audit]
    halted = stored.rows(State.STOPPED)
    pieces = stored.attributes(["seconds"], halted) if len(halted) else []
    again = stored.repeated()
    first = min(filter(None, (*began, again[0])), default="")
    last = max(filter(None, (*ended, again[1])), default="")
    return Effort(
        trainings=len(trainings),
        seconds=float(sum(seconds)),
        repeats=len(further),
        repeats_seconds=float(sum(repeat.seconds for repeat in further)),
        stopped_seconds=float(sum(piece.get("seconds", 0.0) for piece in pieces)),
        timed=len(seconds),
        clips_per_second=median(speeds) if speeds else None,
        began=first[:16],
        ended=last[:16],
        span=_seconds(first, last),
        workers=len(workers),
        hosts=len({host for host, _, _ in workers}),
    )


def _seconds(began: str, ended: str) -> float:
    if not (began and ended):
        return 0.0
    return max(0.0, (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds())


def _loss(stored: StoredStudy, pareto: Pareto, effort: Effort, began: Sequence[str], ended: Sequence[str]) -> Loss:
    halved, screened, rows = pareto.halved, pareto.screened, stored.rows(State.OVER)
    spent = sum(_seconds(began[row], ended[row]) for row in rows)
    return Loss(
        failed=tuple(stored.ended(State.FAILED)),
        interrupted=len(stored.rows(State.INTERRUPTED)),
        pruned=tuple(stored.ended(State.OVER)),
        stopped=halved.stopped if halved else (),
        screened=screened.out if screened else (),
        pruned_seconds=spent,
        saved=max(0.0, len(rows) * effort.mean - spent) if len(rows) and effort.mean is not None else None,
    )


def _timed(stored: StoredStudy, references: Sequence[Record]) -> tuple[tuple[str, float, float], ...]:
    """Networks whose latency was measured, the paper's and at most ``TIMED`` others, evenly.

    Those that were pruned for it are among them: without the slow ones the two would agree too well.
    """
    rows = stored.rows(State.COMPLETE, State.STOPPED, State.SCREENED, State.OVER)
    found = stored.attributes([NETWORK, "gmacs", "latency_ms"], rows[:: -(-len(rows) // TIMED) or 1])
    found += [{NETWORK: record.network, **record.metrics} for record in references]
    known = {a[NETWORK]: (a.get("gmacs", 0.0), a.get("latency_ms", 0.0)) for a in found if NETWORK in a}
    return tuple((name, *pair) for name, pair in known.items() if min(pair) > 0)


def _versions(networks: Sequence[Network]) -> tuple[tuple[str, str, int], ...]:
    found = Counter((k, str(v)) for n in networks for k, v in n.details.get("provenance", {}).items())
    found.update(("torch device", n.details["device"]) for n in networks if "device" in n.details)
    return tuple((what, value, count) for (what, value), count in found.items())


def _composed(stored: StoredStudy) -> str:
    """How latency was summed from pieces that were measured; empty for a study that did not do so."""
    if COMPOSED not in stored.user_attributes:
        return ""
    from stsearch.search.composed import composed_of  # loads torch

    composed = composed_of(stored.user_attributes)
    return composed.said if composed else ""
