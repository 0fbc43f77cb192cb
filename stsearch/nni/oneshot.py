"""One supernet for all networks of a space, trained by NNI's one-shot strategies on our clips.

A network's accuracy with inherited weights is a proxy for its accuracy after a training of its own,
and an unsure one: set it against trained networks before believing its order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from stsearch.data.augment import Normaliser, training_cuts
from stsearch.data.loader import Batch, batches, resident
from stsearch.data.videos import ClipData, VideoSet
from stsearch.evaluate.accuracy import accuracy, video_accuracies
from stsearch.evaluate.oneshot import OneShotRecipe
from stsearch.evaluate.train import EvaluationFailed, video_probabilities
from stsearch.nets.build import VideoNet, build
from stsearch.nni.lightning import Fit, fit
from stsearch.nni.spaces import Sample, to_architecture, to_model_space, to_sample, token
from stsearch.profiling.device import out_of_memory
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.search_space import SearchSpace

State = Mapping[str, torch.Tensor]
OnEpoch = Callable[[int, float, float, float, State], None]
"""``(epoch from 1, learning rate, mean loss, seconds, weights)``"""


@dataclass(frozen=True)
class Supernet:
    """Trained weights of all networks of ``space``."""

    space: SearchSpace
    clip: ClipShape
    classes: int
    recipe: OneShotRecipe
    state: State
    """weights by the names of ``to_model_space``, on the CPU"""
    probabilities: dict[str, dict[Any, float]]
    """of ``darts``: label to the share of each value in the mixture; else empty"""
    losses: tuple[float, ...]
    """mean cross-entropy of each epoch, nats per clip"""
    seconds: float
    clips_per_second: float

    @property
    def favourite(self) -> Architecture | None:
        """The network of the largest shares, which DARTS would return; ``None`` of ``random``."""
        if not self.probabilities:
            return None
        sample: Sample = {label: max(shares, key=shares.__getitem__) for label, shares in self.probabilities.items()}
        return to_architecture(self.space, sample)

    def network(self, architecture: Architecture) -> VideoNet:
        """``architecture`` with inherited weights, also to go on training it; ``UserError`` if not of the space."""
        return inherited(self.space, self.state, architecture, self.clip, self.classes)

    def scores(self, architecture: Architecture, data: ClipData, device: torch.device) -> dict[str, Any]:
        """``clip_top1`` and ``video_accuracies`` of ``architecture`` on ``val``, inherited."""
        network = self.network(architecture)
        found = clip_top1(network, data, self.recipe, self.clip, device)
        probabilities = video_probabilities(
            network, data, self.recipe, frames=self.clip.frames, size=self.clip.height, device=device
        )
        labels = data.splits["val"].labels.cpu()
        return {"clip_top1": found, **video_accuracies(probabilities, labels, data.opposite)}

    def accuracy(self, architecture: Architecture, data: ClipData, device: torch.device) -> float:
        """video@1 on ``val``, per cent, with inherited weights."""
        return float(self.scores(architecture, data, device)["video_top1"])


def inherited(space: SearchSpace, state: State, architecture: Architecture, clip: ClipShape, classes: int) -> VideoNet:
    """``architecture`` with its share of a supernet's weights, as ``nets.build`` builds it."""
    to_sample(space, architecture)  # says if it is not of the space
    network = build(architecture, clip, classes)
    network.load_state_dict({name: state[_origin(space, architecture, name)] for name in network.state_dict()})
    return network


def _origin(space: SearchSpace, architecture: Architecture, name: str) -> str:
    """Where a weight of ``VideoNet`` is in ``SpaceNet``: the same name after another way through the choices."""
    root = "network" if len(space.widths) == 1 else f"network.{token(architecture.width)}"
    if name.startswith("head."):
        return f"{root}.{1 + len(space.stages)}.{name.removeprefix('head.')}"
    _, group, block, rest = name.split(".", 3)
    if group == "conv1":
        return ".".join([root, "0", *([architecture.stem] if len(space.stems) > 1 else []), rest])
    number = next(place for place, stage in enumerate(space.stages) if stage.name == group)
    stage, kind = space.stages[number], architecture.stages[number][int(block)]
    way = [*(["blocks"] if len(stage.depths) > 1 else []), block, *([kind] if len(stage.kinds) > 1 else [])]
    return ".".join([root, str(1 + number), *way, rest])


