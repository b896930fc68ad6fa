# SPDX-License-Identifier: Apache-2.0
"""The network on two views of each image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from wss_monai.functional.spatial_map import SpatialMap

__all__ = ["TwoViews"]


class TwoViews(Inferer):
    """The network's outputs on an image and on the moved image, (2, B, ...); each view is a batch of its own.

    Where the moved image has another size, they are a pair.
    """

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, view: SpatialMap, **kwargs: Any
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Give both outputs for ``inputs`` (B, C, *spatial)."""
        first, second = network(inputs, *args, **kwargs), network(view(inputs), *args, **kwargs)
        return torch.stack((first, second)) if first.shape == second.shape else (first, second)
