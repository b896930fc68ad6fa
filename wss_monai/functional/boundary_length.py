# SPDX-License-Identifier: Apache-2.0
"""Length of the boundary of a soft mask: its total variation, and the gradient of that, a few masks at a time.

In 3D the area of its surface. The slope of the mask is taken in the middle of each cell of 2^D voxel centres. As a
graph of tensor operations it keeps sixteen times its input. Here nothing is kept but the input: on the CPU a few masks
at a time pass through the cache of a core, in the forward pass and once more in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

NEAR = 2**18
"""Voxels of the masks that a core works on at a time."""


def length_of(probs: Tensor, steps: Tensor) -> Tensor:
    """Total variation (B, K) of ``probs`` (B, K, *spatial), for voxels of ``steps`` (B, D), which get no gradient."""
    masks, sizes = probs.flatten(0, 1), steps.detach().repeat_interleave(probs.shape[1], 0)
    total = _sums(_roots(_slopes(masks, sizes))) if torch.compiler.is_compiling() else _Length.apply(masks, sizes)
    return total.unflatten(0, probs.shape[:2]).clamp(min=0) * steps.prod(-1, keepdim=True)


class _Length(torch.autograd.Function):
    """Sum of the slopes (N,) of masks (N, *spatial) with voxels of ``sizes`` (N, D)."""

    @staticmethod
    def forward(ctx: Any, masks: Tensor, sizes: Tensor) -> Tensor:
        ctx.save_for_backward(masks, sizes)
        return torch.cat([_sums(_roots(_slopes(masks[part], sizes[part]))) for part in _parts(masks)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        masks, sizes = ctx.saved_tensors
        out = torch.empty_like(masks, memory_format=torch.contiguous_format)
        for part in _parts(masks):
            out[part] = _gradient(masks[part], sizes[part], gradient[part])
        return out, None


def _parts(masks: Tensor) -> list[slice]:
    """Masks that are worked on at a time: all of them but on the CPU."""
    count = max(1, NEAR // masks[0].numel()) if masks.device.type == "cpu" else len(masks)
    return [slice(start, start + count) for start in range(0, len(masks), count)]


def _slopes(masks: Tensor, sizes: Tensor) -> list[Tensor]:
    """Slope along each axis in the middle of each cell, (N, *cells), a cell more than there are voxels an axis."""
    dimensions = masks.dim() - 1
    padded = F.pad(masks.unsqueeze(0), [1] * (2 * dimensions), mode="replicate")[0]
    out = []
    for axis in range(dimensions):
        slope = torch.diff(padded, dim=axis + 1)
        for other in range(dimensions):
            if other != axis:
                count = slope.shape[other + 1] - 1
                slope = (slope.narrow(other + 1, 0, count) + slope.narrow(other + 1, 1, count)) / 2
        out.append(slope / _of_masks(sizes[:, axis], masks))
    return out


def _of_masks(values: Tensor, masks: Tensor) -> Tensor:
    """Values (N,) with singleton spatial axes."""
    return values.reshape(-1, *[1] * (masks.dim() - 1))


def _roots(slopes: list[Tensor]) -> Tensor:
    """Length of the slope in each cell; the little that is added gives it a gradient where the mask is flat."""
    square = slopes[0] ** 2
    for slope in slopes[1:]:
        square = square + slope**2
    return (square + 1e-12).sqrt()


def _sums(roots: Tensor) -> Tensor:
    """Sums (N,) over the cells; the outermost reach half a voxel beyond the frame's voxels: they count half."""
    total = roots - 1e-6
    while total.dim() > 1:
        total = total.sum(1) - (total.select(1, 0) + total.select(1, -1)) / 2
    return total


def _gradient(masks: Tensor, sizes: Tensor, gradient: Tensor) -> Tensor:
    """Gradient for masks (N, *spatial) of their lengths, times ``gradient`` (N,)."""
    slopes = _slopes(masks, sizes)
    share = _of_masks(gradient, masks) / _roots(slopes)
    for axis in range(1, masks.dim()):
        share.select(axis, 0).mul_(0.5)
        share.select(axis, -1).mul_(0.5)
    total: Tensor | None = None
    for axis, slope in enumerate(slopes, 1):
        voxels = slope.mul_(share).div_(_of_masks(sizes[:, axis - 1], masks))
        for other in range(1, masks.dim()):
            if other == axis:
                voxels = _to_both_sides(voxels, other, torch.sub)
            else:
                voxels = _to_both_sides(voxels, other, torch.add).mul_(0.5)
        total = voxels if total is None else total.add_(voxels)
    if total is None:
        raise ValueError("masks must have at least one spatial axis.")
    for axis in range(1, masks.dim()):  # the frame was padded with copies of its outermost voxels
        count = masks.shape[axis]
        total.select(axis, 1).add_(total.select(axis, 0))
        total.select(axis, count).add_(total.select(axis, count + 1))
        total = total.narrow(axis, 1, count)
    return total


def _to_both_sides(cells: Tensor, axis: int, combine: Any) -> Tensor:
    """Each cell's value added to its later neighbour, and added to or (``sub``) taken from the earlier one."""
    count = cells.shape[axis]
    out = cells.new_empty([n + (a == axis) for a, n in enumerate(cells.shape)])
    combine(cells.narrow(axis, 0, count - 1), cells.narrow(axis, 1, count - 1), out=out.narrow(axis, 1, count - 1))
    first = cells.select(axis, 0)
    out.select(axis, 0).copy_(first if combine is torch.add else -first)
    out.select(axis, count).copy_(cells.select(axis, count - 1))
    return out
