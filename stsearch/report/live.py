"""What a running study shows: a live table in a terminal, plain lines elsewhere. All on stderr."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from stsearch.search.session import Session, standing
from stsearch.search.worker import Event

_ROWS = 12


def duration(seconds: float) -> str:
    """``42 s``, ``7 min``, ``3.2 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Display:
    """Receives the events of ``stsearch.search.worker``; use as a context manager."""

    def __init__(self, session: Session, workers: int, *, quiet: bool = False) -> None:
        at = standing(session)
        self.references = len(session.study.references())
        self.wanted, self.done = at.wanted, at.complete
        self.already = at.complete
        self.workers, self.quiet = workers, quiet
        self.started = time.monotonic()
        self.running: dict[str, Event] = {}
        self.finished: list[Event] = []
        self.console = Console(stderr=True)
        self.live: Live | None = None
        if self.console.is_terminal and not quiet:
            self.live = Live(self._render(), console=self.console, refresh_per_second=4)
        if self.already and not quiet:
            self.console.print(
                f"resumed: {self.already} of {self.wanted} networks are trained already", highlight=False
            )

    def __enter__(self) -> Display:
        if self.live is not None:
            self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.update(self._render())
            self.live.__exit__(kind, error, trace)

    def eta(self) -> float | None:
        """Seconds to go, once something has been trained in this run."""
        trained = self.done - self.already
        if not trained:
            return None
        return (time.monotonic() - self.started) / trained * (self.wanted - self.done)

    def emit(self, event: Event) -> None:
        """Show one event; a terminal that went away does not stop the study."""
        try:
            self._show(event)
        except OSError:
            self.quiet, self.live = True, None

    def _show(self, event: Event) -> None:
        kind = event["event"]
        if kind == "note":
            self._say(f"note: {event['text']}")
            return
        key = event["network"]
        if kind in ("start", "epoch"):
            self.running[key] = {**self.running.get(key, {}), **event}
        else:
            self.running.pop(key, None)
            self.finished.append(event)
            self.done += kind == "done" and event["trial"] is not None
            if self.live is None or kind == "failed":
                self._say(self._line(event))
        if self.live is not None:
            self.live.update(self._render())

    def _say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _line(self, event: Event) -> str:
        head = f"[{self.done}/{self.wanted}] {_who(event)}  {event['gmacs']:.2f} GMACs"
        if event["event"] == "failed":
            return f"{head}  FAILED: {event['reason']}"
        eta = self.eta()
        left = f"  {duration(eta)} to go" if eta else ""
        return (
            f"{head}  video@1 {event['video_top1']:.1f} %  clip@1 {event['clip_top1']:.1f} %  "
            f"{duration(event['seconds'])}  {event['clips_per_second']:.0f} clips/s{left}"
        )

    def _render(self) -> Group:
        table = Table(title="cost of the target, accuracy of the proxy", title_justify="left", title_style="dim")
        for name, justify in (
            ("trial", "right"),
            ("network", "left"),
            ("GMACs", "right"),
            ("video@1 %", "right"),
            ("clip@1 %", "right"),
            ("clips/s", "right"),
            ("", "left"),
        ):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for event in self.finished[-_ROWS:]:
            failed = event["event"] == "failed"
            table.add_row(*_cells(event), "[red]failed[/red]" if failed else duration(event["seconds"]))
        for event in self.running.values():
            epoch = f"epoch {event['epoch']}, loss {event['train_loss']:.3f}" if "epoch" in event else "starting"
            table.add_row(*_cells(event), epoch, style="dim")
        bar = Progress(
            TextColumn("networks"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self.console,
        )
        eta = self.eta()
        about = f"{duration(eta)} to go" if eta is not None else f"{self.workers} worker{'s' * (self.workers > 1)}"
        bar.add_task(about, total=self.wanted, completed=self.done)
        return Group(table, bar)


def _who(event: Event) -> str:
    return f"{event['network']} (reference)" if event["trial"] is None else f"#{event['trial']} {event['network']}"


def _cells(event: Event) -> tuple[str, ...]:
    def number(name: str, digits: int) -> str:
        value: Any = event.get(name)
        return f"{value:.{digits}f}" if value is not None else ""

    trial = "ref" if event["trial"] is None else str(event["trial"])
    return (
        trial,
        event["network"],
        number("gmacs", 2),
        number("video_top1", 1),
        number("clip_top1", 1),
        number("clips_per_second", 0),
    )


class Reading:
    """Progress of reading data, ``(what, done, of)``: a line that renews itself, or a few plain ones."""

    def __init__(self, quiet: bool) -> None:
        self.console, self.quiet = Console(stderr=True), quiet
        self.started: float | None = None
        self.said = -1

    def __call__(self, what: str, done: int, of: int) -> None:
        if self.quiet:
            return
        if self.started is None:
            self.started = time.monotonic()
        spent = time.monotonic() - self.started
        text = f"{what}: {done}/{of}, {duration(spent / max(1, done) * (of - done))} to go"
        if self.console.is_terminal:
            self.console.print(text, end="\n" if done == of else "\r", highlight=False)
        elif done == of or int(10 * done / of) > self.said:
            self.said = int(10 * done / of)
            self.console.print(text, highlight=False)
