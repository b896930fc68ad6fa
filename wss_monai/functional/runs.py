# SPDX-License-Identifier: Apache-2.0
"""Runs of equal voxels along the last axis, and where chosen voxels are."""

from __future__ import annotations

import numpy as np

__all__ = ["ends_of_runs", "places_of"]


def ends_of_runs(maps: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The chosen voxels (N, ..., W) without those that have their own value on both sides along the last axis.

    Of the places that an affine map gives to the voxels of a run, those of its ends are the outermost along each axis.
    (In numpy, whose comparisons of bytes take a tenth of torch's time on the host.)
    """
    same = maps[..., 1:] == maps[..., :-1]
    chosen = chosen.copy()
    chosen[..., 1:-1] &= ~(same[..., 1:] & same[..., :-1])
    return chosen


def places_of(chosen: np.ndarray) -> tuple[np.ndarray, ...]:
    """``chosen.nonzero()``, several times as fast where few of many voxels are chosen."""
    return np.unravel_index(np.flatnonzero(chosen), chosen.shape)
