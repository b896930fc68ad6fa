# SPDX-License-Identifier: Apache-2.0
"""Bounds predicted from what a case's weak label shows, by models fitted on a few dense patients."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from wss_monai.functional import UNLABELLED
from wss_monai.functional.descriptors import Descriptor
from wss_monai.functional.interval_models import AreaProfile, IntervalModel, slice_features, volume_features
from wss_monai.functional.weak.box_maps import in_boxes
from wss_monai.functional.weak.features import CUES, slice_cues
from wss_monai.functional.weak.kinds import traits_of
from wss_monai.io.grids import spacing_of
from wss_monai.transforms.bounds.constant import Boundsd
from wss_monai.transforms.bounds.file import TERMS, classes_of, read_bounds_file, refuse_seen, require_profiles
from wss_monai.transforms.bounds.intervals import NO_BOUND, check_interval, tags_of

__all__ = [
    "EstimatedBounds",
    "EstimatedBoundsd",
    "WeakCuesd",
    "middle_of",
    "to_voxels",
    "unknown_intervals",
    "within_constant",
]


class WeakCuesd(MapTransform):
    """Measure what the weak label shows, in mm, before anything resamples or crops it.

    Writes ``cues`` (S, K, 3), the cues of `wss_monai.functional.weak.features`; ``places`` (S, K, 3), the world
    coordinates in mm of the mean drawn voxel of a class in a slice (NaN where it is not drawn); ``cue_kind``, how the
    case's kind of weak label is read ("scribble", "box", "position"); and ``thickness``, the distance of the slices in
    mm. Drawn boxes are read from the key ``boxes`` where the data have it.

    Args:
        num_classes: K.
        slice_axis: spatial axis of the slices.
        keys: key of the weak label (1, *spatial).
        kind_key: key of the kind of weak label.
    """

    def __init__(
        self,
        num_classes: int,
        slice_axis: int = 2,
        keys: KeysCollection = "weak_label",
        kind_key: str = "weak_kind",
    ) -> None:
        super().__init__(keys)
        self.num_classes = num_classes
        self.slice_axis = slice_axis
        self.kind_key = kind_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the cues to a copy of the case."""
        traits = traits_of(data.get(self.kind_key))
        weak = data[self.first_key(dict(data))]
        spacing = spacing_of(weak)
        flat = weak.dim() == 3
        axes = [0, 1] if flat else [axis for axis in range(3) if axis != self.slice_axis]
        plane = [spacing[axis] for axis in axes]

        def measure(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            slices = index[None] if flat else np.moveaxis(index, self.slice_axis, 0)
            return slice_cues(slices, plane, self.num_classes)

        if traits.boxes and "boxes" in data:  # they may overlap
            inside = in_boxes(np.asarray(data["boxes"]))
            found = [measure(np.where(channel, k, UNLABELLED)) for k, channel in enumerate(inside)]
            cues, at = (np.stack([of[which][:, k] for k, of in enumerate(found)], 1) for which in (0, 1))
        else:
            cues, at = measure(np.asarray(weak)[0])
        voxels = np.zeros((*at.shape[:2], weak.dim() - 1))
        voxels[..., axes] = at
        if not flat:
            voxels[..., self.slice_axis] = np.arange(len(at))[:, None]
        return {
            **data,
            "cues": torch.from_numpy(cues).float(),
            "places": torch.from_numpy(_to_world(voxels, weak)).float(),
            "cue_kind": traits.features,
            "thickness": 1.0 if flat else spacing[self.slice_axis],
        }


class EstimatedBounds:
    """Bounds from the models in a file of ``python -m wss_monai bounds --fit``.

    A class that a tag says to be present in a slice gets the interval that the model predicts from the slice's cues;
    where its weak label has no such cues (points, tags alone) from its position and the tags. A class that is absent
    gets size 0 at most. Slices that are drawn densely get no interval, they need none. A volume's interval needs the
    class to be present in some slice. A side beyond the constant bound in the file is replaced by that bound.

    A class of which nothing says whether it is in a slice has no interval, or with ``unknown="position"``, for images
    without any label, what the areas of the dense patients say at the slice's position in the stack: an upper side,
    which holds whether the class is there or not, and where all of them show the class a lower side too (see
    ``AreaProfile``). Stacks have to run in the same direction and cover about the same.

    Args:
        file: the JSON file.
        class_names: names of all K classes, background first.
        measure: "size" or "centroid" of slices, "volume" or "volume_centroid" of volumes.
        slice_axis: spatial axis of the slices in the tensor; volumes may have been resampled along it.
        unseen: patients that the models must not have been fitted on: those whom the run is scored on, and those
            whom it takes as unlabelled.
        unknown: what a class of unknown presence gets in a slice: "none", or "position" (size alone).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file of another kind, without the measure, a class or what ``unknown`` needs, or fitted on
            patients among ``unseen``.
    """

    origin = "estimated"

    def __init__(
        self,
        file: str | Path | None,
        class_names: Sequence[str],
        measure: str = "size",
        slice_axis: int = 2,
        unseen: Sequence[str] = (),
        unknown: str = "none",
    ) -> None:
        descriptor, self.level = TERMS.get(measure, (None, ""))
        if descriptor is None:
            measures = [name for name, (known, _) in TERMS.items() if known]
            raise ValueError(f"measure must be one of {measures}, got {measure!r}.")
        if unknown not in ("none", "position"):
            raise ValueError(f"unknown must be 'none' or 'position', got {unknown!r}.")
        if unknown == "position" and measure != "size":
            raise ValueError(
                f"unknown='position' bounds the size of slices, not {measure!r}; leave it at 'none' there."
            )
        self.unknown = unknown
        self.file, self.measure, self.class_names = file, measure, list(class_names)
        self.descriptor: Descriptor = descriptor()
        self.slice_axis = slice_axis
        self.classes: dict[str, Any] = {}
        if file is not None:
            content = read_bounds_file(file)
            self.classes = classes_of(content, measure, self.class_names, file)
            self.origin = f"estimated (k={content['dense']})"
            refuse_seen(content, unseen, file)
            if unknown == "position":
                require_profiles(self.classes, self.class_names, file)

    def __call__(
        self,
        image: Tensor,
        cues: Tensor,
        places: Tensor,
        cue_kind: str,
        thickness: float,
        slice_tags: Tensor,
        tags: Tensor,
    ) -> Tensor:
        """Bounds in voxels of a channel-first ``image``: (S, K, M, 2), of volumes (K, M, 2).

        ``cues``, ``places``, ``cue_kind`` and ``thickness`` as ``WeakCuesd`` writes them, ``slice_tags`` (S, K) and
        ``tags`` (K,) as ``WeakTagsd`` does.
        """
        if self.file is None:
            raise ValueError(
                "bounds_from estimated needs bounds_file: make one with `python -m wss_monai bounds --fit DATA "
                "--dense k --out bounds.json`."
            )
        count = 1 if image.dim() == 3 else image.shape[1 + self.slice_axis]
        if self.level == "slice" and len(cues) != count:
            raise ValueError(
                f"cues of {len(cues)} slices do not fit an image of {count}: estimated bounds need the slices as they "
                "are stored; do not resample, crop or turn the slice axis."
            )
        rows = tags_of(slice_tags, len(cues), len(self.class_names))
        if self.level == "slice":
            return self._of_slices(image, cues.numpy(), places.numpy(), cue_kind, rows)
        return self._of_volume(image, cues.numpy(), places.numpy(), cue_kind, thickness, rows, torch.as_tensor(tags))

    def _models(self, name: str, kind: str, cues: np.ndarray) -> dict[str, Any]:
        """The model for the cues at hand: that of the position where the file has no other, or nothing is drawn."""
        models: dict[str, Any] = self.classes[name]
        chosen: dict[str, Any] = models[kind if kind in models and cues.any() else "position"]
        return chosen

    def _of_slices(self, image: Tensor, cues: np.ndarray, places: np.ndarray, kind: str, slice_tags: Tensor) -> Tensor:
        spacing = spacing_of(image)
        axes = list(range(2)) if image.dim() == 3 else [a for a in range(3) if a != self.slice_axis]
        plane = np.array([spacing[axis] for axis in axes])
        bounds = torch.tensor(NO_BOUND).repeat(len(cues), len(self.class_names), self.descriptor.components(2), 1)
        voxels = to_voxels(places, image)[..., axes]
        for k, name in enumerate(self.class_names):
            if name not in self.classes:
                continue
            present = (slice_tags[:, k] == 1).numpy()
            dense = np.isnan(cues[:, k, 0])
            for number in np.flatnonzero(present & ~dense):
                models = self._models(name, kind, cues[number, k])
                if self.measure == "centroid":
                    if not np.isfinite(voxels[number, k, 0]):
                        continue
                    reach = models["reach"] / plane
                    bounds[number, k] = torch.from_numpy(
                        np.stack((voxels[number, k] - reach, voxels[number, k] + reach), -1)
                    )
                else:
                    used = models["kind"]
                    row = slice_features(used, cues[:, k], present)[number : number + 1]
                    mm2 = within_constant(IntervalModel.from_dict(models)(row)[0], self.classes[name].get("constant"))
                    bounds[number, k, 0] = torch.from_numpy(mm2 / plane.prod())
            if self.unknown == "position":
                untold = (slice_tags[:, k] == -1).numpy() & ~dense
                mm2 = unknown_intervals(self.classes[name], len(cues))[untold]
                bounds[torch.from_numpy(untold), k, 0] = torch.from_numpy(mm2 / plane.prod()).to(bounds)
        if self.measure == "size":
            absent = (slice_tags == 0)[..., None]
            bounds[..., 1] = torch.where(absent, 0.0, bounds[..., 1])
        return check_interval(bounds, self.descriptor, f"the estimate of '{self.file}'")

    def _of_volume(
        self,
        image: Tensor,
        cues: np.ndarray,
        places: np.ndarray,
        kind: str,
        thickness: float,
        slice_tags: Tensor,
        tags: Tensor,
    ) -> Tensor:
        spacing = np.array(spacing_of(image))
        bounds = torch.tensor(NO_BOUND).repeat(len(self.class_names), self.descriptor.components(3), 1)
        for k, name in enumerate(self.class_names):
            present = (slice_tags[:, k] == 1).numpy()
            if name not in self.classes or not present.any() or bool(np.isnan(cues[:, k, 0]).all()):
                continue
            models = self._models(name, kind, np.nan_to_num(cues[:, k]))
            if self.measure == "volume_centroid":
                middle = to_voxels(middle_of(places[:, k], cues[:, k], present), image)
                if not np.isfinite(middle[0]):
                    continue
                bounds[k] = torch.from_numpy(
                    np.stack((middle - models["reach"] / spacing, middle + models["reach"] / spacing), -1)
                )
            else:
                row = volume_features(models["kind"], cues[:, k], present, thickness)
                ml = within_constant(IntervalModel.from_dict(models)(row)[0], self.classes[name].get("constant"))
                bounds[k, 0] = torch.from_numpy(ml * 1000 / spacing.prod())
        if self.measure == "volume":
            bounds[..., 1] = torch.where((tags == 0)[:, None], 0.0, bounds[..., 1])
        return check_interval(bounds, self.descriptor, f"the estimate of '{self.file}'")


class EstimatedBoundsd(Boundsd):
    """Dictionary version of ``EstimatedBounds``; needs ``WeakTagsd`` and ``WeakCuesd`` before.

    Args:
        term: name of the constraint term.
        keys: the image whose grid counts.
        measure: what is bounded; None: what the term is called.
        bounds: the other arguments of ``EstimatedBounds``.
    """

    def __init__(self, term: str = "size", keys: str = "image", measure: str | None = None, **bounds: Any) -> None:
        super().__init__(term, keys, None, EstimatedBounds(measure=measure or term, **bounds))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the bounds to a copy of the data.

        Raises:
            ValueError: no cues in the data, or bounds that cannot hold; names the case.
        """
        case = data.get("case", "?")
        if "cues" not in data:
            raise ValueError(f"case '{case}': estimated bounds need WeakCuesd before; put it behind WeakTagsd.")
        entries = [data[key] for key in ("cues", "places", "cue_kind", "thickness", "slice_tags", "tags")]
        try:
            return {**data, f"bounds_{self.term}": self.bounds(data[self.first_key(dict(data))], *entries)}
        except ValueError as error:
            raise ValueError(f"case '{case}': {error}") from error


def within_constant(interval: np.ndarray, constant: Sequence[float | None] | None) -> np.ndarray:
    """Replace a side that says less than the constant one."""
    if constant is None:
        return interval
    lower, upper = (
        (-math.inf if constant[0] is None else constant[0]),
        (math.inf if constant[1] is None else constant[1]),
    )
    clipped = np.array([max(interval[0], lower), min(interval[1], upper)])
    return clipped if clipped[0] < clipped[1] else np.array([lower, upper])


def unknown_intervals(models: Mapping[str, Any], count: int) -> np.ndarray:
    """What a file says of a class in a stack of S = ``count`` slices without tags: (S, 2) in mm2, -inf: no lower side.

    Args:
        models: the file's entry of the class, with its profile under ``unknown``.
        count: number of slices.
    """
    free = AreaProfile.from_dict(models["unknown"])(count)
    sides = np.stack([within_constant(row, models.get("constant")) for row in free]).astype(float)
    sides[np.isinf(free[:, 0]), 0] = -math.inf
    return sides


def middle_of(places: np.ndarray, cues: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Mean place (3,) of the slices that show the class, each by the root of its drawn box; NaN if none is drawn."""
    drawn = present & np.isfinite(places[:, 0])
    weight = np.sqrt(np.nan_to_num(cues[drawn, CUES.index("box")], nan=1.0))
    middle: np.ndarray = (places[drawn] * weight[:, None]).sum(0) / weight.sum() if drawn.any() else np.full(3, np.nan)
    return middle


def _affine(volume: Tensor) -> np.ndarray:
    dimensions = volume.dim() - 1
    if not isinstance(volume, MetaTensor):
        return np.eye(dimensions + 1)
    affine = np.asarray(volume.affine, dtype=float)
    keep = [*range(dimensions), affine.shape[0] - 1]
    return affine[np.ix_(keep, keep)]


def _to_world(voxels: np.ndarray, volume: Tensor) -> np.ndarray:
    """World coordinates of voxel coordinates (..., D), as (..., 3); the third is 0 in 2D."""
    affine = _affine(volume)
    world = voxels @ affine[:-1, :-1].T + affine[:-1, -1]
    return np.concatenate((world, np.zeros((*world.shape[:-1], 3 - world.shape[-1]))), -1)


def to_voxels(world: np.ndarray, volume: Tensor) -> np.ndarray:
    """Voxel coordinates (..., D) of world coordinates (..., 3)."""
    inverse = np.linalg.inv(_affine(volume))
    voxels: np.ndarray = world[..., : volume.dim() - 1] @ inverse[:-1, :-1].T + inverse[:-1, -1]
    return voxels
