# SPDX-License-Identifier: Apache-2.0
"""A stack of slices on which a synthetic body is painted, as water and fat signal.

Signals are relative to left ventricular blood (1). Water and fat are kept apart because in steady-state free precession
they are in opposite phase: where a voxel holds both they cancel, which draws the dark lines around organs.
"""

from __future__ import annotations

from copy import copy
from typing import ClassVar, Self

import numpy as np

AIR, LUNG, MUSCLE, BLOOD, FAT = 0.01, 0.07, 0.27, 1.0, 1.15
"""Typical signals; each patient's organs vary around them."""


def smooth_noise(R: np.random.RandomState, shape: tuple[int, ...], step: tuple[float, ...]) -> np.ndarray:
    """Smooth random field of about unit variance, float32.

    Args:
        R: the source of randomness.
        shape: shape of the field.
        step: correlation length along each axis, in voxels.
    """
    bases = []
    for size, length in zip(shape, step, strict=True):
        knots = np.arange(-1, np.ceil(size / length) + 2) * length
        basis = np.exp(-0.5 * ((np.arange(size)[:, None] - knots) / (0.7 * length)) ** 2)
        bases.append((basis / np.linalg.norm(basis, axis=1, keepdims=True)).astype(np.float32))
    field = R.randn(*(basis.shape[1] for basis in bases)).astype(np.float32)
    for basis in bases:
        field = np.tensordot(field, basis, axes=(0, 1))
    return field


class Canvas:
    """Water and fat signal of a stack of slices, painted from back to front.

    Args:
        x, y: in-plane position of each voxel in mm, ``(X, Y, Z)``, with the heart at the origin.
        z: depth of each slice in mm, ``(Z,)``.
        edge: width of an edge in mm (about a pixel): the partial volume of boundaries.
    """

    signals: ClassVar[tuple[str, ...]] = ("water", "fat")
    """Arrays that are painted on."""
    places: ClassVar[tuple[str, ...]] = ("x", "y")
    """Arrays that are read."""

    def __init__(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, edge: float) -> None:
        self.x, self.y, self.z, self.edge = x, y, z, edge
        self.gap = float(abs(z[1] - z[0])) if len(z) > 1 else 10.0
        self._planes: tuple[np.ndarray, ...] = ()
        self.water = np.full(x.shape, AIR, np.float32)
        self.fat = np.zeros(x.shape, np.float32)

    def copy(self) -> Self:
        """A canvas with the same signals, to paint on."""
        other = copy(self)
        for name in self.signals:
            setattr(other, name, getattr(self, name).copy())
        return other

    def filled(self, water: np.ndarray | float) -> Self:
        """A canvas of the same place full of one tissue without fat, to paint on."""
        other = self.copy()
        other.fat[:] = 0
        other.water[:] = water
        return other

    def window(self, where: tuple[slice, ...]) -> Self:
        """The part of this canvas at ``where``; painting there paints here."""
        other = copy(self)
        for name in (*self.places, *self.signals):
            setattr(other, name, getattr(self, name)[where])
        return other

    def paint(
        self,
        distance: np.ndarray,
        water: np.ndarray | float,
        fat: np.ndarray | float = 0.0,
        edge: np.ndarray | float | None = None,
        where: tuple[slice, ...] = (),
    ) -> None:
        """Fill where ``distance`` (mm) is negative; ``where`` is the window that the arrays given cover."""
        alpha = np.clip(0.5 - distance / (self.edge if edge is None else edge), 0, 1)
        self.water[where] += alpha * (water - self.water[where])
        self.fat[where] += alpha * (fat - self.fat[where])

    def blob(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        water: float,
        fat: float = 0.0,
        *,
        angle: float = 0.0,
        drift: tuple[float, float] = (0.0, 0.0),
        depths: tuple[float, float] = (-np.inf, np.inf),
        wall: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Paint an ellipse in each slice between two depths, with a wall of (thickness mm, water) around it.

        Args:
            centre: position (mm) in the slice at depth 0.
            radii: half axes in mm, the wall not counted.
            water, fat: signals inside.
            angle: of the first axis, in radians.
            drift: displacement of the centre for each mm of depth.
            depths: first and last depth in mm.
            wall: thickness (mm) and water signal of a wall.
        """
        slices = np.flatnonzero((self.z >= depths[0]) & (self.z <= depths[1]))
        for k in slices:
            cx, cy = centre[0] + drift[0] * self.z[k], centre[1] + drift[1] * self.z[k]
            window = self._window(cx, cy, max(radii) + wall[0] + 2 * self.edge, int(k))
            if window is None:
                continue
            x, y = self.x[window] - cx, self.y[window] - cy
            u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
            scale = np.hypot(u / radii[0], v / radii[1])
            distance = np.hypot(x, y) * (1 - 1 / np.maximum(scale, 1e-3))
            if wall[0]:
                self.paint(distance - wall[0], wall[1], where=window)
            self.paint(distance, water, fat, where=window)

    def _window(self, cx: float, cy: float, reach: float, k: int) -> tuple[slice, ...] | None:
        if not self._planes or self._planes[0] is not self.x or self._planes[1] is not self.y:
            slices = (np.ascontiguousarray(np.moveaxis(place, 2, 0)) for place in (self.x, self.y))
            self._planes = (self.x, self.y, *slices)  # that lie together in memory
        x, y = self._planes[2:]
        inside = (np.abs(x[k] - cx) < reach) & (np.abs(y[k] - cy) < reach)
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if not len(rows):
            return None
        return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1), slice(k, k + 1)

    def noise(self, R: np.random.RandomState, length: float, slices: float = 1.0) -> np.ndarray:
        """Smooth random field over the canvas: correlation ``length`` in mm in the plane, ``slices`` across."""
        return smooth_noise(R, self.x.shape, (length / self.edge, length / self.edge, slices))


def superellipse(x: np.ndarray, y: np.ndarray, radii: tuple[float, float], power: float) -> np.ndarray:
    """Distance (mm, along the ray from the centre, negative inside) to a superellipse."""
    scale = (np.abs(x / radii[0]) ** power + np.abs(y / radii[1]) ** power) ** (1 / power)
    return np.hypot(x, y) * (1 - 1 / np.maximum(scale, 1e-3))
