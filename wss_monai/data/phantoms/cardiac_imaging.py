# SPDX-License-Identifier: Apache-2.0
"""From a synthetic heart and its surroundings to a cine image: painting the heart, coils, off-resonance, noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from wss_monai.data.phantoms.canvas import BLOOD, FAT, Canvas
from wss_monai.data.phantoms.cardiac_anatomy import Ventricles

_BANDING = 0.15
"""Width of the dark bands of off-resonance: larger is wider."""


def paint_heart(canvas: Canvas, R: np.random.RandomState, shape: Ventricles, distances: dict[str, np.ndarray]) -> None:
    """Paint fat and pericardium, atria beyond the base, both ventricles, papillary muscles and trabeculae.

    Args:
        canvas: surroundings, painted already.
        R: the source of randomness; the same draws at both phases give one patient's tissue.
        shape: the ventricles at this phase.
        distances: ``shape.distances`` on this canvas.
    """
    muscle, right = R.uniform(0.3, 0.45), R.uniform(0.7, 0.94)
    fat_noise, blood_noise, trabeculae = canvas.noise(R, 16, 2), canvas.noise(R, 14), canvas.noise(R, 3.5)
    whole = np.minimum(distances["epi"], distances["rv_wall"] - 3)
    _epicardial_fat(canvas, R, whole, shape.septum, fat_noise)
    _atria(canvas, R, shape)

    tissue = muscle * (1 + 0.06 * canvas.noise(R, 6))
    canvas.paint(distances["rv_wall"] - 1.9 - 0.7 * fat_noise, tissue)
    rv_edge = distances["rv"] + np.clip(trabeculae - 0.6, 0, None) * 4.5
    canvas.paint(rv_edge, right * BLOOD * (1 + 0.15 * blood_noise))
    canvas.paint(distances["epi"], tissue, edge=_edge(canvas, shape, shape.length + shape.apex_wall))
    apical = np.clip((canvas.z - shape.base) / (shape.length - shape.base), 0, 1)
    lv_edge = distances["lv"] + np.clip(trabeculae - 0.5 + 0.6 * apical, 0, None) * (1.6 + 2.2 * apical)
    canvas.paint(lv_edge, BLOOD * (1 + 0.1 * blood_noise), edge=_edge(canvas, shape, shape.length))
    _papillary(canvas, R, shape, muscle)


def _edge(canvas: Canvas, shape: Ventricles, end: float) -> np.ndarray:
    """Edge width (mm) of each slice: a pixel, more where the wall is oblique to the thick slice."""
    above, below = (shape.radius * shape.bullet(canvas.z + side * 0.4 * canvas.gap, end) for side in (-1, 1))
    return np.clip(np.abs(above - below), canvas.edge, 5 * canvas.edge).astype(np.float32)


def _epicardial_fat(
    canvas: Canvas, R: np.random.RandomState, whole: np.ndarray, septum: float, noise: np.ndarray
) -> None:
    """Fat around the heart, thick on the right ventricular side, patchy elsewhere, inside a thin dark pericardium."""
    toward = (canvas.x * float(np.cos(septum)) + canvas.y * float(np.sin(septum))) / np.maximum(
        np.hypot(canvas.x, canvas.y), 1
    )
    thickness = R.uniform(0.0, 2.0) + R.uniform(3, 7) * np.clip(toward + 0.2, 0, None) + (2.0 + toward) * noise
    canvas.paint(np.minimum(whole - thickness - 1.6, whole - 2), 0.12)
    canvas.paint(whole - np.maximum(thickness, 0), 0.06, FAT * R.uniform(0.55, 0.9))


def _atria(canvas: Canvas, R: np.random.RandomState, shape: Ventricles) -> None:
    """Left and right atrium, aortic root and outflow tract in the slices beyond the base: blood, and no label."""
    bright, turn = BLOOD * R.uniform(0.9, 1.05), R.uniform(-0.25, 0.25)
    size, aspect, wall = shape.radius * R.uniform(0.8, 1.0), R.uniform(0.7, 0.9), (2.0, 0.3)
    direction = shape.septum + turn
    right = shape.radius + 0.45 * shape.rv_depth + 4
    centre = (right * np.cos(direction + 0.25), right * np.sin(direction + 0.25))
    radii = (shape.rv_depth * 0.55 + 4, shape.radius * R.uniform(0.8, 1.1))
    above, above_right = (-np.inf, shape.base - 1e-3), (-np.inf, shape.rv_base - 1e-3)
    canvas.blob((0, 4), (size * 1.5, size * 1.35), 0.05, FAT * 0.7, depths=above)
    canvas.blob(centre, (radii[0] + 5, radii[1] + 5), 0.05, FAT * 0.7, angle=direction, depths=above_right)
    canvas.blob(centre, radii, bright * 0.9, angle=direction, depths=above_right, wall=wall)
    canvas.blob((4, 7), (size, size * aspect), bright, angle=turn, depths=above, wall=wall)
    root = (-0.35 * shape.radius, -0.55 * shape.radius)
    canvas.blob(root, (13, 12), bright * 1.05, depths=above, wall=(2.4, 0.3))


def _papillary(canvas: Canvas, R: np.random.RandomState, shape: Ventricles, muscle: float) -> None:
    """Two papillary muscles, from the wall to free heads of uneven outline, dark inside the cavity."""
    depth = shape.length - shape.base
    for angle, distance, size in shape.papillary:
        for _ in range(3):
            turn, inward, head = R.uniform(-0.3, 0.3), R.uniform(-0.12, 0.12), size * R.uniform(0.6, 1.05)
            first, last, aspect = R.uniform(0.12, 0.4), R.uniform(0.7, 0.95), R.uniform(0.55, 1.0)
            for k in np.flatnonzero((canvas.z > shape.base + first * depth) & (canvas.z < shape.base + last * depth)):
                t = (canvas.z[k] - shape.base) / depth
                radius = shape.radius * float(shape.bullet(canvas.z[k : k + 1], shape.length)[0])
                where, to = radius * (distance + inward + 0.15 * (t - 0.4)), angle + turn * (0.5 + t)
                radii = np.clip(np.array([1.2, aspect]) * shape.radius * head * (0.6 + 0.6 * t), 1.5, None)
                canvas.blob(
                    (where * np.cos(to), where * np.sin(to)),
                    (radii[0], radii[1]),
                    muscle,
                    angle=angle + 3 * turn,
                    depths=(canvas.z[k], canvas.z[k]),
                )


def acquire(canvas: Canvas, R: np.random.RandomState, noise_level: float, bias: np.ndarray, gain: float) -> np.ndarray:
    """Image int16 ``(X, Y, Z)`` of the canvas: opposed phases, banding, coil sensitivity, blur, Rician noise, gain.

    Args:
        canvas: everything painted.
        R: the source of randomness of the noise.
        noise_level: standard deviation of the noise in each of the two channels; blood is 1.
        bias: multiplicative field of the coils and off-resonance.
        gain: scanner units for blood.
    """
    signal = np.abs(canvas.water - canvas.fat) * bias * (1 + 0.045 * canvas.noise(R, 3.2))
    return receive(ndimage.gaussian_filter(signal, (0.65, 0.65, 0)), R, noise_level, gain)


def receive(signal: np.ndarray, R: np.random.RandomState, noise_level: float, gain: float) -> np.ndarray:
    """Image int16 of a signal ``(X, Y, Z)``: Rician noise with the grain of an interpolated matrix, and gain."""
    shape = signal.shape
    in_phase, quadrature = (
        ndimage.gaussian_filter(R.standard_normal(shape).astype(np.float32), (0.45, 0.45, 0)) for _ in range(2)
    )
    magnitude = np.hypot(signal + 1.5 * noise_level * in_phase, 1.5 * noise_level * quadrature)
    return np.clip(np.rint(magnitude * gain), 0, 32767).astype(np.int16)


def coil_bias(canvas: Canvas, R: np.random.RandomState) -> np.ndarray:
    """Multiplicative field: surface coils in front and behind, and the dark bands of off-resonance far from the heart.

    About 1 at the heart; up to some three times as much under the front coil.
    """
    x, y = canvas.x, canvas.y
    field = np.full(x.shape, R.uniform(0.7, 1.3), np.float32)
    front = R.uniform(0.4, 1.0)
    coils = [(-115, -50, front), (-105, 50, front), (-30, -125, 0.7 * front), (150, 20, 0.5), (130, 110, 0.5)]
    for cx, cy, strength in coils:
        square = (x - cx - R.uniform(-15, 15)) ** 2 + (y - cy - R.uniform(-20, 20)) ** 2
        field += strength * R.uniform(0.6, 1.2) / (1 + square / R.uniform(50, 75) ** 2)
    field *= 1 + 0.06 * canvas.noise(R, 70, 20)
    field /= field[np.hypot(x, y) < 30].mean()
    far = ((x - R.uniform(-20, 40)) ** 2 + (0.8 * (y - R.uniform(-10, 40))) ** 2) / R.uniform(120, 150) ** 2
    phase = far * (far * R.uniform(0.7, 1.2) + 0.45 * canvas.noise(R, 40, 6))
    cosine, sine = np.cos(phase / 2) ** 2, np.sin(phase / 2) ** 2
    field = field * np.sqrt(cosine / (cosine + _BANDING * sine + 1e-6))
    # Gradient non-linearity, once corrected, leaves a slanted black margin behind and above.
    if R.rand() < 0.6:
        field[x + R.uniform(-0.12, 0.12) * y > x.max() - R.uniform(0, 25)] = 0
        field[-y + R.uniform(-0.08, 0.08) * x > -y.min() - R.uniform(0, 20)] = 0
    return field
