"""Videos that are in two splits, byte for byte: what was trained on would be tested."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from stsearch.data.listing import Entry, printable, some

COMPARED_WHOLE = 1 << 30
"""Bytes of files that are compared from beginning to end; more that are alike in size, both ends and frames are not."""
_CHUNK = 1 << 20


def in_two_splits(entries: Sequence[Entry], contents: Sequence[tuple[str, int]], largest_known: int) -> list[str]:
    """A note for each pair of splits that have videos in common.

    ``contents`` has one item per entry: what is known of its file and of its frames, empty where it cannot be read, and
    its size. Files of up to ``largest_known`` bytes are known whole.
    """
    alike: dict[str, list[int]] = defaultdict(list)
    for number, (content, _) in enumerate(contents):
        if content:
            alike[content].append(number)
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    left = COMPARED_WHOLE
    for numbers in alike.values():
        first: dict[str, Entry] = {}
        for number in numbers:
            entry, size = entries[number], contents[number][1]
            for split, other in first.items():
                if split == entry.split:
                    continue
                if largest_known < size <= left:
                    left -= size
                    if not _same(other.path, entry.path):
                        continue
                found[split, entry.split].append(f"{printable(other.name)} is {printable(entry.name)}")
            first.setdefault(entry.split, entry)
    return [
        f"{'1 video is' if len(pairs) == 1 else f'{len(pairs):,} videos are'} in {one!r} and in {two!r}, byte for "
        f"byte, so accuracy on {two!r} will flatter: {some(pairs)}"
        for (one, two), pairs in sorted(found.items(), key=lambda item: item[0])
    ]


def _same(one: Path, other: Path) -> bool:
    try:
        with one.open("rb") as first, other.open("rb") as second:
            while chunk := first.read(_CHUNK):
                if chunk != second.read(_CHUNK):
                    return False
            return not second.read(1)
    except OSError:
        return False
