"""What a report says of a study's networks, question by question; ``provenance`` says how it came about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stsearch.report.axes import axes_of
from stsearch.report.compared_text import section as compared
from stsearch.report.confidence_text import about, shown_accuracy, shown_chance, shown_volume
from stsearch.report.easier import section as easier_section
from stsearch.report.effect_tables import HEADS, effect_row
from stsearch.report.effects_text import cost_unit, parts
from stsearch.report.learning import FITTED, TAKEN_OFF
from stsearch.report.learning_text import figures, warnings
from stsearch.report.page import DETAILED, Network, Report
from stsearch.report.paper import PAPER, SOURCE, Paper, paper_beside, paper_clip
from stsearch.report.provenance import lost, onward, provenance, took
from stsearch.report.records import Cell, Chart, Column, Fold, Pairs, Part, Pictures, Row, Section, Table, table_of
from stsearch.report.strips import strip
from stsearch.report.words import counted
from stsearch.search.metrics import METRICS
from stsearch.search.reading import Record
from stsearch.space.cost import COSTS
from stsearch.space.literature import TABLES, main_dataset
from stsearch.stats.proportions import difference


def sections(report: Report) -> list[Section]:
    """All of them, the question that the study was made for first."""
    made = (
        networks,
        compared,
        paper,
        effects,
        curves,
        easier,
        growth,
        classes,
        latency,
        took,
        lost,
        onward,
        provenance,
    )
    return [section for make in made if (section := make(report)) is not None]


def networks(report: Report) -> Section:
    """The front and the paper's networks."""
    pareto = report.pareto
    if not report.networks and not pareto.waiting:
        return Section("table", _TABLE, ("No network has finished training yet.",))
    halted = (
        " Networks that halving stopped have the accuracy of the rung at which they wait." if _stopped(report) else ""
    )
    chance = " p(front) is the probability of being on the front, were the luck of single trainings averaged out."
    lead = (
        "Networks of the front first, cheapest first, then those of the paper that are not on it. A trial is one of "
        "this study." + (chance if pareto.confidence else "") + halted
    )
    words = [line for line in (report.beside, figures(pareto.learning), *about(pareto)) if line]
    volume = Pairs((("hypervolume", f"{shown_volume(pareto)} up to {report.corner}"),))
    return Section("table", _TABLE, (lead, _network_table(report), *words, volume))


_TABLE = "The front and the paper's networks"


def _stopped(report: Report) -> list[Network]:
    return [network for network in report.networks if network.stopped_at is not None]


def _network_table(report: Report) -> Table:
    chance = [Column("p(front)", number=True)] if report.pareto.confidence else []
    columns = [
        Column("trial", number=True),
        Column("network"),
        Column("conv1 to conv5_x"),
        *(Column(METRICS[name].axis, number=True) for name in report.columns),
        *chance,
        Column("place"),
    ]
    return Table("the front and the paper's networks", tuple(columns), tuple(_rows(report)))


def _rows(report: Report) -> Iterable[Row]:
    for network in report.networks:
        record, sure = network.record, report.pareto.certainty(network.record)
        likely = sure.probability if sure else None
        yield Row(
            (
                Cell("" if record.trial is None else str(record.trial), record.trial),
                Cell(record.network),
                Cell(record.parsed().placement, strip=tuple(strip(record.parsed()))),
                *(_amount(record, name, report) for name in report.columns),
                *([Cell(shown_chance(sure), likely)] if report.pareto.confidence else []),
                Cell(network.place),
            ),
            network=record.architecture,
            look="stopped" if network.stopped_at is not None else "paper" if network.paper else "",
        )


def _amount(record: Record, name: str, report: Report) -> Cell:
    if name not in record.metrics:
        return Cell("")
    value = record.metrics[name]
    return Cell(shown_accuracy(name, value, report.pareto.certainty(record)), value)


def paper(report: Report) -> Section | None:
    """The paper's front, where the study has one to hold beside it."""
    if not report.front or len(report.pareto.objectives) < 2:
        return None
    shown = paper_beside(report.pareto, axes_of(report.pareto), report.table)
    if shown is None:
        return None
    if report.table != PAPER:
        return _published(report, shown)
    lead = (
        f"The paper's twelve 18-layer networks: accuracy on Kinetics-400 as published ({SOURCE}), cost computed for "
        f"clips of {paper_clip()}. Colours and marks are those above. Data and training differ, so compare the shapes, "
        "not the figures."
    )
    chart = Chart("paper", "Scatter plot of the paper's published accuracy over cost")
    return Section("paper", "Does the front look like the paper's?", (lead, chart))


