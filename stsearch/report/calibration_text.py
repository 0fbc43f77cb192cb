"""A calibration in the terminal and as JSON: progress while it trains, its table, and what follows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from stsearch.report.calibrated_text import interval
from stsearch.report.calibration import Heat, Race, Tried
from stsearch.report.live import duration
from stsearch.report.words import counted
from stsearch.search.calibration import Way
from stsearch.search.training import Event
from stsearch.stats.ranks import Correlation

_WAY = 17
"""Characters of a way's label at least"""
_VERDICTS = {"learnt": "yes", "not learnt": "no", "learning speed": "in part", "unknown": ""}


class CalibrationProgress:
    """Receives the events of ``stsearch.search.audit``: a line on stderr per training, with the time that is left."""

    def __init__(self, race: Race, minutes: float, spent: float, *, quiet: bool) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.minutes, self.spent, self.began = minutes, spent, time.monotonic()
        self.labels: dict[str, tuple[Way, int]] = {}
        self.begin, self.to_do, self.of, self.ended = time.monotonic(), 0.0, 0, 0
        self.weights: Mapping[str, float] = {}
        self.said: set[str] = set()
        if trained := len(race.found.records):
            self.say(f"resumed: {counted(trained, 'training')} of {duration(race.spent)} in all are done already")

    def heats(self, race: Race, heats: Sequence[Heat]) -> None:
        """What is trained next."""
        self.labels = {way.part(number): (way, number) for way, number in heats}
        missing = {way.part(number): race.missing((way, number)) for way, number in heats}
        needed = {way.part(number): race.expected((way, number)) or 0.0 for way, number in heats}
        self.weights = {part: needed[part] / max(1, count) for part, count in missing.items()}
        self.begin, self.to_do, self.of, self.ended = time.monotonic(), sum(needed.values()), sum(missing.values()), 0
        self.whole = self.to_do
        what = "; ".join(f"{way.label} (round {number + 1})" for way, number in heats)
        self.say(f"next, {counted(self.of, 'training')}: {what}")

    def used(self) -> float:
        """Minutes of the budget."""
        return self.spent / 60 + (time.monotonic() - self.began) / 60

    def emit(self, event: Event) -> None:
        """Tell one event."""
        if event["event"] in ("note", "precision"):
            if event["event"] not in self.said:  # every worker tells its precision
                self.say(f"{event['event']}: {event['text']}")
            self.said |= {event["event"]} - {"note"}
        elif event["event"] != "start":
            way, number = self.labels[event["part"]]
            self.ended += 1
            self.to_do -= self.weights[event["part"]]
            head = f"[{self.ended}/{self.of}] {event['network']}, {way.label}, round {number + 1}"
            if event["event"] == "failed":
                self.say(f"{head}  FAILED: {event['reason']}")
                return
            took = duration(event["seconds"])
            self.say(f"{head}  video@1 {event['video_top1']:.1f} %  {took}  {self.to_go()}")

    def to_go(self) -> str:
        """``12 of 30 min; 5 min to go with these``."""
        done = self.whole - self.to_do
        eta = (time.monotonic() - self.begin) / done * self.to_do if done > 0 and self.to_do > 0 else None
        rest = f"; {duration(eta)} to go with these" if eta else ""
        return f"{self.used():.0f} of {self.minutes:g} min{rest}"

    def say(self, text: str) -> None:
        """A line on stderr."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _tau(found: Correlation) -> str:
    """``0.55``, below it ``0.30..0.80``."""
    if found.value is None:
        return "-"
    return f"{found.value:.2f}" if found.low is None else f"{found.value:.2f}\n{found.low:.2f}..{found.high:.2f}"


def print_calibration(race: Race, picked: Tried | None, console: Console) -> None:
    """The table of ways, and what follows."""
    tried = race.tried()
    networks = counted(len(race.calibration.networks), "network")
    title = f"ways to train, n trainings of {networks} each (Kendall's tau, 95 % intervals)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    heads = ("way", "n", "s", "top-1", "tau, seeds", "longest", "settles", "learnt", "")
    for head in heads:
        table.add_column(
            head,
            justify="left" if head in ("way", "learnt", "") else "right",
            no_wrap=head != "way",
            min_width=_WAY * (head == "way"),
        )
    for one in tried:
        if one.trainings:
            table.add_row(*_row(one, picked))
    console.print(f"[bold]calibration of {race.calibration.own.name}[/bold]", highlight=False)
    console.print(table)
    for one in tried:
        for network, reason in one.failed:
            console.print(f"failed: {network}, {one.way.label}: {reason}", highlight=False, markup=False)
    for text in words(race, tried, picked):
        console.print(text, highlight=False, markup=False)


def _row(one: Tried, picked: Tried | None) -> tuple[str, ...]:
    return (
        one.way.label,
        str(one.rounds),
        "" if one.seconds is None else f"{one.seconds:.2g}" if one.seconds < 10 else f"{one.seconds:.0f}",
        "" if one.top1 is None else f"{one.top1:.1f}",
        _tau(one.seeds.tau),
        "" if one.way.role == "longest" else _tau(one.longest.tau),
        "" if one.settles is None else f"{one.settles:.1f}",
        _VERDICTS[one.verdict] if one.rounds else "",
        _fate(one, picked),
    )


def _fate(one: Tried, picked: Tried | None) -> str:
    if picked is not None and one.way is picked.way:
        return "picked"
    if one.stopped is not None:
        return f"out ({one.stopped})"
    return ""


def words(race: Race, tried: Sequence[Tried], picked: Tried | None) -> list[str]:
    """What follows, in sentences."""
    said = []
    if untried := [one.way.label for one in tried if not one.rounds]:
        said.append(f"Not tried, since the time did not reach: {', '.join(untried)}. More --minutes goes on from here.")
    if picked is None:
        return [*said, _none(tried)]
    by = "with the longest" if race.done(race.longest) else "from seed to seed"
    said.append(
        f"Picked: {picked.way.label}, the cheapest that has learnt, is known to rank (its intervals are above 0), and "
        f"whose tau {by} is within one standard error of the best."
    )
    if not race.done(race.longest):
        said.append(
            "The longest way has no round yet: the ranking repeats, but whether longer training agrees is not known."
        )
    tau = picked.seeds.tau
    said.append(
        f"Two networks trained once each can be told apart by it from {picked.settles:.1f} points on; from seed to "
        f"seed its rankings agree with a tau of {interval(tau.value or 0.0, tau.low, tau.high)}."
    )
    own = tried[0]
    if own.way is not picked.way and own.seconds and picked.seconds:
        share = picked.seconds / own.seconds
        said.append(f"A training takes {share:.2f} times the seconds of the study's own.")
    return said


def _none(tried: Sequence[Tried]) -> str:
    """Why nothing is picked."""
    seeded = [one for one in tried if one.seeds.tau.value is not None]
    if not seeded:
        return "Nothing is picked: no way has been trained with two seeds yet. More --minutes goes on from here."
    if all(one.verdict == "not learnt" for one in seeded):
        return (
            "Nothing is picked: no way that was trained with two seeds has learnt, so each ranks by luck. Try longer "
            "ones (--set evaluate.epochs=...), or more clips."
        )
    return (
        "Nothing is picked: of no way that has learnt and ranks as well as the best is it known that it ranks at all "
        "(both its intervals are above 0). Try longer ones (--set evaluate.epochs=...), more clips, more --networks "
        "or more --rounds."
    )


def as_dict(race: Race, picked: Tried | None, changes: Sequence[str], diff: str) -> dict[str, Any]:
    """For JSON; ``changes`` are of the study's YAML, as ``diff`` shows them."""
    return {
        "study": race.calibration.own.name,
        "seed": race.calibration.seed,
        "data": race.calibration.data.fingerprint,
        "networks": [{"network": name, "architecture": a} for a, name in race.calibration.networks],
        "training_seconds": race.spent,
        "ways": [_way(race, one, picked) for one in race.tried()],
        "picked": picked.way.label if picked else None,
        "changes": list(changes),
        "diff": diff,
        "words": words(race, race.tried(), picked),
    }


def _way(race: Race, one: Tried, picked: Tried | None) -> dict[str, Any]:
    seeds, longest = (
        {"value": found.tau.value, "low": found.tau.low, "high": found.tau.high} for found in (one.seeds, one.longest)
    )
    standing = one.standing
    return {
        "way": one.way.label,
        "role": one.way.role,
        "changes": list(one.way.changes),
        "fidelity": one.way.fidelity.as_dict(),
        "rounds": one.rounds,
        "networks": one.networks,
        "trainings": one.trainings,
        "seconds": one.seconds,
        "video_top1": one.top1,
        "tau_seeds": seeds,
        "tau_longest": longest,
        "behind": standing.behind if standing else None,
        "behind_se": standing.error if standing else None,
        "settles": one.settles,
        "learnt": one.verdict,
        "stopped_before_round": one.stopped,
        "picked": picked is not None and one.way is picked.way,
        "accuracies": race.values(one.way, one.rounds) if one.rounds else {},
        "failed": [{"network": network, "reason": reason} for network, reason in one.failed],
    }
