# SPDX-License-Identifier: Apache-2.0
"""Pictures of the activation maps of a few held-out cases while the networks train."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from PIL import Image
from torch import Tensor

from wss_monai.evaluation.case_outputs import as_array
from wss_monai.functional import UNLABELLED
from wss_monai.handlers.snapshots import Snapshots, affine_of_item
from wss_monai.io.grids import voxel_edges
from wss_monai.transforms.cam_scores import CAMScores

SHOWN = 3


class CAMSnapshots(Snapshots):
    """Sheets of the first cases of an evaluator: each modality, its map, the fused map, the mask, and the reference.

    Files and rhythm are those of ``Snapshots``. Shown are up to three slices, the same in all epochs: of those that a
    dense label shows, else of those whose tag says present, else of all.

    Args:
        output_dir: the run's folder.
        evaluator: not decollated: its batch holds ``image`` (B, M, *spatial), ``case`` and ``patient``, maybe ``label``
            and ``tags_key``; its output ``pred`` the raw maps (B, M E, *spatial).
        scores: what makes maps of them.
        interval: epochs between two snapshots; those without validation have none.
        slice_axis: spatial axis across the slices of a volume.
        cases: how many cases.
        panel: what draws a case, ``wss_monai.report.cam_sheet``.
        threshold: the mask is where the score is above it.
        tile: longer side of a slice in pixels.
        tags_key: key of the slices' tags (B, S, 2).

    Raises:
        ValueError: interval or cases below 1.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        evaluator: Engine,
        scores: CAMScores,
        interval: int,
        slice_axis: int = 2,
        cases: int = 2,
        *,
        panel: Callable[..., Image.Image],
        threshold: float = 0.5,
        tile: int | None = None,
        tags_key: str = "slice_tags",
    ) -> None:
        super().__init__(
            output_dir, evaluator, ["background", "foreground"], interval, slice_axis, cases, panel=panel, tile=tile
        )
        self.scores = scores
        self.threshold = threshold
        self.tags_key = tags_key

    def _panel(self, name: str, batch: Mapping[str, Any], logits: Tensor, number: int) -> Image.Image:
        tags = batch[self.tags_key][number] if self.tags_key in batch else None
        maps = self.scores.all_maps(torch.nan_to_num(logits), tags)
        images, label = batch["image"], batch["label"][number, 0] if "label" in batch else None
        values, reference = as_array(maps), None if label is None else as_array(label)
        dimensions = values.ndim - 1
        if name not in self.slices:
            self.slices[name] = self._chosen(reference, tags, values.shape[1:])
        affine = affine_of_item(images, number)
        return self.panel(
            as_array(images[number]),
            values,
            (values[-1] > self.threshold).astype(np.uint8),
            voxel_edges(affine, dimensions),
            self.scores.names,
            reference=reference,
            affine=affine if dimensions == 3 else None,
            slice_axis=self.slice_axis if dimensions == 3 else 2,
            slices=self.slices[name],
            tile=self.tile or 160,
            whole=True,
        )

    def _chosen(self, label: np.ndarray | None, tags: Tensor | None, shape: tuple[int, ...]) -> list[int]:
        if len(shape) == 2:
            return [0]
        count = shape[self.slice_axis]
        drawn = np.zeros(count, bool)
        if label is not None:
            plane = tuple(axis for axis in range(3) if axis != self.slice_axis)
            drawn = ((label > 0) & (label != UNLABELLED)).any(plane)
        if not drawn.any() and tags is not None and len(tags) == count:
            drawn = as_array(tags)[:, -1] == 1
        found = np.flatnonzero(drawn) if drawn.any() else np.arange(count)
        return sorted({int(found[round(q * (len(found) - 1))]) for q in np.linspace(0.1, 0.9, SHOWN)})
