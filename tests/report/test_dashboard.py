"""The dashboard on a real study with every kind of trial: what its own API says, and what a browser shows."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree

import optuna
import pytest

from stsearch.errors import WorldError
from stsearch.evaluate import evaluators
from stsearch.evaluate.evaluators import Evaluation, OnEpoch, Task
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.evaluate.train import EvaluationFailed
from stsearch.report.dashboard import serve
from stsearch.search import luck
from stsearch.search.attributes import INTERRUPTED, REASON
from stsearch.search.burial import interrupt
from stsearch.search.reading import StoredStudy, read_study
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.state import State
from stsearch.search.storage import open_storage, open_study
from stsearch.search.worker import work
from stsearch.space.published import NETWORKS
from tests.conftest import on_sqlite

if TYPE_CHECKING:
    from tests.browser import Open

pytest_plugins = ["tests.browser"]
pytestmark = pytest.mark.slow


def quiet(*_: object) -> None:
    """No progress."""


@pytest.fixture
def study(tiny: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> StoredStudy:
    """Trained within and over the budget, failed, interrupted, and pruned for being slow."""
    train = evaluators.evaluate_by_training

    def failing(task: Task, on_epoch: OnEpoch) -> Evaluation:
        if task.architecture.stages == NETWORKS["MC2-18"].stages and task.architecture.stem == "3d":
            raise EvaluationFailed("the <b>loss</b> is nan")
        return train(task, on_epoch)

    monkeypatch.setitem(evaluators.EVALUATORS._items, "train", evaluators.Evaluator(TrainRecipe, failing))
    settings = ["search.start_with=paper-all", "search.trials=12", "budget.gmacs=1.6"]
    session = open_session(load_study(str(tiny), settings, database), quiet)
    work(session, quiet)
    interrupt(session.storage, session.storage.create_new_trial(session.optuna_study._study_id))
    return read_study("tiny", database)


@contextlib.contextmanager
def served(stored: StoredStudy) -> Iterator[str]:
    """The address of a running dashboard's page of the study in optuna-dashboard."""
    server, address = serve(stored, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{address}dashboard/studies/{stored.study_id}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def address(study: StoredStudy) -> Iterator[str]:
    """The dashboard of ``study``."""
    with served(study) as address:
        yield address


def get(url: str, method: str = "GET", data: dict[str, Any] | None = None, **headers: str) -> tuple[int, bytes, str]:
    """``(status, body, content type)``."""
    body = None if data is None else json.dumps(data).encode()
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers}, method=method)
    try:
        with urllib.request.urlopen(asked) as answer:
            return answer.status, answer.read(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), ""


def detail(address: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(address.replace("/dashboard/", "/api/"))[1])
    return found


def attributes(trial: dict[str, Any]) -> dict[str, str]:
    return {pair["key"]: pair["value"] for pair in trial["user_attrs"]}


def test_every_trial_is_shown_as_what_it_is(study: StoredStudy, address: str) -> None:
    shown = detail(address)
    assert shown["objective_names"] == ["video_top1", "gmacs"]
    by_state: dict[str, list[dict[str, Any]]] = {}
    for trial in shown["trials"]:
        by_state.setdefault(trial["state"], []).append(trial)
    assert set(by_state) == {"Complete", "Fail"}
    over = [t for t in by_state["Complete"] if any(value > 0 for value in t["constraints"])]
    within = [t for t in by_state["Complete"] if t["constraints"] and all(value <= 0 for value in t["constraints"])]
    assert {attributes(t)["network"] for t in over} >= {"R3D-18", "MC3-18"}
    assert len(over) + len(within) == len(by_state["Complete"]) == 12
    best = {t["number"] for t in shown["best_trials"]}
    assert best
    assert best <= {t["number"] for t in within}, "a network over the budget is never optimal"
    failed = next(t for t in by_state["Fail"] if attributes(t).get("network") == "MC2-18")
    assert attributes(failed)[REASON] == "the <b>loss</b> is nan"
    assert "**Failed**: the \\<b\\>loss\\</b\\> is nan" in failed["note"]["body"]
    assert "**Over the budget** by multiply-adds 0.06 GMACs" in over[0]["note"]["body"]
    lost = next(t for t in by_state["Fail"] if attributes(t).get(INTERRUPTED))
    assert "no network" in lost["note"]["body"]
    trained = attributes(within[0])
    assert set(trained) >= {
        "network", "placement", "gmacs", "params", "video_top1", "clip_top1", "seconds", "clips_per_second", "seed",
    }  # fmt: skip
    assert "| conv2_x |" in within[0]["note"]["body"]
    assert "networks trained" in shown["note"]["body"]
    figure = json.loads(shown["plotly_graph_objects"][0]["graph_object"])
    texts = [note["text"] for note in figure["layout"]["annotations"]]
    assert {"R3D-18", "R2D-18", "f-R2D-18"} <= set(texts)


