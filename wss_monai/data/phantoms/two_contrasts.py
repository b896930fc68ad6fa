# SPDX-License-Identifier: Apache-2.0
"""A canvas that holds the apparent diffusion coefficient beside water and fat: one anatomy, painted once, seen twice.

What paints organs by their water and fat (:mod:`.pelvis_imaging`) need not know of it: each stroke brings the
coefficient of a tissue of that signal, scaled by a smooth field of the patient that has nothing to do with T2. Strokes
with a coefficient of their own say so, and ``only`` paints what one of the two images shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from scipy import ndimage

from wss_monai.data.phantoms.canvas import Canvas
from wss_monai.data.phantoms.cardiac_imaging import receive

__all__ = ["TwoContrasts", "acquire_adc"]

WATER = (0.0, 0.04, 0.1, 0.17, 0.3, 0.6, 0.9, 1.3, 1.6)
COEFFICIENT = (0.02, 0.1, 0.7, 1.2, 1.3, 1.55, 1.8, 2.7, 3.0)
"""Typical coefficient, in 1e-3 mm2/s, of a tissue without fat by its T2 signal (``WATER``): void, cortex, muscle,
walls, glands, fluid."""
HIGHEST = 3.1
MATRIX_MM = 2.0
"""Pixel of the acquisition of diffusion; finer ones in the image are interpolated."""


class TwoContrasts(Canvas):
    """Water, fat and diffusion coefficient (1e-3 mm2/s) of a stack of slices.

    Args:
        x, y, z, edge: as ``Canvas`` has them.
        variation: how much the coefficient departs from the typical one, a factor, ``(X, Y, Z)`` or 1.
    """

    signals = (*Canvas.signals, "adc")
    places = (*Canvas.places, "variation")

    def __init__(
        self, x: np.ndarray, y: np.ndarray, z: np.ndarray, edge: float, variation: np.ndarray | float = 1.0
    ) -> None:
        super().__init__(x, y, z, edge)
        self.variation = np.broadcast_to(np.asarray(variation, np.float32), x.shape)
        self.adc = np.zeros(x.shape, np.float32)
        self._own: float | None = None

    def paint(
        self,
        distance: np.ndarray,
        water: np.ndarray | float,
        fat: np.ndarray | float = 0.0,
        edge: np.ndarray | float | None = None,
        where: tuple[slice, ...] = (),
        adc: np.ndarray | float | None = None,
    ) -> None:
        """Fill where ``distance`` (mm) is negative; ``adc`` is that of the tissue's signal where not given."""
        own = self._own if adc is None else adc
        if own is None:
            own = typical(water, fat) * self.variation[where]
        alpha = np.clip(0.5 - distance / (self.edge if edge is None else edge), 0, 1)
        self.adc[where] += alpha * (np.minimum(own, HIGHEST) - self.adc[where])
        super().paint(distance, water, fat, edge, where)

    @contextmanager
    def coefficient(self, adc: float) -> Iterator[None]:
        """Within it all strokes have this coefficient."""
        self._own = adc
        try:
            yield
        finally:
            self._own = None

    @contextmanager
    def only(self, image: str) -> Iterator[None]:
        """Within it what is painted shows in one image alone: "T2" or "ADC"."""
        kept = {name: getattr(self, name).copy() for name in (("adc",) if image == "T2" else ("water", "fat"))}
        try:
            yield
        finally:
            for name, array in kept.items():
                getattr(self, name)[:] = array


def typical(water: np.ndarray | float, fat: np.ndarray | float) -> np.ndarray:
    """Coefficient (1e-3 mm2/s) of a tissue by its signals; fat is suppressed, and what holds more of it shows less."""
    share = np.asarray(water) / (np.asarray(water) + 2 * np.asarray(fat) + 1e-3)
    return (np.interp(water, WATER, COEFFICIENT) * share).astype(np.float32)


def acquire_adc(canvas: TwoContrasts, R: np.random.RandomState, noise_level: float) -> np.ndarray:
    """Image int16 ``(X, Y, Z)`` of the coefficient in 1e-6 mm2/s: a coarse matrix, Rician noise, interpolated.

    Args:
        canvas: everything painted.
        R: the source of randomness of the noise.
        noise_level: standard deviation of the noise in each of the two channels, in 1e-3 mm2/s.
    """
    shape: np.ndarray = np.array(canvas.adc.shape)
    coarse = np.array([max(8, np.ceil(n * min(canvas.edge / MATRIX_MM, 1))) for n in shape[:2]] + [shape[2]])
    blur = np.where(coarse < shape, 0.5 * shape / coarse, [0.35, 0.35, 0])
    small = ndimage.zoom(
        ndimage.gaussian_filter(canvas.adc, tuple(blur)), tuple(coarse / shape), order=1, mode="nearest", grid_mode=True
    )
    noisy = receive(small, R, noise_level, 1000.0)
    large = ndimage.zoom(noisy, tuple(shape / coarse), order=1, mode="nearest", grid_mode=True)
    return np.asarray(large, np.int16)
