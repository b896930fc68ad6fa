# SPDX-License-Identifier: Apache-2.0
"""Dice and IoU from numbers of voxels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["overlap"]


def overlap(predicted: ArrayLike, reference: ArrayLike, shared: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Dice 2 |A & B| / (|A| + |B|) and IoU |A & B| / |A | B|, elementwise; both are 1 where both masks are empty.

    Args:
        predicted: voxels of the predicted masks, any shape.
        reference: voxels of the reference masks.
        shared: voxels in both.
    """
    total, both = np.asarray(predicted, float) + np.asarray(reference, float), np.asarray(shared, float)
    empty = total == 0
    dice = np.where(empty, 1.0, 2 * both / np.where(empty, 1, total))
    iou = np.where(empty, 1.0, both / np.where(empty, 1, total - both))
    return dice, iou