@on_sqlite
def test_files_of_a_trial(study: StoredStudy, address: str) -> None:
    shown = detail(address)
    host = address.partition("/dashboard")[0]
    trial = next(t for t in shown["trials"] if t["state"] == "Complete")
    found = {file["filename"]: file for file in trial["artifacts"]}
    assert set(found) == {"architecture.svg", "learning-curve.svg", "confusion-matrix.svg", "cost.csv", "record.json"}
    bodies = {}
    for name, file in found.items():
        status, body, kind = get(
            f"{host}/artifacts/{shown['trials'][0]['study_id']}/{trial['trial_id']}/{file['artifact_id']}"
        )
        assert status == 200
        assert kind.startswith(file["mimetype"])
        bodies[name] = body
    for name in ("architecture.svg", "learning-curve.svg", "confusion-matrix.svg"):
        assert ElementTree.fromstring(bodies[name]).tag.endswith("svg")  # noqa: S314 - our own file
    record = json.loads(bodies["record.json"])
    assert sum(n for _, _, n in record["record"]["trainings"][0]["confusion"]) == 10, "every validation video once"
    assert bodies["cost.csv"].decode().splitlines()[0].startswith("stage,kind")
    failed = next(t for t in shown["trials"] if attributes(t).get("network") == "MC2-18" and t["state"] == "Fail")
    assert {file["filename"] for file in failed["artifacts"]} == {"architecture.svg", "cost.csv", "record.json"}
    assert get(f"{host}/artifacts/1/{trial['trial_id']}/ff-ff")[0] == 404


def test_it_shows_and_does_not_change(study: StoredStudy, address: str) -> None:
    host = address.partition("/dashboard")[0]
    before = len(open_study("tiny", study.url).trials)
    assert get(f"{host}/api/studies/1", "DELETE")[0] == 403
    assert get(f"{host}/api/studies", "POST", {"study_name": "x", "directions": ["minimize"]})[0] == 403
    assert get(f"{host}/api/studies/1/rename", "POST", {"study_name": "x"})[0] == 403
    assert get(f"{host}/api/studies/1", Host="evil.example:80")[0] == 403
    assert get(f"{host}/api/studies/7")[0] == 404
    assert len(open_study("tiny", study.url).trials) == before
    note = {"version": 1, "body": "mine"}
    assert get(f"{host}/api/studies/1/1/note", "PUT", note)[0] == 204, "but notes are the user's to write"
    trial = next(t for t in detail(address)["trials"] if t["trial_id"] == 1)
    assert trial["note"]["body"] == "mine"


def test_pruned_and_running_trials(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luck, "PRUNED_IN_A_ROW", 3)
    session = open_session(load_study(str(tiny), ["budget.latency_ms=0.001", "search.trials=1"]), quiet)
    with pytest.raises(WorldError, match="the last 3 networks were all over the measured budget"):
        work(session, quiet)
    session.storage.create_new_trial(session.optuna_study._study_id)
    with served(read_study("tiny")) as address:
        trials = detail(address)["trials"]
    assert {t["state"] for t in trials} == {"Pruned", "Running"}
    pruned = next(t for t in trials if t["state"] == "Pruned")
    assert "not trained: latency_ms" in attributes(pruned)[REASON]
    assert "**Pruned**" in pruned["note"]["body"]
    assert any(value > 0 for value in pruned["constraints"])


