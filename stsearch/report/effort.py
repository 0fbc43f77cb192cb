"""What a search took, and what it lost."""

from __future__ import annotations

from dataclasses import dataclass

from stsearch.search.reading import Ended


@dataclass(frozen=True)
class Effort:
    """What the search took."""

    trainings: int
    """finished, references included, repeats of one network counted once"""
    seconds: float
    """of these trainings, summed"""
    repeats: int
    """trainings of near-ties after the search"""
    repeats_seconds: float
    """of these"""
    stopped_seconds: float
    """of pieces of trainings that ended at a rung of successive halving"""
    timed: int
    """of these trainings, those that noted their seconds"""
    clips_per_second: float | None
    """median over trainings"""
    began: str
    """UTC, ``2026-01-31 12:00``; empty where nothing has begun"""
    ended: str
    span: float
    """seconds from the first beginning to the last end"""
    workers: int
    hosts: int

    @property
    def when(self) -> str:
        """From the first beginning to the last end; empty where nothing has begun."""
        if not self.began:
            return ""
        day, _, hour = self.ended.partition(" ")
        until = "" if self.ended in ("", self.began) else f" to {hour if self.began.startswith(day) else self.ended}"
        return f"{self.began}{until} UTC"

    @property
    def total(self) -> float:
        """Seconds of all trainings."""
        return self.seconds + self.repeats_seconds + self.stopped_seconds

    @property
    def mean(self) -> float | None:
        """Seconds of one training."""
        return self.seconds / self.timed if self.timed else None


@dataclass(frozen=True)
class Loss:
    """Trials that became no network of the front."""

    failed: tuple[Ended, ...]
    interrupted: int
    """whose worker was stopped; their networks are tried again"""
    pruned: tuple[Ended, ...]
    """over a measured budget"""
    stopped: tuple[Ended, ...]
    """that successive halving stopped at a rung"""
    screened: tuple[Ended, ...]
    """that were not trained, as others promised more"""
    pruned_seconds: float
    """that pruned trials ran before they were stopped"""
    saved: float | None
    """seconds, estimated: what pruned trials would have taken at the mean of the others, less what they took"""


def duration(seconds: float) -> str:
    """``42 s``, ``7 min``, ``3.2 h``, ``4.5 days``."""
    if seconds < 90:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