def calibrate(
    network: nn.Module,
    data: ClipData,
    recipe: OneShotRecipe,
    clip: ClipShape,
    generator: torch.Generator,
    device: torch.device,
) -> None:
    """Take BatchNorm's statistics anew from ``recipe.calibrate`` batches of training clips.

    Those in a supernet are of a mixture of networks, which none of them is.
    """
    network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm3d)]
    usual = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over the batches
    data = resident(data, device, recipe.resident_share)
    normalise = Normaliser.of(data, device)
    cuts = training_cuts(data, clip.frames, clip.height, recipe.batch, recipe.augment, generator)
    cuts = cuts.part(0, recipe.calibrate * recipe.batch)
    network.train()
    with torch.no_grad():
        for batch in batches(data.splits["train"], cuts, recipe.batch, device):
            network(normalise(batch.clips, batch.colour))
    for layer, momentum in zip(norms, usual, strict=True):
        layer.momentum = momentum


def clip_top1(
    network: nn.Module, data: ClipData, recipe: OneShotRecipe, clip: ClipShape, device: torch.device
) -> float:
    """clip@1 on ``val``, per cent, after ``network`` was calibrated."""
    calibrate(network, data, recipe, clip, torch.Generator().manual_seed(0), device)
    one = recipe.model_copy(update={"video_clips": 1, "views": 10})
    probabilities = video_probabilities(network, data, one, frames=clip.frames, size=clip.height, device=device)
    return accuracy(probabilities, data.splits["val"].labels.cpu())


class Epochs:
    """Batches of ``train``, drawn anew by ``generator`` whenever they are iterated over."""

    def __init__(
        self, data: ClipData, recipe: OneShotRecipe, clip: ClipShape, generator: torch.Generator, device: torch.device
    ) -> None:
        self.data, self.recipe, self.clip, self.generator, self.device = data, recipe, clip, generator, device

    def __len__(self) -> int:
        count, batch = len(self.data.splits["train"]), self.recipe.batch
        return count // batch if count % batch == 1 and count > 1 else -(-count // batch)

    def __iter__(self) -> Iterator[Batch]:
        recipe = self.recipe
        cuts = training_cuts(
            self.data, self.clip.frames, self.clip.height, recipe.batch, recipe.augment, self.generator
        )
        return batches(self.data.splits["train"], cuts, recipe.batch, self.device)


def _some_of(videos: VideoSet, chosen: torch.Tensor) -> VideoSet:
    parts = {name: getattr(videos, name)[chosen] for name in ("starts", "lengths", "windows", "labels", "segments")}
    return replace(videos, **parts)


def halves(data: ClipData, generator: torch.Generator) -> tuple[ClipData, ClipData]:
    """The training videos in two halves at random: DARTS learns weights on one, shares on the other.

    ``val`` is left to judge, so no network is chosen by what it is measured on.
    """
    train = data.splits["train"]
    order = torch.randperm(len(train), generator=generator)
    middle = len(order) // 2
    one, other = (_some_of(train, half) for half in (order[:middle], order[middle : 2 * middle]))
    return replace(data, splits={**data.splits, "train": one}), replace(data, splits={**data.splits, "train": other})


def train_supernet(
    space: SearchSpace,
    clip: ClipShape,
    data: ClipData,
    recipe: OneShotRecipe,
    *,
    seed: int,
    device: torch.device,
    on_epoch: OnEpoch | None = None,
) -> Supernet:
    """Train the supernet of ``space`` on clips of shape ``clip`` with an NNI strategy; once for all networks.

    On a CPU a function of its arguments alone. Raises ``EvaluationFailed`` without memory, or for a loss that
    is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    classes = len(data.classes)
    net = to_model_space(space, clip, classes, generator=generator)
    net.to(device, memory_format=torch.channels_last_3d)
    data = resident(data, device, recipe.resident_share)
    normalise = Normaliser.of(data, device)
    first, second = halves(data, generator) if recipe.strategy == "darts" else (data, None)
    train = Epochs(first, recipe, clip, generator, device)
    beside = Epochs(second, recipe, clip, generator, device) if second is not None else None
    begun = time.perf_counter()
    try:
        done: Fit = fit(net, normalise, train, beside, recipe, seed=seed, device=device, on_epoch=on_epoch)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise EvaluationFailed(
            f"out of memory on {device} while the supernet was trained in batches of {recipe.batch} clips; a smaller "
            f"batch, a narrower proxy or strategy: random need less ({str(error).splitlines()[0]})"
        ) from None
    seconds = time.perf_counter() - begun
    if not all(map(math.isfinite, done.losses)):
        raise EvaluationFailed(f"the loss of the supernet is not finite (lr {recipe.lr:g}): {done.losses}")
    return Supernet(
        space, clip, classes, recipe, done.state, done.probabilities, done.losses, seconds, done.clips / seconds
    )
