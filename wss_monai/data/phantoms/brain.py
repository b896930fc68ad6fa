# SPDX-License-Identifier: Apache-2.0
"""Synthetic multi-modal MRI of brain tumours in the layout of a BraTS release: a folder a case, a file a modality.

A skull-stripped, brain-like ellipsoid with folded cortex and ventricles holds one tumour of three parts. The parts and
the distractors around them show differently in each modality. No anatomy of a patient is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from wss_monai.data.phantoms.canvas import smooth_noise
from wss_monai.data.phantoms.cardiac_imaging import receive
from wss_monai.data.phantoms.generation import Progress, check_numbers
from wss_monai.io.nifti_files import write_volume

__all__ = ["BrainCase", "make_brain", "synthesize_brats"]

MODALITIES = {2: ("flair", "t1ce"), 4: ("t1", "t1ce", "t2", "flair")}
NECROSIS, OEDEMA, ENHANCING = 1, 2, 4
EXTENT = (240.0, 240.0, 155.0)
"""Field of view of the release in mm."""
SMALLEST, FEWEST_SLICES = 24, 12
SIGNALS = {
    "t1": {"white": 0.80, "grey": 0.60, "fluid": 0.20, "necrosis": 0.30, "oedema": 0.55, "enhancing": 0.55},
    "t1ce": {"white": 0.80, "grey": 0.62, "fluid": 0.20, "necrosis": 0.28, "oedema": 0.57, "enhancing": 1.10},
    "t2": {"white": 0.42, "grey": 0.58, "fluid": 1.15, "necrosis": 0.95, "oedema": 0.80, "enhancing": 0.66},
    "flair": {"white": 0.50, "grey": 0.64, "fluid": 0.15, "necrosis": 0.42, "oedema": 0.82, "enhancing": 0.76},
}
"""Typical signals; each patient's tissues vary around them."""
DISTRACTORS = {"vessel": {"t1ce": 1.2}, "lesion": {"flair": 0.9}, "cyst": {"t2": 1.1}, "fat": {"t1": 1.05}}
"""What shows in one modality only, and how bright."""


@dataclass(frozen=True)
class BrainCase:
    """One case: ``images`` modality -> int16, 0 outside the brain, and ``label`` uint8 0, 1, 2, 4; all (X, Y, Z)."""

    images: dict[str, np.ndarray]
    label: np.ndarray
    spacing: tuple[float, float, float]


def make_brain(R: np.random.RandomState, size: int = 240, modalities: int = 2, *, low_grade: bool = False) -> BrainCase:
    """Draw one case.

    Args:
        R: the source of randomness; equal states give equal cases.
        size: pixels along both sides of a slice. The slices are 155 at 240 pixels, fewer in proportion, at least 12.
        modalities: 2 (flair, t1ce) or 4 (t1, t1ce, t2, flair).
        low_grade: a tumour that hardly enhances and has no necrosis.

    Returns:
        Images and label on one grid that covers 240 x 240 x 155 mm.

    Raises:
        ValueError: fewer than 24 pixels, or another number of modalities.
    """
    if size < SMALLEST:
        raise ValueError(f"size must be {SMALLEST} pixels or more, got {size}: the tumour would be a few pixels wide")
    if modalities not in MODALITIES:
        raise ValueError(f"modalities must be 2 (flair, t1ce) or 4 (t1, t1ce, t2, flair), got {modalities}")
    shape = (size, size, max(FEWEST_SLICES, round(EXTENT[2] * size / EXTENT[0])))
    spacing = tuple(extent / n for extent, n in zip(EXTENT, shape, strict=True))
    brush = _Brush(R, shape, spacing)
    half = np.array([R.uniform(62, 70), R.uniform(78, 88), R.uniform(56, 64)])
    brain = brush.ellipsoid(R.normal(0, 2, 3), half, bend=2.5, length=25)
    share = _tissues(brush, R, brain)
    label = _tumour(brush, R, share, brain, half, low_grade)
    extra = {name: brush.spots(kind=name, half=half) for name in DISTRACTORS}
    images = {}
    for name in MODALITIES[modalities]:
        signal = np.zeros(shape, np.float32)
        for tissue, part in share.items():
            signal += part * (SIGNALS[name][tissue] * R.uniform(0.93, 1.07))
        for kind, shows in DISTRACTORS.items():
            part = extra[kind] * (label == 0)
            signal += part * (shows.get(name, 0.0) * R.uniform(0.9, 1.1) - signal) * (name in shows)
        signal *= (1 + 0.04 * brush.noise(2.5)) * np.exp(0.1 * brush.noise(90))
        blurred = ndimage.gaussian_filter(signal, 0.4)
        image = receive(blurred, R, R.uniform(0.02, 0.045), R.uniform(250, 900))
        images[name] = np.where(brain < 0, np.maximum(image, 1), 0).astype(np.int16)
    return BrainCase(images, np.where(brain < 0, label, 0).astype(np.uint8), (spacing[0], spacing[1], spacing[2]))


