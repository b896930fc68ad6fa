# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from torch import nn

from wss_monai.networks import LargeFOV

SMALL = {"width": 2, "hidden": 8, "dilation": 2}


def weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_number_of_weights_is_the_published_one():
    with torch.device("meta"):
        assert weights(LargeFOV(2, 3, 21)) == 20_505_429


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_number_of_weights_by_hand(dims):
    taps = 3**dims
    widths = [3, *[2] * 2, *[4] * 2, *[8] * 3, *[16] * 6]
    count = sum(taps * a * b + b for a, b in pairwise(widths))
    count += taps * 16 * 8 + 8 + 8 * 8 + 8 + 8 * 5 + 5
    assert weights(LargeFOV(dims, 3, 5, **SMALL)) == count


def test_layers_are_the_published_ones():
    network = LargeFOV(2, 3, 21, width=2, hidden=8)
    found = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            found.append(
                f"conv {module.kernel_size[0]} d{module.dilation[0]} p{module.padding[0]} {module.out_channels}"
            )
        elif isinstance(module, nn.MaxPool2d):
            found.append(f"max {module.kernel_size} s{module.stride} p{module.padding}")
        elif isinstance(module, nn.ConstantPad2d):
            found.append(f"zeros {module.padding[0]}")
        elif isinstance(module, nn.AvgPool2d):
            found.append(f"average {module.kernel_size} s{module.stride} p{module.padding}")
        elif isinstance(module, (nn.ReLU, nn.Dropout)):
            found.append(type(module).__name__)

    def convolutions(number, channels, dilation=1):
        return [f"conv 3 d{dilation} p{dilation} {channels}", "ReLU"] * number

    assert found == [
        *convolutions(2, 2),
        "max 3 s2 p1",
        *convolutions(2, 4),
        "max 3 s2 p1",
        *convolutions(3, 8),
        "max 3 s2 p1",
        *convolutions(3, 16),
        "max 3 s1 p1",
        *convolutions(3, 16, 2),
        "max 3 s1 p1",
        *["zeros 1", "average 3 s1 p0"],
        *["conv 3 d12 p12 8", "ReLU", "Dropout"],
        *["conv 1 d1 p0 8", "ReLU", "Dropout"],
        "conv 1 d1 p0 21",
    ]
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("size", "grid"), [((321, 97), (41, 13)), ((320, 256), (40, 32)), ((257,), (33,)), ((97, 98, 104), (13, 13, 13))]
)
def test_grid_of_the_logits_and_voxels_of_the_log_probabilities(size, grid):
    network = LargeFOV(len(size), 1, 3, width=1, hidden=4, dilation=12)
    image = torch.rand(2 if len(size) < 3 else 1, 1, *size)
    with torch.no_grad():
        assert network(image).shape == (len(image), 3, *grid)
        assert network.eval()(image).shape == (len(image), 3, *size)
        never = LargeFOV(len(size), 1, 3, width=1, hidden=4, dilation=12, upsample="never").eval()
        assert never(image).shape == (len(image), 3, *grid)
    assert network.dimensions == len(size)


def test_points_of_the_grid_lie_on_every_eighth_voxel():
    """What a point sees in the first three stages is centred on voxel 8 i, so that image[::8] is the image on it."""
    network = LargeFOV(1, 1, 2, width=1, hidden=1, dilation=1)
    with torch.no_grad():
        for parameter in network.stages.parameters():
            parameter.fill_(1.0)
    image = torch.rand(1, 1, 161, requires_grad=True)
    for module in network.modules():
        if isinstance(module, nn.MaxPool1d):  # the average sees the whole window
            module.forward = nn.AvgPool1d(3, module.stride, 1).forward
    network.stages[:3](image)[0, 0, 10].backward()
    seen = image.grad[0, 0].nonzero().flatten()
    assert seen[0] + seen[-1] == 2 * 80


