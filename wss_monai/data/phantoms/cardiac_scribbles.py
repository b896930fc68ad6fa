# SPDX-License-Identifier: Apache-2.0
"""Scribbles on short-axis slices as experts drew them on ACDC: a curve in each class, one around the heart."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from wss_monai.data.phantoms.canvas import smooth_noise
from wss_monai.data.phantoms.cardiac_anatomy import LV, MYO, RV
from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.scribbles import scribble_border, scribble_interior


def draw_scribbles(label: np.ndarray, R: np.random.RandomState, pixel: float) -> np.ndarray:
    """Scribble every class of every slice with thin curves, about 1 % of the pixels.

    Args:
        label: ``(X, Y, Z)``, 0 background.
        R: the source of randomness.
        pixel: in-plane voxel size in mm.

    Returns:
        uint8 map: 255 where nothing is drawn, else the class, which is the label's own there.
    """
    weak = np.full(label.shape, UNLABELLED, np.uint8)
    where = bounding_box(label > 0, round(55 / pixel))
    dense, target = label[where], weak[where]
    waver = 2.0 * smooth_noise(R, dense.shape, (12 / pixel, 12 / pixel, 1.0))
    drawn = np.flatnonzero((dense > 0).any((0, 1)))
    for k in range(label.shape[2]):
        heart = dense[:, :, drawn[np.abs(drawn - k).argmin()]] > 0
        away = ndimage.distance_transform_edt(~heart) * pixel + waver[:, :, k]
        _scribble_slice(dense[:, :, k], away, R, target[:, :, k])
    return weak


def _scribble_slice(dense: np.ndarray, away: np.ndarray, R: np.random.RandomState, target: np.ndarray) -> None:
    """Draw into ``target``: background around the heart (``away`` mm from it) and a stroke further off, each class."""
    for distance, length in ((R.uniform(10, 17), (0.8, 1.0)), (R.uniform(24, 45), (0.02, 0.15))):
        curve = scribble_border((away < distance).astype(np.uint8), R, length=length, inset=0) == 1
        target[curve & (dense == 0)] = 0
    inner = scribble_interior(dense, R, classes=[c for c in (RV, MYO) if (dense == c).any()])
    target[inner != UNLABELLED] = inner[inner != UNLABELLED]
    if (dense == LV).any():
        inset = int(0.45 * ndimage.distance_transform_edt(dense == LV).max())
        target[scribble_border(dense, R, classes=[LV], length=(0.6, 1.0), inset=inset) == LV] = LV


def bounding_box(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """In-plane bounding box of a mask ``(X, Y, Z)``, widened by ``margin`` voxels."""
    across, down = np.flatnonzero(mask.any((1, 2))), np.flatnonzero(mask.any((0, 2)))
    first, last = (
        (max(int(a[0]) - margin, 0) for a in (across, down)),
        (int(a[-1]) + margin + 1 for a in (across, down)),
    )
    rows, columns = (slice(a, b) for a, b in zip(first, last, strict=True))
    return rows, columns
