# SPDX-License-Identifier: Apache-2.0
"""Activation maps on the image's own grid, as NIfTI and as figures."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from PIL import Image
from torch import Tensor

from wss_monai.evaluation.case_outputs import as_array, case_name, each_case
from wss_monai.io.atomic_files import check_writable, replacing
from wss_monai.io.grids import same_grid, voxel_edges
from wss_monai.io.nifti_files import save_image

STEPS = 255
SLOPE = float(np.nextafter(np.float32(1 / STEPS), np.float32(0)))  # so that no value is above 1


class CAMFiles:
    """Write the activation maps of each case of an evaluator, and figures of the first ones.

    ``<folder>/maps/<case>_<modality>.nii.gz`` and, of several modalities, ``<case>_fused.nii.gz``: one byte a voxel
    with the slope 1/255, so that readers of NIfTI give values of 0 to 1. ``<folder>/figures/<case>.png``: what
    ``sheet`` draws. With several processes each writes the cases that it gets.

    Args:
        output_dir: the run's folder.
        modalities: names of the modalities, in the order of the maps.
        sheet: what draws a case, ``wss_monai.report.cam_sheet``; None: no figures.
        slice_axis: spatial axis across the slices of a volume.
        folder: within the run's folder.
        figures: how many cases get a figure; None: all.
        maps_key: key of the maps (M + 1, *spatial) of the modalities and their fusion in the output, as ``CAMScoresd``
            writes them, back on the image's own grid.
        pred_key: key of the class indices (1, *spatial) there.
        image_key: key of the image (M, *spatial) in the batch, on any grid.
        label_key: key of the dense label (1, *spatial) in the batch, on the image's own grid; a case without it, or
            with 255 throughout, is drawn without a reference.

    Raises:
        ValueError: no modality, or two whose names give one file.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        modalities: Sequence[str],
        sheet: Callable[..., Image.Image] | None = None,
        slice_axis: int = 2,
        *,
        folder: str = "evaluation",
        figures: int | None = None,
        maps_key: str = "maps",
        pred_key: str = "pred",
        image_key: str = "image",
        label_key: str = "label",
    ) -> None:
        self.modalities = [str(name) for name in modalities]
        self.endings = [re.sub(r"[^\w.+-]", "_", name) for name in self.modalities]
        self.endings += ["fused"] if len(self.endings) > 1 else []
        if not self.modalities or len(set(self.endings)) < len(self.endings):
            raise ValueError(f"modalities must be different names that are not 'fused', got {self.modalities}.")
        self.output_dir = Path(output_dir)
        self.folder = self.output_dir / folder
        self.sheet = sheet
        self.slice_axis = slice_axis
        self.figures = figures
        self.keys = maps_key, pred_key, image_key, label_key
        self.drawn = 0

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator with decollated output."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)

    def _start(self, engine: Engine) -> None:
        self.drawn = 0
        check_writable(self.output_dir)

    def _add(self, engine: Engine) -> None:
        for item, output in each_case(engine):
            self.add(item, output)

    def add(self, item: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Write the files of a case.

        Args:
            item: its entries of the batch.
            output: its maps and prediction.

        Raises:
            ValueError: another number of maps than modalities, or maps and prediction on different grids.
        """
        maps_key, pred_key, image_key, _ = self.keys
        maps, prediction, image = output[maps_key], output[pred_key], item[image_key]
        name = case_name(item, image)
        if len(maps) != len(self.modalities) + 1:
            raise ValueError(
                f"case {name!r}: {maps_key!r} holds {len(maps)} maps; {len(self.modalities)} modalities and their "
                f"fusion are {len(self.modalities) + 1}: let CAMScoresd write them with maps_key={maps_key!r}."
            )
        if prediction.shape[1:] != maps.shape[1:]:
            raise ValueError(
                f"case {name!r}: prediction {tuple(prediction.shape)} and maps {tuple(maps.shape)} are not on one grid:"
                f" give Invertd the keys {pred_key!r} and {maps_key!r}."
            )
        affine = maps.affine if isinstance(maps, MetaTensor) else torch.eye(4)
        values = as_array(maps).clip(0, 1)
        for ending, each in zip(self.endings, values, strict=False):
            file = nib.Nifti1Image((each * STEPS).round().astype(np.uint8), _matrix(affine))
            file.header.set_slope_inter(SLOPE, 0)
            save_image(file, self.folder / "maps" / f"{name}_{ending}.nii.gz")
        if self.sheet is not None and (self.figures is None or self.drawn < self.figures):
            self._draw(self.sheet, name, item, values, maps, prediction)
            self.drawn += 1

    def _draw(
        self,
        sheet: Callable[..., Image.Image],
        name: str,
        item: Mapping[str, Any],
        values: np.ndarray,
        maps: Tensor,
        prediction: Tensor,
    ) -> None:
        label = item.get(self.keys[3])
        dimensions = values.ndim - 1
        affine = _matrix(maps.affine) if isinstance(maps, MetaTensor) else None
        picture = sheet(
            as_array(_on_grid_of(maps, item[self.keys[2]])),
            values,
            as_array(prediction)[0],
            voxel_edges(affine, dimensions),
            self.modalities,
            reference=None if label is None or label.shape[1:] != maps.shape[1:] else as_array(label)[0],
            affine=affine if dimensions == 3 else None,
            slice_axis=self.slice_axis,
        )
        (self.folder / "figures").mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / "figures" / f"{name}.png") as temporary:
            picture.save(temporary, optimize=True)


def _on_grid_of(maps: Tensor, image: Tensor) -> Tensor:
    """The image, which the network may have seen on another grid, on the grid of the maps."""
    if not (isinstance(image, MetaTensor) and isinstance(maps, MetaTensor)):
        return image
    same = image.shape[1:] == maps.shape[1:] and same_grid(image.affine.cpu(), maps.affine.cpu(), maps.shape[1:])
    if same:
        return image
    resample = SpatialResample(mode="bilinear", padding_mode="zeros")
    return resample(img=image, dst_affine=maps.affine, spatial_size=maps.shape[1:])


def _matrix(affine: Any) -> np.ndarray:
    return np.asarray(torch.as_tensor(affine).cpu(), dtype=np.float64)
