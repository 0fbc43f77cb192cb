"""What to type next, by what came out: one or two commands at the end of every command on a study."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from stsearch.report.learning_text import remedy, warnings
from stsearch.report.pareto import Pareto
from stsearch.report.pick import picked, train_command
from stsearch.search.reading import StoredStudy
from stsearch.search.stored_repeats import was_audited
from stsearch.stats.agreement import LEAST

Step = Literal["retry", "longer", "calibrate", "repeats", "audit", "report", "train"]
REPEATS = 10
"""Further trainings of near-ties that are proposed at once."""
_TRAINED_AGAIN = ("train", "halving")
"""Evaluators whose trainings can be repeated and audited."""


@dataclass(frozen=True)
class CameOut:
    """What of a study decides what its user wants next."""

    front: bool = True
    """whether any network is on it"""
    failed: bool = False
    """whether networks failed by themselves"""
    unlearnt: bool = False
    """whether most networks have not learnt"""
    longer: tuple[str, ...] = ()
    """settings of the study with which they may learn, where there are any"""
    tied: bool = False
    """whether networks of the front cannot be told apart, and further trainings could tell them"""
    repeated: bool = False
    """whether any network was trained more than once"""
    auditable: bool = True
    """whether there are networks enough, of trainings that can be made again"""
    audited: bool = False


def steps(out: CameOut, *, after: Step | None = None) -> tuple[Step, ...]:
    """One or two steps, or none; ``after`` is what the user has just done."""
    if not out.front:
        return ("retry",) if out.failed else ()
    if out.unlearnt:
        return ("longer", "calibrate") if out.longer else ("report", "calibrate")
    wanted: list[Step] = ["report"]
    if out.tied and not out.repeated:
        wanted.append("repeats")
    if out.auditable and not out.audited:
        wanted.append("audit")
    wanted.append("train")
    return tuple(step for step in wanted if step != after)[:2]


def came_out(stored: StoredStudy, pareto: Pareto) -> CameOut:
    """What a study that was read says."""
    again = stored.identity["evaluate"].get("name") in _TRAINED_AGAIN
    sure = pareto.confidence
    return CameOut(
        front=bool(pareto.front),
        failed=pareto.failed > 0,
        unlearnt=bool(warnings(pareto.learning)),
        longer=tuple(remedy(pareto.learning)) if pareto.learning else (),
        tied=again and sure is not None and bool(sure.pairs),
        repeated=sure is not None and sure.noise.networks > 0,
        auditable=again and pareto.trained >= LEAST,
        audited=was_audited(stored.url, stored.name),
    )


@dataclass(frozen=True)
class Calls:
    """How the user calls this program for a study."""

    program: str
    """``stsearch``, or the path of it"""
    known: frozenset[str]
    """commands that there are"""
    study: str
    """for commands that read it"""
    place: tuple[str, ...] = ()
    """``--storage URL`` where that is needed"""
    run: tuple[str, ...] | None = None
    """words after ``run`` with which it goes on; ``None`` where its file is not found by name"""
    alike: tuple[str, ...] = ()
    """words after ``run`` for a study that is alike but for its name"""


@dataclass(frozen=True)
class Next:
    """A step that can be typed."""

    step: Step
    line: str
    """of a shell"""


def _typed(wanted: Sequence[Step], out: CameOut, stored: StoredStudy, pareto: Pareto, calls: Calls) -> list[Next]:
    """The steps that can be typed."""
    found = [Next(step, _command(step, out, stored, pareto, calls)) for step in wanted]
    return [one for one in found if one.line]


def _command(step: Step, out: CameOut, stored: StoredStudy, pareto: Pareto, calls: Calls) -> str:
    if step == "train":
        return train_command(calls.program, calls.study, picked(pareto, "knee").record, calls.place)
    if step in ("report", "audit"):
        return shlex.join([calls.program, step, calls.study, *calls.place]) if step in calls.known else ""
    if calls.run is None:
        return ""
    if step == "calibrate":  # of the study's file, which it rewrites
        return shlex.join([calls.program, step, *calls.run, *calls.place]) if step in calls.known else ""
    if step == "longer":
        return shlex.join([calls.program, "run", *calls.alike, *calls.place, *(f"--set={one}" for one in out.longer)])
    if step == "repeats":
        more = f"--set=search.repeats={stored.resolved['search'].get('repeats', 0) + REPEATS}"
        return shlex.join([calls.program, "run", *calls.run, *calls.place, more])
    return shlex.join([calls.program, "run", *calls.run, *calls.place, "--retry-failed"])


def following(stored: StoredStudy, pareto: Pareto, calls: Calls, after: Step | None = None) -> list[Next]:
    """The one or two commands that a user wants now."""
    out = came_out(stored, pareto)
    if after == "audit":
        out = replace(out, audited=True)
    found = _typed(steps(out, after=after), out, stored, pareto, calls)
    return found or _typed(("report",) if out.front and after != "report" else (), out, stored, pareto, calls)
