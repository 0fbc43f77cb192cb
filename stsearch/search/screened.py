"""What a screen did to a stored study: the networks that were not trained, as others promised more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stsearch.errors import quoted
from stsearch.search.attributes import SCREEN
from stsearch.search.reading import Ended, StoredStudy
from stsearch.search.state import State


@dataclass(frozen=True)
class Screened:
    """The screen of a study as it stands."""

    score: str
    """its name; several where the study went on with another"""
    out: tuple[Ended, ...]
    """networks that were screened out"""

    @property
    def said(self) -> str:
        """``14 screened out by naswot``."""
        return f"{len(self.out):,} screened out by {self.score}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"score": self.score, "screened": len(self.out)}


def screened(stored: StoredStudy) -> Screened | None:
    """Who was screened out of a study; ``None`` where it has no screen and had none. Reads those trials alone."""
    asked = stored.resolved["search"].get("screen")  # studies of earlier versions have no such key
    found = stored.attributes([SCREEN], stored.rows(State.SCREENED))
    scores = dict.fromkeys([*(known[SCREEN]["score"] for known in found), *([asked["score"]] if asked else [])])
    if not scores:
        return None
    return Screened(quoted(scores), tuple(stored.ended(State.SCREENED)))
