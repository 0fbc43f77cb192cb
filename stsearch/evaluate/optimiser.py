"""What changes the weights: Muon, AdamW or SGD, with one schedule for all that belongs to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from stsearch.evaluate.muon import Muon
from stsearch.evaluate.recipe import LoopRecipe

_BESIDE_MUON = 0.1
"""AdamW's learning rate for all but convolutions, as a share of Muon's"""


class Optimiser:
    """One optimiser of torch, or Muon for convolutions and AdamW for the rest, behind one ``step``."""

    def __init__(self, network: nn.Module, recipe: LoopRecipe) -> None:
        self._recipe = recipe
        self._convolutions: list[nn.Parameter] = []
        self._matrices: list[nn.Parameter] = []
        self._parts: list[torch.optim.Optimizer] = []
        weights = list(network.parameters())
        if recipe.optimizer == "muon":
            self._convolutions = _convolutions(network)
            self._matrices = [nn.Parameter(_matrix(weight.detach(), weight)) for weight in self._convolutions]
            weights = _others(weights, self._convolutions)
            self._parts += [Muon(self._matrices, recipe.lr, recipe.momentum)] if self._matrices else []
            self._parts += [_adamw(weights, recipe, recipe.lr * _BESIDE_MUON)] if weights else []
        elif recipe.optimizer == "adamw":
            self._parts = [_adamw(weights, recipe, recipe.lr)]
        else:
            nesterov = recipe.momentum > 0
            decay = recipe.weight_decay
            self._parts = [torch.optim.SGD(weights, recipe.lr, recipe.momentum, weight_decay=decay, nesterov=nesterov)]
        self._peaks = [part.defaults["lr"] for part in self._parts]

    def step(self, rate: float) -> None:
        """Change the weights by their gradients at the learning rate ``rate``; Muon's where there are two."""
        for part, peak in zip(self._parts, self._peaks, strict=True):
            for group in part.param_groups:
                group["lr"] = peak * rate / self._recipe.lr
        for matrix, weight in zip(self._matrices, self._convolutions, strict=True):
            with torch.no_grad():
                weight.mul_(weight.shape[0] ** 0.5 / weight.norm().clamp_min(1e-12))
            matrix.grad = None if weight.grad is None else _matrix(weight.grad, weight)
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """All that ``load_state_dict`` needs."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``, of an optimiser alike; that of earlier versions was SGD's own."""
        for part, kept in zip(self._parts, state.get("parts", [state]), strict=True):
            part.load_state_dict(kept)


def _convolutions(network: nn.Module) -> list[nn.Parameter]:
    """Weights of all convolutions whose output sees every input channel: those that are one matrix."""
    found = (module for module in network.modules() if isinstance(module, nn.Conv3d) and module.groups == 1)
    return [weight for module in found if isinstance(weight := module.weight, nn.Parameter)]


def _matrix(weight: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A convolution's weights or gradients ``(c_out, c_in, kT, kH, kW)`` as a matrix ``(c_out, all others)``.

    Columns are in the order in which ``like`` has them in memory, so of ``like`` itself it is a view, and what is done
    to it is done to the weights. Muon does not mind the order of columns.
    """
    last = like.is_contiguous(memory_format=torch.channels_last_3d)
    return (weight.permute(0, 2, 3, 4, 1) if last else weight).reshape(len(weight), -1)


def _others(weights: Iterable[nn.Parameter], without: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    known = {id(weight) for weight in without}
    return [weight for weight in weights if id(weight) not in known]


def _adamw(weights: list[nn.Parameter], recipe: LoopRecipe, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(weights, rate, weight_decay=recipe.weight_decay)
