"""Caches that are being read: a lock that readers share, so that nobody prunes what they read."""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BEAT_S = 600.0
"""Seconds between two notes that a cache is still read."""


class Held:
    """A cache is read as long as this lives, in any number of processes; a process that dies lets go of it.

    The lock is on the file of frames itself, so no file is left behind. The time of the cache's folder is that of the
    last reading.
    """

    def __init__(self, file: int, folder: Path) -> None:
        over = threading.Event()
        _note(folder)
        with suppress(RuntimeError):  # a limit on threads: the time is noted at the end alone
            threading.Thread(target=_beat, args=(folder, over), name="cache in use", daemon=True).start()
        self.let_go = weakref.finalize(self, _let_go, file, folder, over)


def hold(frames: Path) -> Held | None:
    """Hold the cache whose frames are in the file ``frames``; ``None`` if it cannot be, or was removed just now."""
    try:
        file = os.open(frames, os.O_RDONLY)
    except OSError:  # what is wrong is told where the cache is opened
        return None
    with suppress(OSError):  # a file system without such locks
        fcntl.flock(file, fcntl.LOCK_SH)
    with suppress(OSError):
        if os.path.samestat(os.fstat(file), os.stat(frames)):
            return Held(file, frames.parent)
    os.close(file)
    return None


@contextmanager
def unread(frames: Path) -> Iterator[bool]:
    """Whether nobody reads the cache of the file ``frames``; if so, nobody begins to meanwhile."""
    try:
        file = os.open(frames, os.O_RDONLY)
    except OSError:
        yield True
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    except OSError:  # a file system without such locks
        yield True
    else:
        yield True
    finally:
        os.close(file)


def _beat(folder: Path, over: threading.Event) -> None:
    while not over.wait(BEAT_S):
        _note(folder)


def _let_go(file: int, folder: Path, over: threading.Event) -> None:
    over.set()
    _note(folder)
    os.close(file)


def _note(folder: Path) -> None:
    with suppress(OSError):  # a cache may be read-only
        os.utime(folder)