class _Brush:
    """Positions in mm from the middle of the volume, and shapes on them."""

    def __init__(self, R: np.random.RandomState, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
        self.R, self.shape, self.spacing = R, shape, spacing
        places = [
            ((np.arange(n) - (n - 1) / 2) * step).astype(np.float32) for n, step in zip(shape, spacing, strict=True)
        ]
        self.at = np.meshgrid(*places, indexing="ij", sparse=True)

    def noise(self, length: float) -> np.ndarray:
        """Smooth field of unit variance, correlation ``length`` in mm."""
        return smooth_noise(self.R, self.shape, tuple(max(length / step, 0.5) for step in self.spacing))

    def ellipsoid(self, centre: np.ndarray, half: np.ndarray, bend: float = 0.0, length: float = 20.0) -> np.ndarray:
        """About the distance in mm to a bent ellipsoid, negative inside."""
        away = [axis - float(c) for axis, c in zip(self.at, centre, strict=True)]
        scale = np.sqrt(sum((a / float(h)) ** 2 for a, h in zip(away, half, strict=True)))
        distance = (scale - 1) * float(np.cbrt(np.prod(half)))
        return distance + bend * self.noise(length) if bend else distance

    def fill(self, distance: np.ndarray) -> np.ndarray:
        """How much of each voxel lies inside: an edge of a voxel."""
        return np.clip(0.5 - distance / min(self.spacing), 0, 1).astype(np.float32)

    def spots(self, kind: str, half: np.ndarray) -> np.ndarray:
        """A few distractors of one kind anywhere in the brain; vessels are long and thin."""
        nearest = np.full(self.shape, 1e3, np.float32)
        for _ in range(self.R.randint(4, 9)):
            way = self.R.normal(size=3)
            centre = way / np.linalg.norm(way) * half * self.R.uniform(0.3, 0.85)
            radii = self.R.uniform(6, 14, 3)
            if kind == "vessel":
                radii = self.R.uniform(2.5, 4.5, 3)
                radii[self.R.randint(3)] = self.R.uniform(15, 40)
            nearest = np.minimum(nearest, self.ellipsoid(centre, radii))
        return self.fill(nearest + 0.8 * self.noise(8))


def _tissues(brush: _Brush, R: np.random.RandomState, brain: np.ndarray) -> dict[str, np.ndarray]:
    """Shares of white and grey matter and fluid: folded cortex, deep grey nuclei, two ventricles."""
    thick = R.uniform(4, 7) + 9 * np.clip(brush.noise(8), -0.8, 1.8)
    cortex = brush.fill(-(brain + thick))
    fluid = brush.fill(-(brain + R.uniform(0.5, 1.5) + 2.5 * brush.noise(7)))
    for side in (-1, 1):
        nucleus = np.array([side * R.uniform(16, 21), R.uniform(-2, 8), R.uniform(-8, -2)])
        cortex = np.maximum(cortex, brush.fill(brush.ellipsoid(nucleus, np.array([8.0, 16.0, 9.0]), 1.0, 10)))
        horn = np.array([side * R.uniform(8, 11), R.uniform(-4, 4), R.uniform(2, 8)])
        size = np.array([R.uniform(4, 8), R.uniform(20, 30), R.uniform(6, 11)])
        fluid = np.maximum(fluid, brush.fill(brush.ellipsoid(horn, size, 1.0, 10)))
    grey = cortex * (1 - fluid)
    return {"white": (1 - fluid) * (1 - cortex), "grey": grey, "fluid": fluid}


def _tumour(
    brush: _Brush, R: np.random.RandomState, share: dict[str, np.ndarray], brain: np.ndarray, half: np.ndarray,
    low_grade: bool,
) -> np.ndarray:  # fmt: skip
    """Put a tumour into the shares and give its label: oedema around an enhancing rim around necrosis."""
    way = R.normal(size=3)
    centre = way / np.linalg.norm(way) * half * R.uniform(0.2, 0.55)
    core = R.uniform(12, 21, 3)
    outer = brush.ellipsoid(centre + R.normal(0, 2, 3), core + R.uniform(6, 14, 3), 2.5, 14)
    middle = np.maximum(brush.ellipsoid(centre, core, 1.5, 9), outer + 2)
    rim = R.uniform(2.5, 5.5) if not low_grade else 0.0
    inner = middle + rim * np.exp(0.25 * brush.noise(8))
    label = np.zeros(brush.shape, np.uint8)
    if low_grade:  # a core that is called non-enhancing (1), with a few enhancing spots
        inner = middle
        middle = np.maximum(middle, 4.0 - 4.0 * brush.noise(7))
    order = (("oedema", OEDEMA, outer), ("enhancing", ENHANCING, middle), ("necrosis", NECROSIS, inner))
    for name, value, distance in (order[0], order[2], order[1]) if low_grade else order:
        distance = np.maximum(distance, brain + 1)
        part = brush.fill(distance)
        for other in share:
            share[other] = share[other] * (1 - part)
        share[name] = part
        label[distance < 0] = value
    return label


def synthesize_brats(
    out: Path,
    patients: int,
    seed: int,
    *,
    size: int = 240,
    modalities: int = 2,
    grades: bool = False,
    progress: Progress = iter,
) -> Path:
    """Write cases in the layout of a release, such as ``BraTS19_SYN_000_1/BraTS19_SYN_000_1_flair.nii.gz``.

    Case i depends on ``seed``, ``size``, ``modalities`` and i alone, so a larger set begins with the cases of a
    smaller one.

    Args:
        out: folder, made where missing; files of the same names are replaced.
        patients: how many.
        seed: 0 or more.
        size: see ``make_brain``.
        modalities: see ``make_brain``.
        grades: put the cases into folders HGG and LGG, every third one into LGG with a tumour that hardly enhances.
        progress: wraps the loop over cases, such as ``tqdm``.

    Returns:
        ``out``.

    Raises:
        ValueError: ``patients`` below 1, ``seed`` negative, or ``make_brain`` refuses a number.
    """
    check_numbers(seed, patients)
    for index in progress(range(patients)):
        low = grades and index % 3 == 2
        case = make_brain(np.random.RandomState([seed, index]), size, modalities, low_grade=low)
        name = f"BraTS19_SYN_{index:03d}_1"
        folder = out / ("LGG" if low else "HGG") / name if grades else out / name
        # As in the release: the first two axes run to the left and to the back.
        affine = np.diag([-case.spacing[0], -case.spacing[1], case.spacing[2], 1.0])
        affine[1, 3] = EXTENT[1] - case.spacing[1]
        for kind, array in {**case.images, "seg": case.label}.items():
            write_volume(array, affine, folder / f"{name}_{kind}.nii.gz", scanner=False)
    return out
