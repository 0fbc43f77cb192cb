"""``stsearch profile --open``: the views of TensorBoard's PyTorch profiler, without the internet.

torch-tb-profiler answers what its page asks, as it does within TensorBoard. Its page loads two things from the
internet: a chart library, in whose place stands ``templates/profiler.js`` on our own, and a polyfill, which we bring.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from functools import cache
from hashlib import sha256
from html import escape
from multiprocessing import resource_tracker
from pathlib import Path
from queue import Queue
from threading import BoundedSemaphore, Lock, Thread
from types import SimpleNamespace
from typing import Any
from wsgiref.simple_server import WSGIServer

from stsearch.errors import StsearchError, UserError
from stsearch.profiling.summary import recordings, traces_in
from stsearch.report.library import BUNDLE
from stsearch.report.local import HOST, App, answer, asked_from_here, listening, send

_HERE = Path(__file__).parent
_CHARTS = '<script src="https://www.gstatic.com/charts/loader.js"></script>'
_OURS = (
    '<title>Traces</title><meta name="viewport" content="width=device-width, initial-scale=1">'
    '<link rel="icon" href="data:,"><link rel="stylesheet" href="views.css">'
    '<script src="plotly.js"></script><script src="charts.js"></script>'
)
_POLYFILL = "https://cdnjs.cloudflare.com/ajax/libs/webcomponentsjs/0.7.24/webcomponents.min.js"
_HANDLER = ' onerror="onTraceViewerImportFail(event)"'
_PAGE, _TRACE, _VIEWER, _VIEWER_SCRIPT = "index.html", "trace_embedding.html", "trace_viewer_full.html", "viewer.js"
_REWRITTEN = {
    _PAGE: {_CHARTS: _OURS, "<html>": '<html lang="en">'},
    _TRACE: {_POLYFILL: "webcomponents.min.js", _HANDLER: ""},
}
"""Pages of the plugin, and what of each becomes what."""
_OVERVIEW, _RULE = "/overview", "<hr/>"
"""What the page shows as HTML, and what of it is meant to be some."""
_FILES = {
    "/plotly.js": BUNDLE,
    "/charts.js": _HERE / "templates" / "profiler.js",
    "/views.css": _HERE / "templates" / "profiler.css",
    "/webcomponents.min.js": _HERE / "webcomponents" / "webcomponents.min.js",
}
_POLICY = (
    "default-src 'self'; script-src 'self' {scripts}; script-src-attr 'none'; object-src 'none'; base-uri 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; form-action 'none'"
)
"""A page runs the plugin's scripts alone, known by their hashes, and asks its own origin alone."""
_NO_GUESS = ("X-Content-Type-Options", "nosniff")
_LOOK_S = 0.2
_SPAWN = multiprocessing.get_context("spawn")
_AT_ONCE = BoundedSemaphore(max(2, os.cpu_count() or 1))
"""Held by each file that is being read."""
_starting = Lock()


def serve_traces(folder: Path, port: int, note: Callable[[str], None]) -> tuple[WSGIServer, str]:
    """A server of the views of all traces below ``folder``, and its address; ``note`` hears of unreadable ones.

    Raises ``UserError`` where there is no trace, the plugin is not installed, or the port is taken.
    """
    runs = dict(traces_in(folder))
    plugin = _plugin(folder)
    server, address = listening(port, _application(plugin))
    Thread(target=_tell_unread, args=(plugin, runs, note), daemon=True).start()
    return server, address


def end_loading() -> None:
    """End what the plugin still reads in processes of its own, for which Python would wait at its end.

    That of what they share it ends itself.
    """
    with _starting:
        _Reading.ended += 1
        for child in multiprocessing.active_children():
            if not child.name.startswith("SyncManager"):
                child.kill()


class _Reading:
    """In place of the plugin's process for a file: not all of them at once, and one that is killed is told of."""

    ended = 0
    """how often all was ended"""

    def __init__(self, target: Any, args: tuple[Any, ...]) -> None:
        self.loader, self.args, self.begun = target.__self__, args, _Reading.ended

    def start(self) -> None:
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with _AT_ONCE:
            answers, answer_by = _SPAWN.Pipe(duplex=False)
            theirs = copy(self.loader)
            theirs.queue = SimpleNamespace(put=answer_by.send)
            child = _SPAWN.Process(target=theirs._process_data, args=self.args)
            with _starting:
                if self.begun != _Reading.ended:
                    return
                child.start()
            answer_by.close()
            try:
                found = answers.recv()
            except (EOFError, OSError):  # it was killed
                found = (None, None)
            child.join()
        self.loader.queue.put(found)


