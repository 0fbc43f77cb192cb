"""One example at the end of each command's help, and what shells need to complete commands and options."""

from __future__ import annotations

from collections.abc import Mapping

import click

EXAMPLES: Mapping[str, str] = {
    "": "stsearch run quickstart",
    "run": "stsearch run mine.yaml --set evaluate.epochs=8",
    "worker": "stsearch worker mine --storage postgresql://me@db.example/stsearch --set data.path=/mnt/clips",
    "pareto": "stsearch pareto mine --plot front.png --pick knee",
    "audit": "stsearch audit mine --networks 12",
    "calibrate": "stsearch calibrate mine.yaml --minutes 30",
    "report": "stsearch report mine -o mine.html",
    "dashboard": "stsearch dashboard mine --open",
    "train": "stsearch train 'mine#7' --out chosen",
    "evaluate": "stsearch evaluate 'mine#7' --weights chosen/weights.pt --views 10x3",
    "export": "stsearch export 'mine#7' --weights chosen/weights.pt --to onnx -o mine.onnx",
    "data": "stsearch data build mine.yaml",
    "data build": "stsearch data build clips --set data.span=2",
    "data list": "stsearch data list",
    "data verify": "stsearch data verify",
    "data prune": "stsearch data prune --unused 30",
    "data show": "stsearch data show clips/train/wave/a01.mp4 --decode",
    "space": "stsearch space r18 --max-gmacs 30",
    "profile": "stsearch profile MC3-18 rMC3-18 --draw pair.svg",
}
"""Command to what one may type."""


def add_examples(group: click.Group, path: str = "") -> None:
    """Put the example of each command below its help."""
    if example := EXAMPLES.get(path):
        group.epilog = f"\b\nExample:\n  {example}"
    for name, command in group.commands.items():
        inner = f"{path} {name}".strip()
        if isinstance(command, click.Group):
            add_examples(command, inner)
        elif example := EXAMPLES.get(inner):
            command.epilog = f"\b\nExample:\n  {example}"
