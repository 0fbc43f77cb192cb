"""What a running study shows: a live table in a terminal, plain lines elsewhere. All on stderr."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from stsearch.evaluate.evaluators import EVALUATORS
from stsearch.hiding import safe
from stsearch.interrupt import check
from stsearch.report.learning import Baseline
from stsearch.report.words import counted
from stsearch.search.attributes import WORKER
from stsearch.search.fresh import Fresh
from stsearch.search.metrics import SCORE
from stsearch.search.networks import stopped_networks
from stsearch.search.outages import STORAGE_ERRORS
from stsearch.search.repeats import accuracies, past, planned, spent
from stsearch.search.session import Session, references_left, standing, wanted
from stsearch.search.state import State, state_of
from stsearch.search.training import Event
from stsearch.search.workers import Crew
from stsearch.stats.front import minimised, non_dominated

_ROWS = 12
_FRONT = 8
"""Networks of the front that are named while a study runs."""
_OTHERS_S = 30.0
"""While a network is trained here, the storage is asked so often for what others have trained."""
_AT_ONCE_S = 1.0
"""What takes no longer shows no progress."""
_TRAINED = (("video@1 %", "video_top1", 1), ("clip@1 %", "clip_top1", 1), ("clips/s", "clips_per_second", 0))
_SCORE = ((SCORE, SCORE, 2),)
"""Heads of the table, the metrics below them, and their digits."""
_ENDINGS = {
    "failed": "[red]failed[/red]",
    "pruned": "[yellow]pruned[/yellow]",
    "screened": "[yellow]screened out[/yellow]",
}


def duration(seconds: float) -> str:
    """``42 s``, ``7 min``, ``3.2 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def renews(console: Console) -> bool:
    """Whether what was printed can be renewed in place: on a terminal that this process has to itself.

    ``FORCE_COLOR`` makes no terminal of a file, and of several processes of one terminal all but the one in front of
    the user print whole lines.
    """
    if not console.is_terminal or not console.file.isatty():
        return False
    try:
        return os.tcgetpgrp(console.file.fileno()) == os.getpgrp()
    except (AttributeError, OSError):  # no such thing here, or no terminal of this session: nobody is beside it
        return True


