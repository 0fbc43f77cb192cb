"""A training-free score as a screen: networks that promise little beside cheaper ones are not trained.

Who passes is decided by the rule of successive halving, at a rung before the first epoch: a network is compared
with those scored so far that cost no more (``stats/rungs.py``). A screened network's trial is PRUNED; it does not
count in ``search.trials``, is never proposed again, and samplers do not see it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from stsearch.evaluate.evaluators import ScoreRecipe, Task, evaluate_by_score
from stsearch.evaluate.train import EvaluationFailed
from stsearch.search.attributes import ARCHITECTURE, RUNGS, SCREEN
from stsearch.search.halving import costs_of, over_budget
from stsearch.search.networks import Network, by_network
from stsearch.search.session import Session
from stsearch.search.spec import Screen
from stsearch.search.state import State
from stsearch.search.training import own_failures
from stsearch.space.architecture import parse_placement
from stsearch.stats.rungs import Ladder, Verdict


class ScreenedOut(optuna.TrialPruned):
    """A network is not trained, as others that cost no more score better."""


def screen(
    session: Session,
    trial: optuna.Trial,
    *,
    asked_for: bool,
    keep: Callable[[Callable[[], Any]], Any],
    note: Callable[[str], None],
) -> None:
    """Score the network of ``trial``, if the study has a screen; ``ScreenedOut`` where it is not to be trained.

    One that is ``asked_for`` or over the budget is trained whatever its score, and so is one that passed before
    its training was cut off. ``keep`` runs an access to the storage, patiently; ``note`` tells the user.
    """
    asked, known = session.study.spec.search.screen, dict(trial.user_attrs)
    if asked is None:
        return
    trials = keep(session.trials)
    others = [other for other in trials if other.number != trial.number]
    before = by_network(others).get(known[ARCHITECTURE], Network(())).known
    found = before.get(SCREEN)
    if found is not None and not found["out"]:
        keep(partial(trial.set_user_attr, SCREEN, found))
        return
    if RUNGS in before:  # begun before the study had a screen
        return
    value = _score(session, asked, known[ARCHITECTURE], note)
    if value is None:
        return
    verdict = _verdict(session, asked, others, known, value)
    out = not (asked_for or over_budget(session, known) or verdict.goes_on)
    keep(partial(trial.set_user_attr, SCREEN, {**asked.about, "value": value, "out": out}))
    if out:
        raise ScreenedOut(_reason(asked, verdict))


def _score(session: Session, asked: Screen, identifier: str, note: Callable[[str], None]) -> float | None:
    """The score of the proxy; ``None``, with a note, where it has none."""
    study, architecture = session.study, parse_placement(identifier)
    recipe = ScoreRecipe(score=asked.score, clips=asked.clips)
    proxy = architecture.scaled(study.spec.proxy.width)
    task = Task(proxy, study.proxy_clip(), session.data, recipe, study.spec.seed, session.device)
    try:
        with own_failures():
            return evaluate_by_score(task, lambda repeat, epoch: None).score
    except EvaluationFailed as error:
        note(f"{architecture.id} is trained without a score to screen it by: {error}")
        return None


def _verdict(
    session: Session, asked: Screen, others: Sequence[FrozenTrial], known: dict[str, Any], value: float
) -> Verdict:
    """Where a network stands among those that were scored alike, may be on the front and did not fail."""
    ladder = Ladder((0, 1), asked.reduction, tolerance=0.0)
    for identifier, network in by_network(others).items():
        theirs = network.known
        scored = theirs.get(SCREEN, {})
        if any(scored.get(key) != wanted for key, wanted in asked.about.items()):
            continue
        if network.state is not State.FAILED and not over_budget(session, theirs):
            ladder.record(identifier, costs_of(session.study, theirs), 0, scored["value"])
    ladder.record(known[ARCHITECTURE], costs_of(session.study, known), 0, value)
    return ladder.verdict(known[ARCHITECTURE], 0)


def _reason(asked: Screen, found: Verdict) -> str:
    return (
        f"screened out by {asked.score}: {found.better} of {found.among - 1} networks that cost no more score better, "
        f"which is place {found.rank + 1} of {found.networks}, with room for {found.places}"
    )
