"""What a trial remembers, written as Optuna user attributes, and read back as ``Record``."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
import torch
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, TrialState

from stsearch.evaluate.evaluators import Evaluation
from stsearch.search.samplers import ARCHITECTURE, REASON, failed_by_itself
from stsearch.space.architecture import Architecture, parse_placement
from stsearch.space.published import name_of

SPEC, REFERENCE_POINT, REFERENCE = "spec", "reference_point", "reference:"
RECORD, WORKER, NETWORK = "record", "worker", "network"


@dataclass(frozen=True)
class Record:
    """One trained network: a trial of the study or a reference outside the space."""

    trial: int | None
    """number of the trial; ``None`` for a reference"""
    architecture: str
    network: str
    metrics: Mapping[str, float]
    """accuracies of the proxy (per cent), costs of the target"""
    feasible: bool
    """whether it keeps the budget"""

    def parsed(self) -> Architecture:
        """Its architecture."""
        return parse_placement(self.architecture)


def provenance(device: torch.device) -> dict[str, str]:
    """Versions and machine that a result was measured with."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else platform.processor() or platform.machine()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "optuna": optuna.__version__,
        "machine": platform.platform(),
        "device": name,
    }


def metrics_of(evaluation: Evaluation, costs: Mapping[str, float]) -> dict[str, float]:
    """Accuracies and costs by name."""
    return {"video_top1": evaluation.video_top1, "clip_top1": evaluation.clip_top1, **costs}


def describe(architecture: Architecture, costs: Mapping[str, float]) -> dict[str, Any]:
    """Attributes that are known before training."""
    return {
        NETWORK: name_of(architecture),
        "placement": architecture.placement,
        "depths": list(architecture.depths),
        **costs,
    }


def outcome(evaluation: Evaluation, flops: int, device: torch.device) -> dict[str, Any]:
    """Attributes that training adds."""
    return {
        "video_top1": evaluation.video_top1,
        "clip_top1": evaluation.clip_top1,
        "seconds": round(evaluation.seconds, 3),
        "clips_per_second": round(evaluation.clips_per_second, 2),
        "flops_counted": flops,
        RECORD: {**evaluation.as_dict(), "provenance": provenance(device)},
    }


def set_constraints(trial: optuna.Trial, study: OptunaStudy, excess: Mapping[str, float]) -> None:
    """Write constraints (feasible where <= 0), also in the one place where optuna-dashboard looks.

    Must be called before the trial is told. Optuna 5 keeps named constraints; optuna-dashboard
    reads the list under the legacy key ``constraints`` and would show every trial as feasible.
    """
    if not excess:
        return
    for name, value in excess.items():
        trial.set_constraint(name, value)
    study._storage.set_trial_system_attr(trial._trial_id, "constraints", list(excess.values()))


def record_of(trial: FrozenTrial) -> Record | None:
    """The record of a finished trial, else ``None``."""
    if trial.state != TrialState.COMPLETE or ARCHITECTURE not in trial.user_attrs:
        return None
    attributes = trial.user_attrs
    names = ("video_top1", "clip_top1", "gmacs", "params", "activations")
    return Record(
        trial=trial.number,
        architecture=attributes[ARCHITECTURE],
        network=attributes[NETWORK],
        metrics={name: attributes[name] for name in names if name in attributes},
        feasible=all(value <= 0 for value in trial.constraints.values()),
    )


def references_of(study: OptunaStudy) -> list[Record]:
    """Trained references outside the space."""
    found = []
    for key, value in study.user_attrs.items():
        if key.startswith(REFERENCE) and value.get("state") == "complete":
            found.append(Record(None, value[ARCHITECTURE], value[NETWORK], value["metrics"], value["feasible"]))
    return found


def failures(study: OptunaStudy) -> list[tuple[int, str, str]]:
    """``(trial, network, reason)`` of trials that failed for a reason of their own."""
    return [
        (t.number, t.user_attrs.get(NETWORK, "?"), t.user_attrs.get(REASON, "unknown"))
        for t in study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        if failed_by_itself(t)
    ]


def plain(value: Any) -> Any:
    """``value`` as JSON knows it (tuples become lists), so that what is read equals what was written."""
    return json.loads(json.dumps(value))
