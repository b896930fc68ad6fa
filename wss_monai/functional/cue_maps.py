# SPDX-License-Identifier: Apache-2.0
"""Cues and images on the coarser grid of a loss.

How a fine axis of S voxels lies on m cells is read off the two sizes. Where S = s (m - 1) + 1 (a network such as
LargeFOV: sizes of 8k + 1, cell i centred on voxel 8 i), a voxel x belongs to cell round(x / s), halves up. Else the
cells are m blocks side by side, and x belongs to cell floor(x m / S). Where both readings fit (64 voxels on 4 cells are
4 blocks of 16, or centres 21 apart), centres are meant only if s is a power of two, as the stride of a network is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.class_values import check_classes
from wss_monai.functional.wide import wide


def cues_on_grid(cues: Tensor, shape: Sequence[int], num_classes: int, check_values: bool = True) -> Tensor:
    """Carry an index map to a coarser grid without losing a thin scribble.

    A class lies in a cell where at least one of its voxels does (the maximum of the one-hot map). Where several classes
    lie in one cell, the class with the smaller area takes it; areas are counted in cells of the coarse grid, sample by
    sample and before any conflict is settled. Of two equal areas the class with the higher index takes the cell, so
    that background yields. Equal shapes return the cues as they are.

    Args:
        cues: (B, 1, *spatial) class indices, 255 = none, any numeric type.
        shape: the coarse grid.
        num_classes: K.
        check_values: False: the values are known to be right; a GPU need not be waited for.

    Returns:
        (B, 1, *shape) in the type of ``cues``.

    Raises:
        ValueError: cues that are no index map, a grid of another dimension or finer than the cues, a class that is not
            below ``num_classes``.
    """
    if cues.dim() < 3 or cues.shape[1] != 1:
        raise ValueError(f"cues must be an index map (B, 1, *spatial), got the shape {tuple(cues.shape)}.")
    strides = grid_strides(cues.shape[2:], shape, "cues")
    index = cues.flatten(1).long()
    seen = index != UNLABELLED
    if check_values:
        check_classes(index, num_classes, "the map of cues")
    if tuple(shape) == tuple(cues.shape[2:]):
        return cues
    cells = math.prod(shape)
    cell = torch.zeros((), dtype=torch.long, device=cues.device)
    for size, count, stride in zip(cues.shape[2:], shape, strides, strict=True):
        x = torch.arange(size, device=cues.device)
        along = x * count // size if stride is None else (x + stride // 2) // stride
        cell = cell.unsqueeze(-1) * count + along
    where = torch.where(seen, index, num_classes) * cells + cell.flatten()
    there = torch.zeros(len(cues), (num_classes + 1) * cells, dtype=torch.bool, device=cues.device)
    there = there.scatter_(1, where, True).view(len(cues), num_classes + 1, cells)[:, :num_classes]
    order = torch.arange(num_classes - 1, -1, -1, device=cues.device)
    claim = there.sum(-1) * num_classes + order  # distinct numbers: the smaller area first, then the higher index
    claim = torch.where(there, claim.unsqueeze(-1), torch.iinfo(torch.long).max)
    winner = torch.where(there.any(1), claim.argmin(1), UNLABELLED)
    return winner.view(len(cues), 1, *shape).to(cues.dtype)


def image_on_grid(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Carry an image (B, C, *spatial) to a coarser grid (B, C, *shape).

    Along an axis of centres (see the module) voxels s i are taken as they are, as published; along an axis of blocks
    each cell is the mean of its voxels.

    Raises:
        ValueError: a grid of another dimension or finer than the image.
    """
    for axis, (count, stride) in enumerate(zip(shape, grid_strides(image.shape[2:], shape, "image"), strict=True), 2):
        size = image.shape[axis]
        if stride is not None:
            image = image[(slice(None),) * axis + (slice(None, None, stride),)]
        elif size != count:
            last = image.movedim(axis, -1)
            pooled = F.adaptive_avg_pool1d(last.flatten(0, -2).unsqueeze(0), count)
            image = pooled.view(*last.shape[:-1], count).movedim(-1, axis)
    return image


def grid_strides(fine: Sequence[int], coarse: Sequence[int], name: str = "map") -> list[int | None]:
    """For each axis the distance of the cells' centres in voxels, or None where the cells are blocks.

    Raises:
        ValueError: a coarse grid of another dimension, finer than the fine one, or without cells.
    """
    if len(fine) != len(coarse) or any(m < 1 or m > size for size, m in zip(fine, coarse, strict=False)):
        raise ValueError(
            f"{name} of {tuple(fine)} cannot be put on a grid of {tuple(coarse)}: give {name} on that grid or on a "
            "finer one of the same dimension."
        )
    return [_stride(size, m) for size, m in zip(fine, coarse, strict=True)]


def grid_steps(fine: Sequence[int], coarse: Sequence[int]) -> list[float]:
    """For each axis the width of a cell in fine voxels, to turn the spacing of the one into that of the other."""
    strides = grid_strides(fine, coarse)
    return [size / m if s is None else float(s) for size, m, s in zip(fine, coarse, strides, strict=True)]


def block_mean(values: Tensor, stride: Sequence[int]) -> Tensor:
    """Mean of (B, C, *spatial) over blocks of ``stride`` voxels an axis; the last block of an axis may be cut."""
    for axis, width in enumerate(stride, 2):
        whole = values.shape[axis] // width * width
        if width == 1:
            continue
        parts = []
        if whole:
            parts.append(values.narrow(axis, 0, whole).unflatten(axis, (-1, width)).mean(axis + 1))
        if whole < values.shape[axis]:
            parts.append(values.narrow(axis, whole, values.shape[axis] - whole).mean(axis, keepdim=True))
        values = torch.cat(parts, axis) if len(parts) > 1 else parts[0]
    return values


def _stride(size: int, cells: int) -> int | None:
    """Distance of the cells' centres, or None for blocks."""
    if cells == size:
        return 1
    if cells == 1 or (size - 1) % (cells - 1):
        return None
    stride = (size - 1) // (cells - 1)
    return None if size % cells == 0 and stride & (stride - 1) else stride


def mm_steps(spacing: Tensor | None, image: Tensor, shape: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Mm (B, D) a cell of the grid that blocks of ``stride`` voxels of ``shape`` make, float32 or wider.

    Args:
        spacing: (B, D) mm a voxel of the image.
        image: (B, C, *spatial), on the grid ``shape`` or on a finer one.
        shape: the coarse grid.
        stride: its voxels in a block, one an axis.

    Raises:
        ValueError: no spacing, or one of another shape.
    """
    if spacing is None or spacing.shape != (len(image), len(shape)):
        raise ValueError(
            f"with mm, spacing must be (B, D) = {(len(image), len(shape))} in mm, "
            f"got {None if spacing is None else tuple(spacing.shape)}."
        )
    steps = [step * s for step, s in zip(grid_steps(image.shape[2:], shape), stride, strict=True)]
    return wide(spacing) * torch.tensor(steps, dtype=wide(spacing).dtype, device=spacing.device)