class Display:
    """Receives the events of ``stsearch.search.worker``; use as a context manager."""

    def __init__(self, session: Session, workers: int, *, quiet: bool = False) -> None:
        at = standing(session)
        self.wanted, self.complete, self.screened = at.wanted, at.complete, at.screened
        self.stopped = set(stopped_networks(session.trials()))
        self.beside, self.trained_beside = references_left(session), 0
        self.fresh = Fresh()
        self.own = {trial.number for trial in self.fresh.of(session.trials()) if state_of(trial).ended}
        self.others: set[int] = set()
        self.crew, self.joined = Crew(), set[int]()
        self.already = self.done
        self.workers, self.quiet = workers, quiet
        self.started = time.monotonic()
        self.session = session
        evaluate = session.study.spec.evaluate
        self.figures = _SCORE if SCORE in EVALUATORS[evaluate.name].metrics else _TRAINED
        self.guess = Baseline(len(session.data.classes), 0, None)
        self.epochs: int | None = getattr(evaluate, "epochs", None)
        self.trainings: int = getattr(evaluate, "repeats", 1)
        self.trained = _trained(session)
        self.repeats, self.repeated = planned(session), spent(past(session))
        self.again, self.said = 0, set[str]()
        self.running: dict[str, Event] = {}
        self.finished: list[Event] = []
        self.looked = self.started
        self.console = Console(stderr=True)
        self.live: Live | None = None
        if renews(self.console) and not quiet:
            self.live = Live(self._render(), console=self.console, refresh_per_second=4)
        if self.already and not quiet:
            self.console.print(
                f"resumed: {self.already} of {self.wanted} networks are trained already"
                + (f", {len(self.stopped)} of them stopped early" if self.stopped else "")
                + (f"; {self.screened} screened out" if self.screened else ""),
                highlight=False,
            )

    def __enter__(self) -> Display:
        if self.live is not None:
            self.live.__enter__()
        elif self.figures is _TRAINED:
            self._say(f"a guess among {len(self.session.data.classes)} classes: {self._chance()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.update(self._render())
            self.live.__exit__(kind, error, trace)

    @property
    def done(self) -> int:
        """Networks that are complete or were stopped at a rung; a stopped one may go on yet.

        Those that another run of the study trained meanwhile are among them.
        """
        return self.complete + len(self.stopped) + len(self.others)

    def eta(self) -> float | None:
        """Seconds until the whole study is complete, once something has been trained in this run."""
        begun = sum(map(self._share, self.running.values()))
        trained = (
            self.done - self.already + self.again + self.trained_beside + begun
        )  # also by others: they do the same work
        if trained <= 0:
            return None
        left = self.wanted - self.done + max(0, self.repeats - self.repeated) + len(self.beside) - begun
        return (time.monotonic() - self.started) / trained * max(0.0, left)

    def _share(self, event: Event) -> float:
        """How much of a network's training is done; 0 where it may end at any rung."""
        if self.epochs is None or "epoch" not in event:
            return 0.0
        return float(event["repeat"] * self.epochs + event["epoch"]) / (self.epochs * self.trainings)

    def _chance(self) -> str:
        return f"{self.guess.chance:.1f} %, loss {self.guess.loss:.3f}"

    def emit(self, event: Event) -> None:
        """Show one event; a terminal that went away does not stop the study."""
        try:
            self._show(event)
        except OSError:
            self.quiet, self.live = True, None

    def _show(self, event: Event) -> None:
        kind = event["event"]
        self.crew.look()
        if kind in ("note", "clips", "precision"):
            if kind == "note" or kind not in self.said:  # every worker tells where its clips are, and so on
                self._say(f"{kind}: {safe(event['text'])}")
            self.said.add(kind)
            return
        if kind == "others":
            self._follow_others()
            return
        if kind == "joined":
            self.joined.add(event["number"])
            self.crew.add(event["worker"])
            return
        key = event["network"]
        if kind == "start":
            self.stopped.discard(event["architecture"])
            self.own.add(event["trial"])
        if kind in ("start", "epoch"):
            self.running[key] = {**self.running.get(key, {}), **event}
            if time.monotonic() - self.looked > _OTHERS_S:
                self._count_others()
        else:
            self.running.pop(key, None)
            self.finished.append(event)
            if kind == "stopped":
                self.stopped.add(event["architecture"])
            if kind == "screened":
                self.screened += 1
                self.wanted = wanted(self.session.study, self.session.sampler, self.screened)
            if "again" in event:
                self._count_repeat(event)
            elif event["trial"] is None:
                self._end_beside({key})
            elif kind == "done":
                self.complete += 1
                self.trained.append(event)
                self._count_others()
            if not self.quiet and (self.live is None or kind == "failed"):
                self._say(self._line(event))
        if self.live is not None:
            self.live.update(self._render())

    def _follow_others(self) -> None:
        """This process trains nothing itself: what others have trained since is shown as it comes."""
        before = len(self.others)
        self._count_others()
        if len(self.others) > before and self.live is None:
            to_go = self.eta()
            left = f"  {duration(to_go)} to go" if to_go and self.done < self.wanted else ""
            self._say(f"[{self.done}/{self.wanted}] {self._front_line()}{left}")
        if self.live is not None:
            self.live.update(self._render())

    def _count_others(self) -> None:
        """Networks that another run of the study has trained since this one began.

        Of this run's own some may be complete before anything is heard of them: processes write by themselves.
        """
        self.looked = time.monotonic()
        with suppress(*STORAGE_ERRORS):  # a server that is away: they are counted with the next network
            if self.beside:
                self._end_beside(self.beside - references_left(self.session))
            fresh = [trial for trial in self.fresh.of(self.session.trials()) if state_of(trial) is State.COMPLETE]
            complete = {trial.number: trial for trial in fresh}
            new = {number for number, trial in complete.items() if not self.crew.has(trial.user_attrs.get(WORKER))}
            new -= self.own | self.others
            if new and not self.others:
                self._say("note: another run trains networks of this study too; they are counted here")
            self.others |= new
            self.trained += [dict(complete[number].user_attrs) for number in sorted(new)]

    def _end_beside(self, names: set[str]) -> None:
        """References that are trained now, or failed."""
        self.trained_beside += len(self.beside & names)
        self.beside -= names

    def _count_repeat(self, event: Event) -> None:
        """A network trained once more counts with the mean of its trainings."""
        self.again, self.repeated = self.again + 1, max(self.repeated, event["again"])
        self.repeats = max(self.repeats, self.repeated)
        if event["event"] == "done":
            self.trained = [
                {**found, **event["means"]} if found["network"] == event["network"] else found for found in self.trained
            ]

    def front(self) -> list[Mapping[str, Any]]:
        """The networks of the front so far, cheapest first."""
        objectives = self.session.study.spec.objectives
        kept = [found for found in self.trained if all(v <= 0 for v in self.session.excess(found).values())]
        rows = [[found[name] for name in objectives] for found in kept]
        on_front = non_dominated(minimised(rows, objectives.values()))
        return sorted((f for f, on in zip(kept, on_front, strict=True) if on), key=lambda found: found["gmacs"])

    def _front_line(self) -> str:
        front = self.front()
        shown = ", ".join(f"{found['network']} {_quality(found)}" for found in front[:_FRONT])
        more = f" and {len(front) - _FRONT} more" if len(front) > _FRONT else ""
        return f"front so far: {self._best(front)}; by GMACs: {shown}{more}"

    @staticmethod
    def _best(front: list[Mapping[str, Any]]) -> str:
        """``3 networks, best 61.5 %``."""
        if not front:
            return "none within the budget"
        best = max(front, key=lambda found: found.get("video_top1", found.get("score", 0.0)))
        return f"{counted(len(front), 'network')}, best {_quality(best)}"

    def _say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(_printable(text), highlight=False, markup=False, soft_wrap=True)

    def _line(self, event: Event) -> str:
        count = f"repeat {event['again']}/{self.repeats}" if "again" in event else f"{self.done}/{self.wanted}"
        head = f"[{count}] {_who(event)}  {event['gmacs']:.2f} GMACs"
        if event["event"] in ("failed", "pruned"):
            return f"{head}  {event['event'].upper()}: {event['reason']}"
        if event["event"] == "screened":
            return f"{head}  {event['reason']}"
        if event["event"] == "stopped":
            return f"{head}  video@1 {event['video_top1']:.1f} %  {event['reason']}"
        eta = self.eta()
        left = f"  {duration(eta)} to go" if eta else ""
        front = f"  front {self._best(self.front())}"
        if "score" in event:
            return f"{head}  score {_quality(event)}  {duration(event['seconds'])}{front}{left}"
        if "again" in event:
            left = f"  mean of {event['trainings']}: {event['means']['video_top1']:.1f} %{left}"
        return (
            f"{head}  video@1 {event['video_top1']:.1f} %  clip@1 {event['clip_top1']:.1f} %  "
            f"{duration(event['seconds'])}  {event['clips_per_second']:.0f} clips/s{front}{left}"
        )

    def _cells(self, event: Event) -> tuple[str, ...]:
        def number(name: str, digits: int) -> str:
            value: Any = event.get(name)
            return f"{value:.{digits}f}" if value is not None else ""

        beside = "vs" if event.get("compared") else "ref"
        trial = beside if event["trial"] is None else str(event["trial"])
        figures = (number(name, digits) for _, name, digits in self.figures)
        return trial, event["network"], number("gmacs", 2), *figures

    def _of_the_proxy(self) -> str:
        return "score of the proxy" if self.figures is _SCORE else f"accuracy of the proxy (a guess: {self._chance()})"

    def _course(self, event: Event) -> str:
        """How far the training of a network is."""
        if "epoch" not in event:
            return "starting"
        of = f"/{self.epochs}" if self.epochs is not None else ""
        training = f"training {event['repeat'] + 1}/{self.trainings}, " if self.trainings > 1 else ""
        return f"{training}epoch {event['epoch']}{of}, loss {event['train_loss']:.3f}"

    def _render(self) -> Group:
        table = Table(title=f"cost of the target, {self._of_the_proxy()}", title_justify="left", title_style="dim")
        for name, justify in (
            ("trial", "right"),
            ("network", "left"),
            ("GMACs", "right"),
            *((head, "right") for head, _, _ in self.figures),
            ("", "left"),
        ):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for event in self.finished[-_ROWS:]:
            table.add_row(*self._cells(event), _ending(event))
        for event in self.running.values():
            table.add_row(*self._cells(event), self._course(event), style="dim")
        bar = Progress(
            TextColumn("networks"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self.console,
        )
        eta = self.eta()
        about = f"{duration(eta)} to go" if eta is not None else counted(len(self.joined) or self.workers, "worker")
        about += f", {self.screened} screened out" if self.screened else ""
        bar.add_task(about, total=self.wanted, completed=self.done)
        if self.repeats:
            bar.add_task("further trainings", total=self.repeats, completed=self.repeated)
        return Group(table, Text(self._front_line(), style="dim"), bar) if self.trained else Group(table, bar)


def _printable(text: str) -> str:
    """One line without control characters, whatever is in a reason."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _trained(session: Session) -> list[Mapping[str, Any]]:
    """Trained networks by their attributes; accuracies are means over repeats."""
    trials = [t for t in session.trials() if state_of(t) is State.COMPLETE]
    means = (
        {n: sum(v) / len(v) for n, v in found.items()} for found in accuracies(trials, past(session), session.audited)
    )
    return [{**trial.user_attrs, **found} for trial, found in zip(trials, means, strict=True)]


def _quality(found: Mapping[str, Any]) -> str:
    """Accuracy of a trained network, score of another."""
    return f"{found['score']:.2f}" if "score" in found else f"{found['video_top1']:.1f} %"


def _who(event: Event) -> str:
    if event["trial"] is None:
        return f"{event['network']} ({'compared with' if event.get('compared') else 'reference'})"
    return f"#{event['trial']} {event['network']}" + (f" (from #{event['continues']})" if "continues" in event else "")


def _ending(event: Event) -> str:
    if event["event"] == "stopped":
        return f"[yellow]{event['reason'].partition(':')[0]}[/yellow]"
    return _ENDINGS.get(event["event"]) or duration(event["seconds"])


class Reading:
    """Progress of reading data, ``(what, done, of)``: a line that renews itself, or a few plain ones.

    Raises ``KeyboardInterrupt`` after Ctrl-C.
    """

    def __init__(self, quiet: bool) -> None:
        self.console, self.quiet = Console(stderr=True), quiet
        self.what, self.started, self.before, self.said = "", 0.0, 0, -1

    def __call__(self, what: str, done: int, of: int) -> None:
        check()  # of Ctrl-C: here reading can be ended in order
        if self.quiet:
            return
        if what != self.what:
            self.what, self.started, self.before, self.said = what, time.monotonic(), done, -1
        spent, here = time.monotonic() - self.started, done - self.before
        if spent < _AT_ONCE_S:
            return
        text = f"{what}: {done}/{of}" + (f", {duration(spent / here * (of - done))} to go" if here else "")
        if renews(self.console):
            self.console.print(text, end="\n" if done == of else "\r", highlight=False)
        elif done == of or int(10 * done / max(1, of)) > self.said:
            self.said = int(10 * done / max(1, of))
            self.console.print(text, highlight=False)
