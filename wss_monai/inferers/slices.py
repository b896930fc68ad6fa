# SPDX-License-Identifier: Apache-2.0
"""A network that says something of a whole slice, on every slice of a volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor


class SlicesInferer(Inferer):
    """Give a 2D network every slice of a volume as a sample of its own.

    MONAI's ``SliceInferer`` puts the outputs together as a volume; this one is for outputs that are no maps.

    Args:
        slice_axis: spatial axis along which the slices are cut; None: the volume is one sample.
        batch_size: slices that the network sees at a time.
    """

    def __init__(self, slice_axis: int | None = 2, batch_size: int = 16) -> None:
        super().__init__()
        self.slice_axis = slice_axis
        self.batch_size = batch_size

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Give the outputs (B * S, ...) for volumes (B, C, *spatial) of S slices, volume by volume."""
        if self.slice_axis is not None and inputs.dim() > 4:
            inputs = inputs.movedim(self.slice_axis + 2, 1).flatten(0, 1)
        return torch.cat([network(part, *args, **kwargs) for part in inputs.split(self.batch_size)])
