"""What ``run`` shows while it trains: in a real terminal, and in a log that several processes write."""

from __future__ import annotations

import math
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from stsearch.report.live import Display, renews
from stsearch.search.reading import read_study
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.training import Event
from stsearch.search.worker import work

pytestmark = pytest.mark.slow

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|4[0-7]|9[0-7]|38;[\d;]+|48;[\d;]+)(?:;\d+)*m")
EPOCHS = ["--set=evaluate.epochs=3", "--set=search.trials=3"]


def quiet(*_: object) -> None:
    """No progress."""


def on_a_terminal(command: list[str], **environment: str) -> str:
    """What a command writes to a terminal of its own as stderr."""
    ours, theirs = pty.openpty()
    place = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    place |= {"TERM": "xterm-256color", "COLUMNS": "200", "LINES": "50", **environment}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=theirs, env=place, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:  # the other end is closed
            pass
        os.close(ours)
    assert process.returncode == 0, shown.decode()
    return shown.decode()


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}], ids=["colours", "NO_COLOR"])
def test_a_terminal_shows_the_training_against_chance_and_the_front(tiny: Path, environment: dict[str, str]) -> None:
    text = on_a_terminal([sys.executable, "-m", "stsearch.cli", "run", str(tiny), *EPOCHS], **environment)
    assert bool(COLOUR.search(text)) is not bool(environment)
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text)
    assert f"a guess: 50.0 %, loss {math.log(2):.3f}" in plain
    assert re.search(r"epoch [12]/3, loss \d\.\d{3}", plain)
    assert re.search(r"\d+ (?:s|min) to go", plain)
    stored = read_study("tiny")
    best = max(record.metrics["video_top1"] for record in stored.records(stored.complete))
    assert re.findall(r"front so far: \d networks?, best ([\d.]+) %", plain)[-1] == f"{best:.1f}"


LINES = (
    r"study tiny: .*",
    r"note: .*",
    r"clips: .*",
    r"resumed: .*",
    r"With .*",
    r".*validation videos.*",
    r"a guess among 2 classes: 50\.0 %, loss 0\.693",
    r"\[\d+/8\] #\d+ \S+  \d+\.\d\d GMACs  video@1 \d+\.\d %  clip@1 \d+\.\d %  \d+ (?:s|min)  \d+ clips/s"
    r"  front \d networks?, best \d+\.\d %(?:  .* to go)?",
)


def test_a_log_of_several_processes_has_whole_lines_alone(tiny: Path, tmp_path: Path) -> None:
    """Also where a build farm asks for colours everywhere."""
    study = load_study(str(tiny), ["search.trials=8"])
    open_session(study, quiet)
    run = [sys.executable, "-m", "stsearch.cli", "run", str(tiny), "--set=search.trials=8", "--set=engine.workers=2"]
    more = [sys.executable, "-m", "stsearch.cli", "worker", "tiny"]
    with (tmp_path / "log").open("ab") as log:
        both = [
            subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=log, env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": "40"}
            )
            for command in (run, more)
        ]
        assert [process.wait(timeout=280) for process in both] == [0, 0]
    text = (tmp_path / "log").read_text()
    assert not re.search(r"[^\n\x20-\x7e\u00a0-\uffff]", text), "no control characters"
    strange = [line for line in text.splitlines() if not any(re.fullmatch(known, line) for known in LINES)]
    assert strange == []
    finished = re.findall(r"^\[\d+/8\] #(\d+) ", text, re.MULTILINE)
    assert sorted(map(int, finished)) == list(range(8)), "a line for every network"


def test_time_to_go_counts_epochs_and_whoever_else_trains(tiny: Path) -> None:
    sets = ["evaluate.epochs=2", "search.trials=4"]
    session = open_session(load_study(str(tiny), sets), quiet)
    display = Display(session, 1, quiet=True)
    assert display.eta() is None
    begun: list[tuple[float, float | None]] = []

    def emit(event: Event) -> None:
        display.emit(event)
        if event["event"] == "epoch":
            display.started -= 100  # as if it had taken so long
            shares = sum(map(display._share, display.running.values()))
            begun.append((display.done + shares, display.eta()))

    work(session, emit)
    assert [done for done, _ in begun] == [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]
    for number, (done, to_go) in enumerate(begun, 1):
        assert to_go is not None
        assert to_go / max(1e-9, 100 * number) == pytest.approx((4 - done) / done, rel=0.2, abs=0.01)
    assert display.eta() == 0
    display = Display(session, 1, quiet=True)
    display.already = 2  # two of them by another run since
    display.started -= 60
    assert display.eta() == 0


def test_workers_that_joined_are_counted(tiny: Path) -> None:
    """A cluster may have room for none when the run begins."""
    display = Display(open_session(load_study(str(tiny)), quiet), 0, quiet=True)

    def shown() -> str:
        console = Console(width=200)
        with console.capture() as capture:
            console.print(display._render())
        return capture.get()

    assert " 0 workers" in shown()
    for number, workers in ((0, "1 worker"), (1, "2 workers"), (1, "2 workers")):
        display.emit({"event": "joined", "number": number, "node": "10.0.0.1", "worker": {"host": "a", "pid": number}})
        assert re.search(rf" {workers}\s", shown())


def test_reasons_are_one_line_without_control_characters(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(open_session(load_study(str(tiny)), quiet), 1)
    about: Event = {"trial": 0, "network": "MC3-18", "architecture": "x", "gmacs": 1.0}
    display.emit({"event": "failed", "reason": "loss\x1b[2J is\r\nnan", **about})
    assert capsys.readouterr().err.splitlines()[-1] == "[0/4] #0 MC3-18  1.00 GMACs  FAILED: loss [2J is  nan"


def test_a_process_behind_another_on_one_terminal_prints_whole_lines(tmp_path: Path) -> None:
    """It is not in front of the user, so what it would renew in place stands between another's lines."""
    script = (
        "import os, sys\n"
        "from rich.console import Console\n"
        "from stsearch.report.live import renews\n"
        "front = renews(Console(stderr=True))\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os.setpgid(0, 0)\n"
        "    os._exit(renews(Console(stderr=True)))\n"
        "sys.exit(10 * front + os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    child, ours = pty.fork()
    if not child:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-c", script])  # noqa: S606 - in the terminal that it has
    try:
        while os.read(ours, 65536):
            pass
    except OSError:  # it ended
        pass
    os.close(ours)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 10


def test_a_file_is_no_terminal_whatever_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with (tmp_path / "log").open("w") as log:
        console = Console(file=log)
        assert console.is_terminal
        assert not renews(console)


@pytest.mark.parametrize("later", [False, True], ids=["at once", "named later"])
def test_time_to_go_counts_networks_that_it_is_compared_with(tiny: Path, later: bool) -> None:
    sets = ["evaluate.epochs=2", "search.trials=1"]
    if later:
        work(open_session(load_study(str(tiny), sets), quiet), quiet)
    session = open_session(load_study(str(tiny), [*sets, "search.compare_with=[X3D-XS, Slow-R50-4x16]"]), quiet)
    display, of = Display(session, 1, quiet=True), 2 if later else 3
    begun: list[float | None] = []

    def emit(event: Event) -> None:
        display.emit(event)
        if event["event"] == "epoch":
            display.started -= 1000  # as if it had taken so long
            begun.append(display.eta())

    work(session, emit)
    expected = [1000 * (2 * of - epochs) for epochs in range(1, 2 * of + 1)]
    assert begun == pytest.approx(expected, rel=0.2, abs=1)
