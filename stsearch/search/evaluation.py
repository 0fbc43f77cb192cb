"""Networks evaluated outside a search: as their study evaluates them, alone or fused.

Late fusion is the mean of the networks' softmax over the same videos, as in the two-stream rows
of the paper (Tran et al., CVPR 2018, section 4.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from stsearch.data.cache import Progress
from stsearch.data.loader import resident
from stsearch.data.sources import DATASETS, channels_of, open_data
from stsearch.data.videos import ClipData
from stsearch.errors import UserError
from stsearch.evaluate.accuracy import accuracy, video_accuracies
from stsearch.evaluate.evaluators import EVALUATORS, Task, begun
from stsearch.evaluate.halving import HalvingRecipe
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.evaluate.train import train, video_probabilities
from stsearch.profiling.allocator import keep_memory
from stsearch.schema import Strict, validate
from stsearch.search.fitting import fitted_recipe
from stsearch.search.metrics import OF_PAIRS
from stsearch.search.reading import StoredStudy
from stsearch.search.spec import Study
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape


@dataclass(frozen=True)
class Protocol:
    """How a study evaluates its networks."""

    study: str
    data: Strict
    recipe: TrainRecipe
    clip: ClipShape
    """of the proxy"""
    width: float
    seed: int
    threads: int
    """torch threads on a CPU"""
    said: frozenset[str] = frozenset(TrainRecipe.model_fields)
    """keys of the recipe that somebody chose; a length that nobody chose is that which the data ask for"""

    def of_modality(self, modality: str) -> Protocol:
        """The same on ``rgb`` or ``flow``; ``UserError`` where the data have one only."""
        if modality == self.modality:
            return self
        if not hasattr(self.data, "modality"):
            name = getattr(self.data, "name")
            raise UserError(f"data.name: {name!r} is rendered, so it has no {modality}; fusing needs videos")
        data = self.data.model_copy(update={"modality": modality})
        return replace(self, data=data, clip=replace(self.clip, channels=channels_of(data)))

    @property
    def modality(self) -> str:
        """``rgb`` or ``flow``."""
        return str(getattr(self.data, "modality", "rgb"))


def _recipe(given: Any, study: str) -> TrainRecipe:
    """A study's recipe for a whole training."""
    if isinstance(given, HalvingRecipe):
        return given.whole
    if not isinstance(given, TrainRecipe):
        raise UserError(
            f"the study {study!r} evaluates with {getattr(given, 'name')!r} and does not say how to train; give "
            "a study file that does with --study"
        )
    return given


def protocol_of(study: Study) -> Protocol:
    """That of a study file."""
    spec = study.spec
    recipe = _recipe(spec.evaluate, study.name)
    said = study.said | ({"epochs"} if "rungs" in study.said else set())
    threads = spec.engine.threads
    return Protocol(study.name, spec.data, recipe, study.proxy_clip(), spec.proxy.width, spec.seed, threads, said)


def stored_protocol(stored: StoredStudy) -> Protocol:
    """That of a study that was run."""
    given = stored.resolved
    data = validate(DATASETS[given["data"]["name"]].recipe, given["data"], f"study {stored.name}")
    evaluate = given["evaluate"]
    recipe = _recipe(validate(EVALUATORS[evaluate["name"]].recipe, evaluate, f"study {stored.name}"), stored.name)
    width, threads = stored.identity["proxy"]["width"], given["engine"]["threads"]
    return Protocol(stored.name, data, recipe, stored.proxy_clip, width, given["seed"], threads)


@dataclass(frozen=True)
class Stream:
    """A network and what it is fed."""

    network: str
    architecture: Architecture
    protocol: Protocol
    study_mean: float | None = None
    """video@1 of the network in its study, per cent, which ``pareto`` shows; ``None`` where it is of none"""
    study_n: int = 0
    """trainings that this is the mean of"""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        known = {} if self.study_mean is None else {"study_mean": self.study_mean, "study_n": self.study_n}
        return {
            **known,
            "network": self.network,
            "architecture": self.architecture.id,
            "modality": self.protocol.modality,
            "study": self.protocol.study,
        }


@dataclass(frozen=True)
class Result:
    """Accuracies on one split, per cent: the means of all trainings."""

    video_top1: float
    video_top5: float
    per_class: tuple[float | None, ...]
    """video@1 of the videos of each class; ``None`` for a class without videos"""
    each: tuple[float, ...]
    """video@1 of every training"""
    order_top1: float | None = None
    """``None`` where classes are no pairs of a motion and its reversal, as the next one"""
    frames_top1: float | None = None


@dataclass(frozen=True)
class Evaluated:
    """What several networks say of the same videos, and what they say together."""

    split: str
    videos: int
    classes: tuple[str, ...]
    streams: tuple[Stream, ...]
    results: tuple[Result, ...]
    """one for each stream"""
    fused: Result | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        rows = zip(self.streams, self.results, strict=True)
        return {
            "split": self.split,
            "videos": self.videos,
            "classes": list(self.classes),
            "networks": [{**stream.as_dict(), **_plain(result)} for stream, result in rows],
            "fused": _plain(self.fused) if self.fused is not None else None,
        }


