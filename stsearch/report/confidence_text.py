"""What is said of a front beside its figures, such as how sure it is: the same on the terminal, in report and notes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import floor, log10, prod

from stsearch.report.confidence import Certainty, Confidence, Noise
from stsearch.report.pareto import Pareto
from stsearch.report.words import counted
from stsearch.search.metrics import METRICS, OF_PAIRS
from stsearch.search.reading import Record
from stsearch.stats.power import POWER

_PAIRS = 4
"""Pairs that are not told apart and named, at most"""
_GUESSED = 0.2
"""Share of the noise that may be a guess before it is called one"""
_LUCK = 0.5
"""Points by which the best measured accuracy must be above the expected one to be remarked on"""


def shown_accuracy(name: str, value: float, sure: Certainty | None) -> str:
    """``82.1 ± 0.9 (3)``: mean, standard error, number of trainings; the value alone where nothing is known."""
    if sure is None or name not in sure.errors:
        return METRICS[name].shown(value)
    return f"{METRICS[name].shown(value)} ± {sure.errors[name]:.1f} ({sure.trainings})"


def shown_chance(sure: Certainty | None) -> str:
    """``0.62``; ``< 0.01`` and ``> 0.99`` at the ends, since draws are finite. Empty where nothing is known."""
    if sure is None or sure.probability is None:
        return ""
    if 0.01 <= sure.probability <= 0.99:
        return f"{sure.probability:.2f}"
    return "< 0.01" if sure.probability < 0.01 else "> 0.99"


def chance_said(sure: Certainty | None) -> str:
    """``, on the true front with probability 0.30``: for a headline that names one network; empty where unknown."""
    return f", on the true front with probability {shown}" if (shown := shown_chance(sure)) else ""


def about(pareto: Pareto, proposed: Collection[str] = ()) -> list[str]:
    """All that is said of a front beside its figures, one sentence each, but what is ``proposed`` to be typed."""
    lines = [about_order(pareto)]
    if pareto.confidence is not None:
        noise = pareto.confidence.noise
        lines += [
            about_noise(noise, "repeats" not in proposed),
            about_pairing(noise),
            about_power(pareto.confidence),
            told_apart(pareto.confidence),
            about_luck(pareto),
        ]
    return [line for line in lines if line]


def about_order(pareto: Pareto) -> str:
    """What the front's networks make of the order of frames; empty where the data have no reversed pairs."""
    known = [record for record in pareto.front if all(name in record.metrics for name in OF_PAIRS)]
    if not known:
        return ""
    order, frames = (_least_to_most(known, name) for name in OF_PAIRS)
    return (
        f"Of a motion and its reversal the front's networks name the right one in {order} of the videos (order@1; at "
        f"most 50 % without the order of frames), the right pair in {frames} (frames@1)."
    )


def _least_to_most(records: Sequence[Record], name: str) -> str:
    """``50.0 % (f-R2D-18) to 71.2 % (R3D-18)``"""
    low, high = (chosen(records, key=lambda record: record.metrics[name]) for chosen in (min, max))
    said = [f"{METRICS[name].shown(one.metrics[name])} % ({one.network})" for one in (low, high)]
    return " to ".join(said if low is not high else said[:1])


def told_apart(confidence: Confidence) -> str:
    """Which networks are not told apart; empty where all of them are."""
    named = [f"{pair.first.network} and {pair.second.network}" for pair in confidence.pairs]
    if not named:
        return ""
    more = f"; and {counted(len(named) - _PAIRS, 'more pair')}" if len(named) > _PAIRS else ""
    return f"Not told apart in accuracy: {'; '.join(named[:_PAIRS])}{more}."


