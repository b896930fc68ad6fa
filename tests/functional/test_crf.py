# SPDX-License-Identifier: Apache-2.0
"""The dense CRF against an independent mean field in numpy, against itself on other grids, and on bad input."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from wss_monai.functional.crf import dense_crf
from wss_monai.functional.crf.exact import ExactFilter, SpatialFilter
from wss_monai.functional.crf.lattice import LatticeFilter, _neighbours, _simplex, _vertices

OURS = ("exact", "lattice")


def sample(shape, classes=3, channels=1, batch=1, seed=0):
    """Logits and an image of two regions with noise."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, *shape, generator=generator)
    image = 40 + 100 * (torch.arange(shape[-1]) >= shape[-1] // 2).float()
    image = image + 8 * torch.randn(batch, channels, *shape, generator=generator)
    return logits, image.clamp(0, 255)


def reference(logits, image, alpha=80 / 12, beta=13.0, gamma=0.25, weights=(10.0, 3.0), iterations=10):
    """Mean field in float64, (K, *spatial) of one sample: all pairs written out."""
    classes, *shape = logits.shape
    z = logits.double().numpy().reshape(classes, -1)
    place = np.stack(np.meshgrid(*[np.arange(s) for s in shape], indexing="ij"), -1).reshape(-1, len(shape))
    colour = image.double().numpy().reshape(len(image), -1).T
    apart = ((place[:, None] - place[None]) ** 2).sum(-1)
    unlike = ((colour[:, None] - colour[None]) ** 2).sum(-1)
    total = 0
    for weight, kernel in zip(
        weights,
        (np.exp(-apart / (2 * alpha**2) - unlike / (2 * beta**2)), np.exp(-apart / (2 * gamma**2))),
        strict=True,
    ):
        degree = kernel.sum(1) + 1e-20
        total = total + weight * kernel / np.sqrt(degree[:, None] * degree[None])

    def softmax(x):
        x = np.exp(x - x.max(0))
        return x / x.sum(0)

    q = softmax(z)
    for _ in range(iterations):
        q = softmax(z + q @ total)
    return torch.from_numpy(q.reshape(classes, *shape))


@pytest.mark.parametrize(("shape", "channels"), [((30,), 1), ((9, 12), 3), ((4, 6, 5), 2)])
@pytest.mark.parametrize("gamma", [0.25, 2.0])
def test_exact_is_the_mean_field_of_all_pairs(shape, channels, gamma):
    logits, image = sample(shape, channels=channels)
    expected = reference(logits[0], image[0], gamma=gamma)
    single = dense_crf(logits, image, theta_gamma=gamma, method="exact")
    wide = dense_crf(logits.double(), image.double(), theta_gamma=gamma, method="exact")
    assert single.dtype == torch.float32
    assert (single[0] - expected).abs().mean() < 1e-6
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide[0], expected, atol=1e-12, rtol=0)


def test_blocks_of_rows_give_what_the_kept_matrix_gives(monkeypatch):
    values = torch.rand(1, 70, 2)
    features = torch.randn(1, 70, 3)
    kept = ExactFilter(features)(values)
    monkeypatch.setattr("wss_monai.functional.crf.exact.KEEP_BYTES", 0)
    monkeypatch.setattr("wss_monai.functional.crf.exact.BLOCK", 70 * 11)
    blocks = ExactFilter(features)
    assert blocks.kept is None
    torch.testing.assert_close(blocks(values), kept, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("shape", "banded"), [((40,), True), ((9, 40), None), ((3, 17, 21), None), ((4, 4), None)])
