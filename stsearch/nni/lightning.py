"""NNI's one-shot strategies run: the Lightning module of the training recipe, and what NNI must be told.

Two things of NNI 3.0 are replaced through its own hooks. Paths are drawn from a seeded generator (its own are
not). And DARTS adds up the outputs of all kinds, but a 3D kind halves time where a 2D kind does not: outputs
are averaged over time to the shortest before they are added.
"""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from nni.nas.evaluator.pytorch import Lightning, LightningModule, Trainer
from nni.nas.execution import SequentialExecutionEngine
from nni.nas.oneshot.pytorch.sampling import RandomSamplingLightningModule
from nni.nas.oneshot.pytorch.supermodule.differentiable import DifferentiableMixedLayer
from nni.nas.space import RawFormatModelSpace
from nni.nas.strategy import DARTS, RandomOneShot
from numpy.random import RandomState
from torch.nn import functional

from stsearch.data.augment import Normaliser
from stsearch.evaluate.oneshot import OneShotRecipe
from stsearch.evaluate.recipe import learning_rate
from stsearch.interrupt import check
from stsearch.nni.spaces import SpaceNet

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Fit:
    """What a strategy left behind."""

    state: State
    """weights by the names of ``SpaceNet``, on the CPU"""
    probabilities: dict[str, dict[Any, float]]
    losses: tuple[float, ...]
    clips: int
    """trained on, in all"""


class _Recipe(LightningModule):  # type: ignore[misc]
    """Our training recipe (SGD, warm-up, schedule per step) as NNI's evaluator wants it."""

    def __init__(
        self, normalise: Normaliser, recipe: OneShotRecipe, per_epoch: int, bf16: bool, on_epoch: Any | None
    ) -> None:
        super().__init__()
        self._normalise, self._recipe, self._per_epoch, self._bf16 = normalise, recipe, per_epoch, bf16
        self._on_epoch = on_epoch
        self.losses: list[float] = []
        self.clips = 0
        self._begin()

    def _begin(self) -> None:
        self._total, self._steps, self._begun = torch.zeros(()), 0, time.perf_counter()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Mean cross-entropy of a batch ``(clips, labels, colour)``."""
        check()
        clips, labels, colour = batch
        with torch.autocast(clips.device.type, dtype=torch.bfloat16) if self._bf16 else nullcontext():
            logits = self.model(self._normalise(clips, colour))
        loss = functional.cross_entropy(logits.float(), labels)
        self._total = self._total.to(loss.device) + loss.detach()
        self._steps += 1
        self.clips += len(labels)
        return loss

    def on_train_epoch_start(self) -> None:
        self._begin()

    def on_train_epoch_end(self) -> None:
        self.losses.append(float(self._total) / max(1, self._steps))
        if self._on_epoch is not None:
            rate = learning_rate(self._recipe, len(self.losses) * self._per_epoch - 1, self._per_epoch)
            seconds = time.perf_counter() - self._begun
            self._on_epoch(len(self.losses), rate, self.losses[-1], seconds, weights_of(self.model))

    def configure_optimizers(self) -> dict[str, Any]:
        recipe = self._recipe
        weights = [weight for name, weight in self.named_parameters() if "_arch_alpha" not in name]
        optimiser = torch.optim.SGD(
            weights, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.momentum > 0
        )

        def share(step: int) -> float:
            last = recipe.epochs * self._per_epoch - 1
            return learning_rate(recipe, min(step, last), self._per_epoch) / recipe.lr

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, share)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def weights_of(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights and statistics of a supernet by the names of ``SpaceNet``, DARTS's own parameters left out."""
    return {name: value.detach().cpu().clone() for name, value in net.state_dict().items() if "_arch_alpha" not in name}


class _SeededPaths(RandomSamplingLightningModule):  # type: ignore[misc]
    """NNI's uniform sampling of paths, with a generator of its own."""

    def __init__(self, training_module: Any, rng: RandomState) -> None:
        super().__init__(training_module)
        self._rng = rng
        self._space: dict[str, Any] | None = None

    def resample(self) -> dict[str, Any]:
        if self._space is None:
            self._space = dict(self.model.simplify())
        memo = {label: choice.random(random_state=self._rng) for label, choice in self._space.items()}
        for module in self.supernet_modules():
            module.resample(memo=memo)
        return memo


class _SeededRandom(RandomOneShot):  # type: ignore[misc]
    def __init__(self, rng: RandomState) -> None:
        super().__init__()
        self._paths = rng

    def configure_oneshot_module(self, training_module: Any) -> Any:
        return _SeededPaths(training_module, self._paths)


class _AlignedLayer(DifferentiableMixedLayer):  # type: ignore[misc]
    """A mixture of kinds that stride time differently."""

    def _reduction(self, items: list[torch.Tensor], weights: torch.Tensor) -> Any:
        if items[0].dim() == 5:
            frames = min(item.shape[2] for item in items)
            items = [
                item if item.shape[2] == frames else functional.adaptive_avg_pool3d(item, (frames, *item.shape[3:]))
                for item in items
            ]
        return super()._reduction(items, weights)


def _strategy(recipe: OneShotRecipe, rng: RandomState) -> Any:
    if recipe.strategy == "random":
        return _SeededRandom(rng)
    return DARTS(arc_learning_rate=recipe.arc_lr, mutation_hooks=[_AlignedLayer.mutate])


@contextmanager
def interruptible() -> Iterator[None]:
    """Lightning answers Ctrl-C with ``exit(1)`` and stays deaf to it: here it is Ctrl-C again.

    Afterwards the handler is the one before, or the one that it put in its place when it was called.
    """
    before = signal.getsignal(signal.SIGINT)
    after = [before]

    def relay(number: int, frame: Any) -> None:
        assert callable(before)
        try:
            before(number, frame)
        finally:
            now = signal.getsignal(signal.SIGINT)
            after[0] = before if now is relay else now

    mine = threading.current_thread() is threading.main_thread() and callable(before)
    if mine:
        signal.signal(signal.SIGINT, relay)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        if mine:
            signal.signal(signal.SIGINT, after[0])


def fit(
    net: SpaceNet,
    normalise: Normaliser,
    train: Any,
    beside: Any | None,
    recipe: OneShotRecipe,
    *,
    seed: int,
    device: torch.device,
    on_epoch: Callable[..., None] | None,
) -> Fit:
    """Run ``recipe.strategy`` on ``net``, which becomes a supernet; ``beside`` are DARTS's batches for the shares."""
    bf16 = recipe.precision == "bf16" or (
        recipe.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    module = _Recipe(normalise, recipe, len(train), bf16, on_epoch)
    with interruptible(), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # Lightning on loaders and workers, NNI on its own age
        torch.manual_seed(seed)  # of the first shares of DARTS, which NNI draws from torch's own generator
        trainer = Trainer(
            max_epochs=recipe.epochs,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=[device.index or 0] if device.type == "cuda" else 1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
        )
        evaluator = Lightning(module, trainer, train_dataloaders=train, val_dataloaders=beside or [])
        strategy = _strategy(recipe, RandomState(seed % 2**32))
        strategy(RawFormatModelSpace(net, evaluator), SequentialExecutionEngine())
    shares = strategy.oneshot_module.export_probs() if recipe.strategy == "darts" else {}
    plain = {str(label): dict(values) for label, values in shares.items()}  # NNI's labels are strings of its own
    return Fit(weights_of(strategy.supernet), plain, tuple(module.losses), module.clips)
