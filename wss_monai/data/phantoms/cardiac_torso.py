# SPDX-License-Identifier: Apache-2.0
"""What surrounds a synthetic heart in short-axis MRI, painted as water and fat signal.

Chest wall, ribs, an arm, lung with vessels, diaphragm, liver, stomach, spleen, kidney, bowel, spine, great vessels:
organs as bright as the myocardium (liver, muscle, spleen) or as blood (aorta, veins, stomach, fat).
"""

from __future__ import annotations

import numpy as np

from wss_monai.data.phantoms.canvas import AIR, BLOOD, FAT, LUNG, MUSCLE, Canvas, superellipse


def paint_torso(canvas: Canvas, R: np.random.RandomState, reach: tuple[float, float], depth: float) -> None:
    """Paint everything but the heart.

    Args:
        canvas: an empty canvas.
        R: the source of randomness.
        reach: extent (mm) of the heart to its right-ventricular side and to its other sides: the thorax makes room.
        depth: length (mm) of the left ventricle.
    """
    x, y, z = canvas.x, canvas.y, canvas.z
    left = -reach[0] - R.uniform(6, 16)
    half = (112 * R.uniform(0.92, 1.08), 98 * R.uniform(0.92, 1.08))
    centre = (left + half[0], -reach[1] * 0.2 + R.uniform(-14, 4))
    leaf = reach[1] + R.uniform(0, 7) - (z - depth / 2) * R.uniform(0.0, 0.14)
    thorax = _chest_wall(canvas, R, left, centre, half)
    _lung(canvas, R, thorax, centre, half)

    peak = R.uniform(35, 75)
    slope = R.uniform(0.0018, 0.0032)
    diaphragm = leaf - 8 + slope * (x - peak) ** 2 - slope * peak**2 * 0.55 - y
    diaphragm += 2.5 * canvas.noise(R, 45, 4)
    _abdomen(canvas, R, np.maximum(diaphragm, _cavity(canvas, left, half[0])), peak, float(leaf.mean()))
    _great_vessels(canvas, R, reach[1], depth)


def _cavity(canvas: Canvas, left: float, half: float) -> np.ndarray:
    return np.maximum(left + 3 - canvas.x, canvas.x - left - 2 * half - 10)


def _chest_wall(
    canvas: Canvas, R: np.random.RandomState, left: float, centre: tuple[float, float], half: tuple[float, float]
) -> np.ndarray:
    """Skin, subcutaneous fat, muscle with fat between, ribs, an arm; returns the distance to the thoracic cavity."""
    x, y = canvas.x, canvas.y
    front, muscle = R.uniform(10, 34), R.uniform(9, 18)
    radii = (half[0] + front + muscle + R.uniform(4, 12), R.uniform(190, 225))
    body_centre = (left - front - muscle + radii[0], centre[1] + R.uniform(35, 60))
    body = superellipse(x - body_centre[0], y - body_centre[1], radii, R.uniform(2.3, 2.9))
    if R.rand() < 0.75:
        arm = (body_centre[0] + R.uniform(0.2, 0.75) * radii[0], body_centre[1] - radii[1] * R.uniform(0.86, 0.98))
        size = R.uniform(22, 34)
        canvas.blob(arm, (size * 1.35, size), AIR, FAT, angle=R.uniform(-0.5, 0.6))
        canvas.blob(arm, (size * 1.1, size * 0.75), MUSCLE, 0.03, angle=R.uniform(-0.5, 0.6))
        canvas.blob(arm, (size * 0.32, size * 0.3), 0.05, 0.5, wall=(2.0, 0.03))
    canvas.paint(body, 0.2)
    canvas.paint(body + 1.8, 0.03, FAT * R.uniform(0.9, 1.1))

    thorax = superellipse(x - centre[0], y - centre[1], half, 2.3)
    # Fat is thick in front (left) and towards the arm-pit (top), thin at the back; muscle fills the rest of the wall.
    layer = front * (0.35 + 0.65 / (1 + np.exp((x - left - 20) / 22))) * (1 + 0.18 * canvas.noise(R, 40, 3))
    canvas.paint(body + layer, MUSCLE * R.uniform(0.85, 1.15) * (1 + 0.12 * canvas.noise(R, 6, 2)), 0.02)
    # Sheets of fat between the muscles, along the wall, and the fat of the arm-pit.
    for sheet in (R.uniform(7, 12), R.uniform(15, 22), R.uniform(26, 34)):
        middle, width = sheet + 3.5 * canvas.noise(R, 28, 3), 1.6 * canvas.noise(R, 22, 3) + R.uniform(0.0, 1.2)
        canvas.paint(np.maximum(np.abs(thorax - middle) - width, body + layer), 0.03, FAT * 0.8)
    armpit = (centre[0] + R.uniform(-0.2, 0.45) * half[0], centre[1] - half[1] - R.uniform(16, 32))
    reach = R.uniform(9, 18) + 5 * canvas.noise(R, 22, 3)
    canvas.paint(np.maximum(np.hypot(0.55 * (x - armpit[0]), y - armpit[1]) - reach, 6 - thorax), 0.03, FAT * 0.9)

    pleura = thorax + 1.5 * canvas.noise(R, 18, 2)
    canvas.paint(pleura - 2.5, MUSCLE * 0.9, 0.12)
    gap = R.uniform(0.26, 0.34)
    for angle in np.arange(-3.3, 0.9, gap) + R.uniform(0, gap):
        rib = (centre[0] + (half[0] + 5) * np.cos(angle), centre[1] + (half[1] + 5) * np.sin(angle))
        drift = (R.uniform(-0.15, 0.15), R.uniform(-0.15, 0.15))
        radii = (R.uniform(4, 8), R.uniform(2.2, 3.4))
        canvas.blob(rib, radii, 0.05, R.uniform(0.25, 0.8), angle=angle + np.pi / 2, drift=drift, wall=(1.6, 0.04))
    return pleura


