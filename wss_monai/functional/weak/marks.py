# SPDX-License-Identifier: Apache-2.0
"""Points and boxes in millimetres, drawn on the voxels of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wss_monai.functional import UNLABELLED

__all__ = ["box_place", "draw_point", "voxel_of"]

TILT = 0.5
"""Voxels by which a box may leave the axes of the image at its ends."""
EPSILON = 1e-6


def voxel_of(position: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Give the place of a point in voxels, (3,); voxel centres are whole numbers.

    Args:
        position: RAS, mm, (3,).
        affine: voxel to RAS, (4, 4).
    """
    return np.linalg.solve(affine[:3, :3], np.asarray(position, float) - affine[:3, 3])


def draw_point(
    index: np.ndarray, affine: np.ndarray, position: np.ndarray, value: int, radius: float = 0.0
) -> np.ndarray:
    """Draw a point: the voxel that it lies in, and those whose centres lie within a radius.

    Args:
        index: class indices, 255 where nothing is drawn, (X, Y, Z), uint8; changed in place.
        affine: voxel to RAS, (4, 4).
        position: RAS, mm, (3,).
        value: the class.
        radius: mm.

    Returns:
        The voxel that the point lies in, (3,).

    Raises:
        ValueError: the point lies outside of the image, or a voxel is drawn as another class.
    """
    place = voxel_of(position, affine)
    voxel = np.floor(place + 0.5).astype(int)
    if (voxel < 0).any() or (voxel >= index.shape).any():
        raise ValueError(f"lies outside of the image, at voxel {_shown(place)} of {index.shape}")
    reach = radius * np.linalg.norm(np.linalg.inv(affine[:3, :3]), axis=1) if radius > 0 else np.zeros(3)
    low = np.maximum(np.ceil(place - reach - EPSILON), 0).astype(int)
    high = np.minimum(np.floor(place + reach + EPSILON) + 1, index.shape).astype(int)
    grid = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1).reshape(-1, 3)
    near = grid[np.linalg.norm((grid - place) @ affine[:3, :3].T, axis=1) <= radius + EPSILON]
    where = tuple(np.concatenate([near, voxel[None]]).T)
    if others := set(np.unique(index[where]).tolist()) - {UNLABELLED, value}:
        raise ValueError(f"touches a point of another class ({min(others)}) at voxel {tuple(voxel.tolist())}")
    index[where] = value
    return voxel


def box_place(
    shape: Sequence[int], affine: np.ndarray, centre: np.ndarray, axes: np.ndarray, size: np.ndarray
) -> tuple[slice, ...]:
    """Give the voxels whose centres lie in a box; along an axis in which it holds none, the nearest ones.

    Args:
        shape: of the image, (3,).
        affine: voxel to RAS, (4, 4).
        centre: RAS, mm, (3,).
        axes: directions of the box's edges in RAS, as columns, (3, 3).
        size: lengths of the edges, mm, (3,).

    Returns:
        A slice an axis, clipped by the image.

    Raises:
        ValueError: the box is turned against the image, so that its bounds along the axes of the image would not be
            tight, or lies outside of it.
    """
    edges = np.abs(np.linalg.solve(affine[:3, :3], axes * size / 2))  # (voxel axis, edge), in voxels
    lengths = edges / np.maximum(edges.sum(axis=0), EPSILON)
    owner = lengths.argmax(axis=0)
    beside = edges.copy()
    beside[owner, np.arange(3)] = 0
    if (len(set(owner.tolist())) < 3 and (size > 0).all()) or beside.max() > TILT:
        raise ValueError(
            f"is turned against the axes of the image (its ends lie {beside.max():.1f} voxels off), so that it would "
            "not fit the organ along them; align it (in 3D Slicer: Crop Volume, Fit to Volume, then move its faces)"
        )
    middle, half = voxel_of(centre, affine), edges.max(axis=1)
    low, high = np.ceil(middle - half - EPSILON).astype(int), np.floor(middle + half + EPSILON).astype(int)
    nearest = np.floor(middle + 0.5).astype(int)
    low, high = np.where(low > high, nearest, low), np.where(low > high, nearest, high)
    place = tuple(slice(max(a, 0), min(b + 1, n)) for a, b, n in zip(low.tolist(), high.tolist(), shape, strict=True))
    if any(part.start >= part.stop for part in place):
        raise ValueError(f"lies outside of the image, around voxel {_shown(middle)} of {tuple(shape)}")
    return place


def _shown(place: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in place) + ")"
