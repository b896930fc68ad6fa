# SPDX-License-Identifier: Apache-2.0
"""Synthetic T2-weighted MRI of the prostate in the layout of the PROMISE12 release: .mhd and .raw, mask beside image.

Each case is drawn on its own: gland (:mod:`.prostate_anatomy`), pelvis and image formation (:mod:`.pelvis_imaging`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wss_monai.data.phantoms.canvas import Canvas, smooth_noise
from wss_monai.data.phantoms.generation import Progress, check_numbers
from wss_monai.data.phantoms.pelvis_imaging import acquire_t2, paint_pelvis, paint_prostate, pelvic_bias
from wss_monai.data.phantoms.prostate_anatomy import sample_gland

__all__ = ["ProstateCase", "make_case", "synthesize_promise12"]

GRIDS = ((320, 0.6), (320, 0.625), (320, 0.5625), (256, 0.75), (256, 0.7))
"""In-plane sizes and pixels (mm) that are drawn from: fields of 179 to 200 mm."""
GAPS = (3.0, 3.3, 3.6, 3.6, 4.0)
WITH_COIL = 0.2
"""Share of the cases with a coil in the rectum."""
LEAST_MM2 = 60.0
"""A cross-section of the gland smaller than this is not drawn in the mask, as a reader would not."""


@dataclass(frozen=True)
class ProstateCase:
    """One case: ``image`` int16 and ``mask`` uint8 0/1 of shape (X, Y, Z), and their grid as ITK has it (LPS, mm)."""

    image: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: np.ndarray


def make_case(R: np.random.RandomState, size: int | None = None) -> ProstateCase:
    """Draw one case.

    Args:
        R: the source of randomness; equal states give equal cases.
        size: pixels along both sides of a slice, on the same field of view; drawn where None (256 or 320).

    Returns:
        20 to 30 slices from below the apex to above the base.

    Raises:
        ValueError: fewer than 32 pixels.
    """
    if size is not None and size < 32:
        raise ValueError(f"size must be 32 pixels or more, got {size}: the gland would be a few pixels wide")
    pixels, pixel = GRIDS[R.randint(len(GRIDS))]
    if size is not None:
        pixels, pixel = size, pixels * pixel / size
    gap, gland, coil = GAPS[R.randint(len(GAPS))], sample_gland(R), R.rand() < WITH_COIL
    z = _heights(R, gland.half[2], gap)
    x, y = _positions(R, pixels, pixel, gap, len(z))
    canvas = Canvas(x, y, z, pixel)
    outside = gland.outside(x, y, z) + 0.6 * canvas.noise(R, 12, 3)
    paint_pelvis(canvas, R, gland, coil)
    paint_prostate(canvas, R, gland, outside)
    image = acquire_t2(canvas, R, pelvic_bias(canvas, R, gland, coil), R.uniform(0.012, 0.035), R.uniform(180, 700))
    mask = outside < 0
    mask &= mask.sum((0, 1)) * pixel**2 >= LEAST_MM2
    spacing = (pixel, pixel, gap)
    return ProstateCase(image, mask.astype(np.uint8), spacing, *_pose(R, image.shape, spacing))


def _heights(R: np.random.RandomState, half: float, gap: float) -> np.ndarray:
    """Height (mm) of each slice over the middle of the gland, lowest first."""
    below, above = R.uniform(9, 18), R.uniform(18, 34)
    count = int(np.clip(np.ceil((below + 2 * half + above) / gap), 20, 30))
    spare = count * gap - 2 * half
    return (-half - spare * below / (below + above) + gap * (np.arange(count) + R.uniform(0.2, 0.8))).astype(np.float32)


def _positions(
    R: np.random.RandomState, pixels: int, pixel: float, gap: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Position (mm, gland at 0) of each voxel, turned and bent a little, so that no body is symmetric."""
    turn = R.normal(0, 0.04)
    place = (np.arange(pixels) + 0.5 - pixels / 2) * pixel
    u, v = place[:, None, None] + R.normal(0, 3), place[None, :, None] + R.normal(2, 5)
    shape, step = (pixels, pixels, count), (45 / pixel, 45 / pixel, 15 / gap)
    bend = [2.0 * smooth_noise(R, shape, step) for _ in range(2)]
    x, y = u * np.cos(turn) + v * np.sin(turn) + bend[0], v * np.cos(turn) - u * np.sin(turn) + bend[1]
    return x.astype(np.float32), y.astype(np.float32)


def _pose(
    R: np.random.RandomState, shape: tuple[int, ...], spacing: tuple[float, float, float]
) -> tuple[tuple[float, float, float], np.ndarray]:
    """Origin and direction (LPS): axial slices, half of the stacks tilted so that they cut the gland straight."""
    tilt = float(R.uniform(-0.25, 0.05)) if R.rand() < 0.5 else 0.0
    direction = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    middle = (np.asarray(shape) - 1) / 2 * np.asarray(spacing)
    x, y, z = R.normal(0, 8, 3) - direction @ middle
    return (float(x), float(y), float(z)), direction


def synthesize_promise12(
    out: Path,
    cases: int,
    seed: int,
    *,
    test: int = 0,
    size: int | None = None,
    progress: Progress = iter,
) -> Path:
    """Write cases in the layout of the release.

    Case i depends on ``seed``, ``size`` and i alone, so a larger set begins with the cases of a smaller one.

    Args:
        out: folder, made where missing; files of the same names are replaced.
        cases: how many cases with a mask, in ``training_data``.
        seed: 0 or more.
        test: how many further cases without a mask, in ``test_data``.
        size: see ``make_case``.
        progress: wraps the loop over cases, such as ``tqdm``.

    Returns:
        ``out``.

    Raises:
        ValueError: ``cases`` below 1, ``test`` or ``seed`` negative, ``size`` too small.
    """
    if cases < 1 or test < 0:
        raise ValueError(f"cases must be 1 or more and test 0 or more, got {cases} and {test}")
    check_numbers(seed)
    for index in progress(range(cases + test)):
        case = make_case(np.random.RandomState([seed, index]), size)
        folder, number = ("training_data", index) if index < cases else ("test_data", index - cases)
        (out / folder).mkdir(parents=True, exist_ok=True)
        _write(case.image, case, out / folder / f"Case{number:02d}.mhd")
        if folder == "training_data":
            _write(case.mask.astype(np.int8), case, out / folder / f"Case{number:02d}_segmentation.mhd")
    return out


def _write(array: np.ndarray, case: ProstateCase, target: Path) -> None:
    import SimpleITK as sitk

    picture = sitk.GetImageFromArray(array.T)
    picture.SetSpacing(case.spacing)
    picture.SetOrigin(case.origin)
    picture.SetDirection(case.direction.ravel().tolist())
    sitk.WriteImage(picture, str(target))
