"""The evaluator ``nni-oneshot``: one supernet for a study, and each network by the weights it inherits.

The supernet is trained by the worker that needs it first, while the others wait, and is kept beside the
clip caches; a study that goes on finds it there.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import time
import zipfile
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stsearch.data.cache import cache_folder, locked, writing
from stsearch.evaluate.evaluators import EVALUATORS, Evaluation, Evaluator, OnEpoch, Task, mean_of
from stsearch.evaluate.oneshot import OneShotRecipe
from stsearch.evaluate.results import ACCURACIES, Epoch, Training
from stsearch.evaluate.train import EvaluationFailed

if TYPE_CHECKING:
    from stsearch.nni.oneshot import State, Supernet

_NO_MATTER = ("trace", "resident_share", "video_clips", "views", "repeats", "calibrate")
"""Parts of the recipe that change no weight."""


def supernet_seed(seed: int, repeat: int) -> int:
    """The seed of one supernet of a study."""
    return int.from_bytes(hashlib.sha256(f"{seed} supernet {repeat}".encode()).digest()[:7], "big")


def evaluate_by_inheriting(task: Task, on_epoch: OnEpoch) -> Evaluation:
    """Accuracy with the weights of ``recipe.repeats`` supernets; trains those that are not there yet.

    Epochs reported meanwhile are the supernet's, their accuracy that of this network within it. Raises
    ``EvaluationFailed``, also for a network outside the space, which no supernet holds.
    """
    if task.architecture not in task.space:
        raise EvaluationFailed(f"no supernet of {task.space.name!r} holds a network outside that space")
    seeds = tuple(supernet_seed(task.seed, repeat) for repeat in range(task.recipe.repeats))
    return mean_of(
        tuple(_inherit(task, seed, repeat, on_epoch) for repeat, seed in enumerate(seeds)), seeds, task.device
    )


def _inherit(task: Task, seed: int, repeat: int, on_epoch: OnEpoch) -> Training:
    supernet = supernet_of(task, seed, repeat, on_epoch)
    begun = time.perf_counter()
    found = supernet.scores(task.architecture, task.data, task.device)
    seconds = time.perf_counter() - begun
    last = Epoch(task.recipe.epochs, 0.0, supernet.losses[-1], found["clip_top1"], seconds)
    return Training(
        curve=(last,),
        loss_sum=sum(supernet.losses),
        seconds=seconds,
        clips_per_second=supernet.clips_per_second,
        micro_batch=task.recipe.batch,
        residence="weights of a supernet",
        clips=0,
        **found,
    )


def supernet_of(task: Task, seed: int, repeat: int, on_epoch: OnEpoch) -> Supernet:
    """The supernet of a task's study, trained now if no worker of this machine has done it before."""
    path = _place(task, seed)
    if path.is_file() and (there := _load(path, task.space, task.recipe)) is not None:
        return there
    with locked(f"supernet-{path.stem}", lambda: None):
        if path.is_file() and (there := _load(path, task.space, task.recipe)) is not None:
            return there
        trained = _train(task, seed, repeat, on_epoch)
        with writing(cache_folder()):
            path.parent.mkdir(parents=True, exist_ok=True)
            half = path.with_suffix(f".{os.getpid()}.half")
            kept = {name: getattr(trained, name) for name in _KEPT}
            torch.save({**kept, "clip": trained.clip.sizes, "classes": trained.classes}, half)
            half.replace(path)
    return trained


_KEPT = ("state", "probabilities", "losses", "seconds", "clips_per_second")


def _train(task: Task, seed: int, repeat: int, on_epoch: OnEpoch) -> Supernet:
    from stsearch.nni.oneshot import clip_top1, inherited, train_supernet

    def report(epoch: int, rate: float, loss: float, seconds: float, state: State) -> None:
        network = inherited(task.space, state, task.architecture, task.clip, len(task.data.classes))
        top1 = clip_top1(network, task.data, task.recipe, task.clip, task.device)
        on_epoch(repeat, Epoch(epoch, rate, loss, top1, seconds))

    return train_supernet(task.space, task.clip, task.data, task.recipe, seed=seed, device=task.device, on_epoch=report)


def _place(task: Task, seed: int) -> Path:
    """The file of a supernet, named after everything that its weights depend on."""
    about = {
        "space": task.space.fingerprint,
        "clip": task.clip.sizes,
        "data": task.data.fingerprint,
        "recipe": task.recipe.model_dump(exclude=set(_NO_MATTER)),
        "seed": seed,
        "device": task.device.type,
        "versions": [torch.__version__, version("nni"), version("pytorch_lightning")],
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
    return cache_folder() / "supernets" / f"{key}.pt"


@lru_cache(maxsize=4)
def _loaded(path: Path, changed: float) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile):
        return None  # damaged: it is trained again
    return found


def _load(path: Path, space: Any, recipe: OneShotRecipe) -> Supernet | None:
    from stsearch.nni.oneshot import Supernet
    from stsearch.space.blueprint import ClipShape

    found = _loaded(path, path.stat().st_mtime)
    if found is None:
        return None
    kept = {name: found[name] for name in _KEPT}
    return Supernet(space, ClipShape(*found["clip"]), found["classes"], recipe, **kept)


def _check() -> None:
    import_module("stsearch.nni")


EVALUATORS.add("nni-oneshot", Evaluator(OneShotRecipe, evaluate_by_inheriting, _check, metrics=ACCURACIES))
