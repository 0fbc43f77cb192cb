"""docs/tutorial.md as it stands: its files, its commands in order, and the exported file run without stsearch."""

from __future__ import annotations

import csv
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from stsearch.cli import main
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "tutorial.md").read_text()
_ALONE = "import runpy, sys; sys.modules['torch'] = sys.modules['stsearch'] = None; sys.argv = sys.argv[1:]; "


@pytest.mark.slow
def test_the_tutorial_goes_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, name in re.findall(r"```(?:python|yaml)\n(# (\w+\.\w+).*?)```", PAGE, re.DOTALL):
        (tmp_path / name).write_text(text)
    commands = re.findall(r"^\$ (.*?)(?:\s+#.*)?$", PAGE, re.MULTILINE)
    ran = {"pip": 0, "python": 0, "stsearch": 0}
    for command in commands:
        program, *arguments = shlex.split(command)
        ran[program] += 1
        if arguments[0] == "make_clips.py":
            runpy.run_path("make_clips.py")
        elif arguments[0] == "classify.py":
            compare(arguments[1:])
        elif program == "stsearch":
            main([*arguments, *(["--threads", "1"] if arguments[0] == "train" else [])], standalone_mode=False)
    assert ran == {"pip": 2, "python": 2, "stsearch": 9}
    shown = capsys.readouterr().out
    assert "stsearch train 'mine#" in shown
    assert "written: mine.onnx" in shown


def compare(arguments: list[str]) -> None:
    """``classify.py`` where neither torch nor stsearch can be imported, and what ``evaluate`` wrote of that video."""
    script = _ALONE + "runpy.run_path('classify.py', run_name='__main__')"
    command = [sys.executable, "-c", script, "classify.py"]
    with Path("logits.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    for row in rows[::4]:
        answer = subprocess.run([*command, arguments[0], f"clips/{row['video']}"], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        found = json.loads(answer.stdout)
        assert found.keys() == row.keys() - {"video", "class"}
        assert found == pytest.approx({name: float(row[name]) for name in found}, abs=1e-4)