def _published(report: Report, shown: Paper) -> Section:
    """Another table than the paper's."""
    about, dataset = TABLES[report.table], main_dataset(report.table)
    lead = (
        f"Published results, {about}: {counted(len(shown.marks), 'row')} on {dataset} of networks whose cost is "
        "counted here. Accuracies are as printed, of other clips, views and trainings; costs are those of one view, "
        f"counted as this study's{', on a logarithmic axis' if shown.log else ''}. Filled: on their own front. Data "
        "and training differ from this study's, so compare the shapes, not the figures. "
        f"`stsearch pareto published --table {report.table}` has every row with its source."
    )
    chart = Chart("paper", f"Scatter plot of published accuracy over cost, table {report.table}")
    return Section("paper", "Does the front look like what others published?", (lead, chart))


def effects(report: Report) -> Section:
    """Where this network should see time."""
    title = "Where should this network see time?"
    found = report.effects
    if found is None:
        return Section("effects", title, (report.why_no_effects,))
    if not report.contrasts:
        return Section("effects", title, tuple(text for _, text in parts(found)))
    lead = (
        f"What one kind of convolution instead of another is worth in each placement group, in points of "
        f"{report.accuracy}, over {counted(found.networks, 'network')}. An effect is claimed only where the joint "
        f"interval of all {found.comparisons} comparisons leaves out zero. {_costs_said(found.cost)}"
    )
    columns = [*(Column(head, number=head in ("points", "95 % interval")) for head in HEADS),
               Column(cost_unit(found.cost)[1], number=True)]  # fmt: skip
    rows: list[Row] = []
    for contrast in report.contrasts:
        cells = tuple(map(Cell, effect_row(found, contrast)))
        new = bool(rows) and rows[-1].cells[0] != cells[0]
        rows.append(Row(cells, look="first" if new else ""))
    table = Table("placement effects", tuple(columns), tuple(rows), sorts=False)
    chart = Chart("forest", "Effects with their intervals; the table below has the same figures")
    (_, answer), *more = parts(found)
    folds = (Fold(head, (text,)) for head, text in more)
    return Section("effects", title, (answer, lead, chart, table, *folds))


def _costs_said(cost: str) -> str:
    """Where the costs of the effects come from."""
    if cost in COSTS:
        return "Costs are exact: mean, and least to most over contexts."
    return "Costs were measured: mean, and least to most over matched pairs; 'about' is a regression's estimate."


def curves(report: Report) -> Section:
    """Whether they have learnt."""
    title = "Have the networks learnt?"
    shown = report.detailed
    if not shown:
        return Section("curves", title, ("No learning curve is stored with this study.",))
    each = ", one line per repeat" if report.repeated else ""
    few = "" if report.all_detailed else f" At most {DETAILED} of each are shown, evenly along the front."
    lead = (
        "Training loss and clip top-1 of the proxy over its epochs, for the front and then the paper's networks"
        f"{each}.{few} An end that is flat is no sign that a network has learnt all it can: the learning rate falls "
        "towards its end, and with it every change. Whether it has fitted its training clips is told by its loss "
        f"against that of a guess; what more epochs change in the ranking is what `{report.audit}` measures."
    )
    said = [*warnings(report.pareto.learning)]
    table = _learnt(report, shown)
    more = [Fold(f"Figures of the last epoch, {counted(len(table.rows), 'network')}", _learnt_words(report, table))]
    drawn = Pictures("curves")
    return Section("curves", title, (*([" ".join(said)] if said else []), lead, drawn, *(more if table.rows else [])))


def _learnt(report: Report, shown: Sequence[Network]) -> Table:
    heads = ("training loss", "training top-1 (%)", "validation loss", "steps", "take-off (steps)", "take-off (epochs)")
    rows: list[list[str | Cell]] = []
    for network in shown:
        if found := report.learnt(network):
            values = (found.train_loss, found.train_top1, found.val_loss, found.steps, found.take_off_steps,
                      found.take_off_epoch)  # fmt: skip
            forms = (".3f", ".1f", ".3f", "d", "d", "d")
            cells = [Cell("" if v is None else f"{v:{form}}", v) for v, form in zip(values, forms, strict=True)]
            fitted = {True: "yes", False: "no", None: ""}[found.fitted]
            rows.append([network.record.network, *cells, fitted])
    columns = [Column("network"), *(Column(head, number=True) for head in heads), Column("has fitted")]
    return table_of("figures of the last epoch", columns, rows)


def _learnt_words(report: Report, table: Table) -> tuple[Part, ...]:
    learning = report.pareto.learning
    if learning is None:
        return (table,)
    means = " Figures are means over repeats." if report.repeated else ""
    base = learning.baseline
    return (
        "Losses are mean cross-entropies in nats, of the clips as they were trained on and of the validation videos' "
        f"centre clips; a guess has ln({base.classes}) = {base.loss:.2f}. Take-off is after how many steps the "
        f"training loss stays below {TAKEN_OFF} of that; a network has fitted its clips with at most {FITTED} of it."
        + means,
        table,
    )


