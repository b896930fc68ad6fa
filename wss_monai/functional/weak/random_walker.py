# SPDX-License-Identifier: Apache-2.0
"""A slice segmented from what is drawn in it by the random walker, without any network."""

from __future__ import annotations

import warnings

import numpy as np
from skimage.segmentation import random_walker

from wss_monai.functional import UNLABELLED

__all__ = ["walked"]


def walked(image: np.ndarray, drawn: np.ndarray, beta: float = 100.0, solver: str = "cg_j") -> np.ndarray:
    """Class of each voxel: the one whose drawing a random walker that avoids edges of the image most probably reaches.

    Source: Grady, IEEE PAMI 28(11), 2006, in scikit-image, which sets ``beta`` in units of the image's standard
    deviation, so that a gain of the intensities changes nothing; beta 100 as in the baseline of Luo et al., MICCAI
    2022.

    Args:
        image: (*spatial), finite.
        drawn: (*spatial) classes, 255 = undrawn.
        beta: how much an edge hinders.
        solver: scikit-image's ``mode``: "cg_j", or "bf", which is exact and slower.

    Returns:
        (*spatial), uint8. Where nothing is drawn at all 255 throughout, where only one class is drawn this class.

    Raises:
        ValueError: shapes that differ, or voxels that are not finite.
    """
    if image.shape != drawn.shape:
        raise ValueError(f"image {image.shape} and drawing {drawn.shape} must have one shape.")
    if not np.isfinite(image).all():
        raise ValueError("the image holds NaN or infinite voxels.")
    classes = np.unique(drawn[drawn != UNLABELLED])
    if len(classes) < 2:
        return np.full(drawn.shape, classes[0] if len(classes) else UNLABELLED, np.uint8)
    low, high = float(image.min()), float(image.max())
    scaled = (image.astype(np.float64) - low) * 2 / max(high - low, 1e-12) - 1
    if high == low:  # without edges it is the distance that counts; scikit-image divides by the deviation
        scaled[(0,) * scaled.ndim], beta = 1.0, 0.0
    markers = np.where(drawn == UNLABELLED, 0, np.searchsorted(classes, drawn) + 1)  # 1, 2, ... without gaps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the solver's tolerance
        found = random_walker(scaled, markers, beta=beta, mode=solver)
    return classes[np.clip(found, 1, len(classes)) - 1].astype(np.uint8)
