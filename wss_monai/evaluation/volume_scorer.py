# SPDX-License-Identifier: Apache-2.0
"""Scores of one predicted volume on its own grid: metrics, constraints, and the volume as a file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.descriptors import completed
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.functional.weak.kinds import traits_of
from wss_monai.io.grids import spacing_of
from wss_monai.io.nifti_files import save_image
from wss_monai.io.run_folder import PREDICTIONS
from wss_monai.metrics import (
    box_iou,
    confusion_matrix,
    constraint_rows,
    slice_metrics,
    stroke_metrics,
    tags_right,
    volume_metrics,
)
from wss_monai.metrics.measure import measure_prediction
from wss_monai.metrics.pairs import PairVolume
from wss_monai.transforms.bounds.constant import Boundsd
from wss_monai.transforms.bounds.equal_volume import EqualVolumed

PATHS = ("image", "weak_label", "label")


@dataclass
class ScoredVolume:
    """What was found of one case.

    Attributes:
        case: its name.
        rows, slices, constraints: rows of ``cases.csv``, ``slices.csv`` and ``constraints.csv``.
        pairs: volumes that are to be equal in two cases of the patient, for ``pair_rows``.
        record: entry of ``cases.json``.
        confusion: (K, K) voxels, rows the reference; None without a dense label.
    """

    case: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    slices: list[dict[str, Any]] = field(default_factory=list)
    constraints: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[PairVolume] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    confusion: np.ndarray | None = None


class VolumeScorer:
    """Score predicted volumes, and write each as ``evaluation/predictions/<case>.nii.gz``.

    Args:
        output_dir: the run's folder.
        class_names: background first.
        bounds: the transforms that made the bounds, for their terms, descriptors and origins.
        slice_axis: axis across the slices, of bounds on slices and of ``slices.csv``.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        class_names: Sequence[str],
        bounds: Sequence[Boundsd | EqualVolumed] = (),
        slice_axis: int = 2,
    ) -> None:
        self.folder = Path(output_dir)
        self.class_names = list(class_names)
        self.bounds = [made for made in bounds if not isinstance(made, EqualVolumed)]
        self.across = [made for made in bounds if isinstance(made, EqualVolumed)]
        self.slice_axis = slice_axis

    def __call__(
        self, case: Mapping[str, Any], item: Mapping[Any, Any], prediction: Tensor, partial_ce: float | None = None
    ) -> ScoredVolume:
        """Score one case.

        Args:
            case: its entry of the data list, for paths and names.
            item: ``label``, ``weak_label`` and ``boxes`` (where there are any) and ``bounds_<term>`` on the image's own
                grid. A weak label counts where the case names a file of its own, so that no dense label is read in its
                place.
            prediction: class indices (1, *spatial) on that grid; its affine gives the voxel size.
            partial_ce: cross-entropy of the network's logits on the drawn voxels, of who has them.
        """
        name = str(case["case"])
        spacing = spacing_of(prediction)
        hard = np.asarray(prediction[0].cpu()).astype(np.uint8)
        label = np.asarray(item["label"][0].cpu()).astype(np.uint8) if "label" in item else None
        known = label is not None and bool((label != UNLABELLED).any())
        about = {key: case.get(key) or "" for key in ("case", "patient", "group", "phase")}
        rows = volume_metrics(hard, label if known else None, spacing, self.class_names)
        weak = self._of_weak_label(case, item, hard, partial_ce)
        scored = ScoredVolume(name, [{**about, **row, **more} for row, more in zip(rows, weak, strict=True)])
        if label is not None and known:
            rows = slice_metrics(hard, label, self.slice_axis, self.class_names)
            scored.slices = [{"case": name, "patient": about["patient"], **row} for row in rows]
            scored.confusion = confusion_matrix(hard, label, len(self.class_names))
        for made in self.bounds:
            region = plain_tensor(item[made.region_key]) if made.region_key else None
            limits = plain_tensor(item[f"bounds_{made.term}"])
            measure, bounds, units = measure_prediction(
                torch.from_numpy(hard), limits, made.descriptor, spacing, self.slice_axis, region
            )
            scored.constraints += self._constraints(made, measure, bounds, units, spacing, about)
        for equal in self.across:
            scored.pairs += self._volumes(equal, hard, plain_tensor(item[f"bounds_{equal.term}"]), about)
        path = self.folder / PREDICTIONS / f"{name}.nii.gz"
        affine = prediction.affine if isinstance(prediction, MetaTensor) else np.eye(4)
        save_image(nib.Nifti1Image(hard, np.asarray(affine, dtype=np.float64)), path)
        record = {**about, "prediction": str(path.relative_to(self.folder)), "slice_axis": self.slice_axis}
        record |= {key: case.get(key) for key in PATHS}
        record |= {key: case.get(key) for key in ("label_values", "label_segments", "weak_values", "weak_segments")}
        scored.record = record
        return scored

    def _of_weak_label(
        self, case: Mapping[str, Any], item: Mapping[Any, Any], hard: np.ndarray, partial_ce: float | None
    ) -> list[dict[str, Any]]:
        """Compare with what was drawn and tagged: a dictionary for each foreground class."""
        names, axis = self.class_names, self.slice_axis
        found: list[dict[str, Any]] = [{} for _ in names[1:]]
        traits = traits_of(case.get("weak_kind"))
        if case.get("weak_label") and "weak_label" in item:
            drawn = np.asarray(plain_tensor(item["weak_label"])[0].cpu()).astype(np.uint8)
            found = stroke_metrics(hard, drawn, names)
            if not traits.partial:  # around boxes nothing but background is known
                kept = ("background_recall",)
                found = [{key: row[key] for key in kept if key in row} for row in found]
            elif partial_ce is not None:
                found = [{**row, "partial_ce": float(partial_ce)} for row in found]
            if traits.boxes and "boxes" in item:
                boxes = np.asarray(plain_tensor(item["boxes"]).cpu())
                for row, iou in zip(found, box_iou(hard, boxes, axis), strict=True):
                    row |= {} if iou is None else {"box_iou": iou}
        of_tags = int(case.get("slice_axis", axis))
        shares = tags_right(hard, case.get("tags"), case.get("slice_tags"), len(names), of_tags)
        return [
            row | ({} if share is None else {"tags_right": share}) for row, share in zip(found, shares, strict=True)
        ]

    def _volumes(
        self, equal: EqualVolumed, hard: np.ndarray, bounds: Tensor, about: Mapping[str, str]
    ) -> list[PairVolume]:
        """What the classes of a case measure that have bounds (K, 1, 2) on the voxels of one ml."""
        found = []
        for k, (lower, upper) in enumerate(bounds[:, 0].cpu().double().tolist()):
            if math.isfinite(lower) and math.isfinite(upper):
                ml = float((hard == k).sum()) / math.sqrt(lower * upper)
                who = (about["case"], about["patient"], equal.term, equal.origin, self.class_names[k])
                found.append(PairVolume(*who, ml=ml, room=math.sqrt(upper / lower)))
        return found

    def _constraints(
        self,
        made: Boundsd,
        measure: Tensor,
        bounds: Tensor,
        units: list[int | str],
        spacing: list[float],
        about: Mapping[str, str],
    ) -> list[dict[str, Any]]:
        whole = units == [""]
        factor, unit = completed(made.descriptor).shown(
            [s for axis, s in enumerate(spacing) if whole or axis != self.slice_axis]
        )
        return constraint_rows(
            measure.numpy() * factor,
            bounds.numpy() * factor,
            units=units,
            term=made.term,
            origin=made.origin,
            unit=unit,
            class_names=self.class_names,
            case=about["case"],
            patient=about["patient"],
        )
