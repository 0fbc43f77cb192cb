"""The command line as a new user meets it: JSON, one line for wrong input, nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from stsearch.cli import main
from tests.conftest import Cli


def answer(*arguments: str) -> tuple[int, str]:
    """Exit code and what is printed, or the line that a user sees where it failed, as the console script does it."""
    from stsearch.errors import StsearchError

    result = CliRunner().invoke(main, list(arguments))
    if isinstance(result.exception, StsearchError):
        return result.exception.exit_code, str(result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output if result.exit_code else result.stdout


def data(*arguments: str) -> dict[str, object]:
    code, text = answer(*arguments, "--format", "json")
    assert code == 0, text
    loaded: dict[str, object] = json.loads(text)
    return loaded


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, stsearch, stsearch.cli\n"
        "heavy = {'torch', 'numpy', 'optuna', 'pydantic', 'rich', 'av', 'matplotlib', 'plotly'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    spent = []
    for _ in range(3):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "stsearch.cli", "--help"], check=True, capture_output=True)
        spent.append(time.perf_counter() - begun)
    assert min(spent) < 1.0, "0.15 s when the machine is idle; the bound leaves room for a busy one"


def test_profile_json() -> None:
    shown = data("profile", "r3d-18", "--frames", "8")
    assert shown["network"] == "R3D-18"
    assert shown["input"] == [3, 8, 112, 112]
    assert (shown["params"], shown["params_without_norm"], shown["macs"]) == (33371472, 33361872, 20348379136)
    assert shown["gmacs"] == 20.348379136
    assert shown["output_frames"] == 1
    stages = shown["stages"]
    assert isinstance(stages, list)
    assert [s["name"] for s in stages] == ["conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x"]
    assert stages[-1]["output"] == [512, 1, 7, 7]
    assert set(stages[0]) >= {"name", "kind", "blocks", "params", "macs", "output"}


def test_profile_takes_an_id_and_a_file(tmp_path: Path) -> None:
    shown = data("profile", "MC3-18")
    again = data("profile", str(shown["architecture"]))
    assert again == shown
    from stsearch.space.published import NETWORKS

    (tmp_path / "net.json").write_text(NETWORKS["MC3-18"].to_json())
    assert data("profile", str(tmp_path / "net.json")) == shown


def test_space_json() -> None:
    shown = data("space", "paper-18", "--max-gmacs", "25", "--frames", "16")
    assert (shown["name"], shown["size"]) == ("paper-18", 243)
    assert isinstance(shown["feasible"], int)
    assert 0 < shown["feasible"] < 243
    gmacs = shown["gmacs"]
    assert isinstance(gmacs, dict)
    assert gmacs["min"] < gmacs["median"] < gmacs["max"]


def test_published_json() -> None:
    shown = data("pareto", "published", "--frames", "8")
    front = shown["front"]
    assert isinstance(front, list)
    assert [row["network"] for row in front] == ["R2D-18", "rMC3-18", "MC2-18", "R(2+1)D-18"]
    assert [row["video_top1"] for row in front] == [59.5, 62.3, 62.5, 64.8]


@pytest.mark.parametrize("arguments", [["profile", "R(2+1)D-18"], ["space", "r18"], ["pareto", "published"]])
def test_tables_fit_eighty_columns(arguments: list[str]) -> None:
    code, text = answer(*arguments)
    assert code == 0
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text


def test_csv() -> None:
    code, text = answer("pareto", "published", "--format", "csv")
    lines = text.splitlines()
    assert code == 0
    assert lines[0] == "trial,network,architecture,video_top1,gmacs,clip_top1,params,activations,place"
    assert len(lines) == 13


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["profile", "MC33-18"], "unknown network 'MC33-18'. Did you mean 'MC3-18'?"),
        (["profile", "3d-3d-2d-4d-2d@18"], "unknown kind '4d'"),
        (["profile", "MC3-18", "--frames", "0"], "0 is not in the range 1<=x<=65536"),
        (["profile", "nosuch#1"], "has not been run here"),
        (["profile", "MC3-18", "--plugin", "nosuch"], "cannot import 'nosuch'"),
        (["space", "r19"], "unknown search space 'r19'. Did you mean 'r18'?"),
        (["run", "quickstrat"], "unknown study 'quickstrat'. Did you mean 'quickstart'?"),
        (["run", "quickstart", "--set", "search.sampler=best"], "unknown sampler 'best'"),
        (["run", "quickstart", "--set", "epochs"], "--set takes key=value"),
        (["run", "quickstart", "--set", "budget.gmacs=1"], "keeps the budget gmacs <= 1: the cheapest"),
        (["run", "quickstart", "--storage", "oracle://x"], "unknown database 'oracle'"),
        (["run", "quickstart", "--storage", "sqlite://"], "sqlite in memory would be lost"),
        (["pareto", "quickstart"], "has not been run here"),
        (["dashboard", "quickstart.html"], "unknown study 'quickstart.html'. Did you mean 'quickstart'?"),
        (["train", "mine.yaml", "--out", "x"], "mine.yaml is a study; its networks are named by their trials, as in "),
        (["pareto", "quickstart", "--frames", "8"], "--frames goes with `stsearch pareto published` only"),
        (["pareto", "published", "--plot", "front.gif"], "unknown suffix '.gif'"),
        (["space", "r18", "--max-gmacs", "nan"], "--max-gmacs is a number above 0; given nan"),
        (["space", "r18", "--frames", "65536", "--size", "65536"], "are too large: costs do not fit in 64 bits"),
        (["run", "quickstart", "--set", "name=2024-02-30"], "the value is no YAML"),
        (["run", "quickstart", "--set", "name=a?b"], "a study's name is of letters, digits"),
        (["run", "quickstart", "--set", "name=published"], "and is not 'published'"),
        (
            ["run", "quickstart", "--storage", "postgresql://u:secret@h:port/d"],
            "storage: what was given is no database",
        ),
        (["paretto"], "unknown command 'paretto'. Did you mean 'pareto'? Allowed: audit, calibrate, dashboard,"),
        (["data", "bild"], "unknown command 'bild'. Did you mean 'build'? Allowed: build, list,"),
        (["pareto", "quickstart", "--format", "cvs"], "unknown format 'cvs'. Did you mean 'csv'? Allowed: table, json"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(tmp_path: Path, arguments: list[str], part: str) -> None:
    code, text = answer(*arguments)
    assert code == 2
    assert part in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (["profile", "MC33-18"], "stsearch: unknown network 'MC33-18'."),
        (["run", "--sed", "3"], "stsearch run: unknown option '--sed'. Did you mean '--set'? Allowed: --set, "),
        (
            ["run", "--epochs", "3"],
            "stsearch run: unknown option '--epochs'. Allowed: --set, --storage, --format, --retry-failed, --quiet, "
            "--help. Keys of the study: --set, as in --set evaluate.epochs=8.",
        ),
        (["run", "a", "b"], "stsearch run: got unexpected extra argument (b)"),
        (["profile", "MC3-18", "--frames", "x"], "stsearch profile: invalid value for '--frames': 'x' is not a valid"),
        (["data", "show"], "stsearch data show: missing argument '"),
    ],
)
def test_the_console_script_says_it_in_one_line_without_traceback(cli: Cli, arguments: list[str], start: str) -> None:
    result = cli(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(start)
    assert result.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_written(tiny: Path, cli: Cli) -> None:
    """A file where the folder should be: also root cannot write there."""
    Path("studies").write_text("")
    result = cli("run", str(tiny))
    assert result.returncode == 2
    assert "cannot write the study to studies/tiny.db" in result.stderr
    assert "Traceback" not in result.stderr
