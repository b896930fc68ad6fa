# SPDX-License-Identifier: Apache-2.0
"""Synthetic 3D volumes at 1 mm around one bent ellipsoid in two parts, with dense labels, as a data set on disk.

They stand in for T1 MRI of the hippocampus: about 35 x 50 x 35 voxels, an elongated grey body with a front (Anterior)
and a back end (Posterior) that look nearly alike, other grey structures and fluid beside it, and intensities whose
scale differs by orders of magnitude between cases. Labels: 0 background, 1 Anterior, 2 Posterior.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from wss_monai.data.phantoms.canvas import smooth_noise
from wss_monai.data.phantoms.generation import Progress, check_numbers, generator
from wss_monai.data.schema import write_dataset
from wss_monai.io.nifti_files import write_volume

LABELS = {"0": "background", "1": "Anterior", "2": "Posterior"}
SIDES = ("left", "right")
GREY, WHITE, FLUID = 0.6, 0.85, 0.2
SCALES = (4.0, 1e6)
"""Between which the intensity of a case's brightest tissue lies; its logarithm is uniform."""


@dataclass(frozen=True)
class Volume:
    """One case: ``image`` float32 and ``label`` uint8 0..2, both (X, Y, Z) at 1 mm."""

    image: np.ndarray
    label: np.ndarray


def make_volume(R: np.random.RandomState, *, side: str = "left") -> Volume:
    """Draw one volume.

    Args:
        R: the source of randomness; equal states give equal volumes.
        side: "left", or "right": its mirror image along the first axis.

    Returns:
        Image and label; the body runs along the second axis, Anterior at its far end, and lies inside the volume.

    Raises:
        ValueError: for another side.
    """
    if side not in SIDES:
        raise ValueError(f"side must be one of {', '.join(SIDES)}, got '{side}'")
    shape = (R.randint(32, 40), R.randint(44, 56), R.randint(30, 42))
    middle = (np.array(shape) - 1) / 2 + R.uniform(-1.5, 1.5, 3)
    at = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij"), -1) - middle
    at = at @ Rotation.from_euler("zx", [R.uniform(-20, 5), R.uniform(-15, 15)], degrees=True).as_matrix()
    for axis in range(3):  # no body is an exact ellipsoid
        at[..., axis] += 0.7 * smooth_noise(R, shape, (9.0, 9.0, 9.0))

    half = np.array([R.uniform(6.0, 7.2), R.uniform(16.5, 19.5), R.uniform(5.2, 6.3)])
    along = at[..., 1] / half[1]
    bend = R.uniform(2.0, 5.0) * along**2
    wide = 1 + R.uniform(0.1, 0.25) * np.clip(along, -1, 1)
    across = np.stack([(at[..., 0] + bend) / (half[0] * wide), (at[..., 2] - 0.4 * bend) / (half[2] * wide)], -1)
    inside = _share(np.sqrt((across**2).sum(-1) + along**2), half)
    front = along > R.uniform(-0.02, 0.16)
    label = np.where(inside > 0.5, np.where(front, 1, 2), 0).astype(np.uint8)

    tissue = np.where(smooth_noise(R, shape, (7.0, 7.0, 7.0)) > 0.4, GREY + R.uniform(-0.03, 0.06), WHITE)
    beside = at - np.array([half[0] + R.uniform(2, 5), R.uniform(-4, 8), R.uniform(1, 4)])
    tissue = _paint(tissue, FLUID, _share(np.linalg.norm(beside / [2.5, 12, 3.5], axis=-1), (2.5, 12, 3.5)))
    ahead = at - np.array([-R.uniform(2, 5), half[1] + R.uniform(2, 4), R.uniform(2, 5)])
    tissue = _paint(tissue, GREY + 0.03, _share(np.linalg.norm(ahead / [6, 4.5, 5], axis=-1), (6, 4.5, 5)))
    body = np.where(front, GREY + R.uniform(-0.02, 0.04), GREY + R.uniform(-0.05, 0.01))
    tissue = _paint(tissue, body + 0.015 * smooth_noise(R, shape, (3.0, 3.0, 3.0)), inside)

    bias = np.exp(0.08 * smooth_noise(R, shape, (40.0, 40.0, 40.0)))
    noisy = tissue * bias + R.uniform(0.02, 0.05) * R.randn(*shape)
    scale = float(np.exp(R.uniform(*np.log(SCALES))))
    image = (np.clip(noisy, 0, None) * scale).astype(np.float32)
    if side == "right":
        image, label = image[::-1].copy(), label[::-1].copy()
    return Volume(image, label)


def _share(radius: np.ndarray, half: Any) -> np.ndarray:
    """How much of a voxel lies in an ellipsoid: 1 inside, 0 outside, an edge of about a voxel."""
    return np.clip(0.5 + (1 - radius) * float(np.cbrt(np.prod(half))), 0, 1)


def _paint(below: np.ndarray, value: Any, share: np.ndarray) -> np.ndarray:
    return below * (1 - share) + value * share


def synthesize_ellipsoids(
    out: Path,
    patients: int,
    seed: int,
    *,
    progress: Progress = iter,
) -> Path:
    """Write a data set of synthetic volumes.

    A case depends on ``seed``, the patient's number and the side alone, so a larger set begins with the patients of a
    smaller one. Every other patient has two cases (left and right), the others one; every fourth patient, with one or
    two cases in turn, goes to the test list.

    Args:
        out: folder, made where missing; files of the same names are replaced.
        patients: how many.
        seed: 0 or more.
        progress: wraps the loop over patients, such as ``tqdm``.

    Returns:
        The path of ``dataset.json``; images and labels lie beside it in folders of these names.

    Raises:
        ValueError: if ``patients`` is below 1 or ``seed`` negative.
    """
    check_numbers(seed, patients)
    lists: dict[str, list[dict[str, str]]] = {"training": [], "test": []}
    for index in progress(range(patients)):
        part = "test" if index % 4 == (index // 4) % 2 + 1 else "training"
        sides = range(2) if index % 2 == 0 else [(index // 2) % 2]
        lists[part] += [_write(out, f"patient{index + 1:03d}", seed, index, number) for number in sides]
    return write_dataset(out, _description(seed, patients) | lists)


def _write(out: Path, patient: str, seed: int, index: int, number: int) -> dict[str, str]:
    side = SIDES[number]
    case = f"{patient}_{side}"
    volume = make_volume(np.random.RandomState([seed, index, number]), side=side)
    affine = np.eye(4)
    affine[:3, 3] = -(np.array(volume.image.shape) - 1) / 2
    file = f"{case}.nii.gz"
    paths = {
        "image": write_volume(volume.image, affine, out / "images" / file, scanner=False),
        "label": write_volume(volume.label, affine, out / "labels" / file, scanner=False),
    }
    return {"case": case, "patient": patient, "side": side} | paths


def _description(seed: int, patients: int) -> dict[str, Any]:
    return {
        "name": "Ellipsoids",
        "description": "Synthetic 3D volumes at 1 mm: a bent body in two parts, Anterior and Posterior, as the "
        "hippocampus has. Generated, no patient data.",
        "modality": {"0": "MRI (synthetic T1)"},
        "labels": LABELS,
        "slice_axis": 2,
        **generator(f"ellipsoids --patients {patients} --seed {seed}", seed),
    }
