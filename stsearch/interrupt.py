"""Ctrl-C and SIGTERM as a flag that loops read: nothing is raised between two writes, or where it would be lost."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SLICE_S = 0.1
"""A pause looks at the flag so often."""
_AT_ONCE = 3
"""So many requests end the process at once, as a kill does."""


class Interrupted(KeyboardInterrupt):
    """Raised by ``check`` after Ctrl-C or SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)
        """the signal that came"""


class _Flag:
    """Of this process; plain attributes, since a signal handler must take no lock."""

    def __init__(self) -> None:
        self.raised = 0
        """the signal that came first; 0 for none"""
        self.times = 0
        self.watched = False
        self.patient = False


_flag = _Flag()


def _note(number: int, frame: FrameType | None) -> None:
    _flag.raised = _flag.raised or number
    _flag.times += 1
    if _flag.patient:
        return
    if _flag.times >= _AT_ONCE:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    elif _flag.times == _AT_ONCE - 1:
        os.write(2, b"stopping as soon as it is safe; once more to end at once, as a kill would\n")


@contextlib.contextmanager
def flagged(*, patient: bool = False, always: bool = False) -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM set the flag that ``check`` and ``pause`` read. May be nested; for the main thread.

    ``patient``: no number of requests ends the process at once. ``always``: also a signal that the process was begun
    deaf to is listened to.
    """
    if _flag.watched or threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in _SIGNALS if always or signal.getsignal(number) is not signal.SIG_IGN]
    _flag.raised = _flag.times = 0
    _flag.watched, _flag.patient = True, patient
    try:
        with _handled(heard, _note):
            yield
    finally:
        _flag.watched = False


@contextlib.contextmanager
def _handled(numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within, these signals are ``handler``'s."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise ``Interrupted`` at once, as Ctrl-C does ``KeyboardInterrupt``; they come once.

    For the main thread of a server, which waits and writes nothing.
    """

    def end(number: int, frame: FrameType | None) -> None:
        for each in heard:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    heard = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    with _handled(heard, end):
        yield


def check() -> None:
    """``Interrupted`` if Ctrl-C or SIGTERM came; loops call it where they can be ended in order.

    Does nothing in other threads than the main one, which ends them.
    """
    if _flag.watched and _flag.raised and threading.current_thread() is threading.main_thread():
        raise Interrupted(_flag.raised)


def pause(seconds: float) -> None:
    """Sleep, but end at once with ``Interrupted`` after Ctrl-C or SIGTERM."""
    until = time.monotonic() + seconds
    check()
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _SLICE_S))
        check()


def asked_by(error: KeyboardInterrupt) -> str:
    """Who asked, for a trial's reason."""
    return "asked to end (SIGTERM)" if number_of(error) == signal.SIGTERM else "stopped by the user"


def number_of(error: KeyboardInterrupt) -> signal.Signals:
    """The signal behind ``error``; Ctrl-C's unless it was ``check`` that raised it."""
    return error.number if isinstance(error, Interrupted) else signal.SIGINT
