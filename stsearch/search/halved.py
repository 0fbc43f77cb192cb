"""What successive halving did to a stored study: who was stopped, the clips that it saved, what its rungs are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stsearch.search.attributes import (
    ARCHITECTURE,
    CLIPS_TRAINED,
    EPOCHS_TRAINED,
    NETWORK,
    REASON,
    RUNGS,
)
from stsearch.search.reading import Ended, StoredStudy
from stsearch.search.state import State
from stsearch.stats.ranks import LEAST_FOR_INTERVAL, Correlation, kendall

RANKED = 400
"""Networks that a rank correlation is taken over, at most, evenly by trial: its bootstrap compares all pairs."""
_KEYS = [ARCHITECTURE, NETWORK, REASON, CLIPS_TRAINED, EPOCHS_TRAINED, RUNGS]


@dataclass(frozen=True)
class Ranking:
    """How far accuracies at a rung order networks as those at the end do."""

    epoch: int
    tau: Correlation
    """Kendall's, with its interval"""


@dataclass(frozen=True)
class Halved:
    """Successive halving of a study as it stands. A network counts once, however many trials it took."""

    epochs: int
    """of a whole training"""
    stopped: tuple[Ended, ...]
    """networks that wait at a rung, by their last trials"""
    clips: int
    """training clips that the stopped and the complete networks have seen in all their trials"""
    whole: int
    """training clips that training all of them to the end takes"""
    ranked: int
    """networks trained whole that ``ranking`` is over"""
    ranking: tuple[Ranking, ...]
    """of every rung but the last; empty with fewer than 10 networks trained whole"""

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

    @property
    def agreement(self) -> str:
        """What the rungs are worth, in a sentence; empty where too few networks were trained whole."""
        if not self.ranking:
            return ""
        chosen = "; these networks were chosen at the rungs" if self.stopped else ""
        taus = ", ".join(f"{_shown(one.tau)} after {one.epoch}" for one in self.ranking)
        return (
            f"Of {self.ranked} networks trained whole, accuracy at the rungs orders as accuracy after {self.epochs} "
            f"epochs does with a Kendall tau of {taus} (0 is chance{chosen})"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        networks = [{"trial": s.trial, "network": s.network, "reason": s.reason} for s in self.stopped]
        ranking = [
            {"epoch": one.epoch, "tau": one.tau.value, "interval": [one.tau.low, one.tau.high], "n": self.ranked}
            for one in self.ranking
        ]
        return {
            "epochs": self.epochs,
            "stopped": networks,
            "clips_trained": self.clips,
            "clips_saved": self.saved,
            "ranking": ranking,
        }


def halved(stored: StoredStudy) -> Halved | None:
    """How far halving is in a study; ``None`` where it does none. Reads a few attributes of every trial."""
    evaluate = stored.identity["evaluate"]
    if evaluate["name"] != "halving":
        return None
    found = stored.attributes(_KEYS)
    numbers, states = stored.numbers.tolist(), stored.states.tolist()
    last: dict[str, int] = {}
    for row, known in enumerate(found):
        if ARCHITECTURE in known and states[row] != State.INTERRUPTED:
            last[known[ARCHITECTURE]] = row
    waiting = [row for row in last.values() if states[row] == State.STOPPED]
    counted = {found[row][ARCHITECTURE] for row in waiting}
    counted |= {name for name, row in last.items() if states[row] == State.COMPLETE}
    trainings = [known for known in found if known.get(ARCHITECTURE) in counted]
    clips = sum(known.get(CLIPS_TRAINED, 0) for known in trainings)
    epochs = sum(known.get(EPOCHS_TRAINED, 0) for known in trainings)
    length = evaluate["rungs"][-1]
    ranked, ranking = _ranking(
        [found[row].get(RUNGS, {}) for row in sorted(last.values()) if states[row] == State.COMPLETE], evaluate["rungs"]
    )
    return Halved(
        epochs=length,
        stopped=tuple(
            Ended(numbers[row], found[row].get(NETWORK, "?"), found[row].get(REASON, "unknown"))
            for row in sorted(waiting)
        ),
        clips=clips,
        whole=round(len(counted) * length * clips / epochs) if epochs else 0,
        ranked=ranked,
        ranking=ranking,
    )


def _ranking(curves: Sequence[Mapping[str, float]], rungs: Sequence[int]) -> tuple[int, tuple[Ranking, ...]]:
    """Networks that have a result at every rung, and the rank correlation of each rung with the last."""
    whole = [[curve[str(rung)] for rung in rungs] for curve in curves if all(str(rung) in curve for rung in rungs)]
    if len(whole) < LEAST_FOR_INTERVAL:
        return 0, ()
    chosen = np.array(whole[:: -(-len(whole) // RANKED)])
    taus = [kendall(chosen[:, place], chosen[:, -1]) for place in range(len(rungs) - 1)]
    return len(chosen), tuple(Ranking(rung, tau) for rung, tau in zip(rungs, taus, strict=False))


def _shown(tau: Correlation) -> str:
    if tau.value is None:
        return "unknown"
    return f"{tau.value:.2f}" + (f" ({tau.low:.2f} to {tau.high:.2f})" if tau.low is not None else "")
