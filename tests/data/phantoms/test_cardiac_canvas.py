# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from wss_monai.data.phantoms.canvas import Canvas, smooth_noise
from wss_monai.data.phantoms.cardiac_imaging import acquire


def test_canvas_edges_mix_by_partial_volume_and_opposed_phases_cancel():
    x = np.arange(5.0)[:, None, None] * np.ones((5, 4, 1))
    canvas = Canvas(x, np.zeros_like(x), np.zeros(1), edge=1.0)
    canvas.water[:], canvas.fat[:] = 0.0, 1.0
    canvas.paint(x - 2.0, water=1.0)
    np.testing.assert_allclose(canvas.water[:, 0, 0], (1, 1, 0.5, 0, 0))
    np.testing.assert_allclose(canvas.fat[:, 0, 0], (0, 0, 0.5, 1, 1))
    noiseless = acquire(canvas, np.random.RandomState(0), 0.0, np.ones_like(x), 1000.0)
    assert noiseless[2, 0, 0] < 0.6 * noiseless[0, 0, 0], "a dark line where water meets fat"


def test_blob_is_an_ellipse_between_its_depths():
    x, y = np.meshgrid(np.arange(-20, 21.0), np.arange(-20, 21.0), indexing="ij")
    canvas = Canvas(np.repeat(x[..., None], 3, 2), np.repeat(y[..., None], 3, 2), np.array([0.0, 10.0, 20.0]), 1.0)
    canvas.blob((2, -3), (10, 5), 1.0, drift=(0.5, 0.0), depths=(5, 15))
    areas = (canvas.water > 0.5).sum((0, 1))
    assert areas[0] == areas[2] == 0 and areas[1] == pytest.approx(np.pi * 50, rel=0.05)
    centre = np.argwhere(canvas.water[:, :, 1] > 0.5).mean(0) - 20
    np.testing.assert_allclose(centre, (2 + 5, -3), atol=0.3)


def test_smooth_noise_is_smooth_and_of_unit_variance():
    field = smooth_noise(np.random.RandomState(0), (120, 90, 6), (6.0, 6.0, 1.0))
    assert field.shape == (120, 90, 6) and field.dtype == np.float32
    assert field.std() == pytest.approx(1, abs=0.15)
    assert np.diff(field, axis=0).std() < 0.3
