"""Whether networks have learnt, in words: the same on the terminal and in the report."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from stsearch.evaluate.epochs import epochs_for
from stsearch.report.learning import DIVERGED, FITTED, Learning
from stsearch.report.words import counted, storage_option

TIMES = 3
"""A longer training that is proposed has at least so many times the epochs, as an audit has"""
_SLOWER = 10
"""A smaller learning rate that is proposed is divided by this"""


_UNLEARNT = ("not learnt", "learning speed")
"""Verdicts of which something is to be said"""


def warnings(learning: Learning | None, proposed: Collection[str] = ()) -> list[str]:
    """What is to be said of a study whose networks have not learnt: sentences, none where they have.

    What to type is left to who proposes it afterwards as the step ``longer``.
    """
    if learning is None or learning.verdict not in _UNLEARNT:
        return []
    study, place = shlex.quote(learning.study), storage_option(learning.study, learning.place)
    audit = f"What more epochs change in the ranking is what `stsearch audit {study}{place}` measures."
    if learning.verdict == "learning speed":
        head = _share(learning, learning.not_fitted, "fitted {their} training clips")
        head, told = f"{head}, so the ranking is of how fast they learn", _losses(learning)
    else:
        head = f"{_share(learning, learning.not_learnt, 'learnt yet')}, so the ranking is of luck"
        told = ", and ".join(part for part in (_losses(learning), _accuracies(learning)) if part)
    return [f"{head}: {told}." if told else f"{head}.", f"{_advice(learning, 'longer' not in proposed)}.", audit]


def luck(learning: Learning | None) -> str:
    """What a choice among networks that have not learnt is worth; empty where they have."""
    if learning is None or learning.verdict not in _UNLEARNT:
        return ""
    if learning.verdict == "learning speed":
        how, what = "had not fitted their training clips", "how fast they learn"
    else:
        how, what = "had not learnt", "luck"
    return f"Most networks {how}: it is chosen from a ranking of {what}, so train longer before you take it."


def figures(learning: Learning | None) -> str:
    """What is told also where all is well: accuracies to compare with, and the loss of the middle network."""
    if learning is None:
        return ""
    base = learning.baseline
    said = f"Chance is {base.chance:.1f} %"
    if base.majority is not None:
        said += (
            f"; naming the largest class of the {counted(base.videos, 'validation video')} every time gives "
            f"{base.majority:.1f} %"
        )
    losses = _losses(learning)
    return f"{said}. {losses[0].upper()}{losses[1:]}." if losses else f"{said}."


def longer(learning: Learning) -> list[str]:
    """Settings ``key=value`` of a study that is alike but trained longer; empty where nobody can say which."""
    evaluate = learning.evaluate
    if evaluate.get("name") == "halving":
        rungs = [TIMES * rung for rung in evaluate["rungs"]]
        return [f"evaluate.rungs={rungs}".replace(" ", ""), f"name={learning.study}-{rungs[-1]}"]
    if evaluate.get("name") == "train":
        epochs = max(TIMES * evaluate["epochs"], _asked_for(learning))
        return [f"evaluate.epochs={epochs}", f"name={learning.study}-{epochs}"]
    return []


def _asked_for(learning: Learning) -> int:
    """Epochs that are chosen for so many training videos where nobody says how many; 0 where they are not known."""
    return epochs_for(learning.clips, learning.baseline.classes) if learning.clips else 0


def remedy(learning: Learning) -> list[str]:
    """Settings ``key=value`` of a study whose networks may learn, where the verdict says that they have not."""
    if learning.verdict not in _UNLEARNT or _cause(learning) == "fitted":
        return []
    return _slower(learning) if _cause(learning) == "diverged" else longer(learning)


def _slower(learning: Learning) -> list[str]:
    evaluate = learning.evaluate
    if "lr" not in evaluate or evaluate.get("name") not in ("train", "halving"):
        return []
    rate = f"{evaluate['lr'] / _SLOWER:g}"
    return [f"evaluate.lr={rate}", f"name={learning.study}-lr-{rate}"]


def _cause(learning: Learning) -> str:
    """``diverged``, ``fitted`` (but of no use on validation), or ``short``."""
    loss, guess = learning.middle("train_loss"), learning.baseline.loss
    if loss is None:
        diverged = any(network.fitted is False for network in learning.judged)
        return "diverged" if diverged else "short"
    if loss > DIVERGED * guess:
        return "diverged"
    return "fitted" if loss <= FITTED * guess else "short"


def _advice(learning: Learning, typed: bool) -> str:
    cause = _cause(learning)
    if cause == "diverged":
        return f"Their loss is far above a guess's: train with a smaller learning rate{_by(_slower(learning), typed)}"
    if cause == "fitted":
        return (
            "What they learnt of their training clips does not carry over to the validation videos: more clips, or "
            "clips that are cut in more ways (`evaluate.augment`), may help more than epochs"
        )
    return f"Train longer{_by(longer(learning), typed)}"


def _by(settings: list[str], typed: bool) -> str:
    """What to type for ``settings``, where there are any and it is ``typed`` here."""
    sets = " ".join(f"--set {shlex.quote(setting)}" for setting in settings)
    return f" (`stsearch run` as before, with `{sets}`)" if sets and typed else ""


def _share(learning: Learning, concerned: int, what: str) -> str:
    """``9 of 12 networks had not learnt yet when their training ended``; ``{their}`` in ``what`` is whose."""
    judged = len(learning.judged)
    networks = counted(judged, "network")
    some = "" if judged == learning.trained else f" that were looked at (of {learning.trained:,} trained)"
    if judged == 1:
        who, verb = f"The one network{some}", "had not"
    else:
        who, verb = (
            (f"None of the {networks}{some}", "had")
            if concerned == judged
            else (f"{concerned} of the {networks}{some}", "had not")
        )
    their = "its" if judged == 1 else "their"
    return f"{who} {verb} {what.format(their=their)} when {their} training ended"


def _losses(learning: Learning) -> str:
    loss, base = learning.middle("train_loss"), learning.baseline
    if loss is None:
        return ""
    shown = f"{loss:.2f}" if loss < 1000 else f"{loss:.3g}"
    guess = f"where a guess has ln({base.classes}) = {base.loss:.2f}"
    return f"the training loss of the middle network is {shown} nats, {guess}"


def _accuracies(learning: Learning) -> str:
    top1, base = learning.middle("video_top1"), learning.baseline
    if top1 is None or base.majority is None:
        return ""
    return f"its video@1 {top1:.1f} %, where naming the largest class every time has {base.majority:.1f} %"
