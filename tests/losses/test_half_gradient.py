# SPDX-License-Identifier: Apache-2.0
"""A barrier so sharp that float16 could not hold its gradient."""

from __future__ import annotations

import pytest
import torch

from wss_monai.functional.descriptors import Centroid, Compactness, Length, Size
from wss_monai.losses import ConstraintLoss, LogBarrierExtension


def gradient(descriptor, t, dtype=torch.float16, factor=1.0, dims=2):
    """Gradient of noisy logits that keep none of their bounds."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, *[24, 24, 5][:dims], generator=generator).half().to(dtype).requires_grad_()
    bounds = torch.tensor([0.0, 0.01]).repeat(2, 3, descriptor.components(dims), 1)
    spacing = torch.ones(2, dims)
    (factor * ConstraintLoss(descriptor, LogBarrierExtension(t))(logits, bounds, spacing=spacing)).backward()
    return logits.grad


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("descriptor", [Length(), Compactness(), Centroid(), Size()], ids=lambda d: d.name)
def test_it_is_finite_and_points_the_same_way(descriptor, dims):
    if dims == 3 and descriptor.name == "compactness":
        pytest.skip("2D alone")
    half, wide = (gradient(descriptor, 1e6, dtype, dims=dims) for dtype in (torch.float16, torch.float32))
    assert half.isfinite().all() and half.abs().max() > 0
    for a, b in zip(half.float().flatten(1), wide.flatten(1), strict=True):
        assert torch.cosine_similarity(a, b, dim=0) > 0.99


def test_what_fits_is_left_as_it_is_and_a_loss_scaler_sees_its_overflow():
    descriptor = Centroid()
    wide = gradient(descriptor, 5.0, torch.float32)
    assert torch.equal(gradient(descriptor, 5.0), wide.half())
    assert not gradient(descriptor, 1e6, factor=2.0**16).isfinite().all()
    assert gradient(descriptor, 5.0, factor=2.0**10).isfinite().all()
