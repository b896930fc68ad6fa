# SPDX-License-Identifier: Apache-2.0
"""Penalties: what a violation z of an inequality z <= 0 costs.

Elementwise, any shape and floating type, no reduction; computed in float32 or the input's wider type.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from wss_monai.functional.wide import wide


def needs_interior(penalty: nn.Module) -> bool:
    """Whether a penalty needs lower < upper: its attribute ``strict_interior``; lower <= upper will do without one."""
    return bool(getattr(penalty, "strict_interior", False))


class QuadraticPenalty(nn.Module):
    """max(z, 0)^2 (Kervadec et al., Medical Image Analysis 54, 2019, eq. 3)."""

    strict_interior = False

    def forward(self, z: Tensor) -> Tensor:
        """Cost of ``z`` (any shape); z <= 0 costs nothing."""
        return wide(z).relu() ** 2


class ReLUPenalty(nn.Module):
    """max(z, 0): the exact penalty, with a constant slope."""

    strict_interior = False

    def forward(self, z: Tensor) -> Tensor:
        """Cost of ``z`` (any shape); z <= 0 costs nothing."""
        return wide(z).relu()


class LogBarrierExtension(nn.Module):
    """Log-barrier extension (Kervadec et al., "Constrained deep networks", arXiv 1904.04205, eq. 5).

    -log(-z) / t for z <= -1/t^2, else the tangent line t z - log(1/t^2) / t + 1/t: continuous with a continuous
    slope, finite for every z. It is not zero where z <= 0, and can be negative: log max(z, 0) as the violation.

    Args:
        t: sharpness; the slope beyond z = -1/t^2. Python's full precision; part of ``state_dict()``. A handler raises
            it during training (``set_t``); the loss itself never does.

    Attributes:
        sharpness, edge, height: t, -1/t^2 and the tangent's value at 0, scalars in float64 on the host: buffers, so
            that a compiled loss reads them and is not compiled anew for another t.

    Raises:
        ValueError: when ``t`` is not a number between 1e-15 and 1e15.
    """

    strict_interior = True
    sharpness: Tensor
    edge: Tensor
    height: Tensor

    def __init__(self, t: float = 5.0) -> None:
        super().__init__()
        for name in ("sharpness", "edge", "height"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64), persistent=False)
        self.set_t(t)

    def set_t(self, t: float) -> None:
        """Set the sharpness."""
        if not 1e-15 <= t <= 1e15:  # beyond, 1/t^2 is no number of float32
            raise ValueError(f"t must be a positive number between 1e-15 and 1e15, got {t}.")
        self.t = float(t)
        self.sharpness.fill_(self.t)
        self.edge.fill_(-1 / self.t**2)
        self.height.fill_((2 * math.log(self.t) + 1) / self.t)

    def forward(self, z: Tensor) -> Tensor:
        """Cost of ``z`` (any shape)."""
        z = wide(z)
        t, edge, height = (value.to(z.dtype) for value in (self.sharpness, self.edge, self.height))
        barrier = -torch.log(-z.clamp(max=edge)) / t
        line = t * z + height
        return torch.where(z <= edge, barrier, line)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LogBarrierExtension:
        """Neither moved nor cast: numbers of the host go with tensors of any device and type."""
        return self

    def get_extra_state(self) -> Tensor:
        """t in full precision, whatever the module is cast to."""
        return torch.tensor(self.t, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore t."""
        self.set_t(float(state))

    def extra_repr(self) -> str:
        """Show t."""
        return f"t={self.t}"
