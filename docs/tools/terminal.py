"""docs/terminal.svg: what a terminal shows of a small study, from a real run.

``python docs/tools/terminal.py`` runs the commands below in a temporary folder and draws what they print.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

TARGET = Path(__file__).resolve().parent.parent / "terminal.svg"
COLUMNS = 96
STUDY = """\
space: paper-18
target: {frames: 16, size: 112}
proxy: {frames: 4, size: 16, width: 0.125}
data: {name: motions, classes: 4, clips: 400, val_clips: 200}
budget: {gmacs: 45}
evaluate: {name: train, epochs: 4}
search: {trials: 6, start_with: [f-R2D-18, MC2-18, MC3-18, R3D-18, rMC3-18, R(2+1)D-18]}
engine: {workers: 1}
"""
COMMANDS = (["cat", "small.yaml"], ["stsearch", "run", "small.yaml"])


def shown(command: list[str], folder: Path) -> str:
    """What a command prints, in the order in which it prints it."""
    environment = {**os.environ, "COLUMNS": str(COLUMNS)}
    words = [sys.executable, "-m", "stsearch.cli", *command[1:]] if command[0] == "stsearch" else command
    found = subprocess.run(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    return found.stdout


def main() -> None:
    """Run the commands and write the picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "small.yaml").write_text(STUDY)
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (" ".join(command), "bold")), soft_wrap=True)
            console.print(Text.from_ansi(shown(command, Path(folder))))
    picture = console.export_svg(title="stsearch")
    TARGET.write_text(re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL))  # from the internet, else


if __name__ == "__main__":
    main()
