# SPDX-License-Identifier: Apache-2.0
"""Gradients that fit into float16, whose largest number is 65504."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["HalfGradient"]

LARGEST = torch.finfo(torch.float16).max / 4
"""A softmax at most doubles the largest entry; the rest leaves room for rounding."""


class HalfGradient:
    """Shorten the gradient of a term, sample by sample, where a network in float16 could not take it.

    A barrier of sharpness 1e6 has a slope beyond float16. The direction stays, and what fits is left as it is, bit for
    bit. The limit grows with the factor above 1 that comes from outside: a gradient that only a loss scaler made too
    large still overflows, since this is how the scaler notices.
    """

    def __init__(self) -> None:
        self.factor: Tensor | None = None

    def of(self, probs: Tensor) -> Tensor:
        """Give probabilities (B, K, *spatial) whose gradient is shortened; the values are the same."""
        if not probs.requires_grad:
            return probs
        seen = probs.view_as(probs)
        seen.register_hook(self._shorten)
        return seen

    def loss(self, value: Tensor) -> Tensor:
        """Give the term made of them, a scalar or one value a sample, which notes the factor from outside."""
        if not value.requires_grad:
            return value
        value = value.view_as(value)
        value.register_hook(self._note)
        return value

    def _note(self, gradient: Tensor) -> None:
        self.factor = gradient.detach().abs().amax().clamp(min=1.0)

    def _shorten(self, gradient: Tensor) -> Tensor:
        limit = gradient.new_tensor(LARGEST) * (1.0 if self.factor is None else self.factor.to(gradient))
        size = gradient.detach().abs().flatten(1).amax(1)
        share = (limit / size.clamp(min=torch.finfo(size.dtype).tiny)).clamp(max=1.0)
        return gradient * share.reshape(-1, *[1] * (gradient.dim() - 1))
