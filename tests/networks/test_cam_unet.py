# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from wss_monai.networks import CAMNet, CAMUNet


def weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("channels", "count"), [((64, 128, 256, 256), 3_398_144), ((16, 32, 64, 64), 213_632)])
def test_number_of_weights_is_the_published_one(channels, count):
    """With the head of two classes and without bias."""
    assert weights(CAMNet(CAMUNet(channels=channels))) == count


def test_number_of_weights_by_hand_in_3d():
    a, b, c = 4, 6, 8
    pairs = [(2, a), (a, b), (b, c), (c + b, a), (a + a, a)]
    count = sum(27 * n * m + m + 27 * m * m + m + 4 * m for n, m in pairs) + 27 * a * a + a + 2 * a
    assert weights(CAMUNet(3, 2, (a, b, c))) == count


def test_layers_are_the_published_ones():
    network = CAMUNet(channels=(2, 4, 8, 8))
    found = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            assert module.kernel_size == (3, 3) and module.stride == (1, 1) and module.padding == (1, 1)
            found.append(f"{module.in_channels}-{module.out_channels}")
        elif isinstance(module, (nn.MaxPool2d, nn.BatchNorm2d, nn.ReLU)):
            found.append(type(module).__name__.removesuffix("2d"))
        elif isinstance(module, nn.Upsample):
            assert module.mode == "nearest" and module.scale_factor in (2, (2.0, 2.0))
            found.append("up")

    def convolutions(*pairs):
        return [layer for pair in pairs for layer in (pair, "BatchNorm", "ReLU")]

    assert found == [
        *convolutions("1-2", "2-2"),
        *["MaxPool", *convolutions("2-4", "4-4")],
        *["MaxPool", *convolutions("4-8", "8-8")],
        *["MaxPool", *convolutions("8-8", "8-8")],
        *["up", *convolutions("16-4", "4-4")],
        *["up", *convolutions("8-2", "2-2")],
        *["up", *convolutions("4-2", "2-2")],
        *convolutions("2-2"),
    ]


def test_skips_come_first():
    network = CAMUNet(channels=(2, 2))
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.ReLU)):
            module.forward = lambda x: x
    network.up[0].convs, network.backbone = nn.Identity(), nn.Identity()
    image = torch.rand(1, 1, 4, 4)
    result = network(image)
    torch.testing.assert_close(result[:, :2], network.first(image))
    below = network.down[0](network.first(image)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(result[:, 2:], below)


def test_weights_start_from_xaviers_distribution():
    torch.manual_seed(0)
    network = CAMUNet(channels=(16, 32, 64, 64))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            spread = (2 / (9 * (module.in_channels + module.out_channels))) ** 0.5
            assert module.weight.std().item() == pytest.approx(spread, rel=0.2)
            assert (module.bias == 0).all()
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()


@pytest.mark.parametrize("size", [(155, 155), (155, 240), (7, 1), (64, 40), (17, 13, 5), (16, 24, 1), (8, 8, 8)])
def test_any_size(size):
    network = CAMUNet(len(size), channels=(2, 3, 4, 4)).eval()
    with torch.no_grad():
        result = network(torch.rand(2, 1, *size))
    assert result.shape == (2, 2, *size) and result.isfinite().all()


def test_padding_is_the_border_on_all_sides_and_cropped_back():
    network = CAMUNet(channels=(2, 3, 4, 4)).eval()
    image = torch.rand(1, 1, 13, 16)
    padded = image[:, :, [0, *range(13), 12, 12]]
    with torch.no_grad():
        torch.testing.assert_close(network(image), network(padded)[:, :, 1:14])


def test_norms_and_gradients():
    network = CAMUNet(channels=(2, 3, 4), norm="instance")
    network(torch.rand(1, 1, 16, 16)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"spatial_dims": 1}, "spatial_dims must be 2 or 3"),
        ({"in_channels": 0}, "in_channels must be 1 or more"),
        ({"channels": (8, 0)}, r"channels\[1\] must be 1 or more"),
        ({"channels": (8,)}, "channels must name two levels or more"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        CAMUNet(**arguments)


def test_biases_as_in_the_released_code_start_at_small_values():
    """Uniform up to one over the root of 9 x the input channels, PyTorch's own; weights are Xavier's all the same."""
    network = CAMUNet(channels=(8, 16), zero_biases=False)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            most = (9 * module.in_channels) ** -0.5
            assert 0 < float(module.bias.detach().abs().max()) <= most
            spread = (2 / (9 * (module.in_channels + module.out_channels))) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(spread, rel=0.35)
