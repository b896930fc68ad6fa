# SPDX-License-Identifier: Apache-2.0
"""Predicted pieces of organs that no drawing touches."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from wss_monai.functional import UNLABELLED

__all__ = ["PIECES", "untouched"]

PIECES = ("any", "one", "all")
"""Which pieces stay: any that is touched, the most touched one, all."""


def untouched(labels: np.ndarray, drawn: np.ndarray, pieces: str = "any") -> np.ndarray:
    """Where a prediction shows a drawn class in a piece of the foreground that no foreground drawing touches.

    The foreground of a sample, all classes but 0 together, falls into pieces (voxels with a common face). A stroke
    touches a piece when it has a foreground voxel in it. Where an annotator draws in every piece, a class that is drawn
    in the sample is not in the other pieces. A class that is not drawn in the sample can be in any of them, since it is
    not said where it is, and a sample without foreground drawings says nothing at all.

    Args:
        labels: predicted classes of one sample (*spatial), 2D or 3D.
        drawn: classes drawn in it, 255 where nothing is.
        pieces: "any": each piece that is touched stays. "one": of these the one with most drawn voxels alone, the first
            of several, for organs that lie together in one piece. "all": all stay, where an annotator draws in some of
            several pieces only (lesions).

    Returns:
        Boolean (*spatial).
    """
    nothing = np.zeros(labels.shape, dtype=bool)
    stroke = (drawn > 0) & (drawn != UNLABELLED)
    if pieces == "all" or not stroke.any():
        return nothing
    numbers, count = ndimage.label(labels > 0)
    voxels = np.bincount(numbers[stroke], minlength=count + 1)
    voxels[0] = 0
    kept = voxels > 0
    if pieces == "one" and kept.any():
        kept = np.arange(count + 1) == voxels.argmax()
    kept[0] = True
    found = np.zeros(256, dtype=bool)
    found[np.unique(drawn[stroke])] = True
    away: np.ndarray = ~kept[numbers] & found[labels]
    return away
