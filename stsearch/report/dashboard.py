"""``stsearch dashboard``: optuna-dashboard on 127.0.0.1, telling the truth about a study.

One of its answers is given here instead, with its own serialisers: that for a whole study. There
the optimal trials are those of our front (Optuna's forgets constraints, and is quadratic for three
objectives), and every trial has a note without a search through all notes for each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard
from optuna.trial import FrozenTrial
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from optuna_dashboard._inmemory_cache import get_cached_extra_study_property
from optuna_dashboard._serializer import serialize_study_detail
from optuna_dashboard._storage import get_trials

from stsearch.errors import StsearchError, UserError
from stsearch.report.shown import Files, ShownStorage
from stsearch.search.reading import StoredStudy
from stsearch.search.storage import open_storage

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
HOST = "127.0.0.1"
_STUDY = re.compile(r"/api/studies/(\d+)/?")
_NOTE = re.compile(r"/api/studies/\d+(/\d+)?/note/?")


def application(stored: StoredStudy) -> App:
    """The dashboard of one study as a WSGI application."""
    storage = ShownStorage(open_storage(stored.url, to_write=False), stored.name, stored.url)
    dashboard: Any = optuna_dashboard.wsgi(storage, artifact_store=Files(storage))

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if environ.get("HTTP_HOST", "").rpartition(":")[0] not in (HOST, "localhost"):
            return _answer(start, "403 Forbidden", {"reason": f"this dashboard answers at {HOST} only"})
        if method not in ("GET", "HEAD") and not (method == "PUT" and _NOTE.fullmatch(path)):
            return _answer(start, "403 Forbidden", {"reason": "studies are changed by stsearch, not here"})
        asked = _STUDY.fullmatch(path)
        if asked is None or method != "GET":
            answer: Iterable[bytes] = dashboard(environ, start)
            return answer
        after = parse_qs(environ.get("QUERY_STRING", "")).get("after", ["0"])[0]
        try:
            detail = _detail(storage, dashboard, int(asked[1]), int(after) if after.isdecimal() else 0)
        except StsearchError as error:
            return _answer(start, "503 Service Unavailable", {"reason": str(error)})
        if detail is None:
            return _answer(start, "404 Not Found", {"reason": f"there is no study {asked[1]}"})
        return _answer(start, "200 OK", detail)

    return app


def _answer(start: Callable[..., Any], status: str, data: Any) -> Iterable[bytes]:
    body = json.dumps(data).encode()
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _detail(storage: ShownStorage, dashboard: Any, study_id: int, after: int) -> dict[str, Any] | None:
    """The study as the dashboard's page wants it, trials from number ``after`` on; ``None`` for another study."""
    study = storage.get_all_studies()[0]
    if study._study_id != study_id:
        return None
    trials = get_trials(dashboard._inmemory_cache, storage, study_id)
    front = {record.trial for record in storage.standing().pareto.front}
    best = [trial for trial in trials if trial.number in front]
    extra = get_cached_extra_study_property(dashboard._inmemory_cache, study_id, trials)
    notes = {key: value for key, value in study.system_attrs.items() if ":note_" in key}
    figures = get_plotly_graph_objects(study.system_attrs)
    detail: dict[str, Any] = serialize_study_detail(study, best, trials[after:], *extra, figures, [])
    own = {trial._trial_id: trial for trial in trials if f"dashboard:{trial._trial_id}:note_ver" not in notes}
    for shown in (*detail["trials"], *detail["best_trials"]):
        trial: FrozenTrial | None = own.get(shown["trial_id"])
        if trial is not None:
            shown["note"] = {"version": 0, "body": storage.note(trial)}
    return detail


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not news."""


def serve(stored: StoredStudy, port: int) -> tuple[WSGIServer, str]:
    """A server bound to 127.0.0.1 (any free port for 0) and the address of the study's page."""
    app = application(stored)
    try:
        server = make_server(HOST, port, app, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise UserError(f"cannot listen at {HOST}:{port}: {error.strerror}; --port 0 takes any free one") from None
    return server, f"http://{HOST}:{server.server_port}/dashboard/studies/{stored.study_id}"
