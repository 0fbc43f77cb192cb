"""``stsearch audit``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from stsearch.cli.common import format_option, print_json, say_edits, say_next, storage_option
from stsearch.interrupt import flagged


@click.command()
@click.argument("study", default="quickstart")
@storage_option
@click.option("--networks", type=click.IntRange(3, 100_000), help="Networks to train anew in all [default: 24].")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="The audit's fidelity, as in evaluate.epochs=12, proxy.size=64, engine.workers=1. Repeatable.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of sample and trainings."
)
@click.option(
    "--retest/--no-retest",
    default=None,
    help="Train them once more at the search's own fidelity, to know its noise [default: where evaluate.repeats is 1].",
)
@click.option("--records", is_flag=True, help="Train nothing: what the records that are there say.")
@format_option("table", "json")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@flagged()
def audit(
    study: str,
    storage: str | None,
    networks: int | None,
    overrides: Sequence[str],
    seed: int,
    retest: bool | None,
    records: bool,
    form: str,
    quiet: bool,
) -> None:
    """Say how far STUDY's proxy can be trusted: networks of it are trained longer, with other seeds.

    What is trained is kept beside the study; the same command goes on after an interruption.
    """
    from rich.console import Console

    from stsearch.cli.run import stoppable
    from stsearch.report.audit import report_of
    from stsearch.report.audit_plan import NETWORKS, fidelities, sample
    from stsearch.report.audit_plan import plan as make_plan
    from stsearch.report.audit_tables import AuditProgress, print_audit
    from stsearch.report.audit_text import as_dict
    from stsearch.report.live import Reading
    from stsearch.report.pareto import pareto_of
    from stsearch.search.audit import Audit, load_clips
    from stsearch.search.engine import run_audit
    from stsearch.search.reading import read_study

    stored = read_study(study, storage)
    say_edits(study, stored)
    parts, engine = fidelities(stored, overrides, retest)
    searched = stored.as_searched  # what an audit finds does not change whom it is of
    chosen = sample(searched, pareto_of(searched), networks or NETWORKS, seed)
    plan = make_plan(stored, chosen, parts, engine, seed)
    if not records and (left := Audit(plan, to_write=False).left()):
        clips = load_clips(plan, Reading(quiet))
        progress = AuditProgress(plan, left, quiet=quiet)
        with stoppable():
            run_audit(plan, engine, len(left), progress.emit, clips)
        stored = read_study(study, storage)
    result = report_of(stored, chosen, plan, Audit(plan, to_write=False).found())
    if form == "json":
        print_json(as_dict(result))
    else:
        print_audit(result, Console())
        say_next(stored, pareto_of(stored), study, storage, after="audit")
