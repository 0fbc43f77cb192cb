"""``stsearch dashboard``: our page of a study on 127.0.0.1, renewed while it runs, and optuna-dashboard behind it.

optuna-dashboard is loaded when it is first asked for, so that the page is there at once.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from functools import cache
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIServer

from stsearch.errors import StsearchError
from stsearch.report.live_page import LivePage
from stsearch.report.local import HOST, App, answer, asked_from_here, listening, send
from stsearch.search.reading import StoredStudy

_STUDY = re.compile(r"/api/studies/(\d+)/?")
_TRIAL = re.compile(r"/trial/(\d+)")
_NOTE = re.compile(r"/api/studies/\d+(/\d+)?/note/?")


def application(stored: StoredStudy, ours: LivePage | None = None) -> App:
    """The dashboard of one study as a WSGI application; ``ours`` is its page."""
    page, behind = ours or LivePage(stored), _once(lambda: _behind(stored))

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if not asked_from_here(environ):
            return answer(start, "403 Forbidden", {"reason": f"this dashboard answers at {HOST} only"})
        if method not in ("GET", "HEAD") and not (method == "PUT" and _NOTE.fullmatch(path)):
            return answer(start, "403 Forbidden", {"reason": "studies are changed by stsearch, not here"})
        asked = parse_qs(environ.get("QUERY_STRING", ""))
        try:
            if path in ("/", "/stamp", "/network"):
                return _ours(page, path, asked.get("id", [""])[0], start)
            if trial := _TRIAL.fullmatch(path):
                place = f"/dashboard/studies/{stored.study_id}/trials?numbers={trial[1]}"
                return answer(start, "302 Found", {}, [("Location", place)])
            study = _STUDY.fullmatch(path)
            if study is None or method != "GET" or behind().is_beside(int(study[1])):
                theirs: Iterable[bytes] = behind().answer(environ, start)
                return theirs
            after = asked.get("after", ["0"])[0]
            detail = behind().detail(int(study[1]), int(after) if after.isdecimal() else 0)
        except StsearchError as error:
            return answer(start, "503 Service Unavailable", {"reason": str(error)})
        if detail is None:
            return answer(start, "404 Not Found", {"reason": f"there is no study {study[1]}"})
        return answer(start, "200 OK", detail)

    return app


def _ours(page: LivePage, path: str, architecture: str, start: Callable[..., Any]) -> Iterable[bytes]:
    """An answer of our page."""
    if path == "/stamp":
        return answer(start, "200 OK", {"stamp": page.stamp()})
    text = page.page() if path == "/" else page.network(architecture)
    return send(start, "200 OK" if text else "404 Not Found", text.encode(), "text/html; charset=utf-8")


def _behind(stored: StoredStudy) -> Any:
    from stsearch.report.behind import Behind

    return Behind(stored)


def _once(make: Callable[[], Any]) -> Callable[[], Any]:
    """``make`` the first time it is asked for, also by several threads at once."""
    lock, made = Lock(), cache(make)

    def asked() -> Any:
        with lock:
            return made()

    return asked


def serve(stored: StoredStudy, port: int, table: str = "paper") -> tuple[WSGIServer, str]:
    """A server bound to 127.0.0.1 (any free port for 0), which begins to make the study's page, and its address.

    ``table`` is the published one that the page holds beside the front.
    """
    page = LivePage(stored, table)
    server, address = listening(port, application(stored, page))
    Thread(target=_warmed, args=(page,), daemon=True).start()
    return server, address


def _warmed(page: LivePage) -> None:
    """The page, made before it is asked for; who asks is told what is wrong."""
    with contextlib.suppress(StsearchError):
        page.page()
