# SPDX-License-Identifier: Apache-2.0
"""Exact Gaussian filters of the CRF, with symmetric normalisation D^-1/2 K D^-1/2, D = K 1 + 1e-20, diagonal included.

The spatial kernel is a product over the axes, so that one small matrix an axis applies it, or the few taps that count.
The bilateral kernel is an N x N matrix: kept over the iterations where it fits, computed anew in blocks of rows where
it does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-20
KEEP_BYTES = 2**29
"""A kernel matrix up to this size is kept over the iterations (16384 voxels in float32 are 1 GiB: too many)."""
BLOCK = 2**22
"""Entries of a block of rows where the matrix is not kept."""
NEAR = 2**17
"""Entries of a block of rows that stays in the cache of a core while it is made."""
NOTHING = {torch.float32: 1e-10, torch.float64: 1e-20}
"""Taps of a spatial kernel below this share of the middle one change no digit."""
MOST_SHIFTS = 8
"""Taps on one side up to which shifted sums are faster than a matrix."""


class SpatialFilter:
    """Normalised spatial Gaussian kernel of one sample, applied axis by axis.

    Taps of less than ``NOTHING`` of the middle one are left out: their sum is below the rounding of the type. Where few
    are left, the axis is a sum of shifted copies, else one small matrix; both give the same but for rounding.

    Args:
        sigma: D standard deviations in voxels, on the CPU.
        shape: the D spatial sizes.
        like: a tensor of the type and on the device of the values to come.
    """

    def __init__(self, sigma: Tensor, shape: tuple[int, ...], like: Tensor) -> None:
        self.axes = [_Axis(_axis_matrix(width, size), like) for width, size in zip(sigma, shape, strict=True)]

    def __call__(self, values: Tensor) -> Tensor:
        """Filtered ``values`` (B, N, K), N in the order of the flattened grid."""
        batch, count, channels = values.shape
        before = batch
        for axis in self.axes:
            after = batch * count * channels // (before * axis.size)
            if axis.size > 1:
                values = axis(values.reshape(before, axis.size, after))
            before *= axis.size
        return values.reshape(batch, count, channels)


def _axis_matrix(sigma: Tensor, size: int) -> Tensor:
    """Normalised kernel (n, n) along an axis of n voxels, float64."""
    index = torch.arange(size, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (index[:, None] - index[None, :]) ** 2 / sigma.double() ** 2)
    scale = (kernel.sum(-1) + EPSILON).rsqrt()
    return kernel * scale[:, None] * scale[None, :]


class _Axis:
    """A product with a kernel along one axis: by its few taps, and by a matrix at the two ends, where they differ."""

    def __init__(self, matrix: Tensor, like: Tensor) -> None:
        self.size = len(matrix)
        middle = matrix[self.size // 2, self.size // 2 :]
        reach = int((middle > NOTHING[like.dtype] * middle[0]).sum()) - 1
        self.edge = 2 * reach  # rows whose taps are not those of the middle: normalised over fewer voxels
        self.banded = reach <= MOST_SHIFTS and self.size > 2 * (self.edge + reach)
        if self.banded:
            self.taps = middle[: reach + 1].tolist()
            wide = self.edge + reach
            blocks = matrix[: self.edge, :wide], matrix[-self.edge :, -wide:]
            self.ends = [block.to(like) for block in blocks] if reach else []
        else:
            self.matrix = matrix.to(like)

    def __call__(self, values: Tensor) -> Tensor:
        """Filtered ``values`` (before, size, after)."""
        if not self.banded:
            return self.matrix @ values
        out = values * self.taps[0]
        for shift, weight in enumerate(self.taps[1:], 1):
            out[:, shift:].add_(values[:, :-shift], alpha=weight)
            out[:, :-shift].add_(values[:, shift:], alpha=weight)
        if self.ends:
            first, last = self.ends
            out[:, : self.edge] = first @ values[:, : first.shape[1]]
            out[:, -self.edge :] = last @ values[:, -last.shape[1] :]
        return out


class ExactFilter:
    """Normalised Gaussian kernel between all pairs of points, N^2 of them.

    Args:
        features: (B, N, F) points, already divided by the standard deviations.
    """

    def __init__(self, features: Tensor) -> None:
        if features.shape[-1] == 0:
            raise ValueError("features must have at least one dimension.")
        self.features = (features - features.mean(1, keepdim=True)).transpose(1, 2).contiguous()
        batch, _, count = self.features.shape
        self.kept = None
        if batch * count * count * features.element_size() <= KEEP_BYTES:
            self.kept = features.new_empty(batch, count, count)
            step = max(1, (NEAR if features.device.type == "cpu" else BLOCK) // (batch * count))
            for start in range(0, count, step):
                self._rows(start, self.kept[:, start : start + step])
        ones = features.new_ones(batch, count, 1)
        self.scale = (self._product(ones) + EPSILON).rsqrt()

    def __call__(self, values: Tensor) -> Tensor:
        """Filtered ``values`` (B, N, K)."""
        return self._product(values * self.scale) * self.scale

    def _rows(self, start: int, out: Tensor) -> Tensor:
        """Rows of the kernel matrix from ``start`` on, written to (B, rows, N). Differences, not products: no
        cancellation, and the matrix is symmetric to the last bit."""
        stop = start + out.shape[1]
        difference = torch.empty_like(out)
        for number, axis in enumerate(self.features.unbind(1)):
            torch.sub(axis[:, start:stop, None], axis[:, None, :], out=difference if number else out)
            out = out.addcmul_(difference, difference) if number else out.square_()
        return out.mul_(-0.5).exp_()

    def _product(self, values: Tensor) -> Tensor:
        if self.kept is not None:
            return (values.transpose(1, 2) @ self.kept).transpose(1, 2)  # faster than the matrix times a few columns
        batch, _, count = self.features.shape
        step = max(1, BLOCK // (batch * count))
        parts = []
        for start in range(0, count, step):
            rows = values.new_empty(batch, min(step, count - start), count)
            parts.append(self._rows(start, rows) @ values)
        return torch.cat(parts, 1)