def test_log_probabilities_are_the_interpolated_softmax():
    torch.manual_seed(0)
    network = LargeFOV(1, 1, 2, **SMALL).eval()
    p = torch.tensor([[0.2, 0.6, 1.0], [0.8, 0.4, 0.0]])
    network.fc8 = nn.Identity()
    network.fc7 = nn.Identity()
    network.fc6.forward = lambda x: p.log().clamp(min=-30)[None]
    result = network(torch.rand(1, 1, 20))
    # Sixteen steps between the three points, then three voxels behind the last.
    ramp = torch.cat([torch.linspace(0.2, 1.0, 17), torch.ones(3)])
    expected = torch.stack([ramp, (1 - ramp).clamp(min=1e-5)])[None]
    torch.testing.assert_close(result.exp(), expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(result.softmax(1)[:, :, :16], expected[:, :, :16])
    network(torch.rand(1, 1, 17))
    assert torch.equal(network(torch.rand(1, 1, 17)), result[..., :17])


def test_dropout_takes_single_elements():
    torch.manual_seed(0)
    network = LargeFOV(2, 1, 2, **SMALL, dropout=0.25)
    features = torch.ones(1, 8, 40, 40)
    dropped = network.fc7.adn(features) == 0
    assert dropped.float().mean() == pytest.approx(0.25, abs=0.02)
    assert not dropped.all(1).any() and not dropped[0].flatten(1).all(1).any()
    assert torch.equal(network.eval().fc7.adn(features), features)


@pytest.mark.parametrize("norm", [None, "batch", "instance"])
def test_initial_weights_and_normalisation(norm):
    torch.manual_seed(0)
    network = LargeFOV(2, 1, 21, width=16, hidden=256, dilation=2, norm=norm)
    assert network.fc8.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not network.fc8.bias.any()
    layer = network.stages[4][1].conv
    assert layer.weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert not layer.bias.any()
    kinds = {None: (), "batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}[norm]
    assert sum(isinstance(module, kinds) for module in network.modules()) == (0 if norm is None else 15)
    # What a layer hands on neither dies nor grows through sixteen of them.
    with torch.no_grad():
        image = torch.randn(2, 1, 33, 33)
        ratio = network.fc7(network.fc6(network.average(network.stages(image)))).square().mean() / image.square().mean()
    assert 0.02 < ratio < 50


@pytest.mark.parametrize("norm", [None, "batch", "instance"])
def test_weights_travel_by_state_dict_script_and_trace(norm):
    torch.manual_seed(0)
    first, second = (LargeFOV(**SMALL, norm=norm) for _ in range(2))
    image = torch.rand(2, 1, 40, 33)
    first(image)
    second.load_state_dict(first.state_dict())
    first.eval(), second.eval()
    torch.testing.assert_close(second(image), first(image))
    scripted = torch.jit.script(first)
    torch.testing.assert_close(scripted(image), first(image))
    other = torch.rand(1, 1, 57, 26)
    torch.testing.assert_close(scripted(other), first(other))
    assert scripted.train()(image).shape == (2, 2, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.trace(first.eval(), image)(image), first(image))


def test_a_step_with_one_image_under_autocast():
    network = LargeFOV(**SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.rand(1, 1, 33, 33))
        with torch.no_grad():
            assert network.eval()(torch.rand(1, 1, 33, 33)).dtype == torch.float32
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_sliding_windows_take_it_for_any_other_network():
    network = LargeFOV(**SMALL).eval()
    image = torch.rand(1, 1, 50, 41)
    with torch.no_grad():
        result = SlidingWindowInferer((33, 33), mode="gaussian")(image, network)
    assert result.shape == (1, 2, 50, 41) and (result <= 0).all()


def test_depth_one_in_the_plane_and_a_dilation_an_axis():
    network = LargeFOV(3, 1, 2, width=1, hidden=4, dilation=(4, 4, 1))
    assert network(torch.rand(1, 1, 33, 41, 9)).shape == (1, 2, 5, 6, 2)
    assert network.fc6.conv.dilation == (4, 4, 1) and network.fc6.conv.padding == (4, 4, 1)


@pytest.mark.parametrize("training", [True, False])
def test_images_that_are_too_small_are_refused(training):
    network = LargeFOV(2, 1, 2, width=1, hidden=4).train(training)
    with pytest.raises(
        ValueError, match=r"image of \[97, 96\] voxels has a grid of 12 along axis 1, and dilation 12.* at least 97"
    ):
        network(torch.rand(1, 1, 97, 96))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 4}, "spatial_dims must be 1, 2 or 3, got 4"),
        ({"spatial_dims": 0}, "spatial_dims must be 1, 2 or 3, got 0"),
        ({"width": 0}, "width must be 1 or more, got 0"),
        ({"hidden": 0}, "hidden must be 1 or more, got 0"),
        ({"dilation": 0}, "dilation must be 1 or more, got 0"),
        ({"dilation": [2, 3, 4]}, r"dilation must be one number or 2, one an axis, got \[2, 3, 4\]"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"norm": "group"}, "norm must be None, 'batch' or 'instance', got 'group'"),
        ({"upsample": "always"}, "upsample must be 'eval' or 'never', got 'always'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        LargeFOV(**arguments)
