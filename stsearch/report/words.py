"""Counts in words, and Markdown: text that has no meaning to it, and tables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from stsearch.report.canvas import clean

_SPECIAL = re.compile(r"([\\`*{}\[\]<>#|~&]|(?<![^\W_])_|_(?![^\W_]))")


def plain(text: str) -> str:
    """``text`` on one line, without meaning to Markdown."""
    return _SPECIAL.sub(r"\\\1", clean(" ".join(text.split())))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] | None = None) -> str:
    """A table with the columns ``right`` to the right, all but the first by default."""
    figures = set(range(1, len(heads)) if right is None else right)
    rule = ["--:" if number in figures else "---" for number in range(len(heads))]
    first, *others = ([plain(cell) for cell in row] for row in (heads, *rows))
    return "\n".join(f"| {' | '.join(row)} |" for row in (first, rule, *others))


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 network``, ``1,200 networks``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def seconds(value: float) -> str:
    """``0.012``, ``1.6``, ``160``: two digits that mean something, and never a power of ten."""
    return f"{value:.2g}" if 1e-4 <= value < 9.95 else f"{value:,.0f}"


def storage_option(study: str, place: str) -> str:
    """`` --storage URL`` where commands on ``study`` need it, else empty; ``place`` is the URL without a password."""
    return "" if place == f"sqlite:///studies/{study}.db" else f" --storage {shlex.quote(place)}"
