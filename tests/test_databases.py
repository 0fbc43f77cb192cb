"""Every command on every database that a study may be kept in: SQLite, PostgreSQL, MariaDB."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from stsearch.report.collect import report_of
from stsearch.report.markdown import markdown
from stsearch.report.pareto import pareto_of
from stsearch.search.attributes import FOLDER
from stsearch.search.halving import checkpoint_folder
from stsearch.search.place import parse_url
from stsearch.search.reading import read_study
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.tables import attributes_of
from stsearch.search.traces import trace_folder
from stsearch.search.worker import work

pytestmark = pytest.mark.slow


def quiet(*_: object) -> None:
    """No progress."""


def test_repeats_and_what_they_say_can_be_read(database: str, tiny: Path) -> None:
    """States are an enumeration on PostgreSQL, which is not compared with a text."""
    session = open_session(load_study(str(tiny), ["search.trials=3", "search.repeats=2"], database), quiet)
    work(session, quiet)
    stored = read_study("tiny", database)
    assert sum(map(len, stored.repeats.values())) == 2
    assert pareto_of(stored).trained == 3
    assert len(stored.details(stored.complete)) == 3
    assert "tiny" in markdown(report_of(stored))
    session.storage.remove_session()


def test_two_studies_of_one_name_share_no_folder(database: str, tiny: Path) -> None:
    session = open_session(load_study(str(tiny), [], database), quiet)
    again = open_session(load_study(str(tiny), [], database), quiet)
    other = open_session(load_study(str(tiny), [], "sqlite:///studies/other.db"), quiet)
    assert session.own == again.own != other.own
    assert checkpoint_folder(other.study, other.own) != checkpoint_folder(session.study, session.own)
    usual = open_session(load_study(str(tiny)), quiet)
    assert str(trace_folder(usual)) == "studies/tiny.traces", "that of a study in NAME.db, and of older ones"
    with sa.create_engine(parse_url(database)).begin() as connection:  # as before folders had names of their own
        kept = attributes_of("study", "system")
        connection.execute(sa.delete(kept).where(kept.c.key == FOLDER))
    older = open_session(load_study(str(tiny), [], database), quiet)
    assert str(checkpoint_folder(older.study, older.own)) == "studies/tiny.checkpoints"