@pytest.mark.parametrize("sigma", [0.25, 0.7, 1.3, 5.0])
@pytest.mark.parametrize(("kind", "close"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_the_spatial_filter_is_the_kernel_between_all_voxels(shape, banded, sigma, kind, close):
    """By its taps or by its matrix."""
    widths = torch.tensor([sigma, 0.5 * sigma, 2 * sigma], dtype=torch.float64)[: len(shape)]
    place = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in shape]).reshape(-1, len(shape))
    kernel = torch.exp(
        -0.5 * torch.cdist(place / widths, place / widths, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    )
    scale = kernel.sum(1).rsqrt()
    values = torch.rand(2, len(place), 3, dtype=kind)
    smooth = SpatialFilter(widths, shape, values)
    expected = (kernel * scale[:, None] * scale) @ values.double()
    torch.testing.assert_close(smooth(values).double(), expected, atol=close, rtol=0)
    if banded is not None and sigma < 1:
        assert [axis.banded for axis in smooth.axes] == [banded] * len(shape)


def test_wide_spatial_kernels_are_matrices():
    smooth = SpatialFilter(torch.tensor([8.0, 0.25]), (64, 64), torch.rand(1))
    assert [axis.banded for axis in smooth.axes] == [False, True]


def test_the_kept_matrix_is_symmetric_to_the_last_bit():
    kept = ExactFilter(torch.randn(2, 300, 4) * 2).kept
    assert torch.equal(kept, kept.transpose(1, 2))


def test_vertices_and_neighbours_are_those_of_a_dictionary():
    """In four dimensions: coordinates of each vertex written out, neighbours by changing them."""
    features = torch.randn(200, 4, generator=torch.Generator().manual_seed(3)) * 2
    d = 4
    cell, rank, _ = _simplex(features)
    keys, inverse, order, counts, remainder, multipliers = _vertices(cell, rank)
    names: dict[tuple[int, ...], int] = {}
    for point in range(200):
        for r in range(d + 1):
            low = rank[point] > d - r
            corner = tuple(((d + 1) * (cell[point] - low.long()) + r).tolist())
            assert sum(corner) == 0
            assert names.setdefault(corner, int(inverse[point, r])) == inverse[point, r]
            assert remainder[inverse[point, r]] == r
    assert len(names) == len(keys) == int(inverse.max()) + 1
    flat = inverse.flatten()
    assert flat[order].equal(flat.sort().values) and counts.equal(torch.bincount(flat))
    for axis, index in enumerate(_neighbours(keys, remainder, multipliers)):
        step = [-1] * (d + 1)
        step[axis] = d
        for corner, vertex in names.items():
            up, down = (tuple(c + s * k for c, k in zip(corner, step, strict=True)) for s in (1, -1))
            assert index[vertex].tolist() == [vertex, names.get(up, len(keys)), names.get(down, len(keys))]
        assert index[-1].tolist() == [len(keys)] * 3


def test_on_a_constant_image_the_bilateral_term_is_spatial():
    logits, image = sample((8, 9))
    flat = torch.full_like(image, 77.0)
    bilateral = dense_crf(logits, flat, w_bilateral=4.0, theta_alpha=2.0, w_spatial=0.0, method="exact")
    spatial = dense_crf(logits, flat, w_bilateral=0.0, w_spatial=4.0, theta_gamma=2.0, method="exact")
    torch.testing.assert_close(bilateral, spatial, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", OURS)
def test_classes_may_change_places(method):
    logits, image = (values.double() for values in sample((10, 11), classes=4))  # float32 rounds as memory lies
    order = [2, 0, 3, 1]
    q = dense_crf(logits, image, method=method)
    torch.testing.assert_close(dense_crf(logits[:, order], image, method=method), q[:, order], atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", OURS)
def test_a_sample_is_the_same_alone_and_in_a_batch(method):
    logits, image = sample((10, 11), batch=3)
    spacing = torch.tensor([[1.0, 1.0], [2.0, 1.0], [1.0, 3.0]])
    q = dense_crf(logits, image, spacing=spacing, method=method)
    for i in range(3):
        alone = dense_crf(logits[i : i + 1], image[i : i + 1], spacing=spacing[i], method=method)
        assert torch.equal(alone, q[i : i + 1])


@pytest.mark.parametrize("method", OURS)
def test_widths_in_mm_are_widths_in_voxels_times_the_spacing(method):
    logits, image = sample((6, 9, 8))
    voxels = dense_crf(logits, image, theta_alpha=[1.0, 4.0, 4.0], theta_gamma=[0.5, 2.0, 2.0], method=method)
    mm = dense_crf(logits, image, theta_alpha=8.0, theta_gamma=4.0, spacing=(8.0, 2.0, 2.0), method=method)
    torch.testing.assert_close(mm, voxels, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", OURS)
@pytest.mark.parametrize("axis", [2, 3, 4])
def test_an_axis_of_one_voxel_changes_nothing(method, axis):
    logits, image = sample((10, 11))
    q = dense_crf(logits, image, method=method)
    deep = dense_crf(logits.unsqueeze(axis), image.unsqueeze(axis), method=method)
    torch.testing.assert_close(deep.squeeze(axis), q, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("points", "features"), [(600, 1), (600, 2), (600, 3), (600, 5)])
def test_the_lattice_approximates_the_gaussian(points, features):
    where = 2 * torch.rand(points, features, generator=torch.Generator().manual_seed(1))
    values = (where[:, :1] > 1).float()[None]
    exact, lattice = ExactFilter(where[None])(values), LatticeFilter(where)(values)
    assert (exact - lattice).abs().mean() < 0.06 * exact.mean()  # .025 to .046 over six seeds


def test_keys_that_wrap_around_name_the_same_vertices(monkeypatch):
    where = torch.rand(300, 4) * torch.tensor([1.0, 1e6, 1e6, 1e6])
    assert torch.isfinite(LatticeFilter(where)(torch.rand(1, 300, 2))).all()
    many = torch.rand(200, 16) * 30
    alone = LatticeFilter(many)(torch.eye(200)[None])[0]
    torch.testing.assert_close(alone.diagonal(), torch.ones(200), atol=0.5, rtol=0)  # far points: almost no neighbours


def test_lattice_is_the_one_of_pydensecrf():
    pytest.importorskip("pydensecrf")
    logits, image = sample((24, 25), channels=3)
    ours, theirs = (dense_crf(logits, image, method=method) for method in ("lattice", "pydensecrf"))
    assert (ours - theirs).abs().mean() < 1e-3


def test_no_gradient_and_float32_inside_autocast():
    logits, image = sample((8, 8))
    q = dense_crf(logits.requires_grad_(), image)
    assert not q.requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = dense_crf(logits, image)
    assert inside.dtype == torch.float32 and torch.equal(inside, q)
    assert dense_crf(logits.bfloat16(), image).dtype == torch.float32


@pytest.mark.parametrize("method", OURS)
def test_one_voxel_and_no_iteration(method):
    logits, image = sample((1, 1))
    assert torch.isfinite(dense_crf(logits, image, method=method)).all()
    logits, image = sample((5, 6))
    torch.testing.assert_close(dense_crf(logits, image, iterations=0, method=method), logits.softmax(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": torch.zeros(1, 1, 5, 7)}, "grid of the logits"),
        ({"image": torch.full((1, 1, 5, 6), float("nan"))}, "image holds NaN"),
        ({"logits": torch.full((1, 2, 5, 6), float("inf"))}, "logits holds inf"),
        ({"logits": torch.zeros(2, 5)}, "1 to 3 spatial axes"),
        ({"theta_alpha": 0.0}, "theta_alpha.*positive"),
        ({"theta_gamma": [1.0, 1.0, 1.0]}, "theta_gamma.*one an axis"),
        ({"theta_beta": [1.0, 2.0]}, "theta_beta.*one an image channel"),
        ({"spacing": (1.0, 1.0, 1.0)}, "spacing must be"),
        ({"spacing": (1.0, -1.0)}, "positive"),
        ({"method": "grid"}, "method must be one of"),
        ({"iterations": -1}, "iterations"),
        ({"w_spatial": -1.0}, "w_spatial"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"logits": torch.zeros(1, 2, 5, 6), "image": torch.zeros(1, 1, 5, 6), **change}
    with pytest.raises(ValueError, match=message):
        dense_crf(given.pop("logits"), given.pop("image"), **given)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydensecrf", None)
    with pytest.raises(ImportError, match="pydensecrf2"):
        dense_crf(torch.zeros(1, 2, 5, 6), torch.zeros(1, 1, 5, 6), method="pydensecrf")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_does_not_grow_over_calls():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    logits, image = sample((24, 25), classes=4)
    for _ in range(20):
        dense_crf(logits, image, iterations=2, method="lattice")
    before = resident()
    for _ in range(100):
        dense_crf(logits, image, iterations=2, method="lattice")
    assert resident() - before < 4  # MB; the lattice of one call takes about 0.2
