"""Servers on 127.0.0.1: this machine alone can ask them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from stsearch.errors import UserError

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
HOST = "127.0.0.1"


def asked_from_here(environ: dict[str, Any]) -> bool:
    """Whether a request names this machine, and no other name that was made to lead to it."""
    return environ.get("HTTP_HOST", "").rpartition(":")[0] in (HOST, "localhost")


def answer(start: Callable[..., Any], status: str, data: Any, more: Iterable[tuple[str, str]] = ()) -> Iterable[bytes]:
    """``data`` as JSON."""
    return send(start, status, json.dumps(data).encode(), "application/json", more)


def send(
    start: Callable[..., Any], status: str, body: bytes, kind: str, more: Iterable[tuple[str, str]] = ()
) -> Iterable[bytes]:
    """``body`` of a content type."""
    start(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *more])
    return [body]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not news."""


def listening(port: int, app: App) -> tuple[WSGIServer, str]:
    """A server of ``app`` at ``port`` (any free one for 0), and its address; ``UserError`` where the port is taken."""
    try:
        server = make_server(HOST, port, app, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise UserError(f"cannot listen at {HOST}:{port}: {error.strerror}; --port 0 takes any free one") from None
    return server, f"http://{HOST}:{server.server_port}/"
