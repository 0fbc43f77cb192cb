"""What engines of several machines share: what a worker does there, and what nobody has trained when all are gone."""

from __future__ import annotations

from dataclasses import dataclass

from stsearch.search.attributes import REFERENCE
from stsearch.search.engine import run
from stsearch.search.joining import joined
from stsearch.search.patience import reopened
from stsearch.search.reading import read_study
from stsearch.search.repeats import repeats_running
from stsearch.search.session import Session, open_session, standing
from stsearch.search.state import State
from stsearch.search.storage import storage_errors
from stsearch.search.training import Emit


@dataclass(frozen=True)
class Worker:
    """Works for a study until that is complete; it needs the storage alone, so it may be sent anywhere."""

    study: str
    url: str
    """without a password: others can read it"""
    settings: tuple[str, ...] = ()
    """``--set`` of it alone, as those of ``stsearch worker``"""

    def __call__(self, emit: Emit) -> None:
        """Where it was sent."""
        with storage_errors(self.url):
            chosen = joined(reopened(self.url, lambda: read_study(self.study, self.url)), self.settings)
            session = reopened(self.url, lambda: open_session(chosen, lambda *_: None))
            run(chosen, session, emit)


def trainings_left(session: Session) -> int:
    """Trainings that nobody has finished, those of workers that are gone too."""
    now = standing(session)
    known = session.optuna_study.user_attrs
    outside = [known.get(REFERENCE + name, {}).get("state") for name in session.study.references()]
    waiting = sum(state not in (State.COMPLETE, State.FAILED) for state in outside)
    return now.open + now.running + repeats_running(session) + waiting
