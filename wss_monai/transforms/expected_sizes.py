# SPDX-License-Identifier: Apache-2.0
"""How large the classes of a case are expected to be, for constraints on the sizes of a whole set."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.interval_models import slice_features, volume_features
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.transforms.bounds.file import classes_of, read_bounds_file, refuse_seen
from wss_monai.transforms.bounds.intervals import spacing_of, tags_of

__all__ = ["EstimatedSizesd", "StatedSizesd"]


class StatedSizesd(MapTransform):
    """The volume of each class as somebody states it: an average of the kind of patients, no measure of this one.

    Writes ``expected_size`` (K,) in ml: NaN for classes of which nothing is stated, 0 for those that the tag of the
    volume says are absent. A mean over patients is meant; for a sum over a set a single patient's size is not needed.

    Args:
        values: class name -> ml; or phase -> class name -> ml, where the cases have a ``phase``.
        class_names: names of all K classes, background first.
        keys: key of the image, which is not read.
        output_key: key of the result.
        tags_key: key of the tags (K,) of the volume.

    Attributes:
        origin: for records and reports.

    Raises:
        ValueError: an unknown class, or a value that is no positive number; at a case, a phase without values.
    """

    origin = "set size stated"

    def __init__(
        self,
        values: Mapping[str, Any],
        class_names: Sequence[str],
        keys: KeysCollection = "image",
        output_key: str = "expected_size",
        tags_key: str = "tags",
    ) -> None:
        super().__init__(keys)
        self.class_names, self.output_key, self.tags_key = list(class_names), output_key, tags_key
        by_phase = bool(values) and all(isinstance(value, Mapping) for value in values.values())
        self.values: dict[str | None, Mapping[str, Any]] = dict(values.items()) if by_phase else {None: values}
        for phase, sizes in self.values.items():
            where = "stated_sizes" + (f" of phase '{phase}'" if phase else "")
            for name, size in sizes.items():
                if name not in self.class_names[1:]:
                    raise ValueError(f"{where} name '{name}'; the classes are {self.class_names[1:]}.")
                if not isinstance(size, Real) or not 0 < float(size) < math.inf:
                    raise ValueError(f"{where}, class '{name}': give a volume in ml above 0, got {size!r}.")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the sizes to a copy of the case."""
        if not any(self.values.values()):
            raise ValueError(
                "set_size stated needs stated_sizes: the mean volume of each class in ml, such as "
                "\"{'LV': 140}\", or by phase \"{'ED': {'LV': 140}, 'ES': {'LV': 60}}\"."
            )
        phase = None if None in self.values else data.get("phase")
        if phase not in self.values:
            raise ValueError(
                f"case '{data.get('case')}' has the phase {phase!r}, but sizes are stated for {list(self.values)}: "
                "give the case one of these phases in dataset.json, or state one size a class for all."
            )
        size = torch.full((len(self.class_names),), math.nan)
        for name, value in self.values[phase].items():
            size[self.class_names.index(name)] = float(value)
        if data.get(self.tags_key) is not None:
            size = torch.where(torch.as_tensor(data[self.tags_key]) == 0, 0.0, size)
        size[0] = math.nan
        return {**data, self.output_key: size}