def _plain(result: Result) -> dict[str, Any]:
    return {**vars(result), "per_class": list(result.per_class), "each": list(result.each)}


def _refuse_unlike(streams: Sequence[Stream]) -> None:
    """Networks are fused over the same videos in the same order: all of their data but the modality is alike."""
    alike = [stream.protocol.data.model_copy(update={"modality": "rgb"}) for stream in streams]
    if any(one != alike[0] for one in alike):
        names = ", ".join(dict.fromkeys(stream.protocol.study for stream in streams))
        raise UserError(f"--fuse: the studies {names} have other data sections than each other, apart from `modality`")
    repeats = {stream.protocol.recipe.repeats for stream in streams}
    if len(repeats) > 1:
        raise UserError(f"--fuse: evaluate.repeats differs among the studies: {sorted(repeats)}")


def evaluate(
    streams: Sequence[Stream], device: torch.device, *, split: str, fuse: bool, progress: Progress
) -> Evaluated:
    """Train every stream as its study does and evaluate it on ``split``; with ``fuse`` also their mean softmax.

    A training has the seed that its study gives it, so on a CPU its ``val`` result is that of the
    search, bit for bit. Raises ``UserError`` where the split is missing or streams do not fit
    together, ``EvaluationFailed`` where a training fails.
    """
    keep_memory(device)
    if fuse:
        _refuse_unlike(streams)
    found: list[list[torch.Tensor]] = []
    labels: list[torch.Tensor] = []
    data: ClipData | None = None
    for number, stream in enumerate(streams):
        data = _loaded(stream.protocol, device, split, progress)
        torch.set_num_threads(stream.protocol.threads)
        label = f"{stream.network} ({stream.protocol.modality}), network {number + 1} of {len(streams)}, epochs"
        found.append(_probabilities(stream, data, device, split, partial(progress, label)))
        labels.append(data.splits[split].labels)
    assert data is not None
    fused, pairs = None, data.opposite
    if fuse:
        if any(not torch.equal(one, labels[0]) for one in labels):
            raise UserError("--fuse: the networks do not see the same videos (some are unreadable in one modality)")
        fused = _result([torch.stack(trainings).mean(0) for trainings in zip(*found, strict=True)], labels[0], pairs)
    results = tuple(_result(trainings, truth, pairs) for trainings, truth in zip(found, labels, strict=True))
    return Evaluated(split, len(labels[0]), data.classes, tuple(streams), results, fused)


def _loaded(protocol: Protocol, device: torch.device, split: str, progress: Progress) -> ClipData:
    data = open_data(protocol.data).load(protocol.clip.frames, protocol.clip.height, progress)
    if split not in data.splits:
        raise UserError(f"--split {split}: the data of {protocol.study!r} have {', '.join(data.splits)}")
    return resident(data, device, protocol.recipe.resident_share)


def _probabilities(
    stream: Stream, data: ClipData, device: torch.device, split: str, progress: Callable[[int, int], None]
) -> list[torch.Tensor]:
    """Mean softmax ``(V, classes)`` of every training's network."""
    protocol = stream.protocol
    recipe = fitted_recipe(protocol.recipe, protocol.said, data)
    architecture = stream.architecture.scaled(protocol.width)
    size = {"frames": protocol.clip.frames, "size": protocol.clip.height}
    task = Task(architecture, protocol.clip, data, recipe, protocol.seed, device)
    total = recipe.epochs * recipe.repeats
    progress(0, total)
    found = []
    for repeat in range(recipe.repeats):
        network, generator = begun(task, repeat)

        def on_epoch(epoch: Any, before: int = repeat * recipe.epochs) -> None:
            progress(before + epoch.epoch, total)

        train(network, data, recipe, generator=generator, device=device, on_epoch=on_epoch, **size)
        found.append(video_probabilities(network, data, recipe, device=device, split=split, **size))
    return found


def _result(trainings: Sequence[torch.Tensor], labels: torch.Tensor, opposite: Sequence[int]) -> Result:
    """Means over trainings of what their probabilities ``(V, classes)`` are worth."""
    scores = [video_accuracies(probabilities, labels, opposite) for probabilities in trainings]
    named = ("video_top1", "video_top5", *(name for name in OF_PAIRS if name in scores[0]))
    columns = zip(*(score["per_class"] for score in scores), strict=True)
    return Result(
        **{name: sum(score[name] for score in scores) / len(scores) for name in named},
        per_class=tuple(None if column[0] is None else sum(column) / len(column) for column in columns),
        each=tuple(accuracy(probabilities, labels) for probabilities in trainings),
    )
