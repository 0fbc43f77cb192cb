"""``stsearch data`` and ``stsearch evaluate`` as a user types them."""

from __future__ import annotations

import html
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stsearch.cli import entry
from tests.conftest import Cli, write_video

STUDY = """\
space: paper-18
target: {frames: 8, size: 32}
proxy: {frames: 4, size: 16, width: 0.125}
data: {name: folder, path: clips}
evaluate: {name: train, epochs: 2, batch: 4, repeats: 2}
search: {sampler: random, trials: 1, start_with: [R3D-18]}
engine: {workers: 1}
"""


@pytest.fixture
def study(clips: Path, tmp_path: Path) -> Path:
    """A study of videos that are one bright or dark ramp; ``clips`` stands beside it."""
    path = tmp_path / "mine.yaml"
    path.write_text(STUDY)
    return path


def answer(cli: Cli, *arguments: str) -> dict[str, object]:
    """The JSON of a command."""
    ran = cli(*arguments, "--format", "json")
    assert ran.returncode == 0, ran.stderr
    found: dict[str, object] = json.loads(ran.stdout)
    return found


def test_a_cache_from_building_to_removing(study: Path, cli: Cli) -> None:
    estimated = answer(cli, "data", "build", "mine.yaml", "--estimate")
    assert estimated["videos"] == 12
    built = answer(cli, "data", "build", "mine.yaml")
    assert (built["train"], built["val"], built["classes"]) == (8, 4, 2)
    assert built["nbytes"] == estimated["nbytes"], "videos of one length: the estimate is exact"
    assert answer(cli, "data", "build", "clips", "--frames", "4", "--size", "16")["key"] == built["key"]
    flow = answer(cli, "data", "build", "clips", "--frames=4", "--size=16", "--set=data.modality=flow")
    assert flow["key"] != built["key"]
    shown = cli("data", "list").stdout
    assert "4x18x24 " in shown
    assert "4x18x24 flow" in shown
    key = str(built["key"])
    assert cli("data", "verify", key[:6]).stdout == f"{key[:6]}: whole\n"
    frames = next(Path("cache").glob(f"{key}/frames.bin"))
    content = bytearray(frames.read_bytes())
    content[1000] ^= 1
    frames.write_bytes(content)
    damaged = cli("data", "verify", key)
    assert damaged.returncode == 1
    assert "train/brighter/0.mp4: its frames do not match their checksum" in damaged.stdout
    assert cli("data", "prune", key[:6]).stdout.startswith(f"removed {key}: ")
    assert key[:12] not in cli("data", "list").stdout


def test_what_a_file_holds(clips: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    ran = cli("data", "show", "--decode", "clips/train/darker/0.mp4", "notes.mp4", "--format", "json")
    assert ran.returncode == 1
    whole, broken = json.loads(ran.stdout)
    assert (whole["codec"], whole["frames"], whole["decoded"], whole["fps"]) == ("h264", 12, 12, 25.0)
    assert whole["damage"] is None
    assert broken["unreadable"] == "it is text, not a video: 'no video'"
    assert ran.stderr == "stsearch: 1 of 2 files cannot be read\n"
    lines = cli("data", "show", "clips/train/darker/0.mp4", "notes.mp4").stdout.splitlines()
    assert lines[0].startswith("clips/train/darker/0.mp4: container mov,")
    assert lines[1].startswith("notes.mp4: unreadable: it is text, not")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that the system does not know")
@pytest.mark.parametrize(
    ("command", "variables", "said"),
    [
        (["data", "list"], {}, "'~/.cache' (HOME is not set, and the system has no entry for it); set STSEARCH_CACHE"),
        (["data", "list"], {"STSEARCH_CACHE": "~/caches"}, "; give the whole path in STSEARCH_CACHE"),
        (["data", "build", "clips"], {}, "set STSEARCH_CACHE to a folder for clip caches"),
        (["data", "build", "a.csv", "--set", "data.val=~/v.csv"], {}, "no home folder of the user that '~/v.csv'"),
    ],
)
def test_a_user_without_a_home(clips: Path, command: list[str], variables: dict[str, str], said: str) -> None:
    Path("a.csv").write_text("path,label\nclips/train/darker/0.mp4,a\nclips/train/brighter/0.mp4,b\n")
    script = (
        "import os, sys, encodings.utf_8_sig, stsearch.cli.data, stsearch.data.sources, stsearch.report.live;"
        "import stsearch.search.spec;"
        "os.setuid(54321); sys.argv[0] = 'stsearch'; stsearch.cli.entry()"
    )
    known = {key: value for key, value in os.environ.items() if key not in ("HOME", "STSEARCH_CACHE", "XDG_CACHE_HOME")}
    clips.parent.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, "-c", script, *command, *(["--quiet"] if "build" in command else [])],
        capture_output=True, text=True, env={**known, **variables},
    )  # fmt: skip
    assert ran.returncode in (1, 2), ran.stderr
    assert "Traceback" not in ran.stderr
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_notes_on_the_data_come_into_the_report(study: Path, cli: Cli) -> None:
    said = (
        "4 videos are in 'train' and in 'val', byte for byte, so accuracy on 'val' will flatter: train/brighter/0.mp4"
    )
    ran = cli("run", "mine.yaml", "--set", "evaluate.epochs=1", "--set", "evaluate.repeats=1")
    assert ran.returncode == 0, ran.stderr
    assert f"note: {said}" in ran.stderr
    for name in ("report.md", "report.html"):
        written = cli("report", "mine.yaml", "--output", name)
        assert written.returncode == 0, written.stderr
        assert said in html.unescape(Path(name).read_text()).replace("\\", "")