def test_trials_that_are_half_written(tiny: Path) -> None:
    """Attributes come one by one, and a worker may be killed after any of them."""
    session = open_session(load_study(str(tiny)), quiet)
    written = {"architecture": NETWORKS["MC3-18"].id, "network": "MC3-18", "gmacs": 1.0, "seconds": 2.0}
    for count in range(len(written) + 1):
        trial = session.storage.create_new_trial(session.optuna_study._study_id)
        for key, value in list(written.items())[:count]:
            session.storage.set_trial_user_attr(trial, key, value)
    interrupt(session.storage, trial)
    with served(read_study("tiny")) as address:
        notes = [trial["note"]["body"] for trial in detail(address)["trials"]]
    assert notes[0] == "Its network is being chosen."
    assert notes[1].startswith(f"### {NETWORKS['MC3-18'].id}")
    assert "### MC3-18" in notes[4]
    assert "**Interrupted**" in notes[4]


def test_an_empty_study(tiny: Path) -> None:
    open_session(load_study(str(tiny)), quiet)
    with served(read_study("tiny")) as address:
        shown = detail(address)
    assert shown["trials"] == []
    assert "0 networks trained" in shown["note"]["body"]
    assert shown["plotly_graph_objects"] == []


@on_sqlite
def test_what_a_browser_shows(study: StoredStudy, address: str, open_page: Open) -> None:
    """Note, drawing and figure are on the screen; nothing leaves this machine and nothing is complained of."""
    visit = open_page(address, width=1500, height=1200)
    page = visit.page
    page.get_by_text("front beside the paper's networks").wait_for()
    page.locator(".js-plotly-plot").nth(2).wait_for()
    page.goto(f"{address}/note")
    page.get_by_role("heading", name="tiny", exact=True).wait_for()
    over = int(study.numbers[study.complete[~study.feasible[study.complete]]][0])
    page.goto(f"{address}/trials?numbers={over}")
    page.get_by_text("Over the budget").wait_for()
    drawing = page.get_by_role("img", name="architecture.svg").or_(page.locator("img[src*='/artifacts/']")).first
    drawing.wait_for()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=drawing.element_handle())
    failed = int(study.numbers[study.rows(State.FAILED)][0])
    page.goto(f"{address}/trials?numbers={failed}")
    page.get_by_text("the <b>loss</b> is nan").first.wait_for()
    assert not visit.left
    assert not [text for text in visit.errors if "WebGL" not in text and "GPU" not in text]


@pytest.fixture
def ours(address: str) -> str:
    """The address of our page."""
    return address.partition("dashboard/")[0]


