"""``list``: videos named in a CSV file with a header, or in lists of ``path label`` lines."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stsearch.data.listing import Folders, Listing, Row, check_lines, folder_at, split_word
from stsearch.data.recipe import VideoRecipe
from stsearch.data.splits import chosen_classes, make_listing, with_groups
from stsearch.errors import UserError, brief, did_you_mean
from stsearch.texts import DIGITS, path_of, read_text

_COLUMNS = {
    "path": ("path", "video", "file", "filename", "file_name", "video_path"),
    "label": ("label", "class", "cls", "class_name"),
    "split": ("split", "subset"),
    "group": ("group",),
}
"""what a column may be called in a header"""
_LINE = re.compile(r'(.*[^\s,;])(?:\s*[,;]\s*|\s+)(?:(\d+)|"\s*(\d+)\s*")')
"""of a list without a header: the last field is the label; blanks may stand around what divides it from the path"""
_NUMBER = re.compile(r"\d+")
_LONGEST_LINE = 8192
"""characters; no path has more than half of them"""
_Line = tuple[int, Path, Row]
"""line number, list and video"""


class ListRecipe(VideoRecipe):
    """The ``data:`` section for videos in a list."""

    name: Literal["list"] = "list"
    val: str | None = None
    """list of validation videos; default: by the split column of ``path``, or a part of its videos"""
    test: str | None = None
    """list of test videos"""
    root: str | None = None
    """folder that relative paths are below; default: the folder of their list"""
    class_names: str | None = None
    """file with one class name per line, in the order of integer labels"""
    group: str | None = None
    """column, or regular expression with one group on the path: what clips of one recording or person share"""


@dataclass(frozen=True)
class Table:
    """A list whose first line is understood."""

    file: Path
    text: str
    header: tuple[str, ...] | None
    """names of columns in lower case; ``None``: the lines are paths and integer labels"""
    delimiter: str = ""

    def lines(self, faults: list[str]) -> Iterator[tuple[int, list[str]]]:
        """Line number and fields, at least as many as the header has; what cannot be understood goes to ``faults``."""
        return self._bare(faults) if self.header is None else self._divided(len(self.header), faults)

    def _divided(self, width: int, faults: list[str]) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(io.StringIO(self.text), delimiter=self.delimiter, skipinitialspace=True)
        started = False
        try:
            for fields in reader:
                if not started or not fields or (len(fields) == 1 < width and not fields[0].strip()):
                    started = started or any(map(str.strip, fields))
                elif len(fields) != width and (len(fields) < width or any(map(str.strip, fields[width:]))):
                    what = f"{len(fields)} fields; the header has {width}"
                    faults.append(f"{self.file.name} line {reader.line_num}: {what}")
                else:
                    yield reader.line_num, fields
        except csv.Error as error:
            raise UserError(f"data: {str(self.file)!r}, line {reader.line_num}: {error}") from None

    def _bare(self, faults: list[str]) -> Iterator[tuple[int, list[str]]]:
        for number, line in enumerate(io.StringIO(self.text), 1):
            found = _LINE.fullmatch(line.strip())
            if found:
                yield number, [_unquoted(found[1]), found[2] or found[3]]
            elif line.strip():
                what = f"{line.strip()[:80]!r} is not 'path label' with an integer label"
                faults.append(f"{self.file.name} line {number}: {what}")


def _given_table(path: str, key: str) -> Table:
    return read_table(path_of(path, f"data.{key}: "), key)


def list_videos(recipe: ListRecipe) -> Listing:
    """The videos of one list, or of a list per split; no video is opened.

    Raises ``UserError`` with all wrong lines of the lists: labels and splits that do not exist, and
    files that are not there where they are more than ``max_unreadable`` allows; fewer are left out when
    videos are decoded, by name. Classes without names are called by their integer.
    """
    given = {"train": recipe.path, "val": recipe.val, "test": recipe.test}
    alone = recipe.val is None and recipe.test is None
    tables = {
        split: _given_table(path, "path" if split == "train" else split)
        for split, path in given.items()
        if path is not None
    }
    column = _group_column(recipe, tables.values())
    faults: list[str] = []
    rows: list[_Line] = []
    for split, table in tables.items():
        rows += _rows(table, split, alone, column, _root(recipe, table), faults)
    left_out: list[str] = []
    names, rows = _named(rows, recipe, faults, left_out)
    classes = chosen_classes(names, recipe, left_out)
    wanted = set(classes)
    rows = [line for line in rows if line[2].label in wanted]
    faults += _missing(rows, recipe.max_unreadable)
    check_lines("path", faults)
    found = [row for _, _, row in rows]
    if recipe.group is not None and column is None:
        found = with_groups(found, recipe.group)
    return make_listing(found, classes, recipe, flip=False)


def read_table(path: Path, key: str, required: Sequence[str] = ("path", "label")) -> Table:
    """The list at ``path``: a header if its first line has the ``required`` columns, divided by commas, semicolons
    or tabs; else, where ``path`` and ``label`` are what is required, lines of a path and an integer."""
    text = read_text(path, f"data.{key}: ")
    if long := next((n for n, line in enumerate(text.split("\n"), 1) if len(line) > _LONGEST_LINE), None):
        raise UserError(f"data.{key}: {str(path)!r}, line {long:,}: longer than {_LONGEST_LINE:,} characters")
    bare = "path" in required
    expected = f"expected a header with the columns {' and '.join(required)}"
    expected += ", or lines 'path label' with an integer label" if bare else ""
    first = next((line for line in text.split("\n") if line.strip()), None)
    if first is None:
        raise UserError(f"data.{key}: {str(path)!r} is empty; {expected}")
    for delimiter in ",;\t":
        fields = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True))
        header = tuple(field.strip().lower() for field in fields)
        if all(column_of(header, name) is not None for name in required):
            return Table(path, text, header, delimiter)
    if bare and _LINE.fullmatch(first.strip()):
        return Table(path, text, None)
    words = [word.strip(' "\r\n').lower() for word in re.split(r"[,;\t]", first)]
    hints = [did_you_mean(word, required) for word in words if word not in required]
    hint = next((hint for hint in hints if hint), "")
    if bare and "youtube_id" in words:
        hint = (
            f" It is a list of Kinetics; for these: data: {{name: kinetics, path: CLIPS, annotations: {str(path)!r}}}"
        )
    raise UserError(f"data.{key}: {str(path)!r} begins with {first.strip()[:80]!r}; {expected}.{hint}")


def _unquoted(field: str) -> str:
    """A path of a line without a header, where it is quoted as in CSV without its quotes."""
    field = field.strip()
    whole = len(field) > 1 and field[0] == field[-1] == '"'
    return field[1:-1].replace('""', '"').strip() if whole else field.strip('"')


def column_of(header: Sequence[str], name: str) -> int | None:
    """Where the column ``name`` stands, under any of its names."""
    return next((header.index(word) for word in _COLUMNS.get(name, (name,)) if word in header), None)


def _group_column(recipe: ListRecipe, tables: Iterable[Table]) -> str | None:
    """The column that groups stand in; ``None`` if there is none or ``data.group`` is a regular expression."""
    headers = [table.header or () for table in tables]
    wanted = "group" if recipe.group is None else recipe.group.lower()
    if all(wanted in header for header in headers):
        return wanted
    if recipe.group is not None and "(" not in recipe.group:
        columns = [name for header in headers for name in header]
        raise UserError(
            f"data.group: {brief(recipe.group)} is no column of every list and no regular expression with one (group)."
            f"{did_you_mean(recipe.group, columns)}"
        )
    return None


def _root(recipe: ListRecipe, table: Table) -> str:
    if recipe.root is None:
        return str(table.file.parent)
    return str(folder_at(recipe.root, "root", "the folder that the paths of the list are below"))


def _rows(table: Table, split: str, alone: bool, column: str | None, root: str, faults: list[str]) -> Iterator[_Line]:
    """Line number, list and video for every line; what is wrong with the others goes to ``faults``.

    ``split`` is what the list is given as; a list that is ``alone`` may divide itself by its split column.
    """
    header = table.header or ("path", "label")
    path_at, label_at, split_at = (column_of(header, name) for name in ("path", "label", "split"))
    assert path_at is not None
    assert label_at is not None
    group_at = header.index(column) if column else None
    for number, fields in table.lines(faults):
        name, label = fields[path_at].strip(), fields[label_at].strip()
        if label.isdecimal() and len(label) > DIGITS:
            faults.append(f"{table.file.name} line {number}: the label {brief(label)} has more than {DIGITS} digits")
            continue
        own = split if split_at is None else split_word(fields[split_at])
        if not name or not label:
            faults.append(f"{table.file.name} line {number}: no {'label' if name else 'path'}")
        elif own is None and split_at is not None:
            what = f"unknown split {brief(fields[split_at])}; allowed: train, val, test"
            faults.append(f"{table.file.name} line {number}: {what}")
        elif own != split and not alone:
            faults.append(f"{table.file.name} line {number}: the split {own!r} in the list of {split!r}")
        else:
            group = fields[group_at].strip() if group_at is not None else ""
            yield number, table.file, Row(_path(root, name), name, label, own or split, group)


def _path(root: str, name: str) -> str:
    """Where ``name`` is; backslashes divide folders if slashes do not."""
    name = name.replace("\\", "/") if "\\" in name and "/" not in name else name
    return os.path.normpath(os.path.join(root, name))


def _named(
    lines: list[_Line], recipe: ListRecipe, faults: list[str], left_out: list[str]
) -> tuple[tuple[str, ...], list[_Line]]:
    """The names of the classes, and the lines with these as labels; other labels go to ``left_out`` where the recipe
    excludes them, else their lines to ``faults``."""
    trained = {row.label for _, _, row in lines if row.split == "train"}
    given = trained.union(row.label for _, _, row in lines)
    integers = all(_NUMBER.fullmatch(label) for label in given)
    names = _class_names(recipe)
    absent = "no training video has it" if names is None else f"it is not in {recipe.class_names}"
    if integers and names is not None:
        absent = f"there are {len(names)} names in {recipe.class_names}, counted from 0"
        by_number = dict(enumerate(names))
    elif integers:
        by_number = {number: str(number) for number in sorted(set(map(int, trained)))}
        names = tuple(by_number.values())
    else:
        by_number = {}
        names = names or tuple(sorted(trained))
    known = set(names)
    meaning = {label: by_number.get(int(label)) if integers else label for label in given}
    named: list[_Line] = []
    for number, file, row in lines:
        label = meaning[row.label]
        if label == row.label and label in known:
            named.append((number, file, row))
        elif label in known:
            named.append((number, file, Row(row.path, row.name, str(label), row.split, row.group)))
        elif row.label in (recipe.exclude or ()):
            left_out.append(row.label)
        else:
            hint = "" if integers else did_you_mean(row.label, names)
            faults.append(f"{file.name} line {number}: unknown label {brief(row.label)}: {absent}.{hint}")
    return names, named


def _class_names(recipe: ListRecipe) -> tuple[str, ...] | None:
    if recipe.class_names is None:
        return None
    path = path_of(recipe.class_names, "data.class_names: ")
    names = [line.strip() for line in read_text(path, "data.class_names: ").rstrip().split("\n")]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice or not all(names):
        what = f"names {brief(twice[0])} twice" if twice and twice[0] else "has an empty line"
        raise UserError(f"data.class_names: {str(path)!r} {what}; expected one class name per line")
    return tuple(names)


def _missing(rows: Sequence[_Line], allowed: float) -> list[str]:
    """A line for every listed file that is not there; similar names are looked for where the line can be shown.

    None where their share is at most the ``allowed`` one.
    """
    folders = Folders()
    absent = [(number, file, row) for number, file, row in rows if row.path not in folders]
    if len(absent) <= allowed * len(rows) + 1e-9:
        return []
    return [
        f"{file.name} line {number}: there is no file {brief(row.path)}."
        + (folders.hint(row.path) if shown < 3 else "")
        for shown, (number, file, row) in enumerate(absent)
    ]
