# SPDX-License-Identifier: Apache-2.0
"""What a weak label itself shows of a class's size and place: length, box and hull of the drawn voxels of a slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from wss_monai.functional import UNLABELLED

__all__ = ["CUES", "slice_cues"]

CUES = ("length", "box", "hull")
"""Cues of a class in a slice: drawn length in mm (voxels times their mean width), area of the bounding box and of the
convex hull of the drawn voxels in mm2. All zero where the class is not drawn."""


def slice_cues(index: np.ndarray, spacing: Sequence[float], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Measure what is drawn in each slice.

    A slice without any unlabelled voxel is drawn densely, so that its voxels say nothing of how a scribble of the
    class would look: its cues are NaN.

    Args:
        index: class indices, 255 = unlabelled, (S, H, W).
        spacing: voxel size in mm along the two axes of a slice.
        num_classes: K.

    Returns:
        cues (S, K, 3) in the order of `CUES`; places (S, K, 2), mean index of the drawn voxels (NaN where there are
        none).
    """
    step = np.asarray(spacing, dtype=float)
    pixel = float(np.prod(step))
    shape = (len(index), num_classes)
    cues, places = np.zeros((*shape, len(CUES))), np.full((*shape, 2), np.nan)
    for number, plane in enumerate(index):
        if not (plane == UNLABELLED).any():
            cues[number] = np.nan
        for k in range(1, num_classes):
            at = np.argwhere(plane == k)
            if not len(at):
                continue
            places[number, k] = at.mean(0)
            if not np.isnan(cues[number, k, 0]):
                box = (np.ptp(at, axis=0) + 1) * step
                cues[number, k] = len(at) * np.sqrt(pixel), np.prod(box), _hull(at * step) + pixel
    return cues, places


def _hull(points: np.ndarray) -> float:
    """Area of the convex hull of points (N, 2); 0 for points on a line."""
    if len(points) < 3:
        return 0.0
    try:
        return float(ConvexHull(points).volume)
    except QhullError:
        return 0.0
