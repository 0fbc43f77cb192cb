"""A placement as a strip of five boxes."""

from __future__ import annotations

from itertools import groupby

from stsearch.report.records import Group
from stsearch.report.styles import ink_on, style_of
from stsearch.space.architecture import GROUPS, Architecture


def strip(architecture: Architecture) -> list[Group]:
    """One box for each group."""
    boxes = []
    for group, kinds in zip(GROUPS, ((architecture.stem,), *architecture.stages), strict=True):
        runs = [(kind, len(list(run))) for kind, run in groupby(kinds)]
        about = ", ".join(style_of(kind).label + (f" x{n}" if n > 1 else "") for kind, n in runs)
        label, fill = ("mix", "#e4e4e4") if len(set(kinds)) > 1 else look(kinds[0])
        boxes.append(Group(group, label, len(kinds), fill, ink_on(fill), about))
    return boxes


def look(kind: str) -> tuple[str, str]:
    """Label and fill of a kind."""
    return style_of(kind).label, style_of(kind).fill
