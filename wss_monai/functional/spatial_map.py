# SPDX-License-Identifier: Apache-2.0
"""A geometric map of a batch that can be applied to images, to maps and to the frame itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wss_monai.functional.warps import resampling_grid

CLOSE = 1e-9
"""How far from integers a matrix may be that only moves voxels onto voxels."""


class SpatialMap:
    """One voxel matrix a sample, and what it does to tensors on the grid that it was drawn for, or on another one.

    Where every matrix carries voxels onto voxels (flips, quarter turns, whole shifts) values are moved and not
    interpolated: the result is exact. Otherwise they are resampled linearly. What lies outside of the frame is 0.

    Args:
        matrix: (B, D+1, D+1) from input to output voxels, tensor axis order, voxel centres at integers; float64.
        shape: of the grid, D extents.
        frame: of the grid that comes out; None: the same.

    Raises:
        ValueError: matrices that do not fit the shape.
    """

    def __init__(self, matrix: Tensor, shape: tuple[int, ...], frame: tuple[int, ...] | None = None) -> None:
        width = len(shape) + 1
        if matrix.dim() != 3 or matrix.shape[1:] != (width, width):
            raise ValueError(f"matrix must be (B, {width}, {width}) for a grid {shape}, got {tuple(matrix.shape)}.")
        self.matrix = matrix.double()
        self.shape = tuple(shape)
        self.frame = self.shape if frame is None else tuple(frame)
        self._grids: dict[tuple[tuple[int, ...], torch.device], tuple[Tensor, bool]] = {}

    def __call__(self, values: Tensor) -> Tensor:
        """Apply it to (B, C, *grid), on its own grid or one with other cells in the same frame; differentiable.

        What comes out has the extents of ``frame``, or, on a grid with other cells, in proportion.

        Raises:
            ValueError: another number of samples or dimensions.
        """
        shape = tuple(values.shape[2:])
        if len(values) != len(self.matrix) or len(shape) != len(self.shape):
            raise ValueError(
                f"values must be ({len(self.matrix)}, channels, {len(self.shape)} spatial axes), got "
                f"{tuple(values.shape)}."
            )
        grid, exact = self._grid(shape, values.device)
        mode = "nearest" if exact else "bilinear"
        return F.grid_sample(values, grid.to(values.dtype), mode=mode, padding_mode="zeros", align_corners=True)

    def valid(self, shape: tuple[int, ...] | None = None, device: torch.device | str = "cpu") -> Tensor:
        """Boolean (B, 1, *spatial): what all came from inside of the frame, not padded; ``shape`` as in the call."""
        ones = torch.ones(len(self.matrix), 1, *(shape or self.shape), device=device)
        return self(ones) > 1 - 1e-4

    def exact(self, shape: tuple[int, ...] | None = None) -> bool:
        """Tell whether voxels of a grid of the frame go onto voxels."""
        return self._grid(tuple(shape or self.shape), torch.device("cpu"))[1]

    def _grid(self, shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, bool]:
        """Sampling grid (B, *shape, D), and whether it only picks voxels."""
        if (shape, device) not in self._grids:
            matrix = self._on(shape)
            exact = bool((matrix - matrix.round()).abs().max() < CLOSE)
            grid = resampling_grid(matrix.round() if exact else matrix, shape, device, self._out(shape))
            self._grids[shape, device] = grid, exact
        return self._grids[shape, device]

    def _out(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Extents of what comes out of another grid of the same frame."""
        if shape == self.shape:
            return self.frame
        return tuple(max(1, round(m * n / k)) for m, n, k in zip(self.frame, shape, self.shape, strict=True))

    def _on(self, shape: tuple[int, ...]) -> Tensor:
        """The matrices in voxels of another grid of the same frame."""
        matrix = self.matrix.cpu()
        if shape == self.shape:
            return matrix
        return torch.linalg.inv(_cells(self.frame, self._out(shape))) @ matrix @ _cells(self.shape, shape)


def _cells(fine: tuple[int, ...], coarse: tuple[int, ...]) -> Tensor:
    """Matrix (D+1, D+1) from places on a coarse grid to those on a fine one of the same frame."""
    cell = torch.tensor([n / m for n, m in zip(fine, coarse, strict=True)], dtype=torch.float64)
    there = torch.diag(torch.cat((cell, cell.new_ones(1))))
    there[:-1, -1] = (cell - 1) / 2
    return there
