# SPDX-License-Identifier: Apache-2.0
"""The settings of a first training on a data set, each with its reason."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wss_monai.functional.weak.kinds import WeakKind
from wss_monai.planning.facts import CaseFacts, DataFacts
from wss_monai.planning.mode import Setting, mode_settings

__all__ = ["Plan", "Setting", "make_plan"]

ANISOTROPIC = 2.0
"""Slices that are this much thicker than their pixels are segmented slice by slice."""
FEWEST_SLICES = 16
"""Volumes of fewer slices are, too: a network in 3D has nothing to look along."""
LARGEST_2D = {True: 128, False: 256}
"""Pixels along an axis of the slice that training sees: of a small network (a CPU), of the whole one."""
LARGEST_3D = {True: 150_000, False: 900_000}
"""Voxels of a patch."""
STEP = {2: 16, 3: 8}
"""The product of a network's strides, of which sizes are multiples."""
MARGIN = 0.25
"""Around the outermost voxel that is drawn, as a part of its distance from the centre: a scribble lies inside."""
FOLDS = 5
"""Of the default split."""
FEW_PATIENTS = 10
"""With fewer, none is set apart for validation."""
IN_PIECES = re.compile(r"lesion|tumou?r|metasta|plaque|stroke|infarct|h[ae]+morrh|nodul|o?edema|polyp|cyst", re.I)
"""Names of what may well lie in several places."""
SMALL = {2: {"network_def#features": [8, 16, 32, 64, 64, 8]}, 3: {"network_def#channels": [8, 16, 32, 64]}}
"""Networks for two CPU cores."""


@dataclass(frozen=True)
class Plan:
    """What to train, and how.

    Attributes:
        bundle: name of the bundle.
        files: names of its files, which the settings follow.
        settings: in the order of the file.
        notes: what a user has to do or may want to know, a sentence each.
    """

    bundle: str
    files: tuple[str, ...]
    settings: list[Setting]
    notes: list[str]

    def value(self, name: str) -> Any:
        """Give what a setting says; None where it is not set."""
        return next((setting.value for setting in self.settings if setting.name == name and setting.active), None)


def make_plan(
    facts: DataFacts, data: str, out: str, small: bool, fitted: Sequence[str] = (), dims: int | None = None
) -> Plan:
    """Choose bundle and settings.

    Args:
        facts: of the data set.
        data: its folder, as the settings shall name it.
        out: the run's folder.
        small: for a CPU: a small network on few pixels, a short run.
        fitted: patients whose dense labels may be looked at, for bounds, sizes and pieces; empty: nobody's.
        dims: 2 or 3, of the network; None: by the thickness of the slices.

    Raises:
        ValueError: no case is labelled, or what the labels are asks for another bundle, which is named.
    """
    slice_axis = facts.dataset.slice_axis
    spacing = facts.median(lambda case: case.spacing)
    chosen, why_dims = _dimensions(facts, spacing, slice_axis)
    if dims is not None and dims != chosen:
        why_dims = f"{dims}D as asked for"
    dims = dims or chosen
    bundle, files, modes, notes = mode_settings(facts, dims, fitted)
    classes = ", ".join(facts.class_names[1:])
    settings = [
        Setting("dataset_dir", data, ""),
        Setting("output_dir", out, "the folder of the run"),
        Setting("class_names", facts.class_names, f"the labels of dataset.json: background, then {classes}"),
        *modes,
        *_length(small),
        *([] if files[-1] == "box.yaml" else [_keep_largest(facts, fitted)]),  # whose bundle has it in evaluation alone
    ]
    channels = {case.channels for case in facts.cases}
    if len(channels) > 1:
        raise ValueError(f"cases have {sorted(channels)} images: list as many for each case, or name them in modality.")
    if max(channels) > 1:
        settings.append(Setting("network_def#in_channels", max(channels), f"each case has {max(channels)} images"))
    if slice_axis != 2 and dims == 2:
        settings.append(Setting("slice_axis", slice_axis, "as dataset.json says"))
    settings += (_slices if dims == 2 else _patches)(facts, spacing, slice_axis, why_dims, small)
    if small:
        reason = "a small network for a CPU; leave it out on a GPU"
        settings += [Setting(name, value, reason) for name, value in SMALL[dims].items()]
        if dims == 2:
            settings.append(Setting("memory_format", "$torch.channels_last", "faster on a CPU"))
    settings += _split(facts)
    if any(str(name).upper() == "CT" for name in dict(facts.dataset.raw.get("modality") or {}).values()):
        notes.append("CT: for a fixed window of intensities see docs/how-to/own-data.md.")
    return Plan(bundle, files, settings, notes)


