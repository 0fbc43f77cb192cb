"""Decoded videos on disk: what a cache consists of, how it is checked, listed and removed.

A cache is a folder ``<key>`` in ``$STSEARCH_CACHE``, else ``$XDG_CACHE_HOME/stsearch``, else
``~/.cache/stsearch``:

- ``frames.bin``: uint8 ``(F, H, W, C)``, all readable videos one after the other, as listed;
- ``journal.jsonl``: one line per listed video: its frames and their checksum, or why it is unreadable;
- ``index.json``: where the videos come from, how they were decoded, what training needs at once;
- ``unreadable.txt``: names and reasons, where there are any;
- ``checked.json``: what was last compared with the checksums. The one file that depends on more
  than the videos and the recipe.

While it is built it is called ``<key>.building``; so a cache is whole or not there.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stsearch.data.held import unread
from stsearch.data.journal import INDEX, JOURNAL, Damaged, Index, Row, Totals, read_index, read_rows, sealed, unsealed
from stsearch.data.stored import StoredFrames
from stsearch.errors import UserError, WorldError, unknown
from stsearch.resources import expanded

Progress = Callable[[str, int, int], None]
"""``(what, done, of)``"""

FRAMES, UNREADABLE, DAMAGED, CHECKED = "frames.bin", "unreadable.txt", "damaged.txt", "checked.json"
CHECKED_AT_ONCE = 1 << 30
"""bytes of a cache that are compared with their checksums whenever it is loaded"""
_CHUNK = 1 << 22
_POLL_S = 0.5
_BUILDING = ".building"
_NAME = re.compile(r"([0-9a-f]{24})(\.building)?")


def cache_folder() -> Path:
    """Where caches are kept."""
    if own := os.environ.get("STSEARCH_CACHE"):
        return expanded(own, "give the whole path in STSEARCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else expanded("~/.cache", "set STSEARCH_CACHE to a folder for clip caches")) / "stsearch"


def building_folder(key: str) -> Path:
    """Where a cache lies until it is whole."""
    return cache_folder() / f"{key}{_BUILDING}"


def cores() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@dataclass(frozen=True)
class Cache:
    """A whole cache, opened."""

    folder: Path
    index: Index
    totals: Totals
    rows: tuple[Row, ...]

    @property
    def frames(self) -> StoredFrames:
        """Of all splits."""
        return StoredFrames(self.folder / FRAMES, 0, (self.totals.frames, *self.index.shape))


def open_cache(key: str) -> Cache | None:
    """A whole cache, or ``None`` if there is none.

    Looks at everything but the frames, of which the size must be right. Raises ``Damaged``, and
    ``WorldError`` where files may not be read.
    """
    folder = cache_folder() / key
    try:
        if not folder.exists():
            return None
        index = read_index(folder)
        if index.totals is None:
            raise Damaged(f"{INDEX} is not finished")
        journal = (folder / JOURNAL).read_bytes() if (folder / JOURNAL).is_file() else b""
        if zlib.crc32(journal) != index.totals.journal:
            raise Damaged(f"{JOURNAL} does not match its checksum")
        cache = Cache(folder, index, index.totals, tuple(read_rows(folder)))
        size = cache.frames.path.stat().st_size if cache.frames.path.is_file() else 0
        if size != cache.frames.nbytes:
            raise Damaged(f"{FRAMES} has {size:,} bytes of {cache.frames.nbytes:,}")
    except OSError as error:
        raise WorldError(
            f"cannot read the clip cache {folder}: {error.strerror}. Set STSEARCH_CACHE to another "
            "folder or mend its permissions; the study can be resumed"
        ) from None
    return cache


def offsets(rows: Sequence[Row], frame: int) -> list[int]:
    """Where each video begins in ``frames.bin``, and where the last one ends; ``frame`` is the bytes of one."""
    return list(accumulate((row.frames * frame for row in rows), initial=0))


def faulty(folder: Path, rows: Sequence[Row], frame: int, chosen: Sequence[int], progress: Progress) -> list[int]:
    """Which of the ``chosen`` videos do not match their checksums; several are read at once."""
    if not chosen:
        return []
    begins = offsets(rows, frame)
    try:
        file = os.open(folder / FRAMES, os.O_RDONLY)
    except FileNotFoundError:
        return [number for number in chosen if rows[number].frames]
    except OSError as error:
        raise WorldError(f"cannot read the clip cache {folder}: {error.strerror}") from None

    def wrong(number: int) -> bool:
        checksum, begin, end = 0, begins[number], begins[number + 1]
        while begin < end:
            try:
                chunk = os.pread(file, min(_CHUNK, end - begin), begin)
            except OSError:  # a bad sector, say
                chunk = b""
            if not chunk:
                return True
            checksum, begin = zlib.crc32(chunk, checksum), begin + len(chunk)
        return checksum != rows[number].crc32

    found = []
    try:
        with ThreadPoolExecutor(cores()) as pool:
            for done, (number, is_wrong) in enumerate(zip(chosen, pool.map(wrong, chosen), strict=True), 1):
                if is_wrong:
                    found.append(number)
                progress("checking the clip cache", done, len(chosen))
    finally:
        os.close(file)
    return found


def mark_checked(folder: Path, upcoming: int = 0) -> None:
    """Note that the frames were found to be right, and with which video the next check begins."""
    stat = (folder / FRAMES).stat()
    content = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "next": upcoming}
    with suppress(OSError):  # a cache may be read-only
        (folder / CHECKED).write_text(sealed(content), encoding="utf-8")


def check_frames(cache: Cache, progress: Progress) -> list[int]:
    """Videos that do not match their checksums.

    All are compared if the file is another one than at the last check, else as many as
    ``CHECKED_AT_ONCE`` allows, going on where the last check ended.
    """
    stat = cache.frames.path.stat()
    frame = math.prod(cache.index.shape)
    count = len(cache.rows)
    begin, most = 0, cache.frames.nbytes
    with suppress(OSError, ValueError, KeyError):
        mark = unsealed((cache.folder / CHECKED).read_text(encoding="utf-8"))
        if (mark["size"], mark["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns):
            begin, most = mark["next"] % count, CHECKED_AT_ONCE
    chosen: list[int] = []
    taken = 0
    for number in (*range(begin, count), *range(begin)):
        taken += cache.rows[number].frames * frame
        if chosen and taken > most:
            break
        chosen.append(number)
    found = faulty(cache.folder, cache.rows, frame, sorted(chosen), progress)
    if not found:
        mark_checked(cache.folder, (begin + len(chosen)) % count)
    return found


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def writing(home: Path) -> Iterator[None]:
    """Errors of the disk as one line that says what to do."""
    try:
        yield
    except OSError as error:
        reason = "it is no folder" if home.exists() and not home.is_dir() else error.strerror or error
        space = "Free some space or set" if error.errno in _NO_SPACE else "Set"
        raise WorldError(
            f"cannot write the clip cache in {home}: {reason}. {space} STSEARCH_CACHE to another folder; what is "
            "decoded already is kept"
        ) from None


@contextmanager
def locked(key: str, waiting: Callable[[], None]) -> Iterator[None]:
    """One process at a time builds or removes a cache; ``waiting`` is called now and then by the others.

    The system gives the lock back when its holder dies.
    """
    home = cache_folder()
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / f".{key}.lock")
        wait_s = 0.0
        while not lock.is_locked:
            try:
                lock.acquire(timeout=wait_s)
            except Timeout:
                wait_s = _POLL_S
                waiting()
    try:
        yield
    finally:
        _release(lock)


def _release(lock: FileLock) -> None:
    """Give a lock back; its file does not stay. Who waits for it sees that, and makes another."""
    with suppress(OSError):
        os.unlink(lock.lock_file)
    lock.release()


@dataclass(frozen=True)
class CacheFacts:
    """One cache, for a table."""

    key: str
    folder: Path
    source: dict[str, str]
    """``name`` of the data set and ``path``; empty if the index is broken"""
    clip: dict[str, Any]
    videos: int
    """listed"""
    done: int
    """decoded or found to be unreadable"""
    unreadable: int
    nbytes: int
    """on disk"""
    whole: bool
    used: float
    """when it was read or written last, seconds since 1970"""
    damage: str = ""
    """what is wrong, without a look at the frames (see ``verify``)"""


def _facts(folder: Path) -> CacheFacts:
    match = _NAME.fullmatch(folder.name)
    assert match
    key, whole = match[1], match[2] is None
    index, damage = Index(key, {}, {}, (0, 0, 0), 0), ""
    try:
        index = read_index(folder)
        if whole:
            open_cache(key)
    except (Damaged, WorldError) as error:
        damage = str(error)
    rows = read_rows(folder)
    files = [path.stat() for path in folder.iterdir()]
    used = max(stat.st_mtime for stat in (*files, folder.stat()))  # the folder's is that of the last reading
    return CacheFacts(
        key, folder, index.source, index.clip, index.videos, len(rows), sum(bool(row.unreadable) for row in rows),
        sum(stat.st_size for stat in files), whole, used, damage,
    )  # fmt: skip


def list_caches() -> list[CacheFacts]:
    """All caches, whole or partly built, the one used last first."""
    home = cache_folder()
    found = []
    try:
        for folder in home.iterdir() if home.is_dir() else ():
            if _NAME.fullmatch(folder.name) and folder.is_dir():
                with suppress(FileNotFoundError):  # removed or finished just now
                    found.append(_facts(folder))
    except OSError as error:
        raise WorldError(f"cannot read the clip caches in {home}: {error.strerror or error}") from None
    return sorted(found, key=lambda facts: facts.used, reverse=True)


def _named(keys: Collection[str]) -> list[CacheFacts]:
    """The caches of some keys, of which the beginning is enough."""
    there = list_caches()
    chosen = []
    for key in keys:
        fit = [facts for facts in there if key and facts.key.startswith(key)]
        if len({facts.key for facts in fit}) != 1:
            raise UserError(unknown("clip cache", key, sorted({facts.key for facts in there})))
        chosen += fit
    return chosen


def verify(key: str, progress: Progress) -> list[str]:
    """Compare every video of a cache with its checksum: a line for each fault.

    With faults, the next load decodes what is damaged again. The beginning of a key is enough.
    """
    faults = []
    for facts in _named([key]):
        if facts.damage:
            faults.append(facts.damage)
            continue
        rows = read_rows(facts.folder)
        frame = math.prod(read_index(facts.folder).shape)
        wrong = faulty(facts.folder, rows, frame, range(len(rows)), progress)
        faults += [f"{rows[number].name}: its frames do not match their checksum" for number in wrong]
        if wrong:
            (facts.folder / CHECKED).unlink(missing_ok=True)
    return faults


def prune(
    keys: Collection[str] = (), *, unused_s: float | None = None, partial: bool = False, everything: bool = False
) -> tuple[list[CacheFacts], list[tuple[CacheFacts, str]]]:
    """Remove caches: those of ``keys``, not used for ``unused_s`` seconds, not whole, or all.

    Returns what was removed, and what was left and why: a process builds it just now, or reads it.
    """
    limit = -math.inf if unused_s is None else time.time() - unused_s
    chosen = {facts.folder: facts for facts in _named(keys)}
    for facts in list_caches():
        if everything or facts.used < limit or (partial and (not facts.whole or facts.damage)):
            chosen[facts.folder] = facts
    removed, left = [], []
    home = cache_folder()
    for facts in chosen.values():
        try:
            if why := _removed(facts):
                left.append((facts, why))
            else:
                removed.append(facts)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise WorldError(f"cannot remove the clip cache {facts.folder}: {error.strerror or error}") from None
    for gone in home.glob(".*.removed"):
        shutil.rmtree(gone, ignore_errors=True)
    for file in home.glob(".*.lock"):  # of processes that were killed
        with suppress(Timeout, OSError):
            _release(_taken(file))
    return removed, left


def _taken(file: Path) -> FileLock:
    """The lock of ``file``; ``Timeout`` if another process has it."""
    lock = FileLock(file)
    lock.acquire(timeout=0)
    return lock


def _removed(facts: CacheFacts) -> str:
    """Remove a cache at once, so that nobody loads half of it; if it must stay, why."""
    home = cache_folder()
    try:
        lock = _taken(home / f".{facts.key}.lock")
    except Timeout:
        return "it is being built"
    try:
        with unread(facts.folder / FRAMES) as free:
            if free:
                facts.folder.rename(home / f".{facts.folder.name}.{os.getpid()}.removed")
        return "" if free else "it is being read"
    finally:
        _release(lock)
