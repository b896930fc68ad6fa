# SPDX-License-Identifier: Apache-2.0
"""The local joint: both backends against a plain loop over displacements, their gradients, and bad input."""

from __future__ import annotations

import itertools

import pytest
import torch

from wss_monai.functional import local_joint as module
from wss_monai.functional.local_joint import local_joint

BACKENDS = ("shifted_views", "separable")
CASES = {
    "2D, padding 1": ((2, 3, 6, 5), (1, 1), 1),
    "2D, padding 3": ((3, 4, 9, 7), (3, 3), 2),
    "2D, padding 3, one sample": ((1, 6, 4, 4), (3, 3), 3),
    "2D, one axis alone": ((2, 2, 1, 8), (0, 2), 1),
    "2D, slabs": ((2, 3, 70, 33), (2, 1), 1),
    "3D, padding 1": ((2, 3, 4, 5, 3), (1, 1, 1), 1),
    "3D, per axis": ((2, 4, 3, 4, 5), (0, 1, 2), 2),
    "3D, deep": ((1, 2, 5, 3, 4), (2, 0, 1), 1),
    "1D": ((3, 4, 11), (2,), 2),
    "1D, padding 0": ((3, 4, 11), (0,), 1),
    "4D": ((1, 2, 3, 2, 3, 2), (1, 1, 1, 1), 1),
}


