# SPDX-License-Identifier: Apache-2.0
"""Refinement of class activation maps by how much places look alike."""

from __future__ import annotations

import torch
from monai.networks.layers import Conv
from torch import Tensor, nn
from torch.nn import functional as F

from wss_monai.functional.wide import wide
from wss_monai.networks.sizes import check_sizes, linear_mode

__all__ = ["PixelCorrelation"]

LIMIT = 4096
"""Cells of the grid at most: an affinity of 64 MiB a sample in float32."""
EPS = 1e-5
"""What a norm and the sum of a row are at least."""


class PixelCorrelation(nn.Module):
    """The pixel correlation module of SEAM: each place takes the map's mean over the places that look like it.

    Image and features, stacked, go through ``theta``, a convolution of one tap without bias; the affinity of two places
    is the rectified cosine between them, with rows divided by their sum. It is applied to the map, which is rectified
    and divided by its largest value. Only ``theta`` is trained: image, features and map are detached.

    All of it happens on a coarser grid, of ceil(size / stride) cells an axis, to which image, features and map are
    brought by averaging, since the affinity has as many entries as the square of the cells. The result is carried
    linearly to the grid of the image.

    Reference: Wang et al., Self-supervised equivariant attention mechanism, CVPR 2020.

    Args:
        features: channels F of the features.
        image_channels: channels C of the image.
        width: channels of ``theta``.
        stride: voxels of the image a cell, along each axis.
        spatial_dims: 2 or 3.
        limit: cells of the grid at most; the affinity takes 4 limit^2 bytes a sample, and several times that in
            training.

    Raises:
        ValueError: a number out of its range; names it.
    """

    def __init__(
        self,
        features: int,
        image_channels: int = 1,
        width: int = 64,
        stride: int = 4,
        spatial_dims: int = 2,
        limit: int = LIMIT,
    ) -> None:
        super().__init__()
        check_sizes(
            spatial_dims, features=features, image_channels=image_channels, width=width, stride=stride, limit=limit
        )
        self.stride = int(stride)
        self.limit = int(limit)
        self.eps = EPS
        self.interpolation = linear_mode(spatial_dims)
        self.theta = Conv[Conv.CONV, spatial_dims](image_channels + features, width, 1, bias=False)
        nn.init.xavier_normal_(self.theta.weight)

    def forward(self, image: Tensor, features: Tensor, cam: Tensor) -> Tensor:
        """Refine maps.

        Args:
            image: (B, C, *spatial).
            features: (B, F, *grid) of the image, on any grid that covers it.
            cam: raw maps (B, N, *grid), on any grid that covers the image; each is refined by itself.

        Returns:
            (B, N, *spatial), in 0..1; 0 everywhere where the map is nowhere positive.

        Raises:
            ValueError: the grid has more cells than ``limit``; says which stride would do.
        """
        shape = list(image.shape[2:])
        grid = self._grid(shape, self.stride)
        cells = self._cells(grid)
        if cells > self.limit:
            enough = self.stride
            while self._cells(self._grid(shape, enough)) > self.limit:
                enough += 1
            raise ValueError(
                f"PixelCorrelation: an image of {list(shape)} voxels has {cells} cells at stride {self.stride}, more "
                f"than the limit of {self.limit}, and its affinity would take {cells * cells // 2**18} MiB a "
                f"sample: take stride {enough} or more, or raise the limit if there is memory"
            )
        looks = torch.cat([self._average(image, grid), self._average(features, grid)], 1)
        theta = wide(self.theta(looks)).flatten(2)
        theta = F.normalize(theta, dim=1, eps=self.eps)
        affinity = wide(torch.relu(theta.transpose(1, 2) @ theta))
        cam = self._average(torch.relu(wide(cam)), grid).flatten(2)
        cam = cam / cam.amax(2, keepdim=True).clamp(min=1e-8)
        # The affinity is symmetric: dividing the product by the sums of its rows spares a second matrix of that size.
        refined = wide(cam @ affinity) / affinity.sum(1, keepdim=True).clamp(min=self.eps)
        refined = refined.unflatten(2, grid)
        return F.interpolate(refined, size=shape, mode=self.interpolation, align_corners=False)

    def _grid(self, shape: list[int], stride: int) -> list[int]:
        return [(size + stride - 1) // stride for size in shape]

    def _cells(self, grid: list[int]) -> int:
        cells = 1
        for size in grid:
            cells *= size
        return cells

    def _average(self, values: Tensor, grid: list[int]) -> Tensor:
        return F.interpolate(values.detach(), size=grid, mode="area")