def test_our_page_is_there_without_optuna_dashboard() -> None:
    """Which takes seconds to load: it is behind the page, for those who ask for it."""
    slow = "('optuna', 'torch', 'plotly', 'matplotlib')"
    code = f"import sys, stsearch.report.dashboard; print([name for name in {slow} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_our_page_is_made_without_torch(tiny: Path) -> None:
    """Which takes half of the time until a page is there."""
    work(open_session(load_study(str(tiny), ["search.trials=4"]), quiet), quiet)
    code = (
        "import sys; from stsearch.report.live_page import LivePage; from stsearch.search.reading import read_study; "
        "page = LivePage(read_study('tiny')).page(); print('plot-front' in page, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "True False\n"


@on_sqlite
def test_our_page_comes_first_and_renews_itself(tiny: Path, study: StoredStudy, ours: str, open_page: Open) -> None:
    visit = open_page(ours, width=1280)
    page = visit.page
    page.wait_for_selector("html[data-ready]")
    assert page.locator("#plot-front .main-svg").count() > 0
    page.get_by_role("button", name="Open all").click()
    before = page.locator("#table tbody tr").count()
    assert before >= 12
    page.locator("#table button.show", has_text="R3D-18").first.click()
    page.wait_for_selector("#panel .drawing svg[aria-label^='R3D-18']")
    page.evaluate("window.same = true")
    stamp = page.evaluate("document.documentElement.dataset.stamp")
    networks = ["search.start_with=paper-all", "budget.gmacs=1.6", "search.trials=14"]
    work(open_session(load_study(str(tiny), networks, study.url), quiet), quiet)
    page.wait_for_function("old => (document.documentElement.dataset.renewed ?? old) !== old", arg=stamp)
    assert page.evaluate("window.same"), "without loading it anew"
    assert page.locator("#panel").get_attribute("data-network") == NETWORKS["R3D-18"].id, "what was chosen is kept"
    assert page.locator("details.section[open]").count() == page.locator("details.section").count()
    known = json.loads(page.locator("#networks").text_content() or "")["networks"]
    trained = read_study("tiny", study.url)
    assert len(known) == len(trained.complete) + 1, "the new ones too, and R2D, outside the space"
    page.locator("#panel a", has_text="optuna-dashboard").click()
    page.get_by_text("Over the budget").wait_for()
    assert visit.left == []


@on_sqlite
@pytest.mark.parametrize("width", [390, 1280])
def test_our_page_can_be_read_by_all(ours: str, open_page: Open, width: int) -> None:
    visit = open_page(ours, width=width)
    visit.page.wait_for_selector("html[data-ready]")
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        assert visit.unreadable() == [], scheme


@on_sqlite
def test_curves_of_a_network_that_is_not_on_the_page_are_fetched(study: StoredStudy, ours: str) -> None:
    (record,) = study.records(study.complete[:1])
    status, body, kind = get(f"{ours}network?id={quote(record.architecture)}")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    pictures = ElementTree.fromstring(f"<all>{body.decode()}</all>")  # noqa: S314 - our own file
    assert [picture.get("aria-label", "").endswith("learning curve") for picture in pictures] == [False, True]
    assert get(f"{ours}network?id=none")[0] == 404
    assert get(ours, Host="evil.example:80")[0] == 403


@on_sqlite
def test_studies_of_repeats_and_audits_are_behind_it_and_no_others(study: StoredStudy, address: str) -> None:
    storage = open_storage(study.url)
    for name in ("tiny:repeats", "tiny/audit-1", "tinyother"):
        optuna.create_study(storage=storage, study_name=name)
    host = address.partition("/dashboard")[0]
    found = json.loads(get(f"{host}/api/studies")[1])["study_summaries"]
    assert {one["study_name"] for one in found} == {"tiny", "tiny:repeats", "tiny/audit-1"}
    numbers = {one["study_name"]: one["study_id"] for one in found}
    assert get(f"{host}/api/studies/{numbers['tiny/audit-1']}")[0] == 200
    assert get(f"{host}/api/studies/{max(numbers.values()) + 1}")[0] == 404


@on_sqlite
def test_the_title_of_our_figure_is_not_under_its_tools(address: str, open_page: Open) -> None:
    page = open_page(address, width=1500, height=1200).page
    page.get_by_text("front beside the paper's networks").wait_for()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.js-plotly-plot')].some(p => p.querySelector('.gtitle')?.textContent"
        ".startsWith('Front beside') && p.querySelector('.modebar'))"
    )
    title, tools = page.evaluate(
        "() => { const p = [...document.querySelectorAll('.js-plotly-plot')].find(p => p.querySelector('.gtitle')"
        "?.textContent.startsWith('Front beside')); return ['.gtitle', '.modebar-group'].map(s => { const r = "
        "p.querySelector(s).getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; }); }"
    )
    assert title[2] <= tools[0] or tools[2] <= title[0] or title[3] <= tools[1] or tools[3] <= title[1]
