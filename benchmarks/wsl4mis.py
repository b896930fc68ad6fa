# SPDX-License-Identifier: Apache-2.0
"""What the recipe of WSL4MIS (Luo et al., MICCAI 2022) and of the works that follow it has of its own.

The network and the augmentation, as components of a bundle, and its release in HDF5 as a data set of ours. Written from
the description; nothing of https://github.com/HiLab-git/WSL4MIS (MIT) is copied.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.networks.nets import BasicUNet
from monai.networks.nets.basic_unet import UpCat
from torch import Tensor, nn

from wss_monai.data.releases.acdc import LABELS
from wss_monai.data.releases.preparation import Entry, Preparation, preparation, refuse_missing
from wss_monai.functional import UNLABELLED
from wss_monai.io.nifti_files import save_image
from wss_monai.transforms import BatchAugment

VOLUMES = "ACDC_training_volumes"
DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)
"""After the first convolution of each level of the encoder."""
THEIR_UNLABELLED = 4
SWAPPED = {"patient090"}
"""The patient whose ES frame comes before the ED frame; in all others of the training set it comes after."""
GROUPS = ("DCM", "HCM", "MINF", "NOR", "RV")
"""Of patients 1 to 20, 21 to 40 and so on."""


class WSL4MISUNet(BasicUNet):
    """The U-Net of WSL4MIS: 1.81 million weights with its features, MONAI's ``BasicUNet`` changed in three places.

    Dropout grows with the depth of the encoder and the decoder has none; the last level halves its channels as the
    others do; the last convolution is 3 x 3. Up-sampling is linear behind a 1 x 1 convolution: the released code asks
    for transposed convolutions and does not hand that on. Being a ``BasicUNet``, it can have a second decoder
    (``wss_monai.networks.DualDecoder``).

    Args:
        out_channels: classes.
        features: of the five levels.
        in_channels: of the image.
        spatial_dims: 2.
    """

    def __init__(
        self,
        out_channels: int,
        features: Sequence[int] = (16, 32, 64, 128, 256),
        in_channels: int = 1,
        spatial_dims: int = 2,
    ) -> None:
        act = ("LeakyReLU", {"negative_slope": 0.01, "inplace": True})
        up = {"upsample": "nontrainable"}
        super().__init__(spatial_dims, in_channels, out_channels, (*features, features[0]), act, "batch", **up)
        first, second = features[:2]
        self.upcat_1 = UpCat(spatial_dims, second, first, first, act, "batch", True, **up)
        self.final_conv = nn.Conv2d(first, out_channels, 3, padding=1)
        levels = [self.conv_0, *(getattr(self, f"down_{n}").convs for n in range(1, 5))]
        for level, share in zip(levels, DROPOUT, strict=True):
            level.conv_0.add_module("dropout", nn.Dropout(share))


class RotateOrFlip(BatchAugment):
    """Half of the slices: a random quarter turn and a flip; a quarter: a rotation by up to 20 degrees; a quarter: none.

    The rotation is in mm, which is in pixels of the slice as it was before it was squeezed to a square. As in WSL4MIS,
    whose rotation takes the nearest pixel, intensities do not change.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, flips=(0, 1), turns=(0, 1), rotation=20.0, intensity_probability=0.0)

    def draw(
        self,
        count: int,
        shape: tuple[int, ...],
        spacing: Tensor,
        generator: torch.Generator,
        group: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Matrices (B, 3, 3) and the spacing (B, 2) after, in float64 on the CPU."""
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"this augmentation is for square slices, got the shape {shape}.")
        coins = torch.rand((count, 2), generator=generator).numpy()
        turns, axes = (torch.randint(0, n, (count,), generator=generator).tolist() for n in (4, 2))
        angles = torch.randint(-20, 20, (count,), generator=generator).tolist()
        linear, after = np.tile(np.eye(2), (count, 1, 1)), spacing.numpy().copy()
        for n, (first, second) in enumerate(coins):
            if first > 0.5:
                for _ in range(turns[n]):
                    linear[n] = np.array([[0.0, -1.0], [1.0, 0.0]]) @ linear[n]
                linear[n, axes[n]] *= -1
                after[n] = after[n, ::-1] if turns[n] % 2 else after[n]
            elif second > 0.5:
                angle = math.radians(angles[n])
                turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
                linear[n] = turned * after[n][None, :] / after[n][:, None]
        if group is not None:
            _, leaders, index = np.unique(group.numpy(), return_index=True, return_inverse=True)
            linear, after = linear[leaders[index]], after[leaders[index]]
        centre = (np.array(shape) - 1) / 2
        matrix = np.tile(np.eye(3), (count, 1, 1))
        matrix[:, :2, :2] = linear
        matrix[:, :2, 2] = centre - linear @ centre
        return torch.from_numpy(matrix), torch.from_numpy(after)


def prepare_wsl4mis(
    source: str | os.PathLike[str], out: str | os.PathLike[str], patients: Sequence[str] | None = None
) -> Preparation:
    """Convert the HDF5 volumes of WSL4MIS to a data set as `prepare acdc` makes them.

    The files hold neither spacing nor pose. The volumes get cubes of 1 mm, so that all millimetres are voxels: Dice is
    that of the official release, distances and volumes are not, and bounds in mm2 or ml mean nothing.

    Args:
        source: the folder with ACDC_training_volumes, or one above it.
        out: the folder to make.
        patients: convert these only; each must be there.

    Returns:
        Counts and notes.

    Raises:
        FileExistsError: `out` is there already and not empty.
        FileNotFoundError: `source` is missing.
        ValueError: no such files, no h5py to read them with, or a patient asked for cannot be converted.
    """
    refuse_missing(source, "give the folder data/ACDC of WSL4MIS")
    files = volumes_of(Path(source))
    if not files:
        raise ValueError(f"source '{source}' has no {VOLUMES}/patientXXX_frameYY.h5")
    try:
        import h5py
    except ImportError:
        raise ValueError(f"source '{source}' holds HDF5 files, which need h5py: python -m pip install h5py") from None

    def convert(patient: str) -> list[Entry]:
        frames = sorted(file for file in files if file.name.startswith(f"{patient}_"))
        if len(frames) != 2:
            raise ValueError(f"{patient} has {len(frames)} volumes; ED and ES make two")
        phases = ("ES", "ED") if patient in SWAPPED else ("ED", "ES")
        arrays = {}
        for file in frames:
            with h5py.File(file) as content:
                arrays[file.stem] = {key: np.asarray(content[key]).transpose(2, 1, 0) for key in ("image", "label")}
                arrays[file.stem]["scribble"] = np.asarray(content["scribble"]).transpose(2, 1, 0)
        done.claim({name: found["image"] for name, found in arrays.items()})
        return [entry(patient, phase, *item, done) for phase, item in zip(phases, arrays.items(), strict=True)]

    with preparation(out) as done:
        names = {re.split("_", file.name)[0]: "training" for file in files}
        parts = done.convert(names, convert, patients)
        done.notes.append(("spacing", "not in these files: 1 mm cubes, so that millimetres are voxels"))
        weak = {"kind": "scribble", "values": {**LABELS, str(UNLABELLED): "unlabelled"}, "undrawn_means_absent": True}
        done.finish(
            {
                "name": "ACDC (WSL4MIS, HDF5)",
                "description": "Short-axis cine MRI without spacing: each voxel is given 1 mm, which is wrong",
                "reference": "O. Bernard et al., IEEE TMI 2018; G. Valvano et al., IEEE TMI 2021; X. Luo et al., "
                "MICCAI 2022",
                "modality": {"0": "MRI (cine bSSFP)"},
                "labels": LABELS,
                "slice_axis": 2,
                "weak_label": weak,
                **parts,
            }
        )
    return done


def volumes_of(source: Path) -> list[Path]:
    """The HDF5 volumes in a folder, or in one below it."""
    return sorted(file for file in source.rglob("patient*_frame*.h5") if file.parent.name == VOLUMES)


def entry(patient: str, phase: str, name: str, arrays: dict[str, np.ndarray], done: Preparation) -> Entry:
    """Write image, mask and scribble of a volume, (X, Y, Z) each; give its entry in dataset.json."""
    number = int(re.sub(r"\D", "", patient))
    group = GROUPS[(number - 1) // 20] if 1 <= number <= 100 else None
    case: dict[str, Any] = {"case": name, "patient": patient, "group": group, "phase": phase}
    drawn = arrays["scribble"].astype(np.uint8)
    maps = {
        "image": ("images", arrays["image"].astype(np.float32)),
        "label": ("labels", arrays["label"].astype(np.uint8)),
        "weak_label": ("scribbles", np.where(drawn == THEIR_UNLABELLED, np.uint8(UNLABELLED), drawn)),
    }
    for key, (folder, array) in maps.items():
        if key != "image" and (strange := sorted(set(np.unique(array).tolist()) - {0, 1, 2, 3, UNLABELLED})):
            raise ValueError(f"{name}.h5 holds the values {strange} in its {key}; allowed are 0 to 3")
        target = done.result / folder / f"{name}.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        case[key] = save_image(nib.Nifti1Image(array, np.eye(4)), target)
    return case
