"""Optuna's tables, as far as they are read here, and a connection to read them with."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from stsearch.errors import UserError
from stsearch.search.place import connect, reason_of, shown

CHUNK = 500
"""Ids in one query, at most."""
STUDIES = sa.table("studies", sa.column("study_id"), sa.column("study_name"))
TRIALS = sa.table(  # states are an enumeration on PostgreSQL, which is not compared with a text: see ``state_is``
    "trials",
    *(sa.column(name) for name in ("trial_id", "study_id", "number", "state", "datetime_start", "datetime_complete")),
)
VALUES = sa.table("trial_values", sa.column("trial_id"), sa.column("objective"), sa.column("value"))


def attributes_of(of: str, who: str) -> sa.TableClause:
    """The table of attributes of a ``trial`` or ``study`` by ``user`` or ``system``."""
    return sa.table(f"{of}_{who}_attributes", sa.column(f"{of}_id"), sa.column("key"), sa.column("value_json"))


USER, SYSTEM = attributes_of("trial", "user"), attributes_of("trial", "system")


def state_is(state: str) -> sa.ColumnElement[bool]:
    """Trials in one state, on every database."""
    return sa.cast(TRIALS.c.state, sa.String(16)) == state


@contextlib.contextmanager
def reading(url: str) -> Iterator[sa.Connection]:
    """A connection; what the database says becomes one line.

    Python looks for cycles again and again among the rows of many trials, of which there are none:
    a third of the time of reading them. So it does not look meanwhile.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with connect(url) as connection:
            yield connection
    except SQLAlchemyError as error:
        raise UserError(f"cannot read the storage {shown(url)}: {reason_of(error)}") from None
    finally:
        if collecting:
            gc.enable()