def _lung(
    canvas: Canvas, R: np.random.RandomState, thorax: np.ndarray, centre: tuple[float, float], half: tuple[float, float]
) -> None:
    canvas.paint(thorax, LUNG * (1 + 0.35 * canvas.noise(R, 9)))
    # Fat of the mediastinum between the right ventricle and the front wall.
    thick, reach, middle = R.uniform(28, 48), R.uniform(45, 75), R.uniform(-10, 12)
    front = thick * (1 - ((canvas.y - middle) / reach) ** 2) + 5 * canvas.noise(R, 22, 3)
    front = np.maximum(-front - thorax, canvas.x - centre[0])
    strands = 1 - 0.35 * np.exp(-((canvas.noise(R, 14, 2) / 0.12) ** 2)) + 0.08 * canvas.noise(R, 8)
    canvas.paint(np.maximum(front, thorax + 1), 0.05, FAT * R.uniform(0.5, 0.85) * strands)
    hilum = np.array([R.uniform(25, 50), R.uniform(-25, 5)])
    for _ in range(R.randint(55, 90)):
        radius, angle = np.sqrt(R.rand()) * 0.9, R.uniform(-np.pi, 0.4)
        place = np.array([centre[0] + half[0] * radius * np.cos(angle), centre[1] + half[1] * radius * np.sin(angle)])
        size, first = R.uniform(0.7, 2.0), R.uniform(-20, 80)
        along = float(np.arctan2(*(place - hilum)[::-1]))
        canvas.blob(
            (place[0], place[1]),
            (size * R.uniform(1, 3.5), size),
            R.uniform(0.35, 1.15),
            angle=along + R.normal(0, 0.5),
            drift=(R.uniform(-0.6, 0.6), R.uniform(-0.6, 0.6)),
            depths=(first, first + R.uniform(5, 35)),
        )


