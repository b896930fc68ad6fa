# SPDX-License-Identifier: Apache-2.0
"""The pixels inside the convex hull of a mask."""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull, QhullError

__all__ = ["in_hull"]


def in_hull(mask: np.ndarray) -> np.ndarray:
    """Pixels whose centre lies in the convex hull of the centres of a mask's pixels, a boolean map of its shape (H, W).

    A mask whose pixels lie in one line, or that has fewer than three, is its own hull.
    """
    places = np.argwhere(mask)
    out: np.ndarray = np.array(mask, dtype=bool)
    try:
        sides = ConvexHull(places).equations if len(places) > 2 else None
    except QhullError:
        sides = None
    if sides is None:
        return out
    low, high = places.min(0), places.max(0) + 1
    box = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), -1)
    inside = (box @ sides[:, :-1].T + sides[:, -1] <= 1e-9).all(-1)
    out[low[0] : high[0], low[1] : high[1]] |= inside
    return out
