"""Every command on every database that a study may be kept in: SQLite, PostgreSQL, MariaDB."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from optuna.trial import TrialState

from stsearch.cli import main
from stsearch.report.collect import report_of
from stsearch.report.markdown import markdown
from stsearch.report.pareto import pareto_of
from stsearch.search.attributes import FOLDER
from stsearch.search.halving import checkpoint_folder
from stsearch.search.place import parse_url
from stsearch.search.reading import read_study
from stsearch.search.session import Session, open_session
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


def outcome(session: Session) -> list[tuple[object, ...]]:
    """What became of every trial, in order; times and workers left out."""
    kept = ("architecture", "reason", "screen", "rungs", "video_top1", "continues", "clips_trained")
    return [(t.number, t.state, t.values, *(t.user_attrs.get(name) for name in kept)) for t in session.trials()]


@pytest.mark.parametrize(
    "settings",
    [
        ["evaluate={name: halving, rungs: [1, 2, 3], reduction: 2, tolerance: 0, batch: 8, video_clips: 1}"],
        ["evaluate.video_clips=1", "search.screen={score: naswot, clips: 8}", "seed=8"],
        ["search.sampler=ehvi", "search.repeats=2"],
    ],
    ids=["halving", "screen", "ehvi"],
)
def test_a_study_is_the_same_on_every_database(database: str, tiny: Path, settings: list[str]) -> None:
    sessions = []
    for storage in (database, "sqlite:///studies/beside.db"):
        sessions.append(open_session(load_study(str(tiny), ["search.trials=5", *settings], storage), quiet))
        work(sessions[-1], quiet)
    here, beside = map(outcome, sessions)
    assert here == beside
    assert TrialState.COMPLETE in {row[1] for row in here}
    fronts = [pareto_of(read_study("tiny", session.url)).as_dict()["front"] for session in sessions]
    assert fronts[0] == fronts[1]
    for session in sessions:
        session.storage.remove_session()


def test_every_command_on_every_database(database: str, tiny: Path) -> None:
    def said(*arguments: str) -> str:
        result = CliRunner().invoke(main, [*arguments, "--storage", database], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    assert "Next:" in said("run", str(tiny), "--quiet", "--set=search.trials=3", "--set=engine.workers=2")
    assert "Next:" in said("run", str(tiny), "--quiet", "--set=search.trials=4", "--set=search.repeat={R3D-18: 1}")
    assert len(json.loads(said("pareto", "tiny", "--format", "json"))["front"]) >= 1
    said("pareto", "tiny", "--plot", "front.svg")
    said("report", "tiny", "-o", "report.html")
    assert "tiny" in Path("report.html").read_text()
    told = json.loads(said("audit", "tiny", "--networks=4", "--quiet", "--format=json", "--set=engine.workers=2"))
    assert (told["missing"], told["failed"], len(told["networks"])) == (0, [], 4)
    assert json.loads(said("audit", "tiny", "--networks=4", "--records", "--format=json")) == told
    said("evaluate", "tiny#0", "--quiet")
    said("profile", "tiny#0")
