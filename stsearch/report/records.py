"""What a page says, as plain records: sections of sentences, tables, charts and pictures, for any renderer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    head: str
    number: bool = False
    """figures stand to the right"""


@dataclass(frozen=True)
class Group:
    """One group of a placement: a box of its strip."""

    group: str
    label: str
    blocks: int
    fill: str
    ink: str
    about: str


@dataclass(frozen=True)
class Cell:
    """What stands in a table."""

    text: str
    value: float | str | None = None
    """what it is sorted by; its text where there is none"""
    strip: tuple[Group, ...] = ()
    """a placement drawn in place of ``text``, which says the same"""


@dataclass(frozen=True)
class Row:
    """One line of a table; its first cell under a head that is no number names it."""

    cells: tuple[Cell, ...]
    network: str | None = None
    """id of the architecture that its name shows"""
    look: str = ""
    """``paper`` for a network of the paper, ``stopped`` for one that was not trained whole, ``first`` of a group"""


@dataclass(frozen=True)
class Table:
    """Columns and rows."""

    name: str
    """what it is of, for those who do not see it"""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    sorts: bool = True
    """whether its heads sort it"""
    narrow: bool = False


@dataclass(frozen=True)
class Chart:
    """A figure of the page by its name, and what it shows for those who do not see it."""

    name: str
    about: str


@dataclass(frozen=True)
class Pictures:
    """Drawings of networks by the name of what they show, side by side."""

    name: str


@dataclass(frozen=True)
class Pairs:
    """Facts by name."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Code:
    """Lines to type, or a file."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Fold:
    """Parts that are shown when asked for."""

    title: str
    parts: tuple[Part, ...]


Part: TypeAlias = "str | Table | Chart | Pictures | Pairs | Code | Bullets | Fold"
"""A string is a paragraph, `` `code` `` in it is code."""


@dataclass(frozen=True)
class Section:
    """One question and its answer."""

    key: str
    """its place in addresses"""
    title: str
    parts: tuple[Part, ...]


def table_of(name: str, columns: Sequence[Column], rows: Sequence[Sequence[str | Cell]], **more: bool) -> Table:
    """A table of plain cells."""
    made = tuple(Row(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row)) for row in rows)
    return Table(name, tuple(columns), made, **more)
