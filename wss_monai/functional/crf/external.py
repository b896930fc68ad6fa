# SPDX-License-Identifier: Apache-2.0
"""Mean-field inference by the package pydensecrf, where it is installed and asked for by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def pydensecrf_mean_field(logits: Tensor, kernels: Sequence[tuple[float, Tensor]], iterations: int) -> Tensor:
    """Q (N, K) of one sample on the CPU, float32.

    Args:
        logits: (N, K).
        kernels: pairs of weight and features (N, F), in standard deviations.
        iterations: number of updates.

    Raises:
        ImportError: the package is not installed.
    """
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise ImportError(
            "method='pydensecrf' needs the module pydensecrf: pip install pydensecrf2 (it is compiled), "
            "or choose method='auto'."
        ) from error
    count, classes = logits.shape
    crf = densecrf.DenseCRF(count, classes)
    crf.setUnaryEnergy((-logits).float().t().contiguous().cpu().numpy())
    for weight, features in kernels:
        points = features.float().t().contiguous().cpu().numpy()
        normalisation = densecrf.NORMALIZE_SYMMETRIC
        crf.addPairwiseEnergy(points, weight, kernel=densecrf.DIAG_KERNEL, normalization=normalisation)
    probs = torch.from_numpy(np.array(crf.inference(iterations), dtype=np.float32)).reshape(classes, count)
    return probs.t().to(logits.device)
