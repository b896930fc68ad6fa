# SPDX-License-Identifier: Apache-2.0
"""Predict volumes with the network of a run, or with those of several."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from wss_monai.io.grids import Grid, read_grid
from wss_monai.prediction.inversion import mean_of_classes
from wss_monai.prediction.member import Member
from wss_monai.prediction.orientation import Axes, axes_for, unlike
from wss_monai.prediction.prediction import Prediction
from wss_monai.prediction.run_settings import RunSettings, read_settings, runs_of

__all__ = ["Predictor"]

PathLike = str | os.PathLike[str]


class Predictor:
    """Predict volumes as the evaluation of a run does, or by the mean of several runs.

    ::

        from wss_monai.prediction import Predictor
        prediction = Predictor("runs/mine")("new/anna.nii.gz")
        print(prediction.volumes_ml)

    Args:
        runs: folder of a run, or of several with the same classes and modalities: then the softmax of their networks is
            averaged, each with its own voxel size, windows and weights; what comes behind is that of the first. The
            folder of a cross-validation stands for its runs.
        weights: "last" (model.pt), "best" (model_best.pt, by validation), or a file.
        device: such as "cpu" or "cuda:1"; None: a GPU where there is one.
        mirror: average over mirrored images as well (test-time augmentation), along the axes along which training
            mirrored its samples (``train#augment#flips``).
        uncertainty: give the entropy of the mean probabilities.
        keep_largest: the largest connected component alone; None: as in the run's evaluation.
        trust: packages whose classes a run may name besides those of MONAI, PyTorch and this package.

    Attributes:
        settings: of each run.

    Raises:
        FileNotFoundError: no such folder or weights.
        ValueError: a run that was not recorded, runs that do not fit together, weights of another network, ``mirror``
            of a run that was trained without mirrored samples, and probabilities of one that has none.
    """

    def __init__(
        self,
        runs: PathLike | Sequence[PathLike],
        *,
        weights: str = "last",
        device: str | torch.device | None = None,
        mirror: bool = False,
        uncertainty: bool = False,
        keep_largest: bool | None = None,
        trust: Sequence[str] = (),
    ) -> None:
        given = [runs] if isinstance(runs, (str, os.PathLike)) else list(runs)
        folders = [folder for each in given for folder in runs_of(each)]
        if not folders:
            raise ValueError("runs: give the folder of at least one run")
        if len(folders) > 1 and weights not in ("last", "best"):
            raise ValueError(f"--weights: a file, {weights}, cannot belong to {len(folders)} runs; give last or best")
        self.settings = [read_settings(folder, trust) for folder in folders]
        _check_alike(self.settings)
        self.device = _device(device)
        self.members = [Member(run, weights, self.device, keep_largest) for run in self.settings]
        self.uncertainty = uncertainty
        self.averaged = mirror or len(self.members) > 1
        self.flips = [_flips(run) if mirror else [()] for run in self.settings]
        for member in self.members:
            if (self.averaged or uncertainty) and not member.has_probabilities:
                raise ValueError(
                    f"{member.run.folder}: its masks are activation maps above a threshold, without probabilities to "
                    "average: leave out --tta, --ensemble and --uncertainty"
                )

    @property
    def first(self) -> RunSettings:
        """Settings of the first run."""
        return self.settings[0]

    @property
    def needs_all(self) -> bool:
        """Whether the run shifts its classes to sizes of all cases together, see ``solve``."""
        return any(not member.solved for member in self.members)

    def __call__(self, image: PathLike | Sequence[PathLike]) -> Prediction:
        """Predict one volume.

        Args:
            image: its file or DICOM folder; of several modalities a list, in the order of ``settings[0].modalities``.

        Returns:
            The mask, on the grid of the image.

        Raises:
            FileNotFoundError, ValueError: what training refuses too: files that are damaged, voxels that are not
                finite, percentiles that coincide, modalities on different grids, another number of channels.
        """
        if self.needs_all:
            raise ValueError(
                "the evaluation of this run shifted its classes until all cases together showed the sizes that were "
                "stated (--predicted_sizes): call solve with all volumes first"
            )
        files = _files(image)
        stored, case, axes, warnings = self._load(files)
        shape = tuple(case["image"].shape[1:])
        found = [member.prepare(case) for member in self.members]
        labels, entropy = self._classes(found, shape)
        own = np.asarray(labels.cpu())[0]
        own = own.astype(np.uint8 if len(self.first.class_names) <= 256 else np.int16)
        count = stored.dim()
        return Prediction(
            tuple(map(str, files)),
            axes.back(own).reshape(stored.shape),
            np.asarray(stored.affine, dtype=float),
            self.first.class_names,
            np.asarray(stored),
            axes.order[self.first.slice_axis] if count == 3 else 2,
            self.first.bounds,
            warnings,
            None if entropy is None else axes.back(entropy.cpu().numpy()).reshape(stored.shape),
        )

    def solve(self, images: Sequence[PathLike | Sequence[PathLike]]) -> None:
        """Find the shift of the classes of a run whose evaluation stated sizes, on all volumes together.

        Does nothing for other runs. Each volume is read and predicted once more.
        """
        for member in self.members:
            if not member.solved:
                member.solve(_Prepared(self, member, images))

    def _classes(self, found: Sequence[dict[Any, Any]], shape: Sequence[int]) -> tuple[MetaTensor, Tensor | None]:
        """Class indices on the grid of the image, and the entropy where it is wanted."""
        first = self.members[0]
        if not first.has_probabilities:
            return first.thresholded(found[0]), None
        if self.averaged:
            pairs = list(zip(self.members, found, self.flips, strict=True))
            parts = [member.inversion(data, member.probabilities(data, flips), shape) for member, data, flips in pairs]
            mean, entropy = mean_of_classes(parts, self.uncertainty)
            return first.finished({**found[0], "pred": mean}), entropy
        scores = first.scores(found[0])
        labels = first.classes(found[0], scores, shape)
        if not self.uncertainty:
            return labels, None
        shares = first.inversion(found[0], scores.float().softmax(dim=0), shape)
        return labels, mean_of_classes([shares], True)[1]

    def _load(self, files: Sequence[PathLike]) -> tuple[MetaTensor, dict[Any, Any], Axes, list[str]]:
        """The first modality as stored, the case with its axes as in training, these, and what to say."""
        from wss_monai.transforms import LoadCased

        run = self.first
        if len(files) != run.channels:
            names = f" ({', '.join(run.modalities)})" if len(run.modalities) == run.channels else ""
            raise ValueError(
                f"{' + '.join(map(str, files))}: {len(files)} file(s), but the run has {run.channels} channels{names}"
            )
        grid = read_grid_of(files[0])
        axes, told = axes_for(grid, run.geometry, run.slice_axis)
        for other in self.settings[1:]:
            if axes_for(grid, other.geometry, other.slice_axis)[0] != axes:
                own, theirs = (" ".join(one.geometry["directions"]) for one in (run, other))
                raise ValueError(
                    f"{files[0]}: '{run.folder}' and '{other.folder}' have other axes, {own} and {theirs}; "
                    "this volume cannot be turned for both: predict it with each alone"
                )
        name = Path(files[0]).name
        loader = LoadCased(keys=["image"], spatial_dims=max(member.run.spatial_dims for member in self.members))
        case: dict[Any, Any] = loader({"case": name, "image": [str(file) for file in files]})
        image: MetaTensor = case["image"]
        first = image.as_tensor()[0]
        stored = MetaTensor(first if len(grid.shape) == 3 else first[..., 0], affine=image.affine)
        warnings = ([told] if told else []) + unlike(grid, axes, run.geometry, run.slice_axis)
        return stored, {**case, "image": axes(image)}, axes, warnings


class _Prepared(Sequence[Any]):
    """Volumes, read and prepared when they are asked for."""

    def __init__(self, predictor: Predictor, member: Member, images: Sequence[Any]) -> None:
        self.predictor, self.member, self.images = predictor, member, images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        return self.member.prepare(self.predictor._load(_files(self.images[index]))[1])


def read_grid_of(path: PathLike) -> Grid:
    """Grid of a file or series, read off its header; errors name it."""
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        return read_grid(str(path))
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error


def _files(image: PathLike | Sequence[PathLike]) -> list[PathLike]:
    return [image] if isinstance(image, (str, os.PathLike)) else list(image)


def _device(device: str | torch.device | None) -> torch.device:
    try:
        found = torch.device(device or ("cuda:0" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ValueError(f"--device: '{device}' is no device; give cpu, cuda or cuda:1") from error
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found.type == "cuda" and (found.index or 0) >= count:
        raise ValueError(f"--device: there is no '{device}': PyTorch sees {count} GPU(s)")
    return found


def _flips(run: RunSettings) -> list[tuple[int, ...]]:
    """All combinations of the axes of the volume along which training mirrored."""
    axes = [axis for axis in range(3) if run.spatial_dims == 3 or axis != run.slice_axis]
    allowed = [axes[flip] for flip in run.flips if -len(axes) <= flip < len(axes)]
    if not allowed:
        raise ValueError(
            f"--tta: '{run.folder}' was trained without mirrored images (train#augment#flips), since its anatomy has "
            "sides; there is nothing to average over"
        )
    return list(_subsets(sorted(set(allowed))))


def _subsets(axes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    for count in range(len(axes) + 1):
        yield from itertools.combinations(axes, count)


def _check_alike(runs: Sequence[RunSettings]) -> None:
    """Refuse runs that cannot be averaged."""
    first = runs[0]
    for run in runs[1:]:
        for what, own, theirs in (
            ("classes", run.class_names, first.class_names),
            ("channels", run.channels, first.channels),
            ("modalities", run.modalities, first.modalities),
            ("slice_axis", run.slice_axis, first.slice_axis),
        ):
            if own != theirs:
                raise ValueError(
                    f"--ensemble: '{run.folder}' has other {what} than '{first.folder}': {own} and {theirs}; only runs "
                    "that tell the same classes from the same images can be averaged"
                )
