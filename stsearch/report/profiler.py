"""``stsearch profile --open``: the views of TensorBoard's PyTorch profiler, without the internet.

torch-tb-profiler answers what its page asks, as it does within TensorBoard. Its page loads two things from the
internet: a chart library, in whose place stands ``templates/profiler.js`` on our own, and a polyfill, which we bring.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIServer

from stsearch.errors import StsearchError, UserError
from stsearch.profiling.summary import recordings, traces_in
from stsearch.report.library import BUNDLE
from stsearch.report.local import HOST, App, answer, asked_from_here, listening, send

_HERE = Path(__file__).parent
_CHARTS = '<script src="https://www.gstatic.com/charts/loader.js"></script>'
_OURS = '<link rel="icon" href="data:,"><script src="plotly.js"></script><script src="charts.js"></script>'
_POLYFILL = "https://cdnjs.cloudflare.com/ajax/libs/webcomponentsjs/0.7.24/webcomponents.min.js"
_PAGE, _TRACE = "index.html", "trace_embedding.html"
_REWRITTEN = {_PAGE: (_CHARTS, _OURS), _TRACE: (_POLYFILL, "webcomponents.min.js")}
"""Pages of the plugin, and what of each leads where instead."""
_SCRIPTS = {
    "/plotly.js": BUNDLE,
    "/charts.js": _HERE / "templates" / "profiler.js",
    "/webcomponents.min.js": _HERE / "webcomponents" / "webcomponents.min.js",
}
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; form-action 'none'"
)
"""Scripts stand in the plugin's pages and are made there, so they are allowed; a page may ask its own origin alone."""
_LOOK_S = 0.2


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
    for child in multiprocessing.active_children():
        if not child.name.startswith("SyncManager"):
            child.terminate()


def _plugin(folder: Path) -> Any:
    """torch-tb-profiler, which begins to read the traces."""
    os.environ.setdefault("TORCH_PROFILER_LOG_LEVEL", "CRITICAL")  # its processes tell of a broken file by a traceback
    try:
        from tensorboard.plugins.base_plugin import TBContext
        from torch_tb_profiler.plugin import TorchProfilerPlugin
    except ImportError as error:
        raise UserError(f"the profiler's views need {error.name}: pip install torch-tb-profiler") from None
    pages = {name: _rewritten(name) for name in _REWRITTEN}
    assert all(pages.values())
    with _deaf():
        return TorchProfilerPlugin(TBContext(logdir=str(folder.resolve())))


@contextmanager
def _deaf() -> Iterator[None]:
    """Threads and processes that are begun within never hear Ctrl-C, which the terminal sends to all."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@cache
def _rewritten(name: str) -> bytes:
    """A page of the plugin that asks nothing of the internet."""
    import torch_tb_profiler

    text = (Path(torch_tb_profiler.__file__).parent / "static" / name).read_text(encoding="utf-8")
    asked, instead = _REWRITTEN[name]
    if text.count(asked) != 1:
        version = torch_tb_profiler.__version__
        raise StsearchError(f"the page of torch-tb-profiler {version} is not known offline; 0.4.3 is. See --summary")
    return text.replace(asked, instead).encode()


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
        if page in _REWRITTEN:
            return send(start, "200 OK", _rewritten(page), "text/html; charset=utf-8", _headers())
        if path in _SCRIPTS:
            return send(start, "200 OK", _SCRIPTS[path].read_bytes(), "text/javascript; charset=utf-8", _headers())
        if path not in routes:
            return answer(start, "404 Not Found", {"reason": f"there is no {path}"})
        try:
            theirs: Iterable[bytes] = routes[path](environ, start)
        except Exception as error:  # a foreign parser on a foreign file raises anything
            return answer(start, "500 Internal Server Error", {"reason": f"{type(error).__name__}: {error}"})
        return theirs

    return app


def _headers() -> list[tuple[str, str]]:
    return [("Content-Security-Policy", _POLICY), ("X-Content-Type-Options", "nosniff")]


def _tell_unread(plugin: Any, runs: dict[str, list[Path]], note: Callable[[str], None]) -> None:
    """Name the traces that the plugin gave up, once it has read all."""
    while not runs.keys() <= plugin._runs.keys():
        time.sleep(_LOOK_S)
    for name, paths in runs.items():
        for path, worker, span in recordings(paths):
            if plugin._runs[name].get_profile(worker, "default" if span is None else str(span)) is None:
                note(f"cannot read the trace {str(path)!r}: it is not shown")
