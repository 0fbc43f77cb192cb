"""What a screen did to a stored study: the networks that were not trained, as others promised more."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stsearch.errors import quoted
from stsearch.search.attributes import NETWORK, REASON, SCREEN
from stsearch.search.reading import Ended, StoredStudy


@dataclass(frozen=True)
class Screened:
    """The screen of a study as it stands."""

    score: str
    """its name; several where the study went on with another"""
    out: tuple[Ended, ...]
    """networks that were screened out"""

    @cached_property
    def numbers(self) -> frozenset[int]:
        """Numbers of their trials."""
        return frozenset(ended.trial for ended in self.out)

    @property
    def said(self) -> str:
        """``14 screened out by naswot``."""
        return f"{len(self.out):,} screened out by {self.score}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"score": self.score, "screened": len(self.out)}


def screened(stored: StoredStudy) -> Screened | None:
    """Who was screened out of a study; ``None`` where it has no screen and had none. Reads pruned trials alone."""
    asked = stored.resolved["search"].get("screen")  # studies of earlier versions have no such key
    rows = stored.rows("PRUNED")
    found = [
        (int(stored.numbers[row]), known)
        for row, known in zip(rows, stored.attributes([SCREEN, NETWORK, REASON], rows), strict=True)
        if known.get(SCREEN, {}).get("out")
    ]
    scores = dict.fromkeys([*(known[SCREEN]["score"] for _, known in found), *([asked["score"]] if asked else [])])
    if not scores:
        return None
    ended = (Ended(number, known.get(NETWORK, "?"), known.get(REASON, "unknown")) for number, known in found)
    return Screened(quoted(scores), tuple(ended))