def _plugin(folder: Path) -> Any:
    """torch-tb-profiler, which begins to read the traces."""
    os.environ.setdefault("TORCH_PROFILER_LOG_LEVEL", "CRITICAL")  # its processes tell of a broken file by a traceback
    try:
        from tensorboard.plugins.base_plugin import TBContext
        from torch_tb_profiler.plugin import TorchProfilerPlugin
        from torch_tb_profiler.profiler import loader
    except ImportError as error:
        raise UserError(f"the profiler's views need {error.name}: pip install torch-tb-profiler") from None
    pages = [_rewritten(name) for name in _REWRITTEN]
    assert all((*pages, *_viewer()))
    loader.Process, loader.Queue = _Reading, Queue
    with _deaf():
        return TorchProfilerPlugin(TBContext(logdir=str(folder.resolve())))


@contextmanager
def _deaf() -> Iterator[None]:
    """Threads and processes that are begun within never hear what may be sent to all: Ctrl-C, SIGTERM, SIGHUP."""
    deaf_to = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, deaf_to)
    try:
        resource_tracker.ensure_running()  # which makes its thread hear two of them again
        signal.pthread_sigmask(signal.SIG_BLOCK, deaf_to)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@cache
def _rewritten(name: str) -> bytes:
    """A page of the plugin that asks nothing of the internet."""
    text = _theirs(name)
    for asked, instead in _REWRITTEN[name].items():
        if text.count(asked) != 1:
            raise _unknown()
        text = text.replace(asked, instead)
    return text.encode()


@cache
def _viewer() -> tuple[bytes, bytes]:
    """The trace viewer's page, and its script, which stands in the page: the polyfill would run that as a data: URL."""
    before, begin, rest = _theirs(_VIEWER).partition("<script>")
    script, end, after = rest.rpartition("</script>")
    if not begin or not end:
        raise _unknown()
    page = f'{before}<script src="{_VIEWER_SCRIPT}"></script>{after}'
    return page.encode(), script.encode()


def _theirs(name: str) -> str:
    import torch_tb_profiler

    return (Path(torch_tb_profiler.__file__).parent / "static" / name).read_text(encoding="utf-8")


def _unknown() -> StsearchError:
    import torch_tb_profiler

    version = torch_tb_profiler.__version__
    return StsearchError(f"the page of torch-tb-profiler {version} is not known offline; 0.4.3 is. See --summary")


@cache
def _policy(name: str) -> str:
    """What a page of the plugin may do."""
    scripts = re.findall(rb"<script>(.*?)</script>", _rewritten(name), re.DOTALL)
    hashes = [f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in scripts]
    return _POLICY.format(scripts=" ".join(hashes))


def _overview(route: App, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """The plugin's overview, with all that it took from a trace as text: its page shows it as HTML."""
    from werkzeug.wrappers import Response

    theirs = Response.from_app(route, {**environ, "REQUEST_METHOD": "GET"})
    if theirs.status_code != 200:
        return theirs(environ, start)
    data = json.loads(theirs.get_data())
    for row in data.get("gpu_metrics", {}).get("data", []):
        row.update({name: escape(str(text)) for name, text in row.items() if text != _RULE})
    return answer(start, theirs.status, data, [_NO_GUESS])


def _application(plugin: Any) -> App:
    """The plugin's page and answers."""
    routes = plugin.get_plugin_apps()

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not asked_from_here(environ):
            return answer(start, "403 Forbidden", {"reason": f"these views answer at {HOST} only"})
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return answer(start, "405 Method Not Allowed", {"reason": "traces are shown, not changed"})
        page = path.removeprefix("/") or _PAGE
        if page in (*_REWRITTEN, _VIEWER):
            policy = _POLICY.format(scripts="") if page == _VIEWER else _policy(page)
            text = _viewer()[0] if page == _VIEWER else _rewritten(page)
            return _file(start, text, "text/html", ("Content-Security-Policy", policy))
        if page == _VIEWER_SCRIPT:
            return _file(start, _viewer()[1], "text/javascript")
        if path in _FILES:
            return _file(start, _FILES[path].read_bytes(), "text/css" if path.endswith(".css") else "text/javascript")
        if path not in routes:
            return answer(start, "404 Not Found", {"reason": f"there is no {path}"})
        try:
            if path == _OVERVIEW:
                return _overview(routes[path], environ, start)
            theirs: Iterable[bytes] = routes[path](environ, start)
        except Exception as error:  # a foreign parser on a foreign file raises anything
            return answer(start, "500 Internal Server Error", {"reason": f"{type(error).__name__}: {error}"})
        return theirs

    return app


def _file(start: Callable[..., Any], body: bytes, kind: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    return send(start, "200 OK", body, f"{kind}; charset=utf-8", [*headers, _NO_GUESS])


def _tell_unread(plugin: Any, runs: dict[str, list[Path]], note: Callable[[str], None]) -> None:
    """Name the traces that the plugin gave up, once it has read all."""
    while not runs.keys() <= plugin._runs.keys():
        time.sleep(_LOOK_S)
    for name, paths in runs.items():
        for path, worker, span in recordings(paths):
            if plugin._runs[name].get_profile(worker, "default" if span is None else str(span)) is None:
                note(f"cannot read the trace {str(path)!r}: it is not shown")
