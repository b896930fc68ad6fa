# SPDX-License-Identifier: Apache-2.0
"""A synthetic male pelvis in T2-weighted MRI: muscles, bones, bladder, rectum and prostate, painted slice by slice.

Signals are relative to fat (about 0.85). Unlike in cine MRI, water and fat add up. The frame is that of
:mod:`.prostate_anatomy`.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from wss_monai.data.phantoms.canvas import Canvas
from wss_monai.data.phantoms.cardiac_imaging import receive
from wss_monai.data.phantoms.prostate_anatomy import Gland

FAT, MUSCLE, CORTEX, MARROW, URINE, GAS = 0.85, 0.17, 0.05, 0.5, 1.5, 0.02
SIDES = (-1, 1)


def paint_pelvis(canvas: Canvas, R: np.random.RandomState, gland: Gland, coil: bool) -> None:
    """Paint everything but the prostate.

    Args:
        canvas: an empty canvas.
        R: the source of randomness.
        gland: the prostate, for which the organs make room.
        coil: whether a balloon with a coil fills the rectum.
    """
    canvas.water[:] = 0.02
    canvas.fat[:] = FAT * (1 + 0.06 * canvas.noise(R, 14, 2) + 0.05 * canvas.noise(R, 4))
    for length, depth in ((7, 0.2), (11, 0.25)):
        canvas.fat[:] *= 1 - depth * np.clip(canvas.noise(R, length, 1.5) - 0.9, 0, 0.8)
    wide, tissue = gland.half[0], _Tissue(canvas, R)
    straight = canvas.x, canvas.y
    canvas.x, canvas.y = (place + 1.6 * canvas.noise(R, 15, 3) for place in straight)
    _bones_and_buttocks(canvas, R, tissue)
    _pelvic_wall(canvas, R, tissue, wide)
    _vessels(canvas, R, wide)
    _floor(canvas, R, tissue, gland)
    canvas.x, canvas.y = straight
    _bladder(canvas, R, gland)
    _vesicles(canvas, R, gland)
    _rectum(canvas, R, gland, coil)
    _urethra(canvas, R, gland)


class _Tissue:
    """Muscle and bone, with one texture each on a canvas."""

    def __init__(self, canvas: Canvas, R: np.random.RandomState) -> None:
        self.canvas = canvas
        self.grain = MUSCLE * (1 + 0.12 * canvas.noise(R, 3, 1.5) + 0.1 * canvas.noise(R, 12, 2))
        self.marrow = MARROW * R.uniform(0.8, 1.15) * (1 + 0.08 * canvas.noise(R, 5) + 0.1 * canvas.noise(R, 16, 2))
        self.bend = canvas.noise(R, 16, 3), canvas.noise(R, 9, 2)

    def muscle(self, distance: np.ndarray, streaks: float = 0.0, angle: float = 0.0) -> None:
        """Fill with muscle where ``distance`` (mm) is negative, with planes of fat between bundles along ``angle``."""
        across = self.canvas.y * float(np.cos(angle)) - self.canvas.x * float(np.sin(angle))
        phase = (across + 6 * self.bend[0]) * (2 * np.pi / 10)
        planes = np.clip(np.cos(phase) - 0.85 + 0.4 * self.bend[1], 0, 0.3) * 3 * streaks
        self.canvas.paint(distance, self.grain * (1 - planes), FAT * planes)

    def bone(self, distance: np.ndarray, cortex: float = 2.0) -> None:
        """Fill with marrow inside a dark cortex where ``distance`` (mm) is negative."""
        self.canvas.paint(distance, CORTEX)
        self.canvas.paint(distance + cortex, 0.08, self.marrow)


def _ellipse(canvas: Canvas, centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0) -> np.ndarray:
    """Distance (mm) to an ellipse that is the same in every slice."""
    x, y = canvas.x - centre[0], canvas.y - centre[1]
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    scale = np.sqrt(((x * cosine + y * sine) / radii[0]) ** 2 + ((y * cosine - x * sine) / radii[1]) ** 2)
    return np.sqrt(x**2 + y**2) * (1 - 1 / np.maximum(scale, 1e-3))


def _bones_and_buttocks(canvas: Canvas, R: np.random.RandomState, tissue: _Tissue) -> None:
    """Skin and rectus muscle in front, pubis, hips, ischium and coccyx, gluteal muscles behind."""
    z = canvas.z
    front = R.uniform(66, 84) + 0.3 * (z - z.min()) * R.uniform(0, 1)
    wall = -canvas.y - front - 0.0015 * canvas.x**2
    canvas.paint(-wall, 0.03, FAT * 1.05)
    canvas.paint(np.abs(wall) - 0.7, 0.15)
    canvas.paint(front + R.uniform(22, 40) + canvas.y, 0.01, 0)
    for side in SIDES:
        tissue.muscle(_ellipse(canvas, (side * 19, -R.uniform(60, 70)), (18, 6), side * 0.12), 0.2)
        tissue.muscle(_ellipse(canvas, (side * R.uniform(60, 70), -50), (34, 19), side * -0.5), 0.6, side * -0.6)
        tissue.muscle(_ellipse(canvas, (side * R.uniform(98, 106), 20), (26, 52), side * -0.1), 0.4, 1.3 * side)
        tissue.muscle(_ellipse(canvas, (side * R.uniform(62, 72), 74), (50, 25), side * -0.5), 0.8, side * 0.5)
        # The hip joint above, the ischium below, with a socket between bone and head.
        above, below = np.where(z > R.uniform(-8, 4), 0, 200), np.where(z <= R.uniform(0, 8), 0, 200)
        head = _ellipse(canvas, (side * R.uniform(84, 92), -R.uniform(6, 16)), (23, 23))
        socket = _ellipse(canvas, (side * R.uniform(68, 73), 4), (12, 38), side * 0.15)
        tissue.bone(np.maximum(socket, 3 - head) + above)
        tissue.bone(head + above, 1.5)
        shaft = _ellipse(canvas, (side * R.uniform(62, 68), R.uniform(20, 28)), (13, 24), side * 0.35)
        tissue.bone(shaft + below)
        ramus = _ellipse(canvas, (side * R.uniform(22, 25), -R.uniform(46, 50)), (23, 9), side * -0.55)
        tissue.bone(ramus + np.maximum(z - R.uniform(8, 20), 0))
    symphysis = _ellipse(canvas, (0, -R.uniform(42, 46)), (3.5, 13)) + np.maximum(z - 12, 0)
    canvas.paint(symphysis, 0.14)
    tissue.bone(_ellipse(canvas, (0, R.uniform(72, 80)), (11, 6)) + np.maximum(-12 - z, 0))


def _pelvic_wall(canvas: Canvas, R: np.random.RandomState, tissue: _Tissue, wide: float) -> None:
    """The obturator muscles along the side walls."""
    for side in SIDES:
        where, thick = max(49.0, wide + 15) + R.uniform(0, 3), R.uniform(9, 12)
        inner = _ellipse(canvas, (side * where, R.uniform(-8, 4)), (thick, 37), side * R.uniform(-0.25, 0))
        tissue.muscle(inner, 0.25, side * 1.4)


def _vessels(canvas: Canvas, R: np.random.RandomState, wide: float) -> None:
    """Vessels in the fat: veins bright, arteries dark; many beside the gland and in front of it."""
    for _ in range(R.randint(60, 100)):
        side, size = R.choice(SIDES), R.uniform(0.7, 2.4)
        place = (side * R.uniform(0.9 * wide, wide + 14), R.uniform(-30, 26))
        if R.rand() < 0.35:
            place = (R.uniform(-22, 22), R.uniform(-36, -20))
        first = R.uniform(-40, 40)
        canvas.blob(
            place,
            (size * R.uniform(1, 2.2), size),
            R.choice([0.08, 0.15, 0.6, 1.1]),
            angle=R.uniform(0, np.pi),
            drift=(R.uniform(-0.4, 0.4), R.uniform(-0.3, 0.3)),
            depths=(first, first + R.uniform(6, 30)),
            wall=(0.5, 0.15),
        )


def _bladder(canvas: Canvas, R: np.random.RandomState, gland: Gland) -> None:
    """Urine inside a grey wall, above and in front of the base."""
    radii = (R.uniform(26, 42), R.uniform(18, 28), R.uniform(22, 40))
    bottom, forward = gland.half[2] * R.uniform(0.55, 0.9), -R.uniform(8, 16) - 0.25 * gland.half[1]
    z = (canvas.z - bottom - radii[2]) / radii[2]
    profile = np.sqrt(np.clip(1 - z**2, 0, None))
    profile = np.where(z > 0, 1, profile)
    x, y = canvas.x - R.normal(0, 2), canvas.y - forward
    scale = np.hypot(x / radii[0], y / radii[1]) / np.maximum(profile, 1e-3)
    distance = np.hypot(x, y) * (1 - 1 / np.maximum(scale, 1e-3)) + 1.5 * canvas.noise(R, 20, 4)
    distance = np.where(profile > 0.05, distance, 100)
    canvas.paint(distance - R.uniform(2.5, 5), MUSCLE * 1.4)
    canvas.paint(distance, URINE * R.uniform(0.8, 1.1) * (1 + 0.02 * canvas.noise(R, 25, 3)))


def _vesicles(canvas: Canvas, R: np.random.RandomState, gland: Gland) -> None:
    """Seminal vesicles: bright convoluted tubes with dark walls, behind the base and above it."""
    a, b, c = gland.half
    bright = R.uniform(0.6, 1.25)
    for side in SIDES:
        for _ in range(R.randint(16, 26)):
            along = R.uniform(0.08, 1.0)
            place = (side * along * a * 1.05, gland.tilt * c + b * 0.75 - 4 * along + R.normal(0, 2))
            first = c * R.uniform(0.75, 1.0) + 3 * along
            size = R.uniform(1.6, 3.4)
            canvas.blob(
                place,
                (size * R.uniform(1, 1.8), size),
                bright * R.uniform(0.75, 1.1),
                angle=R.uniform(0, np.pi),
                drift=(0, R.uniform(0, 0.2)),
                depths=(first, first + R.uniform(8, 17)),
                wall=(R.uniform(0.8, 1.4), 0.2),
            )


def _rectum(canvas: Canvas, R: np.random.RandomState, gland: Gland, coil: bool) -> None:
    """Rectum close behind the gland, with gas, stool or gel, or a balloon; the anal canal below the apex."""
    z = canvas.z
    full = (R.uniform(20, 24), R.uniform(14, 17)) if coil else (R.uniform(11, 19), R.uniform(8, 15))
    thin = 1 / (1 + np.exp(-(z + gland.half[2] * R.uniform(0.9, 1.3)) / 4))
    radii = [9 + (r - 9) * thin * (1 + 0.2 * np.sin(z / R.uniform(14, 25) + R.uniform(0, 6))) for r in full]
    behind = gland.tilt * z + gland.half[1] * np.maximum(gland.profile(z), 0.55) * (1 - gland.notch)
    centre = (R.normal(0, 2) + R.normal(0, 0.08) * z, behind + radii[1] + R.uniform(1.5, 4))
    x, y = canvas.x - centre[0], canvas.y - centre[1]
    distance = np.hypot(x, y) * (1 - 1 / np.maximum(np.hypot(x / radii[0], y / radii[1]), 1e-3))
    distance = distance + (0.4 if coil else 1.6) * canvas.noise(R, 12, 3)
    wall = R.uniform(2, 3.5) + 3 * (1 - thin)
    canvas.paint(distance - wall, MUSCLE * 1.15 * (1 + 0.1 * canvas.noise(R, 3)))
    canvas.paint(distance - 0.45 * wall, 0.5 * (1 + 0.15 * canvas.noise(R, 3)))
    content = GAS if coil else R.choice([GAS, GAS, 0.35, 0.8])
    inside = np.full(canvas.x.shape, content, np.float32)
    if content > 0.1:
        inside *= np.clip(1 + 0.35 * canvas.noise(R, 5, 2), 0.1, None)
    elif not coil and R.rand() < 0.5:
        inside = np.where(y > radii[1] * R.uniform(-0.2, 0.7), 0.3 + 0.12 * canvas.noise(R, 4, 2), inside)
    canvas.paint(np.where(thin > 0.4, distance, 100), inside)


def _floor(canvas: Canvas, R: np.random.RandomState, tissue: _Tissue, gland: Gland) -> None:
    """Levator muscle: two thin bands from the pubis around gland and rectum."""
    a, b, c = gland.half
    opening = np.clip((canvas.z + 0.9 * c) / (1.6 * c), -0.3, 1)
    x = canvas.x / (1 + 0.65 * opening)
    y = canvas.y - 0.5 * b
    band = np.hypot(x / (0.72 * a), y / (1.75 * b + 6))
    band = np.hypot(x, y) * (1 - 1 / np.maximum(band, 1e-3)) + 0.8 * canvas.noise(R, 15, 3)
    front = np.where(canvas.y < -0.8 * b, 50, 0) + np.maximum(canvas.z - 0.45 * c, 0)
    tissue.muscle(np.abs(band) - R.uniform(1.0, 1.8) + front)


def _urethra(canvas: Canvas, R: np.random.RandomState, gland: Gland) -> None:
    """The urethra inside a ring of muscle below the apex, and the bulb of the penis lowest."""
    c = gland.half[2]
    for k in np.flatnonzero(canvas.z < -0.8 * c):
        height = float(canvas.z[k])
        at = (gland.lean * height, gland.tilt * height)
        canvas.blob(at, (8.5, 8.0), MUSCLE * 1.2, depths=(height, height))
        canvas.blob(at, (4.5, 4.2), 0.6, depths=(height, height), wall=(1, 0.3))
        if height < -c - 9:
            bulb = (at[0], at[1] + R.uniform(-2, 2))
            canvas.blob(bulb, (13, 9), 1.05 * R.uniform(0.9, 1.1), depths=(height, height), wall=(1, 0.1))


def paint_prostate(canvas: Canvas, R: np.random.RandomState, gland: Gland, outside: np.ndarray) -> None:
    """Paint the gland: capsule, bright outer part with dark patches, uneven central part with nodules.

    Args:
        canvas: surroundings, painted already.
        R: the source of randomness.
        gland: its shape.
        outside: ``gland.outside`` on this canvas.
    """
    a, b, c = gland.half
    canvas.paint(outside - R.uniform(0.6, 1.1), 0.13)
    bright = R.uniform(0.5, 0.95)
    outer = canvas.filled(bright * (1 + 0.1 * canvas.noise(R, 2.5) + 0.12 * canvas.noise(R, 9, 2)))
    for _ in range(R.randint(0, 5)):
        angle, size = R.uniform(-0.35, np.pi + 0.35), R.uniform(2.5, 6)
        height = R.uniform(-0.7, 0.6) * c
        wide = float(gland.profile(np.array([height]))[0]) * 0.88
        place = (a * wide * np.cos(angle), gland.tilt * height + b * wide * np.sin(angle))
        outer.blob(place, (size * R.uniform(1, 1.8), size), 0.3 * R.uniform(0.8, 1.2), angle=angle + np.pi / 2,
                   depths=(height - size, height + size))  # fmt: skip
    canvas.paint(outside, outer.water)

    inside = gland.central(canvas.x, canvas.y, canvas.z) + 1.2 * canvas.noise(R, 7, 2)
    inside = np.maximum(inside, outside + 1)
    canvas.paint(inside - R.uniform(0.5, 1.2), 0.14)
    inner = canvas.filled(R.uniform(0.28, 0.42) * (1 + 0.22 * canvas.noise(R, 3.5) + 0.15 * canvas.noise(R, 8, 2)))
    spread = gland.centre * 0.8
    for _ in range(int(R.randint(3, 8) + 14 * max(gland.centre - 0.6, 0) * 4)):
        angle, far, size = R.uniform(0, 2 * np.pi), np.sqrt(R.rand()) * spread, R.uniform(2.0, 7.5)
        height = R.uniform(-0.4, 0.9) * c
        place = (far * a * np.cos(angle), gland.tilt * height + (far * np.sin(angle) - 0.2) * b)
        signal = R.choice([0.16, 0.25, 0.4, 0.6, 0.85])
        inner.blob(place, (size * R.uniform(0.8, 1.3), size), signal * R.uniform(0.9, 1.1), angle=angle,
                   depths=(height - size, height + size), wall=(0.8, 0.13))  # fmt: skip
    inner.blob((0, -0.85 * b), (0.45 * a, 0.3 * b), 0.14, drift=(gland.lean, gland.tilt))
    inner.blob((0, 0.02 * b), (2.2, 1.6), 0.75, drift=(gland.lean, gland.tilt), wall=(1.2, 0.2))
    grain = 1 + 0.1 * canvas.noise(R, 1.8)
    canvas.paint(inside, inner.water * grain)


def acquire_t2(
    canvas: Canvas, R: np.random.RandomState, bias: np.ndarray, noise_level: float, gain: float
) -> np.ndarray:
    """Image int16 ``(X, Y, Z)`` of the canvas: coil sensitivity, blur of the echo train, Rician noise, gain."""
    signal = (canvas.water + canvas.fat) * bias * (1 + 0.04 * canvas.noise(R, 2.2))
    return receive(ndimage.gaussian_filter(signal, (0.7, 0.6, 0)), R, noise_level, gain)


def pelvic_bias(canvas: Canvas, R: np.random.RandomState, gland: Gland, coil: bool) -> np.ndarray:
    """Multiplicative field: array coils in front and behind, and a steep one near a coil in the rectum; mean 1."""
    x, y = canvas.x, canvas.y
    field = np.exp(0.12 * canvas.noise(R, 80, 10))
    field = field + R.uniform(0.2, 0.8) * np.exp(-(y + 95) / 38) + R.uniform(0.1, 0.6) * np.exp((y - 95) / 42)
    if coil:
        square = (x / 1.2) ** 2 + (y - gland.half[1] - 10) ** 2
        field = field * 0.5 + R.uniform(2.5, 4.5) / (1 + square / R.uniform(20, 27) ** 2)
    return field / field.mean()
