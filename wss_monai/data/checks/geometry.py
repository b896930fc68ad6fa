# SPDX-License-Identifier: Apache-2.0
"""Checks of a file's geometry: shape, spacing, orientation, and what NIfTI headers say of them."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor

from wss_monai.data.checks.problem import Problems
from wss_monai.io.grids import Grid, same_grid
from wss_monai.io.nifti_reader import affine_in_mm, open_nifti

__all__ = ["check_grid", "check_nifti", "check_same_grid"]

SPACING_MM = (0.05, 20.0)
"""Spacings outside of this range are taken for a mistake of units."""
DEFAULT_SHAPE_RATIO = 4.0
"""Spacing of exactly 1 mm is suspicious where the longest axis has this many times the voxels of the shortest."""
ANISOTROPY = 2.0
"""Slices are expected along the axis of largest spacing where it is this much larger than that along `slice_axis`."""
RTOL, ATOL = 1e-3, 1e-2
"""Parts of an affine that differ by less are alike, where a message says what differs."""


def check_nifti(path: str, shown: str, problems: Problems) -> None:
    """Check what a NIfTI header says of its geometry in more than one place. Other formats say it once.

    Args:
        path: the file; it is readable.
        shown: its name in messages.
        problems: grows.
    """
    if not path.lower().endswith((".nii", ".nii.gz")):
        return
    with LoggingOutputSuppressor():
        header: Any = nib.load(path).header
    image = open_nifti(path)
    if not np.array_equal(affine_in_mm(image), image.affine):
        problems.warning(
            "unit",
            f"the header's unit of length is {header.get_xyzt_units()[0]}: it is read as such here and by ITK, but "
            "MONAI's own reader, and so inference.yaml, takes the numbers for mm",
            "write the spacing in mm",
            shown,
        )
    with nib.openers.ImageOpener(path) as stream:
        steps = np.asarray(type(header).from_fileobj(stream, check=False)["pixdim"][1:4], dtype=float)
    steps = steps[: min(3, len(header.get_data_shape()))]
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        problems.error(
            "spacing", f"the header's pixdim is {_numbers(steps)} mm", "write the true spacing into the header", shown
        )
    sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    if sform is None and qform is None:
        problems.warning(
            "no_pose",
            "neither sform nor qform is set (both codes are 0), so that tools guess orientation and origin",
            "export it again from the source, with orientation",
            shown,
        )
    elif sform is not None and qform is not None and not same_grid(sform, qform, header.get_data_shape()[:3]):
        used = "sform" if same_grid(image.affine, sform, header.get_data_shape()[:3]) else "qform"
        problems.warning(
            "two_poses",
            f"sform and qform disagree by up to {np.abs(sform - qform).max():.3g} mm; the {used} is used here and by "
            "MONAI, other tools may take the other one",
            "write one affine into both (nibabel: set_sform, set_qform)",
            shown,
        )


def check_grid(grid: Grid, slice_axis: int, shown: str, problems: Problems) -> None:
    """Check spacing, extent and slice axis of a case's first file.

    Args:
        grid: of that file.
        slice_axis: the data set's.
        shown: the file's name in messages.
        problems: grows.
    """
    spacing = np.array(grid.spacing)
    if not np.isfinite(grid.affine).all() or (spacing <= 0).any() or abs(np.linalg.det(grid.affine)) < 1e-12:
        problems.error(
            "spacing",
            f"the affine gives a spacing of {_numbers(spacing)} mm, which no voxel has",
            "write the true affine into the header",
            shown,
        )
        return
    if (spacing < SPACING_MM[0]).any() or (spacing > SPACING_MM[1]).any():
        problems.warning(
            "spacing",
            f"spacing {_numbers(spacing)} mm: outside of {SPACING_MM[0]} to {SPACING_MM[1]:g} mm",
            "check the unit: headers are in mm",
            shown,
        )
    if grid.sheared:
        problems.warning(
            "sheared",
            "its axes are not perpendicular (a tilted gantry?): volumes are those of the sheared voxels, distances are "
            "measured along its axes",
            "resample it onto perpendicular axes",
            shown,
        )
    _check_default(grid, spacing, shown, problems)
    if grid.shape[slice_axis : slice_axis + 1] in ((1,), ()):
        problems.warning(
            "one_slice",
            f"shape {grid.shape}: one slice",
            "train it in 2D configurations only; 3D ones refuse it",
            shown,
        )
    elif 1 in grid.shape:
        problems.warning(
            "slice_axis",
            f"shape {grid.shape} has a single voxel along axis {grid.shape.index(1)}, but 'slice_axis' is {slice_axis}",
            "set 'slice_axis' in dataset.json to the axis that counts slices",
            shown,
        )
    elif spacing.max() >= ANISOTROPY * spacing[slice_axis]:
        problems.warning(
            "slice_axis",
            f"spacing {_numbers(spacing)} mm is largest along axis {int(spacing.argmax())}, but 'slice_axis' is "
            f"{slice_axis}: slices of thick voxels",
            "set 'slice_axis' in dataset.json to the axis that counts slices, or reorient the file",
            shown,
        )


def _check_default(grid: Grid, spacing: np.ndarray, shown: str, problems: Problems) -> None:
    """Look for a geometry that nobody set."""
    if not np.allclose(spacing, 1, atol=1e-6):
        return
    plain = np.allclose(np.abs(grid.affine[:3, :3]), np.eye(3)) and np.abs(grid.affine[:3, 3]).max() <= 1
    if plain:
        what = "the affine is the identity with its origin at 0 or 1 mm"
    elif max(grid.shape) >= DEFAULT_SHAPE_RATIO * min(n for n in (*grid.shape, max(grid.shape)) if n > 1):
        what = f"the spacing is exactly 1 mm along every axis, with the shape {grid.shape}"
    else:
        return
    problems.warning(
        "default_geometry",
        f"{what}, as where a tool lost the true one",
        "compare with the source; sizes in mm and ml are wrong if it is not true",
        shown,
    )


def check_same_grid(grid: Grid, shown: str, first: Grid, first_shown: str, problems: Problems) -> bool:
    """Check that a file shares shape and affine with the case's first file.

    Returns:
        Whether the shapes are equal, so that voxels can be compared.
    """
    if grid.shape != first.shape:
        problems.error(
            "shape",
            f"shape {grid.shape}, but {first_shown} has {first.shape}",
            "resample it onto the other's grid (label maps by nearest neighbour)",
            shown,
        )
        return False
    if not same_grid(grid.affine, first.affine, grid.shape):
        problems.error(
            "affine",
            f"its affine differs from that of {first_shown} {_difference(grid, first)}",
            "save it on the other's grid; if only the header is wrong, copy the other's affine",
            shown,
        )
    return True


def _difference(a: Grid, b: Grid) -> str:
    if a.axes != b.axes:
        return f"(axes {a.axes} and {b.axes})"
    if not np.allclose(a.spacing, b.spacing, rtol=RTOL):
        return f"(spacing {_numbers(np.array(a.spacing))} and {_numbers(np.array(b.spacing))} mm)"
    if np.allclose(a.affine[:3, :3], b.affine[:3, :3], rtol=RTOL, atol=ATOL):
        return f"(origin {_numbers(a.affine[:3, 3])} and {_numbers(b.affine[:3, 3])} mm)"
    return "(another direction)"


def _numbers(values: np.ndarray) -> str:
    return " x ".join(f"{v:.4g}" for v in values)