def maps(shape, heads, dtype=torch.float64, seed=0):
    """Probabilities of two views, softmax over the clusters of each head."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    probs = logits.unflatten(2, (heads, -1)).softmax(3).flatten(2, 3)
    return [p.to(dtype).requires_grad_() for p in probs]


def plain_loop(p, q, padding, heads):
    """One displacement after the other; a pad on all sides and an einsum."""
    spatial = p.shape[2:]
    around = [n for side in reversed(padding) for n in (side, side)]
    p = p.unflatten(1, (heads, -1)).flatten(3)
    q = torch.nn.functional.pad(q, around)
    joints = []
    for shift in itertools.product(*(range(-n, n + 1) for n in padding)):
        cut = [slice(n + d, n + d + side) for n, d, side in zip(padding, shift, spatial, strict=True)]
        moved = q[(slice(None), slice(None), *cut)].unflatten(1, (heads, -1)).flatten(3)
        joints.append(torch.einsum("nsix,nsjx->sij", p, moved))
    return torch.stack(joints, 1)


@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
@pytest.mark.parametrize("name", CASES)
def test_equals_a_plain_loop_over_displacements(name, backend):
    shape, padding, heads = CASES[name]
    p, q = maps(shape, heads)
    found, wanted = local_joint(p, q, padding, heads, backend), plain_loop(p, q, padding, heads)
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    weight = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), (p, q)),
        torch.autograd.grad((wanted * weight).sum(), (p, q)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spatial", [(70, 33), (9, 15, 16)])
def test_large_maps_are_done_in_blocks(spatial, backend, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 1)  # the least: 1024 positions a block, a row a slab
    monkeypatch.setattr(module, "SLAB", 1)
    p, q = maps((2, 4, *spatial), 2)
    padding = (1,) * len(spatial)
    found, wanted = local_joint(p, q, padding, 2, backend), plain_loop(p, q, padding, 2)
    torch.testing.assert_close(found, wanted)
    for a, b in zip(
        torch.autograd.grad(found.square().sum(), (p, q)),
        torch.autograd.grad(wanted.square().sum(), (p, q)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_two_voxels_by_hand(backend):
    p = torch.tensor([[[1.0, 0.25], [0.0, 0.75]]])
    q = torch.tensor([[[0.5, 0.0], [0.5, 1.0]]])
    left = [[0.125, 0.125], [0.375, 0.375]]  # p at 1 with q at 0
    same = [[0.5, 0.75], [0.0, 0.75]]
    right = [[0.0, 1.0], [0.0, 0.0]]  # p at 0 with q at 1
    assert torch.equal(local_joint(p, q, (1,), backend=backend), torch.tensor([[left, same, right]]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["2D, padding 3, one sample", "3D, per axis", "1D"])
def test_gradients_are_those_of_finite_differences(name, backend):
    shape, padding, heads = CASES[name]
    pair = maps(shape, heads)
    assert torch.autograd.gradcheck(lambda p, q: local_joint(p, q, padding, heads, backend), pair, fast_mode=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_computes_only_the_gradient_that_is_wanted(backend):
    shape, padding, heads = CASES["2D, padding 3"]
    p, q = maps(shape, heads)
    whole = torch.autograd.grad(local_joint(p, q, padding, heads, backend).square().sum(), (p, q))
    for index in (0, 1):
        pair = [p.detach(), q.detach()]
        pair[index].requires_grad_()
        local_joint(*pair, padding, heads, backend).square().sum().backward()
        torch.testing.assert_close(pair[index].grad, whole[index])
        assert pair[1 - index].grad is None
    assert not local_joint(p.detach(), q.detach(), padding, heads, backend).requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
def test_does_not_mind_how_the_maps_lie_in_memory(backend):
    p, q = maps((2, 4, 9, 8), 2)
    wanted = plain_loop(p[:, :, 2:7, 1:6], q[:, :, 2:7, 1:6], (1, 1), 2)
    wanted_gradient = torch.autograd.grad(wanted.square().sum(), p)[0]
    for change in (lambda t: t, lambda t: t.contiguous(memory_format=torch.channels_last)):
        found = local_joint(*(change(t)[:, :, 2:7, 1:6] for t in (p, q)), (1, 1), 2, backend)
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(torch.autograd.grad(found.square().sum(), p)[0], wanted_gradient)
    expanded = q[:1].expand(2, -1, -1, -1)
    torch.testing.assert_close(local_joint(p, expanded, (1, 1), 2, backend), plain_loop(p, expanded, (1, 1), 2))


@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_gradient_is_near_that_of_float64(backend):
    gradients = []
    for dtype in (torch.float64, torch.float32):
        p, q = maps((4, 20, 48, 48), 2, dtype)
        joint = local_joint(p, q, (3, 3), 2, backend)
        assert joint.dtype == dtype
        (joint / joint.sum((-2, -1), keepdim=True)).square().sum().backward()
        gradients.append((p.grad, q.grad))
    for wide, narrow in zip(*gradients, strict=True):
        assert (narrow - wide).norm() < 1e-5 * wide.norm()


@pytest.mark.parametrize("backend", BACKENDS)
def test_is_wide_within_autocast(backend):
    p, q = maps((2, 6, 8, 8), 2, torch.float32)
    plain = local_joint(p, q, (1, 1), 2, backend)
    gradient = torch.autograd.grad(plain.square().sum(), p)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = local_joint(p, q, (1, 1), 2, backend)
        inside = torch.autograd.grad(found.square().sum(), p)[0]
    assert torch.equal(found, plain) and torch.equal(inside, gradient)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_maps_are_summed_in_float32(dtype):
    p, q = maps((2, 4, 300, 300), 1, dtype)
    joint = local_joint(p, q, (1, 0), 1)
    assert joint.dtype == torch.float32
    torch.testing.assert_close(joint, plain_loop(p.double(), q.double(), (1, 0), 1).float(), rtol=1e-5, atol=0)
    joint.mean().backward()
    assert p.grad.dtype == dtype and p.grad.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_second_derivative_is_refused(backend):
    p, q = maps((1, 2, 3, 3), 1)
    gradient = torch.autograd.grad(local_joint(p, q, (1, 1), 1, backend).square().sum(), p, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q": torch.rand(2, 4, 5, 6)}, r"one shape .*\(2, 4, 6, 5\) and \(2, 4, 5, 6\)"),
        ({"p": torch.rand(2, 4), "q": torch.rand(2, 4)}, r"one shape \(N, S\*K, \*spatial\)"),
        ({"p": torch.ones(2, 4, 6, 5, dtype=torch.int64)}, "floating-point .* torch.int64"),
        ({"num_heads": 3}, "num_heads 3 must divide the 4 channels"),
        ({"num_heads": 0}, "num_heads 0"),
        ({"padding": (1,)}, r"each of the 2 spatial axes, got \(1,\)"),
        ({"padding": (1, -1)}, ">= 0"),
        ({"padding": (1, 1.0)}, "whole number"),
        ({"padding": (1, 5)}, r"padding \(1, 5\) must be smaller than the map \(6, 5\)"),
        ({"backend": "conv"}, "auto, shifted_views, separable, got 'conv'"),
    ],
)
def test_refuses_bad_input(changes, message):
    arguments = {"p": torch.rand(2, 4, 6, 5), "q": torch.rand(2, 4, 6, 5), "padding": (1, 1)} | changes
    with pytest.raises(ValueError, match=message):
        local_joint(**arguments)
