# SPDX-License-Identifier: Apache-2.0
"""What an augmentation will do to a batch, settled on the host before anything is moved."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class AugmentPlan:
    """What will be done to a batch of B samples, on the host.

    Attributes:
        matrix: (B, D+1, D+1, float64) from input to output voxels.
        spacing: (B, D) in mm, after.
        cut: (B, K) the class may have been cut.
        chosen: (n,) samples whose intensities change.
        intensities: (3, n) exponent, factor and standard deviation of the noise of each.
        seed: of the noise.
    """

    matrix: Tensor
    spacing: Tensor
    cut: Tensor
    chosen: Tensor
    intensities: Tensor
    seed: int
