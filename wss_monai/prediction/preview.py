# SPDX-License-Identifier: Apache-2.0
"""A picture of a predicted volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from wss_monai.io.atomic_files import replacing
from wss_monai.prediction.prediction import Prediction
from wss_monai.report.fonts import font
from wss_monai.report.palette import class_colour
from wss_monai.report.panels import INK, PAPER, case_panel

__all__ = ["write_preview"]

ROW, MARGIN = 26, 8


def write_preview(prediction: Prediction, path: Path) -> Path:
    """Write three slices, from one end of the predicted organs to the other, without and with the mask, as PNG.

    Below stand the names of the classes, their colours and volumes.
    """
    whole = [array if array.ndim == 3 else array[..., None] for array in (prediction.image, prediction.mask)]
    panel = case_panel(
        whole[0],
        {"prediction": whole[1].astype(np.uint8)},
        (*prediction.grid.spacing, 1.0)[:3],
        prediction.class_names,
        affine=prediction.affine,
        slice_axis=prediction.slice_axis,
    ).convert("RGB")
    volumes = prediction.volumes_ml
    picture = Image.new("RGB", (panel.width, panel.height + ROW * len(volumes) + 2 * MARGIN), PAPER)
    picture.paste(panel, (0, 0))
    draw = ImageDraw.Draw(picture)
    for index, (name, ml) in enumerate(volumes.items(), start=1):
        top = panel.height + MARGIN + ROW * (index - 1)
        draw.rectangle((MARGIN, top + 4, MARGIN + ROW - 10, top + ROW - 6), fill=class_colour(index))
        draw.text((MARGIN + ROW, top + 2), f"{name}   {ml:.4g} ml", fill=INK, font=font(16))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        picture.save(part)
    return path
