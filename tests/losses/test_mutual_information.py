# SPDX-License-Identifier: Apache-2.0
"""Global and local mutual information: known values, gradients, what minimum, patches and heads do, bad input."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.losses import IICLoss, LocalIICLoss


def waves(shape, phase):
    """Logits z[n, c, y, x] = 3 sin((c + 1)(1 + 0.3 y + 0.7 x) + n + phase)."""
    n, c, y, x = (torch.arange(side, dtype=torch.float64) for side in shape)
    where = 1 + 0.3 * y[:, None] + 0.7 * x
    return 3 * torch.sin((c[:, None, None] + 1) * where + n[:, None, None, None] + phase)


def views(shape):
    """Probabilities of the two views; the first asks for its gradient."""
    return waves(shape, 0).softmax(1).requires_grad_(), waves(shape, 0.5).softmax(1)


def random_maps(shape, heads=1, dtype=torch.float64, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return [p.to(dtype).requires_grad_() for p in logits.unflatten(2, (heads, -1)).softmax(3).flatten(2, 3)]


BOTH = pytest.mark.parametrize("backend", ["shifted_views", "separable"])


@BOTH
@pytest.mark.parametrize(
    ("padding", "published", "norm", "exact"),
    [
        (0, -0.44600387, 0.41540902, -0.29404808),
        (1, -0.24028152, 0.21900896, -0.20103145),
        (2, -0.22164201, 0.17069605, -0.21334367),
    ],
)
def test_local_known_values(padding, published, norm, exact, backend):
    p, q = views((2, 3, 6, 5))
    loss = LocalIICLoss(padding, backend=backend)(p, q)
    loss.backward()
    assert loss.item() == pytest.approx(published, abs=1e-6)
    assert p.grad.norm().item() == pytest.approx(norm, abs=1e-6)
    assert LocalIICLoss(padding, subtract_min=False, backend=backend)(p, q).item() == pytest.approx(exact, abs=1e-6)


@BOTH
def test_local_known_value_in_patches(backend):
    p, q = views((2, 3, 6, 5))
    loss = LocalIICLoss(1, patch_size=4, backend=backend)(p, q)
    assert loss.item() == pytest.approx(-0.18985511, abs=1e-6)


def test_global_known_value():
    p, q = (t.flatten(1) for t in views((8, 4, 1, 1)))
    p = p.detach().requires_grad_()
    loss = IICLoss()(p, q)
    loss.backward()
    assert loss.item() == pytest.approx(-0.23821601, abs=1e-6)
    assert p.grad.norm().item() == pytest.approx(0.61270188, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_even_certain_and_equal_clusters_have_the_entropy_of_the_clusters(dtype):
    p = torch.eye(4, dtype=dtype).repeat(3, 1)
    assert IICLoss()(p, p).item() == pytest.approx(-math.log(4), abs=1e-6)
    cells = p.reshape(1, 12, 4).mT.reshape(1, 4, 3, 4)
    for subtract_min in (True, False):
        assert LocalIICLoss(0, subtract_min=subtract_min)(cells, cells).item() == pytest.approx(-math.log(4), abs=1e-6)


def test_probabilities_of_zero_say_nothing():
    zeros = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    loss = IICLoss()(zeros, zeros.clone())
    loss.backward()
    assert loss.item() == 0 and zeros.grad.isfinite().all()


def test_uniform_clusters_say_nothing():
    p = torch.full((8, 4), 0.25, dtype=torch.float64)
    assert IICLoss()(p, p).item() == pytest.approx(-8e-10, abs=1e-12)
    even = torch.full((2, 4, 5, 5), 0.25, dtype=torch.float64)
    assert LocalIICLoss(1, subtract_min=False)(even, even).item() == pytest.approx(0, abs=1e-12)


def test_a_batch_of_n_caps_the_global_information_at_log_n():
    p = torch.eye(20)[:10]
    assert IICLoss()(p, p).item() == pytest.approx(-math.log(10), abs=1e-6)


def test_padding_0_without_minimum_is_the_global_information_of_all_voxels():
    p, q = random_maps((2, 5, 4, 6), scale=3)
    rows = [t.movedim(1, -1).flatten(0, 2) for t in (p, q)]
    assert LocalIICLoss(0, subtract_min=False)(p, q).item() == pytest.approx(IICLoss()(*rows).item(), abs=1e-8)


def test_each_displacement_is_normalised_by_itself():
    p, q = random_maps((1, 3, 1, 9), scale=3)
    left, middle, right = ((8, 0, 1), (9, 0, 0), (8, 1, 0))
    wanted = []
    for count, a, b in (left, middle, right):  # fewer voxels at a displacement, the same weight
        rows = [t[0, :, 0, start : start + count].mT for t, start in ((p, b), (q, a))]
        wanted.append(IICLoss(eps=1e-16)(*rows))
    found = LocalIICLoss((0, 1), subtract_min=False)(p, q)
    assert found.item() == pytest.approx(torch.stack(wanted).mean().item(), abs=1e-12)


def test_the_minimum_is_one_a_head_over_the_window_and_gets_no_gradient():
    p, q = random_maps((2, 3, 5, 5))
    window = range(-1, 2)
    counts = torch.stack(
        [
            torch.einsum(
                "niyx,njyx->ij",
                p[..., max(-dy, 0) : 5 - max(dy, 0), max(-dx, 0) : 5 - max(dx, 0)],
                q[..., max(dy, 0) : 5 - max(-dy, 0), max(dx, 0) : 5 - max(-dx, 0)],
            )
            for dy in window
            for dx in window
        ]
    )
    joint = counts - counts.min().item() + 1e-16
    joint = joint / joint.sum((1, 2), keepdim=True)
    joint = (joint + joint.mT) / 2
    marginal = joint.sum(2) + 1e-16
    cells = joint * ((joint + 1e-16) / (marginal[:, :, None] * marginal[:, None])).log()
    wanted = -cells.sum() / 9
    found = LocalIICLoss(1)(p, q)
    assert found.item() == pytest.approx(wanted.item(), abs=1e-12)
    for a, b in zip(torch.autograd.grad(found, (p, q)), torch.autograd.grad(wanted, (p, q)), strict=True):
        torch.testing.assert_close(a, b)


def test_the_minimum_matters_while_flat_and_not_once_a_cell_is_empty():
    def gradients(p, q):
        p, q = p.detach().requires_grad_(), (0.5 * p + 0.5 * q).detach()
        return [torch.autograd.grad(LocalIICLoss(1, subtract_min=m)(p, q), p)[0] for m in (True, False)]

    published, exact = gradients(*random_maps((2, 4, 16, 16), scale=0.05))
    assert published.norm() > 20 * exact.norm()
    split = torch.zeros(4, 16, 16, dtype=torch.float64)
    split[:2, :8], split[2:, 8:] = 1, 1  # two clusters above, the other two below
    published, exact = gradients(*(t * split for t in random_maps((2, 4, 16, 16), heads=2)))
    torch.testing.assert_close(published, exact)


@BOTH
@pytest.mark.parametrize("spatial", [(6, 7), (3, 4, 5)])
@pytest.mark.parametrize("batch", [1, 3])
def test_heads_are_independent_and_averaged(spatial, batch, backend):
    p, q = random_maps((batch, 12, *spatial), heads=3)
    loss = LocalIICLoss(1, num_heads=3, backend=backend)(p, q)
    single = LocalIICLoss(1, backend=backend)
    alone = [single(a, b) for a, b in zip(p.chunk(3, 1), q.chunk(3, 1), strict=True)]
    assert loss.item() == pytest.approx(torch.stack(alone).mean().item(), abs=1e-12)


def test_global_heads_are_independent_and_averaged():
    p, q = random_maps((5, 12, 1), heads=3)
    p, q = p[..., 0], q[..., 0]
    alone = [IICLoss()(a, b) for a, b in zip(p.chunk(3, 1), q.chunk(3, 1), strict=True)]
    assert IICLoss(num_heads=3)(p, q).item() == pytest.approx(torch.stack(alone).mean().item(), abs=1e-12)


def test_patches_begin_half_a_patch_apart_and_the_last_ends_at_the_end():
    p, q = random_maps((2, 3, 9, 4))
    loss, single = LocalIICLoss((1, 0), patch_size=(4, 4)), LocalIICLoss((1, 0))
    rows = [slice(0, 4), slice(2, 6), slice(4, 8), slice(5, 9)]
    wanted = torch.stack([single(p[:, :, cut], q[:, :, cut]) for cut in rows]).mean()
    assert loss(p, q).item() == pytest.approx(wanted.item(), abs=1e-12)
    torch.testing.assert_close(torch.autograd.grad(loss(p, q), p)[0], torch.autograd.grad(wanted, p)[0])


def test_a_patch_of_the_whole_map_is_the_whole_map():
    p, q = random_maps((2, 3, 4, 5, 3))
    assert LocalIICLoss(1, patch_size=(4, 5, 3))(p, q).item() == LocalIICLoss(1)(p, q).item()


@BOTH
@pytest.mark.parametrize("settings", [{}, {"subtract_min": False}, {"lam": 1.5}, {"patch_size": 3}])
def test_local_gradients_are_those_of_finite_differences(settings, backend):
    p, q = random_maps((2, 4, 4, 3), heads=2)

    def without_minimum(p, q):  # finite differences would see through the constant minimum
        return LocalIICLoss(1, num_heads=2, backend=backend, **({"subtract_min": False} | settings))(p, q)

    assert torch.autograd.gradcheck(without_minimum, (p, q), fast_mode=True)


def test_local_gradients_in_3d_and_global_gradients():
    p, q = random_maps((1, 2, 3, 3, 2))
    assert torch.autograd.gradcheck(lambda p, q: LocalIICLoss((0, 1, 1), subtract_min=False)(p, q), (p, q))
    p, q = (t[..., 0].detach().requires_grad_() for t in random_maps((3, 6, 1), heads=2))
    assert torch.autograd.gradcheck(lambda p, q: IICLoss(num_heads=2)(p, q), (p, q))


def test_more_weight_on_the_marginals_adds_their_entropy():
    p, q = random_maps((6, 4, 1))
    p, q = p[..., 0], q[..., 0]
    joint = p.mT @ q / 6
    marginal = ((joint + joint.mT) / 2).sum(1)
    entropy = -(marginal * marginal.log()).sum()
    difference = IICLoss(lam=1.5)(p, q) - IICLoss()(p, q)
    assert difference.item() == pytest.approx(-2 * 0.5 * entropy.item(), abs=1e-8)


@pytest.mark.parametrize("subtract_min", [True, False])
def test_float32_gradient_is_near_that_of_float64(subtract_min):
    gradients = []
    for dtype in (torch.float64, torch.float32):
        p, q = random_maps((4, 10, 64, 64), dtype=dtype)
        LocalIICLoss(2, subtract_min=subtract_min)(p, p.detach() * 0.5 + q * 0.5).backward()
        gradients.append(p.grad)
    assert (gradients[1] - gradients[0]).norm() < 1e-4 * gradients[0].norm()


@pytest.mark.parametrize("shape", [(3, 6), (2, 6, 5, 4), (2, 6, 3, 4, 5)])
def test_autocast_changes_nothing(shape):
    loss = IICLoss(num_heads=2) if len(shape) == 2 else LocalIICLoss(1, num_heads=2)
    p, q = (t.view(shape).detach().requires_grad_() for t in random_maps((*shape, 1), 2, torch.float32))
    plain = loss(p, q)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(p, q)
    assert plain.dtype == torch.float32 and torch.equal(found, plain)
    assert torch.equal(torch.autograd.grad(found, p)[0], torch.autograd.grad(plain, p)[0])
    narrow = loss(p.bfloat16(), q.bfloat16())
    assert narrow.dtype == torch.float32
    assert narrow.item() == loss(p.bfloat16().float(), q.bfloat16().float()).item()


@pytest.mark.parametrize("subtract_min", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_clusters_have_finite_gradients(subtract_min, dtype):
    p = torch.zeros(2, 4, 6, 6, dtype=dtype)
    p[:, 1, :3], p[:, 2, 3:] = 1, 1
    p.requires_grad_()
    LocalIICLoss(1, subtract_min=subtract_min)(p, p).backward()
    assert p.grad.isfinite().all()
    rows = torch.eye(4, dtype=dtype)[[0, 0, 1]].requires_grad_()
    IICLoss()(rows, rows).backward()
    assert rows.grad.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({"padding": (1, 1, 1)}, (2, 4, 6, 5), r"padding \(1, 1, 1\) must be one number, or one for each of 2 axes"),
        ({"padding": 5}, (2, 4, 6, 5), r"padding \(5, 5\) must be smaller than the map \(6, 5\)"),
        ({"padding": 3, "patch_size": 3}, (2, 4, 6, 5), r"smaller than the patch \(3, 3\)"),
        ({"patch_size": 6}, (2, 4, 6, 5), r"patch_size \(6, 6\) is larger than the map \(6, 5\)"),
        ({"patch_size": (3, 3, 3)}, (2, 4, 6, 5), "patch_size"),
        ({"num_heads": 3}, (2, 4, 6, 5), "num_heads 3 does not fit the 4 channels"),
        ({"num_heads": 4}, (2, 4, 6, 5), "at least 2"),
        ({}, (2, 4), "IICLoss takes"),
        ({"padding": -1}, None, "padding must be a whole number >= 0, or one an axis, got -1"),
        ({"padding": 1.0}, None, "padding must be a whole number"),
        ({"patch_size": 0}, None, "patch_size must be a whole number >= 1"),
        ({"subtract_min": "false"}, None, "subtract_min must be true or false"),
        ({"backend": "conv2d"}, None, "backend must be one of auto, shifted_views, separable"),
        ({"lam": -1.0}, None, "lam must be a finite number >= 0"),
        ({"eps": "small"}, None, "eps must be"),
        ({"eps": 0}, None, "eps must be above 0"),
        ({}, (0, 4, 6, 5), r"p holds no voxels: its shape is \(0, 4, 6, 5\)"),
        ({"num_heads": 0}, None, "num_heads must be a whole number >= 1"),
    ],
)
def test_local_refuses_bad_input(settings, shape, message):
    with pytest.raises(ValueError, match=message):
        LocalIICLoss(**settings)(torch.rand(shape), torch.rand(shape))


def test_shapes_that_differ_and_a_single_sample_are_refused():
    with pytest.raises(ValueError, match=r"one shape .*\(2, 4, 6, 5\) and \(2, 4, 5, 6\)"):
        LocalIICLoss()(torch.rand(2, 4, 6, 5), torch.rand(2, 4, 5, 6))
    with pytest.raises(ValueError, match=r"one shape .*\(2, 4\) and \(3, 4\)"):
        IICLoss()(torch.rand(2, 4), torch.rand(3, 4))
    with pytest.raises(ValueError, match="LocalIICLoss takes maps"):
        IICLoss()(torch.rand(2, 4, 3), torch.rand(2, 4, 3))
    with pytest.raises(ValueError, match=r"1 sample.*log\(min\(K, N\)\).*at least two unlabelled images"):
        IICLoss()(torch.rand(1, 4), torch.rand(1, 4))
    with pytest.raises(ValueError, match="num_heads 3 does not fit the 4 channels"):
        IICLoss(num_heads=3)(torch.rand(2, 4), torch.rand(2, 4))


def test_maps_of_two_precisions_are_computed_in_the_wider_one():
    p, q = torch.rand(4, 3).softmax(1), torch.rand(4, 3, dtype=torch.float64).softmax(1)
    assert IICLoss()(p, q).dtype == torch.float64
    torch.testing.assert_close(IICLoss()(p, q), IICLoss()(p.double(), q))


def test_settings_are_shown():
    assert "num_heads=5" in repr(IICLoss(num_heads=5))
    assert "padding=(0, 1)" in repr(LocalIICLoss((0, 1))) and "subtract_min=True" in repr(LocalIICLoss())
