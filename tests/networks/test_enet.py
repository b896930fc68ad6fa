# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from wss_monai.networks import ENet


def weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_number_of_weights_is_the_published_one():
    """0.461 million, less two outputs and two PReLU that the published file never computes."""
    unused = (128 * 9 * 2 + 2) + (16 * 9 * 2 + 2) + 2
    assert weights(ENet()) == 458_247
    assert round((weights(ENet()) + unused) / 1e6, 3) == 0.461


def block(inputs: int, outputs: int, middle: int) -> int:
    """Three convolutions with bias, each with two weights of the normalisation and a PReLU; a PReLU behind the sum."""
    m = inputs // 4
    layers = (inputs * m + m, middle, m * outputs + outputs)
    return sum(layers) + 2 * (2 * m + outputs) + 3 + 1


@pytest.mark.parametrize("dims", [2, 3])
def test_number_of_weights_by_hand(dims):
    k, n, some, many = 3**dims, 8, 32, 64
    three, lines = (lambda m: k * m * m + m), (lambda m: dims * (5 * m * m + m))
    count = k * (n - 1) + n - 1  # the first convolution
    for inputs, outputs in ((n, some), (some, many)):
        m = inputs // 4
        count += block(inputs, outputs, three(m)) + (2**dims - 1) * inputs * m
    count += 4 * block(some, some, three(some // 4))
    kinds = [three, three, lines, three, three, three, lines, three]
    count += sum(block(many, many, kind(many // 4)) for kind in kinds)
    count += sum(block(many, many, kind(many // 4)) for kind in kinds[:7])
    count += block(many, some, three(many // 4)) + k * many * some + some  # beside a plain convolution
    for inputs, outputs in ((2 * some, some), (2 * n, n)):  # 3 taps in the place of 1 first, no PReLU of their own
        m = inputs // 4
        count += block(inputs, outputs, three(m)) + (k - 1) * inputs * m - 1
    count += 2  # the PReLU behind both sums
    count += block(some, some, three(some // 4)) + block(n, n, three(n // 4))
    count += block(some, n, three(some // 4)) + some * n + n + 2 * n + 1
    count += 2 * (k * n * n + 2 * n + 1) + 4 * n + 4
    assert weights(ENet(dims, out_channels=4, features=n)) == count


@pytest.mark.parametrize("shape", [(2, 1, 16, 24), (1, 3, 8, 40), (2, 1, 16, 8, 8)])
def test_logits_have_the_shape_of_the_image(shape):
    network = ENet(len(shape) - 2, shape[1], 5, features=4)
    logits = network(torch.rand(shape))
    assert logits.shape == (shape[0], 5, *shape[2:])
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_places_of_the_maxima_lead_back():
    """What one bright pixel causes comes back around it: unpooling keeps places within a cell of 8."""
    torch.manual_seed(0)
    network = ENet(features=8).eval()
    image = torch.zeros(1, 1, 32, 32)
    moved = torch.zeros(1, 1, 32, 32)
    image[..., 8:10, 8:10], moved[..., 16:18, 16:18] = 1, 1
    with torch.no_grad():
        difference = [(network(x) - network(torch.zeros_like(x))).abs().sum(1)[0] for x in (image, moved)]
    assert difference[0].any()
    assert float(difference[0][:16, :16].sum() / difference[0].sum()) > float(
        difference[1][:16, :16].sum() / difference[1].sum()
    )


def test_arguments_and_sizes_are_checked():
    with pytest.raises(ValueError, match="divisible by 8, got \\[20, 16\\]"):
        ENet(features=4)(torch.rand(1, 1, 20, 16))
    with pytest.raises(ValueError, match="multiple of 4 and more than in_channels, got 6"):
        ENet(features=6)
    with pytest.raises(ValueError, match="more than in_channels, got 4"):
        ENet(in_channels=4, features=4)
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3"):
        ENet(spatial_dims=1)
