"""What to type next: the truth table, and that every line that is printed can be typed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from stsearch.report.following import CameOut, Step, steps
from tests.conftest import Cli

_LONGER = ("evaluate.epochs=12",)


@pytest.mark.parametrize(
    ("out", "after", "wanted"),
    [
        # nothing on the front
        (CameOut(front=False), None, ()),
        (CameOut(front=False, failed=True), None, ("retry",)),
        # not learnt comes before all else: ties and audits of luck tell nothing
        (CameOut(unlearnt=True, longer=_LONGER), None, ("longer", "calibrate")),
        (CameOut(unlearnt=True, longer=_LONGER, tied=True), None, ("longer", "calibrate")),
        (CameOut(unlearnt=True, longer=_LONGER, tied=True), "report", ("longer", "calibrate")),
        (CameOut(unlearnt=True), None, ("report", "calibrate")),
        # ties, once: then an audit, once: then the network
        (CameOut(tied=True), None, ("report", "repeats")),
        (CameOut(tied=True, repeated=True), None, ("report", "audit")),
        (CameOut(tied=True, repeated=True, audited=True), None, ("report", "train")),
        (CameOut(), None, ("report", "audit")),
        (CameOut(audited=True), None, ("report", "train")),
        (CameOut(auditable=False), None, ("report", "train")),
        (CameOut(auditable=False, failed=True), None, ("report", "train")),
        # what was just done is not proposed again
        (CameOut(tied=True), "report", ("repeats", "audit")),
        (CameOut(), "report", ("audit", "train")),
        (CameOut(audited=True), "report", ("train",)),
        (CameOut(audited=True, tied=True), "audit", ("report", "repeats")),
        (CameOut(audited=True, repeated=True), "audit", ("report", "train")),
    ],
)
def test_the_truth_table(out: CameOut, after: Step | None, wanted: tuple[Step, ...]) -> None:
    assert steps(out, after=after) == wanted


def next_lines(text: str) -> list[str]:
    """Lines below ``Next:``."""
    return [line.strip() for line in text.partition("\nNext:\n")[2].splitlines() if line.strip()]


@pytest.mark.slow
def test_every_command_ends_with_one_or_two_that_work(tiny: Path, cli: Cli) -> None:
    """From a first run to the network: what is printed is typed, until there is nothing left."""
    ran = cli("run", str(tiny), "--set=search.trials=4", "--set=search.start_with=paper", "--set=engine.workers=1")
    assert ran.returncode == 0, ran.stderr
    done: list[str] = []
    lines = next_lines(ran.stdout)
    assert 1 <= len(lines) <= 2, ran.stdout
    assert all(line.startswith("stsearch ") for line in lines)
    for _ in range(2):
        words = shlex.split(lines[0])
        assert words[0] == "stsearch"
        answer = cli(*words[1:])
        assert answer.returncode == 0, f"{lines[0]}: {answer.stderr}"
        done.append(words[1])
        lines = next_lines(answer.stdout)
        assert len(lines) <= 2
        if not lines:
            break
    shown = cli("pareto", "tiny")
    assert 1 <= len(next_lines(shown.stdout)) <= 2
    assert "Next:" not in cli("pareto", "tiny", "--format", "json").stdout
    assert "Next:" not in cli("pareto", "published").stdout
