"""What a shell sees: the version, help with an example, completion, no colours where none are wanted."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from docs.tools.reference import walk
from stsearch import __version__
from stsearch.cli import main
from stsearch.cli.examples import EXAMPLES
from tests.conftest import ROOT, Cli

COMMANDS = list(walk(main, "stsearch"))


def test_the_version(cli: Cli) -> None:
    assert cli("--version").stdout.split()[-1] == __version__


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[path for path, _ in COMMANDS])
def test_help_ends_with_an_example_that_the_command_takes(path: str, command: click.Command) -> None:
    example = EXAMPLES[path.removeprefix("stsearch").strip()]
    with click.Context(command, info_name=path) as context:
        assert command.get_help(context).endswith(f"Example:\n    {example}")
    words = shlex.split(example)[1:]
    inner: click.Command = main
    while isinstance(inner, click.Group):
        inner = inner.commands[words.pop(0)]
    taken = inner.make_context("example", words, resilient_parsing=False)
    assert taken.params, example


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_as_documented(shell: str, cli: Cli) -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert f"_STSEARCH_COMPLETE={shell}_source stsearch" in page
    script = cli(_STSEARCH_COMPLETE=f"{shell}_source")
    assert script.returncode == 0, script.stderr
    assert "_STSEARCH_COMPLETE" in script.stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("stsearch pa", {"pareto"}),
        ("stsearch data pr", {"prune"}),
        ("stsearch pareto --pl", {"--plot"}),
        ("stsearch pareto --format j", {"json"}),
    ],
)
def test_what_bash_offers(line: str, offered: set[str], cli: Cli) -> None:
    words = line.split(" ")
    answer = cli(_STSEARCH_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert answer.returncode == 0, answer.stderr
    assert {one.partition(",")[2] for one in answer.stdout.split()} == offered


def test_no_colours_where_none_are_wanted(cli: Cli) -> None:
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m|\x1b\[[0-9;]*38;")
    plain = cli("pareto", "published", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm-256color")
    assert plain.returncode == 0
    assert not colour.search(plain.stdout)
