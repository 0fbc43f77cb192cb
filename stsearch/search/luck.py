"""When a run stops: so many networks fail, or are over a measured budget, that it is no accident of theirs."""

from __future__ import annotations

from stsearch.errors import WorldError
from stsearch.search.attributes import NETWORK, REASON
from stsearch.search.session import FAILURES_IN_A_ROW, PRUNED_IN_A_ROW, Session, Standing
from stsearch.search.state import State, state_of


def check_luck(session: Session, now: Standing) -> None:
    """``WorldError`` when so many networks fail, or are over the budget, that it is no accident of theirs."""
    if now.failing >= FAILURES_IN_A_ROW:
        raise WorldError(_stopped_by_failures(session, now.failing))
    if now.pruning >= PRUNED_IN_A_ROW:
        budget = ", ".join(f"{name} <= {session.study.spec.budget[name]:g}" for name in session.study.measured)
        raise WorldError(
            f"stopped: the last {now.pruning} networks were all over the measured budget ({budget}); what was "
            "trained is kept. Begin another study with a larger one, or give a hard budget of gmacs beside it"
        )


def _stopped_by_failures(session: Session, count: int) -> str:
    last = max((t for t in session.trials() if state_of(t) is State.FAILED), key=lambda t: t.number)
    return (
        f"stopped: {count} networks failed one after the other, the last, {last.user_attrs[NETWORK]}: "
        f"{last.user_attrs[REASON]}. The same command goes on with other networks, with --retry-failed with these"
    )
