"""What a file shows before it is decoded: whether it is cut short, and what only has the name of a video."""

from __future__ import annotations

import os
import re
from pathlib import Path

import av
from av.container import InputContainer

from stsearch.texts import text_in

_HEAD = 1024
_SHOWN = 60
_BEFORE = rb"(?:<!--.*?-->|<\?xml[^>]*>|\s)*"
_BEGINNINGS = (
    (rb"version https://git-lfs\.github\.com/spec/", "a Git LFS pointer, not the video; `git lfs pull` fetches that"),
    (rb"\S*/annex/objects/", "a git-annex pointer, not the video; `git annex get` fetches that"),
    (
        _BEFORE + rb"<(!doctype\s+html|html|head|body|title|meta|script|div|center|h\d|p|pre|a)\b",
        "a web page, not a video",
    ),
    (_BEFORE + rb"<(?!mpd\b)[a-z][\w:.-]*[\s/>]", "XML, not a video"),
    (rb"(\{\s*(\"[^\"]*\"\s*:|\})|\[\s*([\[{\"\]]|-?\d))", "JSON, not a video"),
    (rb"PK\x03\x04|Rar!|7z\xbc\xaf|\x1f\x8b", "a packed archive, not a video"),
    (rb"%PDF-", "a PDF document, not a video"),
)
"""what files begin with that a download or a clone leaves in a video's place; none of it begins a video"""


def called_a_video(path: Path) -> str | None:
    """What a file is that only has the name of a video, as far as its beginning tells; ``None`` if that may be one."""
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    if not head:
        return "the file is empty"
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.decode("utf-16", errors="ignore").encode()
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next(
        (f"it is {what}" for start, what in _BEGINNINGS if re.match(start, head, re.IGNORECASE | re.DOTALL)), None
    )


def as_text(path: Path) -> str | None:
    """What a file that FFmpeg cannot open says, where it is text: often why a server did not give the video."""
    with open(path, "rb") as file:
        text = text_in(file.read(_HEAD))
    return f"it is text, not a video: {text[:_SHOWN]!r}" if text else None


def lasts(container: InputContainer, stream: av.VideoStream) -> float | None:
    """Seconds up to which the stream goes by Matroska's header; ``None`` where that says it of all streams together."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if found:
        return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])
    return (container.duration or 0) / 1e6 if len(container.streams) == 1 else None


def indexed(container: InputContainer, stream: av.VideoStream) -> int:
    """Frames in the file's table of frames; 0 in containers whose table is not of all frames."""
    if "mov" not in container.format.name.split(","):
        return 0
    return sum(entry.size > 0 and not entry.is_discard for entry in stream.index_entries)


def is_cut(path: Path) -> bool:
    """Whether an AVI or Matroska file is shorter than it says; the number of frames alone is often wrong."""
    with open(path, "rb") as file:
        head = file.read(1024)
    if head[:4] == b"RIFF":
        return os.path.getsize(path) < 8 + int.from_bytes(head[4:8], "little")
    begin = head.find(b"\x18\x53\x80\x67") + 4 if head[:4] == b"\x1a\x45\xdf\xa3" else 0  # of the segment's size
    length = 9 - head[begin].bit_length() if 4 <= begin < len(head) else 0  # by the zeros before its first one
    unknown = (1 << 7 * length) - 1
    size = int.from_bytes(head[begin : begin + length], "big") & unknown
    return size != unknown and os.path.getsize(path) < begin + length + size


def ends_early(path: Path, container: InputContainer, stream: av.VideoStream) -> bool:
    """Whether the file ends before what its table of frames or its header says."""
    size = os.path.getsize(path)
    return is_cut(path) or (
        indexed(container, stream) > 0 and any(entry.pos + entry.size > size for entry in stream.index_entries)
    )