def test_show_says_what_build_says_of_damage(clips: Path, cli: Cli) -> None:
    film = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    cut = clips / "train/darker/cut.mkv"
    write_video(cut, film, codec="ffv1")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 3 // 4])
    built = cli("data", "build", "clips", "--frames", "4", "--size", "16").stdout
    ran = cli("data", "show", "--decode", str(cut), "--format", "json")
    (found,) = json.loads(ran.stdout)
    assert ran.returncode == 0
    assert found["damage"].startswith("the file is cut short: ")
    assert f"train/darker/cut.mkv: {found['damage']}" in built
    assert (
        f"decoded {found['decoded']}, damage: {found['damage']}\n" in cli("data", "show", "--decode", str(cut)).stdout
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("data build nowhere", "'nowhere' is no study, folder or list. Studies: "),
        ("data build quickstart", "the data of 'quickstart' are rendered, not decoded: they need no cache"),
        ("data build clips --set foo=1", "--set of foo: without a study only data.KEY can be set"),
        ("data build clips --set data.spam=1", "unknown key 'spam'. Did you mean 'span'?"),
        ("data prune", "say what to remove: KEY, --unused DAYS, --partial or --all"),
        ("data verify abc", "unknown clip cache 'abc'"),
        ("evaluate", "name a NETWORK"),
        ("evaluate R3D-18", "'R3D-18' is of no study: add --study STUDY"),
        ("evaluate R3D-18 --study quickstart --fuse", "'graded' is rendered, so it has no flow; fusing needs videos"),
        (
            "evaluate R3D-18 MC2-18 R2D-18 --study mine.yaml --fuse",
            "takes one NETWORK or two, for RGB and flow; given 3",
        ),
        ("evaluate R3D-18 --study mine.yaml --split test", "--split test: the data of 'mine' have train, val"),
        ("evaluate mine#0", "the study 'mine' has not been run here"),
    ],
)
@pytest.mark.usefixtures("study")
def test_wrong_requests_are_one_line(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["stsearch", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        entry()
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert said in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert not Path("studies").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("study")
def test_a_trial_is_evaluated_as_its_study_did_it_and_fused_with_flow(cli: Cli) -> None:
    ran = cli("run", "mine.yaml")
    assert ran.returncode == 0, ran.stderr
    assert "clips: memory-mapped (" in ran.stderr
    again = answer(cli, "evaluate", "mine#0")
    assert isinstance(again["networks"], list)
    (network,) = again["networks"]
    assert (network["network"], network["modality"], again["fused"]) == ("R3D-18", "rgb", None)
    record = json.loads(
        sqlite3.connect("studies/mine.db")
        .execute("SELECT value_json FROM trial_system_attributes WHERE key = 'stsearch:record'")
        .fetchone()[0]
    )
    assert network["each"] == [training["video_top1"] for training in record["trainings"]], "bit for bit"
    assert network["per_class"] == record["per_class"]

    fused = answer(cli, "evaluate", "R3D-18", "MC3-18", "--study", "mine.yaml", "--fuse")
    assert isinstance(fused["networks"], list)
    rgb, flow = fused["networks"]
    assert [(one["network"], one["modality"]) for one in (rgb, flow)] == [("R3D-18", "rgb"), ("MC3-18", "flow")]
    assert rgb["each"] == network["each"], "fusing changes no network"
    assert isinstance(fused["fused"], dict)
    assert len(fused["fused"]["each"]) == 2
    assert fused["videos"] == 4
