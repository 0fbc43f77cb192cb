"""``stsearch report``: a study's report as HTML or Markdown, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shlex
from pathlib import Path

from stsearch.errors import UserError, unknown, writable
from stsearch.report.collect import report_of
from stsearch.report.paper import PAPER
from stsearch.search.place import shown
from stsearch.search.reading import StoredStudy

FORMS = {".html": "html", ".md": "md"}
"""Suffix to form"""


def render(stored: StoredStudy, form: str, command: str = "", table: str = PAPER) -> str:
    """The report as text; ``form`` is ``html`` or ``md``, ``command`` is what it says that made it.

    ``table`` is the published one that is held beside the front.
    """
    report = report_of(stored, command, table)
    if form == "md":
        from stsearch.report.markdown import markdown

        return markdown(report)
    from stsearch.report.html import html

    return html(report)


def write_report(stored: StoredStudy, path: Path, form: str | None = None, table: str = PAPER) -> None:
    """Write the report to ``path``, over what is there; ``form`` follows from the suffix where it is not given.

    ``table`` is the published one that is held beside the front.

    ``UserError`` for a suffix that is not one of ``FORMS``, a form that is not the suffix's, and
    a place that cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMS:
        raise UserError(f"-o {path}: {unknown('suffix', path.suffix, FORMS)}")
    if form not in (None, FORMS[suffix]):
        raise UserError(f"-o {path} is a file of the form {FORMS[suffix]}; given --format {form}")
    write_text(path, "")  # a place that cannot be written is known before the work is done
    write_text(path, render(stored, FORMS[suffix], _command(stored, path, table), table))


def _command(stored: StoredStudy, path: Path, table: str) -> str:
    usual = stored.url == f"sqlite:///studies/{stored.name}.db"
    storage = "" if usual else f" --storage {shlex.quote(shown(stored.url))}"
    beside = "" if table == PAPER else f" --table {table}"
    return f"stsearch report {shlex.quote(stored.name)}{storage} -o {shlex.quote(str(path))}{beside}"


def write_text(path: Path, text: str) -> None:
    """Write ``text``: a temporary file beside ``path`` takes its name when it is whole; with no text, only tried.

    ``UserError`` for a place that cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(21, os.strerror(21))
        beside.write_text(writable(text), encoding="utf-8")
        if text:
            beside.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