def _abdomen(canvas: Canvas, R: np.random.RandomState, inside: np.ndarray, peak: float, top: float) -> None:
    """Diaphragm, visceral fat, liver, stomach, spleen, kidney and bowel where ``inside`` (mm) is negative."""
    x, y, z = canvas.x, canvas.y, canvas.z
    before = canvas.water.copy(), canvas.fat.copy()
    canvas.water[:], canvas.fat[:] = 0.04, FAT * R.uniform(0.55, 0.8) * (1 + 0.12 * canvas.noise(R, 10))
    for _ in range(R.randint(22, 34)):
        size = R.uniform(3, 10)
        canvas.blob(
            (R.uniform(10, 130), top + R.uniform(25, 150)),
            (size * R.uniform(1, 2), size),
            R.choice([0.3, 0.35, 0.5, 0.9, 1.0]) * R.uniform(0.8, 1.1),
            angle=R.uniform(0, np.pi),
            drift=(R.uniform(-0.3, 0.3), R.uniform(-0.3, 0.3)),
            depths=(R.uniform(-30, 30), R.uniform(40, 110)),
            wall=(R.uniform(0, 2.0), 0.25),
        )
    kidney = (peak + R.uniform(20, 45), top + R.uniform(75, 100))
    canvas.blob(kidney, (R.uniform(32, 40), R.uniform(20, 25)), 0.5, angle=R.uniform(1.0, 1.6), drift=(0, 0.15))
    canvas.blob(kidney, (R.uniform(14, 20), R.uniform(6, 9)), 0.1, 0.7, angle=R.uniform(1.0, 1.6), drift=(0, 0.15))
    spleen = (peak + R.uniform(45, 65), top + R.uniform(8, 22))
    canvas.blob(spleen, (R.uniform(32, 44), R.uniform(18, 26)), R.uniform(0.34, 0.5), angle=R.uniform(0.6, 1.3))
    stomach = (peak + R.uniform(-28, 5), top + R.uniform(12, 34))
    content, drift = R.choice([0.12, 0.4, 0.85, 1.05]), (R.uniform(-0.2, 0.2), R.uniform(-0.1, 0.1))
    sizes = (R.uniform(22, 36), R.uniform(17, 26))
    canvas.blob(stomach, sizes, content, 0.02, angle=R.uniform(-0.5, 0.5), drift=drift, wall=(R.uniform(2, 4), 0.36))
    for _ in range(R.randint(0, 7)):
        spot = (stomach[0] + R.uniform(-0.6, 0.6) * sizes[0], stomach[1] + R.uniform(-0.6, 0.6) * sizes[1])
        spot_radii, brightness = (R.uniform(3, 12), R.uniform(1.5, 4)), content * R.uniform(0.5, 1.4)
        canvas.blob(spot, spot_radii, brightness, angle=R.uniform(0, np.pi), drift=drift)

    edge = R.uniform(5, 32) - R.uniform(0.1, 0.75) * (y - top - 40) + R.uniform(-0.3, 0.3) * z
    edge = edge - R.uniform(-0.003, 0.004) * (y - top - 40) ** 2
    liver = np.maximum(inside + 5 + 2 * canvas.noise(R, 30, 3), x - edge - 5 * canvas.noise(R, 35, 3))
    liver = np.maximum(liver, y - top - R.uniform(95, 170) - R.uniform(-0.5, 0.1) * x - 8 * canvas.noise(R, 30, 3))
    signal = R.uniform(0.27, 0.44)
    canvas.paint(liver, signal * (1 + 0.04 * canvas.noise(R, 5)), 0.01)
    hilum = np.array([R.uniform(-30, 10), top + R.uniform(35, 70)])
    for _ in range(R.randint(22, 36)):
        place, size = np.array([R.uniform(-85, 10), top + R.uniform(18, 130)]), R.uniform(0.7, 2.4)
        along = float(np.arctan2(*(place - hilum)[::-1]))
        if _well_inside(canvas, liver, place):
            canvas.blob(
                (place[0], place[1]),
                (size * R.uniform(1, 4), size),
                R.uniform(0.45, 0.85),
                angle=along + R.normal(0, 0.4),
                drift=(R.uniform(-0.3, 0.3), R.uniform(-0.3, 0.3)),
                depths=(R.uniform(-30, 50), R.uniform(30, 110)),
            )
    organs = canvas.water.copy(), canvas.fat.copy()
    canvas.water[:], canvas.fat[:] = before
    canvas.paint(inside, MUSCLE * 0.9, 0.02)
    canvas.paint(inside + 2.5, *organs)


def _well_inside(canvas: Canvas, distance: np.ndarray, place: np.ndarray) -> bool:
    """Whether ``distance`` is below -6 mm in the voxel next to ``place`` in the middle slice."""
    k = len(canvas.z) // 2
    index = np.argmin(np.abs(canvas.x[:, :, k] - place[0]) + np.abs(canvas.y[:, :, k] - place[1]))
    return bool(distance[:, :, k].flat[index] < -6)


def _great_vessels(canvas: Canvas, R: np.random.RandomState, side: float, depth: float) -> None:
    """Spine, descending aorta and inferior vena cava: round and as bright as the ventricles."""
    aorta = (side + R.uniform(10, 34), R.uniform(-8, 36))
    spine = (aorta[0] + R.uniform(26, 36), aorta[1] + R.uniform(8, 22))
    canal = (spine[0] + R.uniform(20, 26), spine[1] + R.uniform(4, 12))
    drift = (R.uniform(-0.1, 0.15), R.uniform(0.1, 0.55))
    seen = (-40.0, depth * R.uniform(0.35, 1.0))
    body = (R.uniform(18, 23), R.uniform(16, 20))
    canvas.blob(spine, body, R.uniform(0.2, 0.34), 0.01, drift=drift, depths=seen, wall=(1.5, 0.05))
    canvas.blob(canal, (8.0, 6.5), 1.0, drift=drift, depths=seen, wall=(3.0, 0.05))
    size, blood = R.uniform(9, 12.5), BLOOD * R.uniform(0.9, 1.15)
    canvas.blob(aorta, (size + 3, size + 3), 0.04, FAT * 0.7, drift=drift, depths=seen)
    canvas.blob(aorta, (size, size * R.uniform(0.92, 1.08)), blood, drift=drift, depths=seen, wall=(1.5, 0.2))
    cava, radii = (-side * R.uniform(-0.1, 0.5), side + R.uniform(14, 24)), (R.uniform(9, 13), R.uniform(6, 9))
    blood, seen = BLOOD * R.uniform(0.75, 1.0), (-40.0, R.uniform(12, 45))
    canvas.blob(cava, radii, blood, angle=R.uniform(0, np.pi), drift=(-0.25, 0.2), depths=seen)
