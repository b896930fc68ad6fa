# SPDX-License-Identifier: Apache-2.0
"""The two ventricles of a synthetic heart: sizes drawn per patient, surfaces as signed distances.

The heart lives in its own frame, in mm: the long axis of the left ventricle is ``z`` (base of the end-diastolic
ventricle at 0, apex at ``length``), ``x`` and ``y`` span the short-axis plane (rightwards and downwards in the image)
with the left ventricle at the origin and the right ventricle at its left. The left ventricle is a bullet of revolution
with a few harmonics, the right ventricle a crescent on the septal side, given in polar coordinates around the left one.
Radii, wall and crescent are solved so that the volumes are the ones drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

GROUPS = ("NOR", "DCM", "HCM", "RV")
"""Normal, dilated cardiomyopathy, hypertrophic cardiomyopathy, abnormal right ventricle."""

PHASES = ("ED", "ES")

RV, MYO, LV = 1, 2, 3
"""Label values, those of ACDC."""

# (low, high) per group: left ventricle ED (ml), its ejection fraction, ED myocardium (ml), right ventricle ED (ml), its
# ejection fraction. Inside the ranges of the ACDC patients of the same group (Bernard et al., IEEE TMI 2018).
_RANGES: dict[str, tuple[tuple[float, float], ...]] = {
    "NOR": ((85, 170), (0.52, 0.66), (80, 132), (90, 180), (0.46, 0.62)),
    "DCM": ((190, 285), (0.13, 0.32), (120, 190), (100, 230), (0.15, 0.55)),
    "HCM": ((112, 150), (0.52, 0.76), (135, 225), (100, 165), (0.45, 0.70)),
    "RV": ((72, 140), (0.47, 0.60), (62, 98), (150, 240), (0.28, 0.55)),
}
_THETA = np.linspace(-np.pi, np.pi, 96, endpoint=False)
_UNIT = (np.arange(64) + 0.5) / 64


@dataclass(frozen=True)
class Ventricles:
    """Geometry of both ventricles at one phase; lengths in mm, angles in radians, see the module for the frame."""

    base: float
    length: float
    radius: float
    wall: float
    apex_wall: float
    taper: tuple[float, float]
    harmonics: tuple[tuple[int, float, float], ...]
    septum: float
    flat: float
    asymmetry: float
    rv_depth: float
    rv_span: float
    rv_skew: float
    rv_base: float
    rv_length: float
    papillary: tuple[tuple[float, float, float], ...]

    def bullet(self, z: np.ndarray, end: float) -> np.ndarray:
        """Radius at depth ``z`` as a fraction of the one at the base, for a bullet that closes at depth ``end``."""
        t = np.clip((z - self.base) / (end - self.base), 0, 1)
        return (1 - t ** self.taper[0]) ** self.taper[1]

    def outline(self, theta: np.ndarray) -> np.ndarray:
        """Radius as a multiple of the mean one at the angles ``theta``: harmonics, and the septum pushed in."""
        shape = np.ones_like(theta)
        for order, size, angle in self.harmonics:
            shape += size * np.cos(order * (theta - angle))
        if self.flat:
            shape -= self.flat * np.exp(-((_wrap(theta - self.septum) / 0.75) ** 2))
        return shape

    def epi_radius(self, theta: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Radius of the epicardium (mm) at angles ``theta`` and depths ``z``."""
        return (self.radius + self.wall) * self.bullet(z, self.length + self.apex_wall) * self.outline(theta)

    def _rv_depth(self, theta: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Thickness of the right ventricle beyond the epicardium as a fraction of ``rv_depth``; 0 outside its span."""
        t = np.clip((z - self.rv_base) / (self.rv_length - self.rv_base), 0, 1)
        u = np.clip(_wrap(theta - self.septum) / (self.rv_span * (1 - 0.45 * t**2)), -1, 1)
        u = np.clip(u + self.rv_skew * (1 - u**2), -1, 1)
        uneven = 1 + 0.1 * np.cos(3 * (theta - self.septum - 8 * self.rv_skew))
        return np.cos(np.pi / 2 * u).clip(min=0) ** 0.55 * (1 - t**1.8) ** 0.75 * uneven

    def distances(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> dict[str, np.ndarray]:
        """Distances (mm, along the ray from the centre, negative inside) to the cavities and the epicardium.

        Args:
            x, y: in-plane positions, ``(X, Y, Z)``.
            z: depth of each slice, ``(Z,)``.

        Returns:
            ``lv``, ``epi``, ``rv`` (beyond the epicardium), and ``rv_wall`` (the crescent's outer side); within the
            depths where each exists, elsewhere a large distance.
        """
        far = np.float32(1e3)
        theta = np.arctan2(y, x)
        epi_radius = self.epi_radius(theta, z)
        radius = np.hypot(x, y)
        epi = np.where((z >= self.base) & (z < self.length + self.apex_wall), radius - epi_radius, far)
        bullet = self.bullet(z, self.length)
        shift = self.asymmetry * self.wall * bullet
        x, y = x + shift * float(np.cos(self.septum)), y + shift * float(np.sin(self.septum))
        theta_endo = np.arctan2(y, x)
        lv = np.hypot(x, y) - self.radius * bullet * self.outline(theta_endo)
        lv = np.where((z >= self.base) & (z < self.length), lv, far)
        outer = radius - epi_radius - self.rv_depth * self._rv_depth(theta, z)
        outer = np.where((z >= self.rv_base) & (z < self.rv_length), outer, far)
        side = np.where(np.abs(_wrap(theta - self.septum)) < self.rv_span * 1.05, outer, far)
        return {"lv": lv, "epi": epi, "rv": np.maximum(outer, -epi), "rv_wall": side}

    def label(self, distances: dict[str, np.ndarray], pixel_area: float) -> np.ndarray:
        """Label map uint8 ``(X, Y, Z)``; cavities under 25 mm2 in a slice are not drawn, as a reader would not."""
        lv, rv = distances["lv"] < 0, distances["rv"] < 0
        lv &= lv.sum((0, 1)) * pixel_area >= 25
        rv &= rv.sum((0, 1)) * pixel_area >= 60
        label = np.where(rv, np.uint8(RV), np.uint8(0))
        label[distances["epi"] < 0] = MYO
        label[lv] = LV
        return label

    def reach(self) -> tuple[float, float]:
        """Largest extent (mm) from the centre of the left ventricle: of the crescent, and of the epicardium."""
        epi = self.radius + self.wall
        return epi + self.rv_depth, epi


def _wrap(angle: np.ndarray) -> np.ndarray:
    return angle - 2 * np.pi * np.rint(angle / (2 * np.pi))


def _solve(shape: Ventricles, lv_ml: float, myo_ml: float, rv_ml: float) -> Ventricles:
    """The same shape with radius, wall and crescent that give the three volumes (ml)."""
    outline = float((shape.outline(_THETA) ** 2).mean())
    depth, depth_epi = shape.length - shape.base, shape.length + shape.apex_wall - shape.base
    profile = float(((1 - _UNIT ** shape.taper[0]) ** (2 * shape.taper[1])).mean()) * outline * np.pi
    radius = np.sqrt(1e3 * lv_ml / (profile * depth))
    wall = np.sqrt(1e3 * (lv_ml + myo_ml) / (profile * depth_epi)) - radius
    shape = replace(shape, radius=float(radius), wall=float(wall))

    theta, z = np.meshgrid(_THETA, shape.rv_base + _UNIT * (shape.rv_length - shape.rv_base), indexing="ij")
    cell = 2 * np.pi / len(_THETA) * (shape.rv_length - shape.rv_base) / len(_UNIT)
    profile_rv = shape._rv_depth(theta, z)
    square, linear = (profile_rv**2).sum() * cell / 2, (shape.epi_radius(theta, z) * profile_rv).sum() * cell
    depth_rv = (np.sqrt(linear**2 + 4e3 * square * rv_ml) - linear) / (2 * square)
    return replace(shape, rv_depth=float(depth_rv))


def sample_ventricles(R: np.random.RandomState, group: str) -> dict[str, Ventricles]:
    """Draw one heart of a group at end-diastole and end-systole.

    Args:
        R: the source of randomness.
        group: one of :data:`GROUPS`; sizes follow it (dilated, thick and asymmetric, large right ventricle ...).

    Returns:
        ``{"ED": ..., "ES": ...}``: same axis, orientation and apex; at ES the base has come down, the cavities are
        smaller, the wall is thicker (its volume grows by a few per cent at most).

    Raises:
        ValueError: for an unknown group.
    """
    if group not in _RANGES:
        raise ValueError(f"group must be one of {', '.join(GROUPS)}, got {group!r}")
    lv, ef, myo, rv, rv_ef = (R.uniform(*bounds) for bounds in _RANGES[group])
    length = min(76 * (lv / 130) ** 0.3 * R.uniform(0.93, 1.07), 98.0)
    septum = np.pi + R.uniform(-0.55, 0.45)
    harmonics = tuple((order, R.uniform(0, size), R.uniform(-np.pi, np.pi)) for order, size in ((2, 0.07), (3, 0.03)))
    flat = R.uniform(0.1, 0.2) if group == "RV" else R.uniform(0, 0.08)
    papillary = tuple(
        (septum + np.pi + side * R.uniform(0.6, 1.45), R.uniform(0.66, 0.86), R.uniform(0.13, 0.23)) for side in (-1, 1)
    )
    end_diastole = Ventricles(
        base=0.0,
        length=float(length),
        radius=0.0,
        wall=0.0,
        apex_wall=float(R.uniform(5, 9)),
        taper=(R.uniform(1.9, 2.5), R.uniform(0.5, 0.62)),
        harmonics=harmonics,
        septum=float(septum),
        flat=float(flat),
        asymmetry=float(R.uniform(0.2, 0.42) if group == "HCM" else R.uniform(-0.12, 0.12)),
        rv_depth=0.0,
        rv_span=float(np.clip(1.15 + 0.4 * rv / lv, 1.3, 1.85) * R.uniform(0.93, 1.07)),
        rv_skew=float(R.uniform(-0.28, 0.28)),
        rv_base=float(R.uniform(-1, 3)),
        rv_length=float(length * R.uniform(0.82, 0.97)),
        papillary=papillary,
    )
    descent = 3 + 13 * ef * R.uniform(0.8, 1.2)
    end_systole = replace(
        end_diastole,
        base=float(descent),
        rv_base=float(end_diastole.rv_base + descent * R.uniform(0.95, 1.2)),
        rv_span=end_diastole.rv_span * float(R.uniform(0.9, 1.0)),
        apex_wall=end_diastole.apex_wall * 1.15,
        flat=flat * float(R.uniform(1.0, 1.3)),
    )
    return {
        "ED": _solve(end_diastole, lv, myo, rv),
        "ES": _solve(end_systole, lv * (1 - ef), myo * R.uniform(1.02, 1.1), rv * (1 - rv_ef)),
    }
