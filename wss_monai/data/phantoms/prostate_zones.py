# SPDX-License-Identifier: Apache-2.0
"""Zone masks of the prostate, expert's or generated: their grid, the slices outside the gland, and the shape they have.

Values: 0 background, 1 peripheral zone, 2 transition zone. Slices are axial, along the third axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from scipy import ndimage

from wss_monai.data.phantoms.prostate_anatomy import FAR, Gland, sample_gland

__all__ = ["Zones", "checked_zones", "depth", "generated_zones", "on_grid", "with_slices_outside"]

PERIPHERAL, TRANSITION = 1, 2
LEAST_MM2 = 60.0
"""A cross-section of a generated gland smaller than this is not drawn."""
FIELD_MM, GAPS = 192.0, (3.0, 3.3, 3.6, 4.0)
PIXELS, SMALLEST = 320, 24


@dataclass(frozen=True)
class Zones:
    """A zone map uint8 ``(X, Y, Z)`` and its affine to RAS in mm."""

    label: np.ndarray
    affine: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        """Edges of a voxel in mm, (3,)."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def inside(self) -> np.ndarray:
        """Slices that show the gland, (Z,) bool."""
        return np.asarray((self.label > 0).any((0, 1)))

    def place(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Position of each voxel in mm in the frame of the pelvis, with the middle of the gland at the origin.

        Returns:
            x, y ``(X, Y, 1)`` and z ``(Z,)``; the frame is that of ``prostate_anatomy``.
        """
        middle = (np.argwhere(self.label).min(0) + np.argwhere(self.label).max(0)) / 2
        middle[:2] = np.argwhere(self.label).mean(0)[:2]
        ways = nib.io_orientation(self.affine)
        along: dict[int, np.ndarray] = {}
        for axis, (world, way) in enumerate(ways):
            steps = way * (np.arange(self.label.shape[axis]) - middle[axis]) * self.spacing[axis]
            along[int(world)] = steps.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        shape = (*self.label.shape[:2], 1)
        return np.broadcast_to(-along[0], shape), np.broadcast_to(-along[1], shape), along[2].ravel()

    def gland(self) -> Gland:
        """The plain gland that resembles this one, for which the organs around it make room."""
        x, y, z = self.place()
        rows = [k for k, shown in enumerate(self.inside) if shown]
        middles, halves = [], []
        for k in rows:
            where = self.label[:, :, k] > 0
            across = [np.broadcast_to(axis[..., 0], where.shape)[where] for axis in (x, y)]
            middles.append([float(values.mean()) for values in across])
            halves.append([float(np.ptp(values)) / 2 for values in across])
        lean, tilt = np.polyfit(z[rows], np.array(middles), 1)[0] if len(rows) > 2 else (0.0, 0.0)
        pixel, gap = float(self.spacing[0]), float(self.spacing[2])
        wide, high = np.max(halves, axis=0) + pixel / 2
        share = np.cbrt((self.label == TRANSITION).sum() / (self.label > 0).sum())
        return Gland(
            half=(float(wide), float(high), (float(np.ptp(z[rows])) + gap) / 2),
            power=2.2, ends=(2.0, 2.5), taper=0.1,
            tilt=float(np.clip(tilt, -0.6, 0.6)), lean=float(np.clip(lean, -0.4, 0.4)),
            notch=0.08, harmonics=(), centre=float(np.clip(share, 0.4, 0.85)),
        )  # fmt: skip


def checked_zones(label: np.ndarray, affine: np.ndarray, where: str) -> Zones:
    """Check a zone map from a file.

    Args:
        label: its values, ``(X, Y, Z)``.
        affine: to RAS in mm, 4 x 4.
        where: its file, for messages.

    Raises:
        ValueError: it has no three axes, other values than 0, 1 and 2, no gland, or is not sliced across the body.
    """
    if label.ndim != 3:
        raise ValueError(f"{where}: a zone map has 3 axes, this one has the shape {label.shape}")
    if strange := sorted(set(np.unique(label).tolist()) - {0, PERIPHERAL, TRANSITION}):
        raise ValueError(
            f"{where}: values {strange[:5]} in a zone map; 0 is background, 1 the peripheral and 2 the transition zone"
        )
    if not label.any():
        raise ValueError(f"{where}: no voxel of the prostate; take the case out of the data set of the zones")
    codes = nib.aff2axcodes(affine)
    if codes[2] not in ("S", "I"):
        raise ValueError(f"{where}: the third axis runs to '{codes[2]}'; zone maps must be axial slices along it")
    return Zones(label.astype(np.uint8), np.asarray(affine, float))


def generated_zones(R: np.random.RandomState, size: int | None, field: float | None) -> Zones:
    """Draw a gland of two zones on a grid of its own.

    Args:
        R: the source of randomness.
        size: pixels along both sides of a slice; 320 where None.
        field: side of a slice in mm; 192 where None.

    Raises:
        ValueError: ``size`` or ``field`` out of range.
    """
    _check_grid(size, field)
    gland, gap = sample_gland(R), GAPS[R.randint(len(GAPS))]
    pixels, side = size or PIXELS, field or FIELD_MM
    pixel, count = side / pixels, int(np.ceil(2 * gland.half[2] / gap)) + 2
    shift = R.normal(0, 4, 2)
    # Indices grow to the right and to the front of the patient, x and y of the gland's frame to the left and back.
    place = ((pixels - 1) / 2 - np.arange(pixels)) * pixel
    x, y = (place + shift[0]).astype(np.float32)[:, None, None], (place + shift[1]).astype(np.float32)[None, :, None]
    z = ((np.arange(count) - (count - 1) / 2 + R.uniform(-0.3, 0.3)) * gap).astype(np.float32)
    outside = gland.outside(x, y, z)
    label = np.where(outside < 0, np.where(np.maximum(gland.central(x, y, z), outside + 1.5) < 0, 2, 1), 0)
    label[:, :, (label > 0).sum((0, 1)) * pixel**2 < LEAST_MM2] = 0
    affine = np.diag([pixel, pixel, gap, 1.0])
    affine[:3, 3] = -(np.array(label.shape) - 1) / 2 * [pixel, pixel, gap]
    return Zones(label.astype(np.uint8), affine)


def on_grid(zones: Zones, size: int | None, field: float | None, where: str) -> Zones:
    """Cut a square of ``field`` mm out of the middle of the slices and sample it at ``size`` pixels, to the nearest.

    Args:
        zones: the map.
        size: pixels along both sides; None keeps the pixel, and the slices whole where ``field`` is None too.
        field: side in mm; None takes the longer side of the slices.
        where: its name, for messages.

    Raises:
        ValueError: ``size`` or ``field`` out of range, the field cuts the gland, or fewer than 6 voxels of it are left.
    """
    _check_grid(size, field)
    if size is None and field is None:
        return zones
    sides = np.array(zones.label.shape[:2]) * zones.spacing[:2]
    side = float(sides.max()) if field is None else field
    count = size or max(1, round(side / float(zones.spacing[0])))
    steps = side / count / zones.spacing[:2]
    first = [(n - 1) / 2 - (count - 1) / 2 * step for n, step in zip(zones.label.shape, steps, strict=False)]
    affine = zones.affine @ np.diag([*steps, 1.0, 1.0])
    affine[:3, 3] = (zones.affine @ [*first, 0.0, 1.0])[:3]
    rows, columns = (np.rint(begin + step * np.arange(count)) for begin, step in zip(first, steps, strict=True))
    padded = np.pad(zones.label, ((1, 1), (1, 1), (0, 0)))  # what lies outside of the slices is background
    rows, columns = (np.clip(v + 1, 0, n - 1).astype(int) for v, n in zip((rows, columns), padded.shape, strict=False))
    label = padded[np.ix_(rows, columns)]
    whole = np.argwhere(zones.label.any(2))
    limits = np.array([[rows.min() - 1, columns.min() - 1], [rows.max() - 1, columns.max() - 1]])
    slack = np.ceil(steps / 2)  # a wide pixel reaches beyond its centre
    if (whole.min(0) < limits[0] - slack).any() or (whole.max(0) > limits[1] + slack).any():
        raise ValueError(f"{where}: --field {side:g} mm cuts the gland; choose a larger field")
    if (label > 0).sum() < 6:
        raise ValueError(f"{where}: {count} pixels leave {(label > 0).sum()} voxels of the gland; choose a larger size")
    return Zones(label, affine)


def _check_grid(size: int | None, field: float | None) -> None:
    if size is not None and size < SMALLEST:
        raise ValueError(f"size must be {SMALLEST} pixels or more, got {size}: the gland would be a few pixels wide")
    if field is not None and not 60 <= field <= 1000:
        raise ValueError(f"field must lie between 60 and 1000 mm, got {field:g}")


def with_slices_outside(zones: Zones, R: np.random.RandomState) -> Zones:
    """Add slices below and above until about a third of them, and one at each end, show no gland; keep those there."""
    shown = np.flatnonzero(zones.inside)
    free = int(shown[0]), len(zones.inside) - 1 - int(shown[-1])
    wanted = max(2, int(np.ceil(len(shown) * R.uniform(0.4, 0.6))))
    below = int(np.clip(np.rint(wanted * R.uniform(0.35, 0.55)), 1, wanted - 1))
    add = max(0, below - free[0]), max(0, wanted - below - free[1])
    affine = zones.affine.copy()
    affine[:3, 3] -= add[0] * affine[:3, 2]
    return Zones(np.pad(zones.label, ((0, 0), (0, 0), (add[0], add[1]))), affine)


def depth(mask: np.ndarray, pixel: float) -> np.ndarray:
    """Distance in mm to the outline of a mask, slice by slice, negative inside; a far one in slices without it.

    Half a pixel is taken off, so that painting with an edge of a pixel fills exactly the mask.
    """
    result = np.full(mask.shape, FAR, np.float32)
    for k in np.flatnonzero(mask.any((0, 1))):
        shown = mask[:, :, k]
        inner = ndimage.distance_transform_edt(np.pad(shown, 1))[1:-1, 1:-1]
        outer = ndimage.distance_transform_edt(~shown)
        result[:, :, k] = np.where(shown, 0.5 - inner, outer - 0.5) * pixel
    return result