def easier(report: Report) -> Section | None:
    """Whether (2+1)D is easier to train than 3D."""
    return easier_section(report.easier)


def growth(report: Report) -> Section:
    """Whether more trainings would find more."""
    title = "Would more trainings find more?"
    if len(report.growth) < 2:
        return Section("growth", title, ("That takes at least two finished networks.",))
    lead = (
        f"How much the front covers after so many finished trainings, up to the reference point ({report.corner}). A "
        "line that has long been flat says that the search has found what it finds; one that still climbs asks for "
        "more trainings."
    )
    return Section("growth", title, (lead, Chart("growth", "Line of the hypervolume over finished trainings")))


def classes(report: Report) -> Section:
    """Which classes they tell apart."""
    title = "Which classes are hard?"
    parts: list[Part] = []
    if report.by_class:
        repeats = ", a mean over its trainings" if report.repeated else ""
        two = len(report.compared) > 1
        whom = "cheapest and of the most accurate network of the front" if two else "front's most accurate network"
        differ = (
            " The difference has its 95 % interval (Newcombe), which counts videos, not trainings, and takes them for "
            "other videos with each network: so it is rather too wide, and one class in twenty leaves out zero by luck."
        )
        lead = f"Of the validation videos of each class the per cent that is right{repeats}: of the {whom}."
        parts += [lead + (differ if two else ""), _class_table(report)]
    if not report.has_confusions:
        return Section("confusion", title, (*parts, "No confusion matrix is stored with this study's front."))
    summed = ", summed over repeats" if report.repeated else ""
    lead = (
        "Confusion matrices: which classes the networks of the front take for which, by video, on the validation set"
        f"{summed}: rows are true classes, columns predicted ones."
    )
    return Section("confusion", title, (*parts, lead, Pictures("confusions")))


def _class_table(report: Report) -> Table:
    two = len(report.compared) > 1
    columns = [Column("class"), Column("videos", number=True)]
    columns += [Column(f"{network.record.network} (%)", number=True) for network in report.compared]
    columns += [Column("difference (95 % interval)", number=True)] if two else []
    rows = []
    for name, videos, shares in report.by_class:
        cells = [Cell(name), Cell(f"{videos:,}", videos)]
        cells += [Cell("" if share is None else f"{share:.1f}", share) for share in shares]
        rows.append([*cells, *([_differ(shares[1], shares[0], videos)] if two else [])])
    return table_of("accuracy by class", columns, rows, narrow=True)


def _differ(first: float | None, second: float | None, videos: int) -> Cell:
    if first is None or second is None or not videos:
        return Cell("")
    low, high = (100 * end for end in difference(first / 100, videos, second / 100, videos))
    return Cell(f"{first - second:+.0f} ({low:+.0f} to {high:+.0f})", first - second)


def latency(report: Report) -> Section | None:
    """Whether multiply-adds stand for time."""
    against = report.latency
    if against is None:
        return None
    ranks = [rank for rank in (against.spearman, against.kendall) if rank.value is not None]
    said = (f"{rank.name} {rank.value:.2f}" + (f" (95 % interval {rank.low:.2f} to {rank.high:.2f})"
            if rank.low is not None else "") for rank in ranks)  # fmt: skip
    lead = (
        "Multiply-adds are computed, latency was "
        + ("summed from pieces that were measured" if report.composed else "measured")
        + " on the study's device"
        + (", also of networks that were pruned for it" if report.loss.pruned else "")
        + ": points on a rising line would mean that the one stands for the other. Of "
        f"{counted(against.pairs, 'pair')} of networks multiply-adds order {against.wrong_pairs:,} the wrong way round"
        + "".join(f"; {one}" for one in said)
        + "."
    )
    worst = []
    if pair := against.pair:
        worst = [
            f"The worst pair: {pair.fewer} has {pair.gmacs_ratio:.2f} times the multiply-adds of {pair.more} and takes "
            f"{pair.latency_ratio:.2f} times as long."
        ]
    notes = [f"{note}." for note in against.notes]
    parts: list[Part] = [
        " ".join([lead, *worst, *notes]),
        Chart("latency", "Scatter plot of latency over multiply-adds"),
    ]
    if against.misled:
        heads = ("GMACs", "latency (ms)", "rank by GMACs", "rank by latency")
        rows = [
            [one.network, f"{one.gmacs:.2f}", f"{one.latency_ms:.2f}", f"{one.gmacs_rank:g}", f"{one.latency_rank:g}"]
            for one in against.misled
        ]
        columns = [Column("network"), *(Column(head, number=True) for head in heads)]
        parts.append(table_of("networks that multiply-adds rank worst", columns, rows, sorts=False))
    return Section("latency", "Do multiply-adds tell latency?", tuple(parts))
