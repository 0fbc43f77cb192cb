"""How well a proxy is known to rank, in one line."""

from __future__ import annotations

from stsearch.search.calibrated import Calibrated


def interval(value: float, low: float | None, high: float | None) -> str:
    """``0.55 (0.30 to 0.80)``."""
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f} to {high:.2f})"


def about_proxy(found: Calibrated | None, command: str = "stsearch calibrate STUDY") -> str:
    """What is known of a study's proxy; ``command`` measures it."""
    if found is None:
        return f"nobody has measured how well this proxy ranks networks; `{command}` does"
    warning = ", its networks had not learnt" if found.learnt == "not learnt" else ""
    return (
        f"calibrated on {found.date}: tau from seed to seed {interval(found.tau, found.low, found.high)}, "
        f"differences of {found.settles:.1f} points can be settled{warning}"
    )
