# SPDX-License-Identifier: Apache-2.0
"""The gland of a synthetic pelvis: a deformed ellipsoid, as signed distances.

The pelvis lives in its own frame, in mm, with the middle of the gland at the origin: ``x`` to the right of the image
(the patient's left), ``y`` downwards (to the back), ``z`` upwards from the apex to the base.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FAR = np.float32(1e3)


@dataclass(frozen=True)
class Gland:
    """Shape of one prostate; lengths in mm, angles in radians, see the module for the frame."""

    half: tuple[float, float, float]
    power: float
    ends: tuple[float, float]
    taper: float
    tilt: float
    lean: float
    notch: float
    harmonics: tuple[tuple[int, float, float], ...]
    centre: float
    """How much of the gland its central part fills, along each axis."""

    def middle(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centre (x, y) of the cross-section at depths ``z``."""
        return self.lean * z, self.tilt * z

    def profile(self, z: np.ndarray) -> np.ndarray:
        """Width of the cross-section at depths ``z`` as a fraction of the largest one; 0 beyond apex and base."""
        t = np.clip(z / self.half[2], -1, 1)
        power = np.where(t < 0, self.ends[0], self.ends[1])
        return np.sqrt(1 - np.abs(t) ** power) * (1 + self.taper * t * (1 - t**2))

    def outside(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Distance (mm, along the ray from the centre of the slice, negative inside) to the capsule, ``(X, Y, Z)``.

        Args:
            x, y: in-plane positions, ``(X, Y, Z)``.
            z: height of each slice, ``(Z,)``.
        """
        cx, cy = self.middle(z)
        return self._distance(x - cx, y - cy, self.profile(z), self.half)

    def central(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Distance to the central part: in front, missing in the apical third, reaching the base; as ``outside``."""
        cx, cy = self.middle(z)
        a, b, c = (self.centre * length for length in self.half)
        t = np.clip((z / self.half[2] + 0.75) / 0.5, 0, 1)
        forward = (1 - self.centre) * 0.8 * self.half[1] * self.profile(z)
        return self._distance(x - cx, y - cy + forward, self.profile(z) * np.sqrt(t), (a, b, c))

    def _distance(
        self, u: np.ndarray, v: np.ndarray, profile: np.ndarray, half: tuple[float, float, float]
    ) -> np.ndarray:
        width = np.maximum(profile, 1e-3)
        scale = (np.abs(u / (half[0] * width)) ** self.power + np.abs(v / (half[1] * width)) ** self.power) ** (
            1 / self.power
        )
        theta = np.arctan2(v, u)
        outline = 1 - self.notch * np.exp(-(((theta - np.pi / 2) / 0.5) ** 2))
        for order, size, angle in self.harmonics:
            outline = outline + size * np.cos(order * (theta - angle))
        distance = np.maximum(np.hypot(u, v), 1e-3) * (1 - outline / np.maximum(scale, 1e-3))
        return np.where(profile > 0.05, distance, FAR).astype(np.float32)


def sample_gland(R: np.random.RandomState) -> Gland:
    """Draw one gland of about 20 to 100 ml; large ones owe their size to the central part."""
    growth = R.rand() ** 1.5
    half = (24 + 8 * growth + R.normal(0, 1.2), 16 + 8 * growth + R.normal(0, 1), 20 + 8 * growth + R.normal(0, 1.5))
    return Gland(
        half=(float(half[0]), float(half[1]), float(half[2])),
        power=R.uniform(2.0, 2.6),
        ends=(R.uniform(1.9, 2.4), R.uniform(2.3, 3.5)),
        taper=R.uniform(0.0, 0.3),
        tilt=R.uniform(0.05, 0.3),
        lean=R.normal(0, 0.03),
        notch=R.uniform(0.03, 0.16),
        harmonics=tuple(
            (order, R.uniform(0, size), R.uniform(-np.pi, np.pi)) for order, size in ((2, 0.05), (3, 0.05))
        ),
        centre=float(np.clip(0.58 + 0.22 * growth + R.normal(0, 0.03), 0.5, 0.85)),
    )
