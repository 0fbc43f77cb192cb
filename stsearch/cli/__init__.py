"""The command line. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback

import click

from stsearch import __version__
from stsearch.cli.audit import audit
from stsearch.cli.calibrate import calibrate
from stsearch.cli.common import Group
from stsearch.cli.data import data
from stsearch.cli.evaluate import evaluate
from stsearch.cli.examples import add_examples
from stsearch.cli.export import export
from stsearch.cli.front import pareto
from stsearch.cli.profile import profile
from stsearch.cli.run import run
from stsearch.cli.seeing import dashboard, report
from stsearch.cli.space import space
from stsearch.cli.train import train
from stsearch.cli.worker import worker
from stsearch.errors import StsearchError, unknown
from stsearch.hiding import safe
from stsearch.interrupt import number_of


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Search for where in a video network convolutions should see time.

    \b
    stsearch run quickstart        train networks, find the front (resumes if it was begun)
    stsearch worker mine           one more worker on a study, from any machine: --storage URL
    stsearch pareto quickstart     show the front; --plot front.png draws it
    stsearch pareto published      the front of Tran et al. (CVPR 2018)
    stsearch calibrate quickstart  which small trainings rank networks on these videos? within --minutes
    stsearch audit quickstart      how far can these small trainings be trusted? trains some networks longer
    stsearch report quickstart     where does time pay on these videos? one page, no network
    stsearch dashboard quickstart  the report, live, in a browser; optuna-dashboard behind it
    stsearch train STUDY#TRIAL     train the chosen network to the end
    stsearch evaluate STUDY#TRIAL  --weights FILE: how good it is; without, train it again as the study did
    stsearch export STUDY#TRIAL    its weights as ONNX, torch.export or a state dict
    stsearch data list             clip caches; data build, verify, prune, show FILE
    stsearch space r18             what a search space holds and costs
    stsearch profile MC3-18        exact cost of a network, stage by stage
    """


for _command in (
    run,
    worker,
    pareto,
    calibrate,
    audit,
    report,
    dashboard,
    train,
    evaluate,
    export,
    data,
    space,
    profile,
):
    main.add_command(_command)
add_examples(main)


_LONGEST = 2000
"""characters of a line: who gives more does not want to read it again"""


def _cut(text: str) -> str:
    lines = text.split("\n")
    return "\n".join(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..." for line in lines)


def _line(error: click.ClickException) -> str:
    """``stsearch run: unknown option '--sed'. Did you mean '--set'? ...``; Click itself takes four lines."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "stsearch"
    if isinstance(error, click.NoSuchOption) and context:
        options = [name for one in context.command.get_params(context) for name in one.opts if name.startswith("--")]
        keys = " Keys of the study: --set, as in --set evaluate.epochs=8." if "--set" in options else ""
        return f"{command}: {unknown('option', error.option_name, options)}{keys}"
    if isinstance(error, click.MissingParameter) and isinstance(error.param, click.Option):
        option = error.param
        return f"{command}: missing option '{option.opts[0]} {option.metavar or 'VALUE'}': {option.help}"
    text = safe(_cut(error.format_message()))
    if isinstance(error, click.BadParameter) and error.param is not None and "not a valid integer" in text:
        limits = error.param.type
        span = f" of {limits.min:,} to {limits.max:,}" if isinstance(limits, click.IntRange) and limits.max else ""
        text = f"{text.rstrip('.')}; expected a whole number{span}."
    return f"{command}: {text[:1].lower()}{text[1:]}"


def _unexpected(error: Exception) -> str:
    """One line for a fault of stsearch itself; its traceback goes into a file that its user alone can read.

    The line has no message of the error, which may hold what is for nobody's eyes, as a URL with its password.
    """
    told = f"stsearch: a fault in stsearch itself: {type(error).__name__}"
    if frames := traceback.extract_tb(error.__traceback__):
        told += f" in {os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}"
    lines = safe("".join(traceback.format_exception(error)))
    try:
        file, name = tempfile.mkstemp(prefix="stsearch-", suffix=".txt")
        with open(file, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(lines)
    except OSError as why:
        return f"{told}. Its traceback could not be written: {why.strerror or why}"
    return f"{told}. Its traceback is in {name}; what was finished before is kept"


def entry() -> None:
    """The console script: one line for every error, expected or not, and its exit code."""
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="replace")  # a terminal that lacks a character, a name that is no UTF-8
    try:
        main(prog_name="stsearch", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(_line(error), err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except KeyboardInterrupt as error:
        click.echo("stopped", err=True)
        sys.exit(128 + number_of(error))
    except StsearchError as error:
        click.echo(f"stsearch: {safe(_cut(str(error)))}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        click.echo(f"stsearch: {safe(str(error))}", err=True)
        sys.exit(1)
    except Exception as error:  # the last handler: one line, and where the traceback was written
        click.echo(_unexpected(error), err=True)
        sys.exit(1)
