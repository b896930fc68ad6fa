# SPDX-License-Identifier: Apache-2.0
"""Checks of the intensities of an image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from wss_monai.data.checks.problem import Problems

__all__ = ["ImageFacts", "check_image"]

SAME_VALUE = 0.99
"""More voxels than this share with one value are worth a look."""
SCALED_BETWEEN = (0.5, 99.0)
"""Percentiles of an image that become 0 and 1 in the bundles (`bundles/frame/parts.yaml`)."""
SAMPLE = 200_000
"""Percentiles are taken from about this many voxels."""


@dataclass(frozen=True)
class ImageFacts:
    """What is kept of an image.

    Attributes:
        shown: its name in messages.
        digest: of the shape and the values as float32, whatever the file's type; None for a constant image.
        low: 1st percentile of the intensities.
        high: 99th percentile.
    """

    shown: str
    digest: str | None
    low: float
    high: float


def check_image(array: np.ndarray, shown: str, problems: Problems) -> ImageFacts | None:
    """Check the intensities of an image.

    Args:
        array: (*spatial), float32.
        shown: its name in messages.
        problems: grows.

    Returns:
        What is kept of it; None where intensities are not finite.
    """
    finite = np.isfinite(array)
    if not finite.all():
        count = int(array.size - finite.sum())
        problems.error(
            "not_finite",
            f"{count} of {array.size} intensities are not finite (NaN or infinite)",
            "replace them by a number, such as that of the background",
            shown,
        )
        return None
    low, high = float(array.min()), float(array.max())
    if low == high:
        problems.error("constant", f"every voxel is {low:g}", "export the image again, or leave the case out", shown)
        return ImageFacts(shown, None, low, high)
    middle = float(np.median(_sample(array)))  # a value that more than half of the voxels have is the median
    share = float(np.mean(array == middle))
    if share > SAME_VALUE:
        least, most = np.percentile(array, SCALED_BETWEEN)
        if least == most:
            problems.error(
                "almost_constant",
                f"{share:.1%} of the voxels are {middle:g}: the percentiles {SCALED_BETWEEN[0]} and "
                f"{SCALED_BETWEEN[1]}, between which the bundles scale intensities, are one value",
                "crop it to what is not background, or leave the case out",
                shown,
            )
        else:
            problems.warning(
                "almost_constant",
                f"{share:.1%} of the voxels are {middle:g}",
                "fine for a small field of view or a stripped background; else export it again",
                shown,
            )
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array, dtype=np.float32).data)
    first, last = np.percentile(_sample(array), [1, 99])
    return ImageFacts(shown, digest.hexdigest(), float(first), float(last))


def _sample(array: np.ndarray) -> np.ndarray:
    """Give about `SAMPLE` voxels, evenly spread; the step is prime to the axes, mostly."""
    step = max(1, array.size // SAMPLE) | 1
    return array.reshape(-1)[::step]