def about_noise(noise: Noise, advice: bool = True) -> str:
    """Where the standard errors come from, how much of it was measured, and what measures it."""
    videos = counted(noise.videos, "validation video")
    if noise.measured is None:
        how = ": search.repeats trains near-ties again and measures it" if advice else ""
        return f"± is a guess from {videos}, since no network was trained twice{how}."
    of = f"{counted(noise.trainings, 'training')} of {counted(noise.networks, 'network')}"
    if noise.guessed > _GUESSED:
        guess = f"{100 * noise.guessed:.0f} % of that, as variance, is a guess from {videos}"
        return (
            f"± is the standard error of the mean of (n) trainings. One training is taken to vary by "
            f"{noise.deviation:.1f} points. {guess}: {of} are few to go by (they vary by {noise.measured:.1f})."
        )
    return (
        f"± is the standard error of the mean of (n) trainings; one training varies by {noise.deviation:.1f} points "
        f"({of}, {videos})."
    )


def about_pairing(noise: Noise) -> str:
    """Whether networks are compared video by video, and how sure a difference is; empty for a single network."""
    if noise.difference is None or noise.difference_unpaired is None:
        return ""
    if not noise.paired:
        return f"Differences are not paired, video by video: {noise.why_unpaired}."
    return (
        f"Differences are paired: on the same {counted(noise.videos, 'video')} that of two networks has a standard "
        f"error of {noise.difference:.1f} points, for videos like these ({noise.difference_unpaired:.1f} unpaired)."
    )


def about_power(confidence: Confidence) -> str:
    """What differences these trainings can settle, and from what that is known; empty for a single network."""
    noise, counts = confidence.noise, confidence.pool.counts
    if noise.settled is None:
        return ""
    if noise.measured is None:
        why = "what seeds add to the videos' noise is a guess" if noise.paired else "by a guess of the noise"
    else:
        why = "by the study's own noise" if noise.guessed <= _GUESSED else "by the study's own noise, partly a guess"
    return settles(len(counts), int(counts.min()), int(counts.max()), noise.settled, why)


def settles(networks: int, least: int, most: int, points: float, why: str) -> str:
    """``24 networks, one training each: differences of 2.1 points can be settled, in 4 of 5 cases (why).``"""
    some = f"{least} to {most} trainings" if least < most else "one training" if most == 1 else f"{most} trainings"
    return (
        f"{counted(networks, 'network')}, {some} each: differences of {points:.1f} points can be settled, "
        f"in {10 * POWER / 2:.0f} of 5 cases ({why})."
    )


def about_luck(pareto: Pareto) -> str:
    """What to expect of the best network instead of what was measured; empty where they hardly differ."""
    name = next((name for name in pareto.objectives if METRICS[name].noisy), None)
    if pareto.confidence is None or name is None or not pareto.front:
        return ""
    best: Record = max(pareto.front, key=lambda record: record.metrics[name])
    sure = pareto.certainty(best)
    if sure is None or best.metrics[name] - sure.expected[name] < _LUCK:
        return ""
    return (
        f"{best.network} was measured at {best.metrics[name]:.1f} %; of one more training {sure.expected[name]:.1f} % "
        "is to be expected, since the best of many noisy results was lucky too."
    )


def shown_volume(pareto: Pareto) -> str:
    """``523 % x GMACs (95 % interval of the true one 497 to 550)``: as many digits as the interval deserves."""
    scale, unit = volume_scale(pareto), volume_unit(pareto)
    volume = pareto.hypervolume / scale
    if pareto.confidence is None:
        return f"{volume:.4g} {unit}"
    low, high = (end / scale for end in pareto.confidence.hypervolume)
    digits = 1 - floor(log10(high - low)) if high > low else 3
    said, *ends = (f"{round(end, digits):.{max(0, digits)}f}" for end in (volume, low, high))
    return f"{said} {unit} (95 % interval of the true one {' to '.join(ends)})"


def volume_unit(pareto: Pareto) -> str:
    """``% x GMACs``: its objectives' multiplied."""
    return " x ".join(METRICS[name].unit for name in pareto.objectives)


def volume_scale(pareto: Pareto) -> float:
    """What a hypervolume is divided by to be in that unit."""
    return prod(METRICS[name].scale for name in pareto.objectives)
