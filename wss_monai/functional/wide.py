# SPDX-License-Identifier: Apache-2.0
"""Float32 or wider: the type that sums over voxels, logarithms and small differences need."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["wide"]


def wide(values: Tensor) -> Tensor:
    """The values, of any shape, in float32; float64 stays as it is. TorchScript knows it too."""
    return values if values.dtype == torch.float64 else values.float()
