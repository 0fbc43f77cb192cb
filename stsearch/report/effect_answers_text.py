"""Answers to what was asked beforehand, in words, beside what others found."""

from __future__ import annotations

from collections.abc import Sequence

from stsearch.report.effect_answers import Answer, Asked
from stsearch.report.effect_estimates import Estimate
from stsearch.report.effect_words import kind_label, listed
from stsearch.space.published import PUBLISHED

_FRAMES = 16


def points(estimate: Estimate) -> tuple[str, str]:
    """The mean with its sign, and the 95 % interval, in as many digits as the interval deserves."""
    low, high = estimate.interval()
    digits = 1 if high - low >= 0.2 else 2
    return f"{round(estimate.mean, digits) + 0.0:+.{digits}f}", f"{low:.{digits}f} to {high:.{digits}f}"


def answers_in_words(asked: Asked, metric: str) -> list[str]:
    """What is claimed, what is open, and what Tran et al. and Xie et al. found; empty where nothing could be asked."""
    if not asked.answers:
        return []
    rule = (
        f"{100 * asked.level:g} % jointly over {len(asked.answers)} questions that the first networks were chosen for"
    )
    open_ones = [answer for answer in asked.answers if not answer.claimed]
    said = [
        _claimed(asked.claims, metric, rule) if asked.claims else f"Of where time pays nothing is settled ({rule})."
    ]
    if open_ones:
        said.append(f"Not settled: {_open(open_ones)}.")
    return [*said, literature(asked)]


def _claimed(claims: Sequence[Answer], metric: str, rule: str) -> str:
    """One sentence: first what time alone in a group is worth, then the rest."""
    alone = [answer for answer in claims if answer.question == "alone"]
    parts = []
    if alone:
        each = ", ".join(f"{_figure(answer.estimate)} in {answer.group}" for answer in alone)
        parts.append(f"time in one group alone, against nowhere, is worth {each}")
    parts += [f"{_what(answer)} {_worth(answer.estimate)}" for answer in claims if answer.question != "alone"]
    return f"Where time pays (points of {metric}; {rule}): {'; '.join(parts)}."


def _figure(estimate: Estimate) -> str:
    mean, interval = points(estimate)
    return f"{mean} (95 % interval {interval})"


def _worth(estimate: Estimate) -> str:
    mean, interval = points(estimate)
    verb = f"is worth {mean}" if estimate.mean > 0 else f"loses {mean.lstrip('-')}"
    return f"{verb} (95 % interval {interval})"


def _what(answer: Answer) -> str:
    """``time in several groups, against one``"""
    if answer.question == "several":
        return "time in several groups, against one,"
    if answer.question == "kind":
        return f"{kind_label(answer.kind)} instead of {kind_label(answer.against)} wherever time is seen"
    if answer.question == "early":
        return "time in conv1 and conv2_x, against conv4_x and conv5_x,"
    where = "alone" if answer.question == "alone" else "beside other groups"
    return f"time in {answer.group} {where}"


def _open(answers: Sequence[Answer]) -> str:
    """What is not settled, groups together."""
    parts = []
    for question, words in (("alone", "time alone in"), ("beside", "time beside other groups in")):
        if groups := [answer.group for answer in answers if answer.question == question]:
            parts.append(f"{words} {listed(groups)}")
    parts += [_what(answer).rstrip(",") for answer in answers if answer.question not in ("alone", "beside")]
    return "; ".join(parts)


def literature(asked: Asked) -> str:
    """Tran et al.'s and Xie et al.'s findings beside the user's of early against late."""
    known = {row.network: row.video_top1 for row in PUBLISHED if row.frames == _FRAMES}
    early = next((answer for answer in asked.answers if answer.question == "early"), None)
    theirs = (
        f"Tran et al. (CVPR 2018) advise time early (MCx); on Kinetics-400 their MC3-18 has {known['MC3-18']:.1f} % "
        f"and rMC3-18, with time late, {known['rMC3-18']:.1f} %. Xie et al. (ECCV 2018, S3D) find time late better and "
        "cheaper there"
    )
    if early is None:
        return f"{theirs}; these networks cannot compare the two."
    mean, interval = points(early.estimate)
    better = "early is better" if early.estimate.mean > 0 else "late is better"
    verdict = better if early.claimed else "that is not settled"
    return f"{theirs}; here early less late is {mean} points (95 % interval {interval}): {verdict}."
