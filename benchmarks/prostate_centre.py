# SPDX-License-Identifier: Apache-2.0
"""Do the maps of the prostate say more than "in the middle"? A disc as a rival, and images cut off-centre.

    python benchmarks/prostate_centre.py

The prostate lies near the middle of its slices. (1) The same disc in every slice that shows the organ, by its true
tag: radius and height chosen on fold 2, scored on fold 1. (2) The networks of benchmarks/prostate_cross_modality.py on
frames that are cut out 16 mm off the middle, on the network's grid: their masks have to move with the organ.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, ScaleIntensityRangePercentilesd, Spacingd

from wss_monai.networks import MultiModalCAM
from wss_monai.transforms import CAMScores, LoadCased

CHANNELS, PIXEL, HALF = (8, 16, 32, 32), 2.0, 32
SHIFTS = {"middle": (0, 0), "+x": (8, 0), "-x": (-8, 0), "+y": (0, 8), "-y": (0, -8)}
MODES = ("cam", "equivariant", "cross_modality")


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two masks."""
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


def disc(data: Path, patients: Sequence[str], radius: float, height: float) -> float:
    """Mean Dice of volumes of a disc (mm) in the middle of the slices that show the organ."""
    scores = []
    for patient in patients:
        image = nib.load(data / "labels" / f"{patient}.nii.gz")
        label, steps = np.asarray(image.dataobj) > 0, image.header.get_zooms()
        places = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(label.shape[:2], steps, strict=False)]
        x, y = np.meshgrid(*places, indexing="ij")
        scores.append(overlap((np.hypot(x, y - height) < radius)[..., None] & label.any((0, 1)), label))
    return statistics.fmean(scores)


def load(data: Path, patient: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Image (2, X, Y, Z) and label (1, X, Y, Z) at 2 mm, not yet cropped."""
    to_grid = Compose(
        [
            LoadCased("image"),
            ScaleIntensityRangePercentilesd("image", 0.5, 99, 0, 1, clip=True, channel_wise=True),
            Spacingd("image", (PIXEL, PIXEL, -1)),
        ]
    )
    files = [str(data / "images" / f"{patient}_{name}.nii.gz") for name in ("T2", "ADC")]
    label = nib.load(data / "labels" / f"{patient}.nii.gz")
    mask = MetaTensor(torch.from_numpy((np.asarray(label.dataobj) > 0)[None].astype(np.float32)), affine=label.affine)
    moved = Spacingd("label", (PIXEL, PIXEL, -1), mode="nearest")({"label": mask})["label"]
    return to_grid({"case": patient, "image": files})["image"].as_tensor(), moved.as_tensor() > 0


def frame(volume: torch.Tensor, shift: tuple[int, int]) -> torch.Tensor:
    """The frame of the network, its middle moved by so many pixels."""
    x, y = (n // 2 + step for n, step in zip(volume.shape[1:3], shift, strict=True))
    return volume[:, x - HALF : x + HALF, y - HALF : y + HALF]


def read(run: Path, cases: Sequence[tuple[torch.Tensor, torch.Tensor]], shift: tuple[int, int]) -> list[float]:
    """Mean Dice, and the mean centroid (mm from the middle of the frame) of what is predicted, along x and y."""
    network = MultiModalCAM(2, 2, CHANNELS, share=0.05)
    network.load_state_dict(torch.load(run / "model.pt", weights_only=True))
    network.eval()
    threshold = json.loads((run.with_name(f"{run.name}_fused") / "threshold.json").read_text())["threshold"]
    scores, centres = [], []
    for image, label in cases:
        with torch.no_grad():
            raw = network(frame(image, shift).movedim(-1, 0)).movedim(0, -1)
        mask = CAMScores(2)(raw)[0].numpy() > threshold
        scores.append(overlap(mask, frame(label, shift)[0].numpy()))
        if mask.any():
            centres.append((np.argwhere(mask)[:, :2].mean(0) - HALF + 0.5) * PIXEL)
    return [statistics.fmean(scores), *np.mean(centres, 0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/PROSTATE_PAIRS"))
    parser.add_argument("--runs", type=Path, default=Path("runs/prostate_cross_modality"))
    parser.add_argument("--split", type=Path, default=Path("benchmarks/splits/prostate22.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    folds = json.loads(options.split.read_text())["test"]
    choices = [(radius, height) for radius in range(8, 36, 2) for height in range(-20, 21, 4)]
    radius, height = max(choices, key=lambda choice: disc(options.data, folds["fold2"], *choice))
    found = [disc(options.data, folds[fold], radius, height) for fold in ("fold2", "fold1")]
    print(
        f"disc, radius {radius} mm, {height} mm off along y: Dice {found[0]:.3f} on fold 2, {found[1]:.3f} on fold 1\n"
    )
    cases = [load(options.data, patient) for patient in folds["fold1"]]
    print("| mode | " + " | ".join(f"{name}: Dice (x, y mm)" for name in SHIFTS) + " |")
    print("|" + "---|" * (1 + len(SHIFTS)))
    for mode in MODES:
        cells = []
        for shift in SHIFTS.values():
            each = np.mean([read(options.runs / f"{mode}_s{seed}", cases, shift) for seed in options.seeds], 0)
            cells.append(f"{each[0]:.3f} ({each[1]:.0f}, {each[2]:.0f})")
        print(f"| {mode} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
