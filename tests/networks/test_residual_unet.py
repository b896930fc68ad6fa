# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from wss_monai.networks import ResidualUNet

SMALL = 2
"""Features of the networks that are run."""


def weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_number_of_weights_is_the_published_one():
    assert weights(ResidualUNet()) == 19_645_250
    assert round(weights(ResidualUNet()) / 1e6, 2) == 19.65


@pytest.mark.parametrize("taps", [2, 3])
def test_number_of_weights_by_hand(taps):
    """Five convolutions a block, one transposed a level, each with bias and two weights of the normalisation."""
    k = 3**taps
    levels = [SMALL * 2**n for n in range(4)]
    blocks = [
        (1, levels[0]),
        *zip(levels, [*levels[1:], 2 * levels[-1]], strict=True),
        *zip(levels, levels, strict=True),
    ]
    count = sum(k * (a * b + 4 * b * b) + 5 * 3 * b for a, b in blocks)
    count += sum(k * 2 * b * b + 3 * b for b in levels)
    count += k * levels[0] * 4 + 4
    assert weights(ResidualUNet(taps, out_channels=4, features=SMALL)) == count


@pytest.mark.parametrize("shape", [(1, 1, 32, 48), (2, 3, 64, 32), (2, 1, 32, 16, 16)])
def test_logits_have_the_shape_of_the_image(shape):
    network = ResidualUNet(len(shape) - 2, shape[1], 4, SMALL)
    assert network(torch.rand(shape)).shape == (shape[0], 4, *shape[2:])
    assert network.dimensions == len(shape) - 2


def test_skips_are_averaged():
    """With blocks and upsampling that hand on what they get, the output is the average over the levels."""
    network = ResidualUNet(features=1)
    ones = nn.Identity()
    network.down = nn.ModuleList([ones] * 4)
    network.up = nn.ModuleList([ones] * 4)
    network.upsample = nn.ModuleList([nn.Upsample(scale_factor=2)] * 4)
    network.bridge, network.out = nn.Flatten(0, 0), ones
    image = torch.zeros(1, 1, 16, 16)
    image[0, 0, 3, 5] = 16.0
    # 16 at the pixel itself; half of it comes from the first skip, a quarter from the second, ... the bridge a 16th.
    result = network(image)[0, 0]
    assert result[3, 5] == 16
    assert result[2, 5] == 8 and result[0, 5] == 4 and result[0, 0] == 2 and result[15, 15] == 1


def test_blocks_add_their_first_features_and_activate_as_published():
    torch.manual_seed(0)
    network = ResidualUNet(features=SMALL).eval()
    image = torch.randn(1, 1, 16, 16)
    block = network.down[0]
    first = block.first(image)
    with torch.no_grad():
        block.middle[2].adn.N.weight.zero_()
    torch.testing.assert_close(block(image), block.last(first))
    acts = {type(m) for part in (network.down, network.bridge) for m in part.modules()}
    assert nn.LeakyReLU in acts and nn.ReLU not in acts
    assert all(m.negative_slope == 0.2 for m in network.modules() if isinstance(m, nn.LeakyReLU))
    acts = {type(m) for part in (network.up, network.upsample) for m in part.modules()}
    assert nn.ReLU in acts and nn.LeakyReLU not in acts


def test_initial_weights():
    torch.manual_seed(0)
    network = ResidualUNet(features=16)
    weight = network.down[3].last.conv.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=1e-3)
    # The first convolution of a level goes by its outputs, not by its inputs.
    assert network.down[3].first.conv.weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    # Transposed ones keep torch's default: uniform, variance 1 / (3 x fan), fan = 9 x output channels.
    assert network.upsample[0].conv.weight.std().item() == pytest.approx((1 / (3 * 9 * 128)) ** 0.5, rel=0.02)


def test_weights_travel_by_state_dict_script_and_trace():
    torch.manual_seed(0)
    first, second = (ResidualUNet(features=SMALL) for _ in range(2))
    image = torch.rand(2, 1, 32, 32)
    first(image)
    second.load_state_dict(first.state_dict())
    first.eval(), second.eval()
    torch.testing.assert_close(second(image), first(image))
    torch.testing.assert_close(torch.jit.script(first)(image), first(image))
    torch.testing.assert_close(torch.jit.trace(first, image)(image), first(image))


def test_a_step_with_one_image_under_autocast():
    network = ResidualUNet(features=SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.rand(1, 1, 32, 32))
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("shape", [(1, 1, 30, 32), (1, 1, 32, 16, 8)])
def test_sizes_that_cannot_be_halved_four_times_are_refused(shape):
    network = ResidualUNet(len(shape) - 2, features=SMALL)
    with pytest.raises(ValueError, match=rf"divisible by 16, got \[{shape[2]}, {shape[3]}.*DivisiblePadd"):
        network(torch.rand(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 4}, "spatial_dims must be 2 or 3, got 4"),
        ({"features": 0}, "features must be 1 or more, got 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResidualUNet(**arguments)
