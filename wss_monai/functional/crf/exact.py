# SPDX-License-Identifier: Apache-2.0
"""Exact Gaussian filters of the CRF, with symmetric normalisation D^-1/2 K D^-1/2, D = K 1 + 1e-20, diagonal included.

The spatial kernel is a product over the axes, so that one small matrix an axis applies it exactly. The bilateral kernel
is an N x N matrix: kept over the iterations where it fits, computed anew in blocks of rows where it does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-20
KEEP_BYTES = 2**29
"""A kernel matrix up to this size is kept over the iterations (16384 voxels in float32 are 1 GiB: too many)."""
BLOCK = 2**22
"""Entries of a block of rows where the matrix is not kept."""


class SpatialFilter:
    """Normalised spatial Gaussian kernel, applied axis by axis; exact.

    Args:
        sigma: (B, D) standard deviation along each axis in voxels.
        shape: the D spatial sizes.
        dtype: of the computation.
    """

    def __init__(self, sigma: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.shape = shape
        self.matrices = []
        for axis, size in enumerate(shape):
            index = torch.arange(size, dtype=torch.float64, device=sigma.device)
            squared = (index[:, None] - index[None, :]) ** 2
            kernel = torch.exp(-0.5 * squared / sigma[:, axis, None, None].double() ** 2)
            scale = (kernel.sum(-1) + EPSILON).rsqrt()
            self.matrices.append((kernel * scale[:, :, None] * scale[:, None, :]).to(dtype))

    def __call__(self, values: Tensor) -> Tensor:
        """Filtered ``values`` (B, N, K), N in the order of the flattened grid."""
        batch, count, channels = values.shape
        before = 1
        for size, matrix in zip(self.shape, self.matrices, strict=True):
            after = count // (before * size) * channels
            if size > 1:
                parts = values.reshape(batch, before, size, after)
                values = matrix[:, None] @ parts
            before *= size
        return values.reshape(batch, count, channels)


class ExactFilter:
    """Normalised Gaussian kernel between all pairs of points, N^2 of them.

    Args:
        features: (B, N, F) points, already divided by the standard deviations.
    """

    def __init__(self, features: Tensor) -> None:
        self.features = (features - features.mean(1, keepdim=True)).transpose(1, 2).contiguous()
        batch, _, count = self.features.shape
        self.kept = None
        if batch * count * count * features.element_size() <= KEEP_BYTES:
            self.kept = self._rows(0, count)
        ones = features.new_ones(batch, count, 1)
        self.scale = (self._product(ones) + EPSILON).rsqrt()

    def __call__(self, values: Tensor) -> Tensor:
        """Filtered ``values`` (B, N, K)."""
        return self._product(values * self.scale) * self.scale

    def _rows(self, start: int, stop: int) -> Tensor:
        """Rows of the kernel matrix, (B, stop - start, N). Differences, not products: no cancellation."""
        out = None
        for axis in self.features.unbind(1):
            difference = axis[:, start:stop, None] - axis[:, None, :]
            out = difference.square_() if out is None else out.addcmul_(difference, difference)
        if out is None:
            raise ValueError("features must have at least one dimension.")
        return out.mul_(-0.5).exp_()

    def _product(self, values: Tensor) -> Tensor:
        if self.kept is not None:
            return self.kept @ values
        batch, _, count = self.features.shape
        step = max(1, BLOCK // (batch * count))
        starts = range(0, count, step)
        return torch.cat([self._rows(start, min(start + step, count)) @ values for start in starts], 1)
