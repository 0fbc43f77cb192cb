"""What successive halving did to a stored study: who was stopped, and the clips that it saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stsearch.search.attributes import (
    ARCHITECTURE,
    CLIPS_TRAINED,
    EPOCHS_TRAINED,
    INTERRUPTED,
    NETWORK,
    REASON,
    STOPPED,
)
from stsearch.search.reading import Ended, StoredStudy

_KEYS = [ARCHITECTURE, NETWORK, STOPPED, REASON, INTERRUPTED, CLIPS_TRAINED, EPOCHS_TRAINED]


@dataclass(frozen=True)
class Halved:
    """Successive halving of a study as it stands. A network counts once, however many trials it took."""

    epochs: int
    """of a whole training"""
    stopped: tuple[Ended, ...]
    """networks that wait at a rung, by their last trials"""
    at_rungs: frozenset[int]
    """numbers of all trials that ended at a rung, also of networks that went on later"""
    clips: int
    """training clips that the stopped and the complete networks have seen in all their trials"""
    whole: int
    """training clips that training all of them to the end takes"""

    @property
    def saved(self) -> int:
        """Training clips saved; below 0 where more was trained again than saved."""
        return self.whole - self.clips

    @property
    def said(self) -> str:
        """``9 stopped early, which saved 12,000 of 30,000 training clips (40 %)``."""
        text = f"{len(self.stopped)} stopped early"
        if self.whole and self.saved > 0:
            share = 100 * self.saved / self.whole
            text += f", which saved {self.saved:,} of {self.whole:,} training clips ({share:.0f} %)"
        return text

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        networks = [{"trial": s.trial, "network": s.network, "reason": s.reason} for s in self.stopped]
        return {"epochs": self.epochs, "stopped": networks, "clips_trained": self.clips, "clips_saved": self.saved}


def halved(stored: StoredStudy) -> Halved | None:
    """How far halving is in a study; ``None`` where it does none. Reads a few attributes of every trial."""
    evaluate = stored.identity["evaluate"]
    if evaluate["name"] != "halving":
        return None
    found = stored.attributes(_KEYS)
    numbers, states = stored.numbers.tolist(), stored.states.tolist()
    last: dict[str, int] = {}
    for row, known in enumerate(found):
        if ARCHITECTURE in known and not _interrupted(states[row], known):
            last[known[ARCHITECTURE]] = row
    waiting = [row for row in last.values() if _at_rung(states[row], found[row])]
    counted = {found[row][ARCHITECTURE] for row in waiting}
    counted |= {name for name, row in last.items() if states[row] == "COMPLETE"}
    trainings = [known for known in found if known.get(ARCHITECTURE) in counted]
    clips = sum(known.get(CLIPS_TRAINED, 0) for known in trainings)
    epochs = sum(known.get(EPOCHS_TRAINED, 0) for known in trainings)
    length = evaluate["rungs"][-1]
    return Halved(
        epochs=length,
        stopped=tuple(
            Ended(numbers[row], found[row].get(NETWORK, "?"), found[row].get(REASON, "unknown"))
            for row in sorted(waiting)
        ),
        at_rungs=frozenset(n for n, s, known in zip(numbers, states, found, strict=True) if _at_rung(s, known)),
        clips=clips,
        whole=round(len(counted) * length * clips / epochs) if epochs else 0,
    )


def _at_rung(state: str, known: Mapping[str, Any]) -> bool:
    return state == "PRUNED" and STOPPED in known


def _interrupted(state: str, known: Mapping[str, Any]) -> bool:
    return state == "FAIL" and (REASON not in known or bool(known.get(INTERRUPTED)))
