# SPDX-License-Identifier: Apache-2.0
"""The random walker: how probable it is that a walk from a voxel, which shuns edges, first meets a mark of a class."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from skimage.segmentation import random_walker

from wss_monai.functional import UNLABELLED

__all__ = ["walk"]


def walk(
    image: np.ndarray,
    weak: np.ndarray,
    num_classes: int,
    beta: float = 100.0,
    spacing: Sequence[float] | None = None,
    solver: str = "cg_j",
) -> np.ndarray:
    """Probabilities of the classes from a weak label and the image.

    Source: Grady, IEEE PAMI 28(11), 2006, as `skimage.segmentation.random_walker` has it.

    Args:
        image: intensities, (*spatial) with two or three axes.
        weak: class indices, 255 = unlabelled, (*spatial).
        num_classes: K.
        beta: the larger, the more an edge hinders the walk.
        spacing: voxel size along each axis; None: all equal.
        solver: "cg_j", or "bf" (exact, for small images).

    Returns:
        (K, *spatial), float32, sums of 1; 0 for classes without a mark. Where no class is marked, or one alone, that
        says nothing of the others: all 0 but at the marks.
    """
    probs = np.zeros((num_classes, *weak.shape), np.float32)
    drawn = [k for k in np.unique(weak).tolist() if k < num_classes and k != UNLABELLED]
    for k in drawn:
        probs[k][weak == k] = 1
    if len(drawn) < 2 or not (weak == UNLABELLED).any():
        return probs
    markers = np.zeros(weak.shape, np.int64)
    for number, k in enumerate(drawn, start=1):  # consecutive: the walker renumbers marks that have gaps
        markers[weak == k] = number
    step = np.ones(weak.ndim) if spacing is None else np.asarray(spacing, float) / min(spacing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the solver's tolerance
        found = random_walker(
            image.astype(np.float64), markers, beta=beta, mode=solver, return_full_prob=True, spacing=step
        )
    probs[drawn] = found
    return probs
