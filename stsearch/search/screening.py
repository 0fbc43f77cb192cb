"""A training-free score as a screen: networks that promise little beside cheaper ones are not trained.

Who passes is decided by the rule of successive halving, at a rung before the first epoch: a network is compared
with those scored so far that cost no more (``evaluate/rungs.py``). A screened network's trial is PRUNED; it does not
count in ``search.trials``, is never proposed again, and samplers do not see it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import optuna
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from stsearch.errors import quoted
from stsearch.evaluate.evaluators import LookedAt, ScoreName, ScoreRecipe, Task, evaluate_by_score
from stsearch.evaluate.rungs import Ladder, Verdict
from stsearch.evaluate.train import EvaluationFailed
from stsearch.schema import Strict
from stsearch.search.attributes import ARCHITECTURE, RUNGS, SCREEN
from stsearch.search.halving import by_network, costs_of, known_of, over_budget
from stsearch.search.metrics import ACCURACIES
from stsearch.search.proposals import failed_by_itself
from stsearch.search.shown import Shown, shown_as
from stsearch.search.training import own_failures
from stsearch.space.architecture import parse_placement

if TYPE_CHECKING:
    from stsearch.search.session import Session
    from stsearch.search.spec import StudySpec


class Screen(Strict):
    """The ``search.screen:`` section."""

    score: ScoreName
    reduction: Annotated[int, Field(ge=2)] = 3
    """one in so many of the scored networks is trained, rounded up, and besides those that none beats"""
    clips: LookedAt = 32
    """training clips to look at, for ``naswot``; the same for all networks"""

    @property
    def about(self) -> dict[str, Any]:
        """What makes scores comparable, beside what a study may not change."""
        return {"score": self.score, "clips": self.clips}


def screen_faults(spec: StudySpec) -> list[str]:
    """What a screen needs: something to train less of, and an accuracy that the score stands for."""
    screen = spec.search.screen
    if screen is None:
        return []
    if isinstance(spec.evaluate, ScoreRecipe):
        return [f"search.screen: `evaluate: {{name: score}}` trains nothing, so nothing is saved; given {screen.score}"]
    faults = []
    if spec.search.sampler == "exhaustive":
        faults.append(f"search.screen: the sampler exhaustive trains every network; given {screen.score}")
    if not any(name in ACCURACIES for name in spec.objectives):
        faults.append(
            f"search.screen: a score stands for an accuracy, so one of {quoted(ACCURACIES)} is among the objectives; "
            f"given {quoted(spec.objectives)}"
        )
    return faults


class ScreenedOut(optuna.TrialPruned):
    """A network is not trained, as others that cost no more score better."""


def is_screened(trial: FrozenTrial) -> bool:
    """Whether a trial's network was screened out."""
    return trial.state == TrialState.PRUNED and bool(trial.user_attrs.get(SCREEN, {}).get("out"))


def without_screened(study: OptunaStudy) -> OptunaStudy:
    """``study`` with screened networks shown as failed, from which no sampler learns: nobody knows their accuracy."""
    trials = study.get_trials(deepcopy=False)
    if not any(map(is_screened, trials)):
        return study
    return Shown(study, [shown_as(t, TrialState.FAIL, None) if is_screened(t) else t for t in trials])


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
    before = known_of([t for t in by_network(trials).get(known[ARCHITECTURE], ()) if t.number != trial.number])
    found = before.get(SCREEN)
    if found is not None and not found["out"]:
        keep(partial(trial.set_user_attr, SCREEN, found))
        return
    if RUNGS in before:  # begun before the study had a screen
        return
    value = _score(session, asked, known[ARCHITECTURE], note)
    if value is None:
        return
    others = [t for t in trials if t.number != trial.number]
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
    for identifier, group in by_network(others).items():
        theirs = known_of(group)
        scored = theirs.get(SCREEN, {})
        if any(scored.get(key) != wanted for key, wanted in asked.about.items()):
            continue
        if not failed_by_itself(group[-1]) and not over_budget(session, theirs):
            ladder.record(identifier, costs_of(session.study, theirs), 0, scored["value"])
    ladder.record(known[ARCHITECTURE], costs_of(session.study, known), 0, value)
    return ladder.verdict(known[ARCHITECTURE], 0)


def _reason(asked: Screen, found: Verdict) -> str:
    return (
        f"screened out by {asked.score}: {found.better} of {found.among - 1} networks that cost no more score better, "
        f"which is place {found.rank + 1} of {found.networks}, with room for {found.places}"
    )