class EstimatedSizesd(MapTransform):
    """The size of each class as the models of ``python -m wss_monai bounds --fit`` expect it.

    Expected is exp of the linear model times a factor that makes the sum over the dense patients right, each of them
    predicted by the others (a median of logarithms is no mean). Writes ``expected_size``: of "size" (S, K) in mm2, NaN
    in slices of which no tag says whether they show the class, 0 where a tag says that they do not, and in a slice that
    is drawn densely what is drawn; of "volume" (K,) in ml. Needs ``WeakTagsd`` and ``WeakCuesd`` before.

    Args:
        file: the JSON file.
        class_names: names of all K classes, background first.
        measure: "size" of slices or "volume".
        slice_axis: spatial axis of the slices.
        unseen: patients that the models must not have been fitted on.
        keys: key of the image whose grid counts.
        output_key: key of the result.
        weak_key: key of the weak label.

    Attributes:
        origin: for records and reports.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another measure; a file of another kind, without the measure, a class or its expected sum, or fitted
            on patients of ``unseen``.
    """

    origin = "set size estimated"

    def __init__(
        self,
        file: str | Path | None,
        class_names: Sequence[str],
        measure: str = "size",
        slice_axis: int = 2,
        unseen: Sequence[str] = (),
        keys: KeysCollection = "image",
        output_key: str = "expected_size",
        weak_key: str = "weak_label",
    ) -> None:
        super().__init__(keys)
        if measure not in ("size", "volume"):
            raise ValueError(f"measure must be 'size' (of slices) or 'volume', got {measure!r}.")
        self.file, self.class_names, self.measure, self.slice_axis = file, list(class_names), measure, slice_axis
        self.output_key, self.weak_key = output_key, weak_key
        self.classes: dict[str, Any] = {}
        if file is not None:
            content = read_bounds_file(file)
            self.classes = classes_of(content, measure, self.class_names, file)
            refuse_seen(content, unseen, file)
            self.origin = f"set size estimated (k={content['dense']})"
            if old := [name for name in self.class_names[1:] if "expected" not in self.classes[name]["position"]]:
                raise ValueError(
                    f"bounds_file: '{file}' does not say which sum of sizes to expect of {old}: an older version "
                    "wrote it. Fit it again with `python -m wss_monai bounds --fit DATA ...`."
                )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the sizes to a copy of the case."""
        if self.file is None:
            raise ValueError(
                "set_size estimated needs bounds_file: make one with `python -m wss_monai bounds --fit DATA --dense k "
                f"--terms {self.measure} --out bounds.json`."
            )
        cues, kind = data["cues"].numpy(), data["cue_kind"]
        rows = tags_of(data["slice_tags"], len(cues), len(self.class_names)).numpy()
        size = self._of_slices(data, cues, kind, rows) if self.measure == "size" else self._of_volume(data, cues, rows)
        return {**data, self.output_key: size}

    def _expect(self, name: str, kind: str, cues: np.ndarray, features: Any) -> np.ndarray:
        """Expected measures (N,) by the model for the cues at hand; ``features`` makes its rows from its kind."""
        models = self.classes[name]
        chosen = models[kind if kind in models and cues.any() else "position"]
        expected: np.ndarray = np.exp(features(chosen["kind"]) @ np.array(chosen["coefficients"]))
        return expected * float(chosen["expected"]["factor"])

    def _of_slices(self, data: Mapping[Hashable, Any], cues: np.ndarray, kind: str, tags: np.ndarray) -> Tensor:
        image = data["image"]
        flat = image.dim() == 3
        area = np.prod([step for axis, step in enumerate(spacing_of(image)) if flat or axis != self.slice_axis])
        weak = plain_tensor(data[self.weak_key])[0].numpy()
        slices = weak[None] if flat else np.moveaxis(weak, self.slice_axis, 0)
        if len(slices) != len(cues):
            raise ValueError(
                f"case '{data.get('case')}': cues of {len(cues)} slices do not fit an image of {len(slices)}: do not "
                "resample, crop or turn the slice axis."
            )
        size = np.where(tags == 0, 0.0, math.nan)
        for k, name in enumerate(self.class_names[1:], 1):
            present = tags[:, k] == 1
            for number in np.flatnonzero(present):
                shown = cues[:, k], present
                if np.isnan(cues[number, k, 0]):  # drawn densely
                    known = slices[number] != UNLABELLED
                    size[number, k] = (slices[number] == k).sum() * area if known.all() else math.nan
                else:
                    rows = self._expect(name, kind, cues[number, k], lambda used, of=shown: slice_features(used, *of))
                    size[number, k] = rows[number]
        size[:, 0] = math.nan
        return torch.from_numpy(size).float()

    def _of_volume(self, data: Mapping[Hashable, Any], cues: np.ndarray, tags: np.ndarray) -> Tensor:
        whole = torch.as_tensor(data["tags"])
        size = torch.where(whole == 0, 0.0, math.nan)
        for k, name in enumerate(self.class_names[1:], 1):
            present = tags[:, k] == 1
            if present.any() and not np.isnan(cues[:, k, 0]).all():
                shown = np.nan_to_num(cues[:, k]), present, data["thickness"]
                made = self._expect(name, data["cue_kind"], shown[0], lambda used, of=shown: volume_features(used, *of))
                size[k] = float(made[0])
        size[0] = math.nan
        return size


EstimatedSizesD = EstimatedSizesDict = EstimatedSizesd
StatedSizesD = StatedSizesDict = StatedSizesd
