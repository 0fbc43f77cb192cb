"""An audit in the terminal: progress while it trains, and its tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from stsearch.report.audit import AuditReport, Signal
from stsearch.report.audit_text import named, words
from stsearch.report.live import duration
from stsearch.report.words import counted, seconds
from stsearch.search.audit import AUDIT, RETEST, Plan, Work
from stsearch.search.metrics import METRICS
from stsearch.search.training import Event
from stsearch.space.architecture import parse_placement
from stsearch.space.cost import network_cost
from stsearch.stats.ranks import Correlation

_PARTS = {AUDIT: "audit", RETEST: "again at the search's fidelity"}


class AuditProgress:
    """Receives the events of ``stsearch.search.audit``: a line on stderr per training, with the time to go."""

    def __init__(self, plan: Plan, left: Sequence[Work], *, quiet: bool) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.weights = _weights(plan)
        self.left = {(work.part, work.architecture) for work in left}
        self.of, self.said = len(plan.work), set[str]()
        self.started, self.before = time.monotonic(), self._to_do()
        if len(left) < self.of:
            self.console.print(
                f"resumed: {self.of - len(left)} of {self.of} trainings are done already", highlight=False
            )

    def _to_do(self) -> float:
        return sum(self.weights[key] for key in self.left)

    def eta(self) -> float | None:
        """Seconds to go, by the weights of what is left, once something was trained."""
        done = self.before - self._to_do()
        return (time.monotonic() - self.started) / done * self._to_do() if done else None

    def emit(self, event: Event) -> None:
        """Tell one event."""
        if event["event"] in ("note", "precision"):
            if event["event"] not in self.said:  # every worker tells its precision
                self._say(f"{event['event']}: {event['text']}")
            self.said |= {event["event"]} - {"note"}
        elif event["event"] != "start":
            self.left.discard((event["part"], event["architecture"]))
            head = f"[{self.of - len(self.left)}/{self.of}] {event['network']}, {_PARTS[event['part']]}"
            eta = self.eta()
            to_go = f"  {duration(eta)} to go" if eta else ""
            if event["event"] == "failed":
                self._say(f"{head}  FAILED: {event['reason']}")
            else:
                self._say(f"{head}  video@1 {event['video_top1']:.1f} %  {duration(event['seconds'])}{to_go}")

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _weights(plan: Plan) -> dict[tuple[str, str], float]:
    """How long each training takes, up to a constant: half by its epochs, half by its multiply-adds too."""
    macs: dict[tuple[str, str], float] = {}
    for work in plan.work:
        fidelity = plan.fidelities[work.part]
        network = parse_placement(work.architecture).scaled(fidelity.width)
        macs[work.part, work.architecture] = network_cost(network, fidelity.clip, 1).total.macs
    mean = sum(macs.values()) / max(1, len(macs))
    recipes = {part: fidelity.recipe for part, fidelity in plan.fidelities.items()}
    return {key: (mean + own) * recipes[key[0]].epochs * recipes[key[0]].repeats for key, own in macs.items()}


def print_audit(report: AuditReport, console: Console) -> None:
    """The networks, the signals, and what follows."""
    console.print(f"[bold]audit of {report.study}[/bold]: {counted(len(report.networks), 'network')}", highlight=False)
    for name, fidelity in (("searched", report.searched), ("audited", report.audited)):
        console.print(f"{name}: {_fidelity(fidelity)}", highlight=False)
    if report.networks:
        console.print(_networks(report))
        console.print(_signals(report))
    for network, reason in report.failed:
        console.print(f"failed: {network}: {reason}", highlight=False, markup=False)
    for text in words(report):
        console.print(text, highlight=False, markup=False)


def _fidelity(fidelity: Mapping[str, object]) -> str:
    evaluate, clip = fidelity["evaluate"], fidelity["clip"]
    assert isinstance(evaluate, Mapping)
    assert isinstance(clip, Sequence)
    what = "score {score}, not trained" if "score" in evaluate else "{epochs} epochs"
    what = f"rungs {evaluate['rungs']}" if "rungs" in evaluate else what.format(**evaluate)
    return f"{what}, clip {'x'.join(map(str, clip))} (C x T x H x W), width x{fidelity['width']:g}"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _networks(report: AuditReport) -> Table:
    table = _table(f"networks, cheapest first ({METRICS[report.metric].head}, %)")
    for head in ("network", "why", "GMACs", "searched", "again", "audited", "paper"):
        table.add_column(head, justify="left" if head in ("network", "why") else "right", overflow="fold")
    for number, network in enumerate(report.networks):
        again = network.retest["evaluation"][report.metric] if network.retest else None
        table.add_row(
            network.record.network,
            network.why,
            f"{network.record.metrics['gmacs']:.2f}",
            _searched(report, number),
            _figure(again),
            _figure(network.audit["evaluation"][report.metric]),
            _figure(network.published),
        )
    return table


def _searched(report: AuditReport, number: int) -> str:
    """``82.1 ± 0.9 (3)``, as ``pareto`` shows it."""
    if report.pooled:
        one = report.pooled[number]
        return f"{one.mean:.1f} ± {one.error:.1f} ({one.trainings})"
    return _figure(report.networks[number].record.metrics.get(report.metric))


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _signals(report: AuditReport) -> Table:
    table = _table(f"agreement with the audit's {METRICS[report.metric].head} (95 % intervals), cost per network")
    for head in ("signal", "n", "Kendall tau-b", "Spearman rho", "clips", "seconds"):
        table.add_column(
            head, justify="left" if head == "signal" else "right", no_wrap=head != "signal", overflow="fold"
        )
    for signal in report.signals:
        table.add_row(*_row(signal))
    mean = sum(n.audit["evaluation"]["seconds"] for n in report.networks) / len(report.networks)
    table.add_row("(the audit itself)", str(len(report.networks)), "", "", f"{report.audit_clips:,.0f}", seconds(mean))
    return table


def _narrow(correlation: Correlation) -> str:
    if correlation.value is None or correlation.low is None:
        return "-" if correlation.value is None else f"{correlation.value:.2f}"
    return f"{correlation.value:.2f} {correlation.low:.2f}..{correlation.high:.2f}"


def _row(signal: Signal) -> tuple[str, ...]:
    return (
        named(signal.name),
        str(signal.n),
        _narrow(signal.kendall),
        _narrow(signal.spearman),
        f"{signal.clips:,.0f}",
        seconds(signal.seconds) if signal.kind != "cost" else "0",
    )
