"""The one way to read a text file, a number and a path that somebody else wrote.

Whatever they hold, what comes out is a value or one line: no pipe is waited for, no device read to its end, no
number made of a million digits, and no exception of Python's own is left to those who ask.
"""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import re
import stat
import zlib
from pathlib import Path
from typing import Any

from stsearch.errors import UserError, WorldError, brief

YAML_BYTES = 1_000_000
"""a study of a megabyte is no study"""
FILE_BYTES = 64_000_000
"""lists and JSON: Kinetics-700 and Something-Something stay below it"""
UNPACKED_BYTES = 1_000_000_000
DIGITS = 18
"""of an integer at most: what every database and every array can hold"""
_LONGEST_INT = 40
"""digits in JSON, where seeds of 19 are ours"""
_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}
_USERS = {errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.ENODEV}
"""errors that say of a name that it is none, not of a disk that it failed"""
_LONE = re.compile("[\ud800-\udb7f\udb80-\udc7f\udd00-\udfff]")
"""halves of characters that stand for no byte of a file's name"""


def path_of(text: str, before: str = "") -> Path:
    """The path that ``text`` means, ``~`` included; ``UserError``, ``before`` it, where it can be none."""
    if "\0" in text or _LONE.search(text):
        raise UserError(f"{before}no path has a character such as those in {brief(text)}")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{before}there is no home folder of the user that {brief(text)} names") from None


def to_int(text: str) -> int:
    """The integer of at most 18 digits that ``text`` is; ``ValueError`` otherwise."""
    text = text.strip()
    if len(text) > DIGITS + 1 or not text.removeprefix("-").isdecimal() or len(text.removeprefix("-")) > DIGITS:
        raise ValueError(f"{brief(text)} is no integer of at most {DIGITS} digits")
    return int(text)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe that nobody writes into would be waited for


def read_bytes(path: Path, before: str = "", limit: int = FILE_BYTES) -> bytes:
    """What is in a regular file of at most ``limit`` bytes.

    Raises ``UserError``, ``before`` it, where ``path`` is no such file, and ``WorldError`` where it cannot be read.
    """
    shown = brief(str(path))
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise UserError(f"{before}{shown} is {_KINDS.get(stat.S_IFMT(mode), 'no file')}; expected a file")
            content = stream.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{before}there is no file {shown}") from None
    except IsADirectoryError:
        raise UserError(f"{before}{shown} is a folder; expected a file") from None
    except OSError as error:
        if error.errno in _USERS:
            raise UserError(f"{before}{shown} is no file: {error.strerror}") from None
        raise WorldError(f"cannot read {shown}: {error.strerror or error}. Mend that and start again") from None
    except ValueError:  # of a path with a NUL byte, or with half a character
        raise UserError(f"{before}{shown} is no path") from None
    if len(content) > limit:
        raise UserError(f"{before}{shown} has more than {limit // 1_000_000} MB; expected a smaller file")
    return content


def text_in(head: bytes) -> str | None:
    """What the beginning of a file says where it is UTF-8 that can be shown, with single blanks; else ``None``."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # but for a letter that is cut in two
            return None
        text = head[: error.start].decode()
    text = " ".join(text.split())
    return text if text and text.isprintable() else None


def read_text(path: Path, before: str = "", limit: int = FILE_BYTES) -> str:
    """A text file in UTF-8, with or without a mark of that, its lines ended by ``\\n``.

    Raises ``UserError``, ``before`` it, where ``path`` is no such file, and ``WorldError`` where it cannot be read.
    """
    content = read_bytes(path, before, limit)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"{error.reason} at byte {error.start}"
        raise UserError(f"{before}{brief(str(path))} is no text in UTF-8: {what}") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{before}{brief(str(path))} is no text: there is a NUL byte in line {line:,}")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _json_int(text: str) -> int:
    if len(text) > _LONGEST_INT:
        raise ValueError(f"it has an integer of {len(text):,} digits")
    return int(text)


def parse_json(text: str) -> Any:
    """What JSON says; ``ValueError`` of one line for all that is none, or nests or counts beyond measure."""
    try:
        value = json.loads(text, parse_int=_json_int)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half a character has no place in any file
    except RecursionError:
        raise ValueError("it nests too deep") from None
    except UnicodeEncodeError:
        raise ValueError("it has half a character, such as \\ud800") from None
    except MemoryError:
        raise ValueError("it is too large") from None
    return value


def read_json(path: Path, before: str = "") -> Any:
    """What is in a JSON file; ``UserError``, ``before`` it, for all that is none."""
    text = read_text(path, before)
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{before}{brief(str(path))} is no JSON: {error}") from None


def unpacked(content: bytes) -> bytes:
    """What gzip compressed; ``ValueError`` for anything else, and for more than a gigabyte."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            plain = stream.read(UNPACKED_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"it is no gzip: {error}") from None
    if len(plain) > UNPACKED_BYTES:
        raise ValueError("it is more than a gigabyte when unpacked")
    return plain