def _dimensions(facts: DataFacts, spacing: np.ndarray, slice_axis: int) -> tuple[int, str]:
    """2 or 3, and why."""
    pixel = float(max(np.delete(spacing, slice_axis)))
    thickness, slices = float(spacing[slice_axis]), int(facts.median(lambda case: case.shape)[slice_axis])
    if thickness >= ANISOTROPIC * pixel:
        return 2, f"slices of {_mm(thickness)} mm are {thickness / pixel:.1f} times as thick as their pixels: 2D"
    if slices < FEWEST_SLICES:
        return 2, f"volumes of {slices} slices: 2D"
    return 3, f"voxels are nearly cubes ({' x '.join(_mm(edge) for edge in spacing)} mm): 3D"


def _keep_largest(facts: DataFacts, fitted: Sequence[str]) -> Setting:
    parts = [part for case in facts.cases if case.patient in fitted for part in case.largest.values()]
    organs = [name for name in facts.class_names[1:] if not IN_PIECES.search(name)]
    if parts:
        whole = float(np.mean([part > 0.95 for part in parts]))
        why = f"in {100 * whole:.0f} % of these patients' dense masks a class is one piece: {', '.join(sorted(fitted))}"
        return Setting("keep_largest", whole >= 0.9, f"{why}; true keeps the largest piece of each class alone")
    if len(organs) < len(facts.class_names) - 1:
        return Setting("keep_largest", False, "a class may lie in several places; true keeps the largest piece alone")
    return Setting("keep_largest", True, "an organ is one piece; false where a class may lie in several places")


def _slices(facts: DataFacts, spacing: np.ndarray, slice_axis: int, why: str, small: bool) -> list[Setting]:
    """Pixels, the part of a slice that is seen, and sliding windows of it."""
    plane = [axis for axis in range(3) if axis != slice_axis]
    pixel = _round(float(np.sqrt(np.prod(spacing[plane]))))
    need, want = _reach(facts, False)[plane], _reach(facts, True)[plane]
    largest, step = LARGEST_2D[small], STEP[2]
    coarser = max(1.0, float(2 * need.max() / pixel / largest))
    pixdim = _round(pixel * coarser) if coarser > 1 else pixel
    whole = facts.median(lambda case: np.multiply(case.shape, case.spacing))[plane]
    crop, all_of_it = [], True
    for half, least, extent in zip(want, need, whole, strict=True):
        size = min(largest, max(64, _up(2 * half / pixdim, step), _up(2 * least / pixdim, step)))
        size = min(size, max(step, _up(extent / pixdim, step)))
        all_of_it = all_of_it and size * pixdim >= extent
        crop.append(size)
    reason = f"the median is {_mm(pixel)} mm"
    if coarser > 1:
        reason += f"; coarser, so that what is labelled fits into {largest} pixels"
    drawn = " x ".join(f"{2 * half:.0f}" for half in need)
    seen = f"labels and a margin take {drawn} mm around the centre; multiples of {step}, the strides of the network"
    place = {slice_axis: -1}
    settings = [
        Setting("pixdim", [place.get(axis, pixdim) for axis in range(3)], f"mm. {why}; {reason}"),
        Setting("crop", _spread(crop, slice_axis), f"pixels that training sees: {seen}"),
    ]
    if not all_of_it:
        settings.append(Setting("field", _spread(crop, slice_axis), "no more is segmented than training sees"))
    settings.append(Setting("window", crop, "of prediction: as large"))
    settings.append(Setting("batch_size", 8, "slices"))
    return settings


