"""What a trial remembers, as Optuna attributes; ``stsearch.search.reading`` reads them back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import optuna
import torch
from optuna.storages import RDBStorage
from optuna.study import Study as OptunaStudy

from stsearch.errors import quoted
from stsearch.evaluate.evaluators import Evaluation, Scored
from stsearch.evaluate.train import EvaluationFailed
from stsearch.profiling.device import device_facts
from stsearch.search.attributes import CLIPS_TRAINED, CONSTRAINT, EPOCHS_TRAINED, LABELS, NETWORK, RECORD, REFERENCE
from stsearch.search.metrics import QUALITIES
from stsearch.search.packed import split
from stsearch.search.trial_rows import write_attributes
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import AnyNetwork
from stsearch.space.published import name_of


def provenance(device: torch.device) -> dict[str, str]:
    """Versions and machine that a result was measured with."""
    facts = device_facts(device)
    versions = {name: str(facts[name]) for name in ("python", "torch", "cuda", "cudnn")}
    return {
        **versions,
        "optuna": optuna.__version__,
        "machine": str(facts["platform"]),
        "device": str(facts["name"]),
        "threads": str(facts["threads"]),
    }


def keep_measured(trial: optuna.Trial, measured: Mapping[str, float]) -> None:
    """Latency and memory of the target, where a study asks for them."""
    for name, value in measured.items():
        trial.set_user_attr(name, value)


def metrics_of(evaluation: Evaluation | Scored, costs: Mapping[str, float]) -> dict[str, float]:
    """Accuracies, or the score, and costs by name."""
    return {**evaluation.metrics, **costs}


def told(evaluation: Evaluation | Scored, objectives: Iterable[str]) -> Evaluation | Scored:
    """``evaluation``; ``EvaluationFailed`` where it lacks an objective, as old trainings may, or has no number."""
    if missing := [name for name in objectives if name in QUALITIES and name not in evaluation.metrics]:
        raise EvaluationFailed(f"its evaluation does not say {quoted(missing)}, which is an objective")
    if wrong := [name for name, value in evaluation.metrics.items() if math.isnan(value)]:
        raise EvaluationFailed(f"its {wrong[0]} is {evaluation.metrics[wrong[0]]}, which is no number")
    return evaluation


def describe(architecture: AnyNetwork, costs: Mapping[str, float]) -> dict[str, Any]:
    """Attributes that are known before training; a network of the zoo has no placement."""
    placed = {}
    if isinstance(architecture, Architecture):
        placed = {"placement": architecture.placement, "depths": list(architecture.depths)}
    return {NETWORK: name_of(architecture), **placed, **costs}


def outcome(evaluation: Evaluation | Scored, flops: int) -> dict[str, Any]:
    """User attributes that training or scoring adds."""
    common = {"seconds": round(evaluation.seconds, 3), "flops_counted": flops, "seed": evaluation.seeds[0]}
    if isinstance(evaluation, Scored):
        return {**evaluation.metrics, **common}
    return {
        **evaluation.metrics,
        "video_top5": evaluation.video_top5,
        "clips_per_second": round(evaluation.clips_per_second, 2),
        CLIPS_TRAINED: evaluation.clips_trained,
        EPOCHS_TRAINED: evaluation.epochs_trained,
        **common,
    }


def keep_result(storage: RDBStorage, trial: optuna.Trial, attributes: Mapping[str, Any], record: Any) -> None:
    """All that a training found, in one transaction, before its trial is told.

    ``attributes`` are for tables, the ``record`` is out of their sight, and ``packed.whole`` reads it.
    """
    write_attributes(storage, trial, plain(attributes), split(RECORD, plain(record)))


def keep_reference(study: OptunaStudy, name: str, record: Mapping[str, Any]) -> None:
    """A trained reference as an attribute of the study, the parts of a long record beside it."""
    full = f"{RECORD}:{name}"
    parts = split(full, plain(record[RECORD]))
    for key, value in parts.items():
        if key != full:
            study._storage.set_study_system_attr(study._study_id, key, value)
    study.set_user_attr(REFERENCE + name, plain({**record, RECORD: parts[full]}))


def keep_labels(study: OptunaStudy, labels: Sequence[int]) -> None:
    """The classes of a study's validation videos, once: with them a training's predictions are right or wrong."""
    storage = study._storage
    if LABELS not in storage.get_study_system_attrs(study._study_id):
        for key, value in split(LABELS, list(labels)).items():
            storage.set_study_system_attr(study._study_id, key, value)


def full_record(evaluation: Evaluation | Scored, device: torch.device) -> dict[str, Any]:
    """An evaluation with its learning curves, and what it was made with."""
    return {**evaluation.as_dict(), "provenance": provenance(device)}


def set_constraints(storage: RDBStorage, trial: optuna.Trial, excess: Mapping[str, float]) -> None:
    """Write constraints (feasible where <= 0), also in the one place where optuna-dashboard looks.

    Must be called before the trial is told. Optuna 5 keeps named constraints; optuna-dashboard
    reads the list under the legacy key ``constraints`` and would show every trial as feasible.
    """
    if not excess:
        return
    named = {f"{CONSTRAINT}{name}": float(value) for name, value in excess.items()}
    write_attributes(storage, trial, {}, {**named, "constraints": list(excess.values())})


def plain(value: Any) -> Any:
    """``value`` as JSON knows it (tuples become lists), so that what is read equals what was written."""
    return json.loads(json.dumps(value))
