"""Muon: momentum whose steps are orthogonal matrices (Jordan et al., 2024), for many small matrices at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""of the quintic iteration by which singular values come near to 1; Jordan's"""


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest orthogonal matrices, roughly: ``(N, R, C)`` to the same, singular values between 0.7 and 1.2.

    In bf16 on a GPU; in float32 on a CPU, where many processors have no bf16 products.
    """
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x.to(torch.bfloat16) if x.is_cuda else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.mT).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov's momentum, made orthogonal; ``lr`` is the size of a step's singular values.

    Matrices taller than wide take steps ``sqrt(rows / columns)`` times as large. Those of one shape are worked on
    together.
    """

    def __init__(self, matrices: Iterable[torch.nn.Parameter], lr: float, momentum: float) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override] # nobody here evaluates a loss anew within a step
        """Change the matrices by their gradients."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.nn.Parameter]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes.setdefault(matrix.shape, []).append(matrix)
            for (rows, columns), alike in shapes.items():
                steps = orthogonal(torch.stack([self._moved(matrix, group["momentum"]) for matrix in alike]))
                size = group["lr"] * max(1.0, rows / columns) ** 0.5
                for matrix, one in zip(alike, steps, strict=True):
                    matrix.sub_(one, alpha=size)

    def _moved(self, matrix: torch.nn.Parameter, momentum: float) -> torch.Tensor:
        """The gradient with what is left of those before it."""
        assert matrix.grad is not None
        state: dict[str, Any] = self.state[matrix]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(matrix)
        state["momentum"].mul_(momentum).add_(matrix.grad)
        return matrix.grad.add(state["momentum"], alpha=momentum)