def _patches(facts: DataFacts, spacing: np.ndarray, slice_axis: int, why: str, small: bool) -> list[Setting]:
    """Voxels and patches of a volume."""
    step, limit = STEP[3], LARGEST_3D[small]
    edge = [_round(float(value)) for value in spacing]
    extent = facts.median(lambda case: np.multiply(case.shape, case.spacing))
    need = np.minimum(2 * _reach(facts, False), extent)
    coarser = 1.0
    while np.prod([_up(part / (value * coarser), step) for part, value in zip(need, edge, strict=True)]) > 8 * limit:
        coarser *= 1.1
    edge = [_round(value * coarser) for value in edge] if coarser > 1 else edge
    widest = np.max([np.multiply(case.shape, case.spacing) for case in facts.cases], axis=0)
    patch = [_up(part / value, step) for part, value in zip(widest, edge, strict=True)]
    whole = list(patch)
    while math.prod(patch) > limit:
        axis = int(np.argmax([size * value for size, value in zip(patch, edge, strict=True)]))
        patch[axis] -= step
    reason = "the median" if coarser == 1 else f"{coarser:.1f} times the median, so that a patch shows enough"
    fits = "holds every volume" if patch == whole else f"at most {limit} voxels"
    return [
        Setting("pixdim", edge, f"mm. {why}; {reason}"),
        Setting("patch_size", patch, f"voxels; {fits}; multiples of {step}, the strides of the network"),
        Setting("patches_per_volume", 1 if patch == whole else 4, "in a pass through the volumes"),
        Setting("batch_size", 2, "patches"),
    ]


def _length(small: bool) -> list[Setting]:
    epochs = 20 if small else 200
    return [
        Setting("epoch_iterations", 200, "an epoch is so long whatever the number of patients"),
        Setting(
            "max_epochs", epochs, f"{200 * epochs} iterations in all; --iterations N on the command line changes it"
        ),
        Setting("learning_rate", 0.002, "Adam, with a cosine down to 0"),
    ]


def _split(facts: DataFacts) -> list[Setting]:
    """Who trains, where there are too few patients for five folds and a validation part."""
    count = len({case.patient for case in facts.cases})
    test = {case["patient"] for case in facts.dataset.test}
    settings = []
    if count == 1:
        settings.append(
            Setting("fold", "all", "one patient cannot both train and be scored: all train, nobody is scored")
        )
    elif count < FOLDS and not test:
        settings.append(Setting("data#folds", count, f"of {count} patients one is the test set"))
    if 1 < count < FEW_PATIENTS:
        reason = f"of {count} patients none is set apart to look at in training; the last weights are scored"
        settings.append(Setting("validation", 0, reason))
    return settings


def _reach(facts: DataFacts, background: bool) -> np.ndarray:
    """Half of the region to see, mm: the 95th percentile of the cases' labelled voxels, with a margin, and by axis."""

    def of(case: CaseFacts) -> np.ndarray:
        found = [value for index, value in case.reach.items() if index or background]
        return np.max(found, axis=0) if found else np.zeros(3)

    each = np.array([of(case) for case in facts.cases if case.reach])
    extent = np.array([np.multiply(case.shape, case.spacing) / 2 for case in facts.cases if case.reach])
    margin = 1.0 if background and all(case.kind is WeakKind.DENSE for case in facts.cases) else 1 + MARGIN
    return np.quantile(np.minimum(each * margin, extent), 0.95, axis=0)


def _spread(values: Sequence[int], slice_axis: int) -> list[int]:
    """Sizes of the plane, with -1 along the slices."""
    out = list(values)
    out.insert(slice_axis, -1)
    return out


def _up(size: float, step: int) -> int:
    return max(step, math.ceil(round(size, 3) / step) * step)


def _round(edge: float) -> float:
    """Two digits are enough."""
    return float(f"{edge:.2g}")


def _mm(edge: float) -> str:
    return f"{edge:.3g}"
