# SPDX-License-Identifier: Apache-2.0
"""A picture of a predicted volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wss_monai.io.atomic_files import replacing
from wss_monai.prediction.prediction import Prediction
from wss_monai.report.panels import case_panel

__all__ = ["write_preview"]


def write_preview(prediction: Prediction, path: Path) -> Path:
    """Write three slices, from one end of the predicted organs to the other, without and with the mask, as PNG."""
    whole = [array if array.ndim == 3 else array[..., None] for array in (prediction.image, prediction.mask)]
    spacing = (*prediction.grid.spacing, 1.0)[:3]
    picture = case_panel(
        whole[0],
        {"prediction": whole[1].astype(np.uint8)},
        spacing,
        prediction.class_names,
        affine=prediction.affine,
        slice_axis=prediction.slice_axis,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        picture.save(part)
    return path
