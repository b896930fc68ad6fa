# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.networks.nets import BasicUNet
from torch import nn

from wss_monai.networks import FeatureTap, MIUNet

PUBLISHED = {
    **{f"Conv{level}": (8 * 2**level, 224 // 2 ** (level - 1)) for level in range(1, 6)},
    **{f"Up_conv{level}": (4 * 2**level, 224 // 2 ** (level - 2)) for level in range(2, 6)},
}
BASIC = {"Conv1": "conv_0"}
BASIC |= {f"Conv{level + 1}": f"down_{level}" for level in range(1, 5)}
BASIC |= {f"Up_conv{level + 1}": f"upcat_{level}" for level in range(1, 5)}


def weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_number_of_weights_is_the_published_one():
    assert weights(MIUNet()) == 2_160_180


def test_number_of_weights_by_hand_in_3d():
    c = [2, 3, 4, 5, 6]
    levels = [(2, 2), (2, 3), (3, 4), (4, 5), (5, 6), (10, 5), (8, 4), (6, 3), (4, 2)]
    count = sum(27 * a * b + 27 * b * b + 4 * b for a, b in levels)
    count += sum(27 * c[i + 1] * c[i] + 2 * c[i] for i in range(4))
    assert weights(MIUNet(3, 2, 7, c)) == count + 2 * 7 + 7


def test_features_have_the_published_names_channels_and_sizes_and_so_has_basic_unet():
    basic = BasicUNet(2, 1, 4, features=(16, 32, 64, 128, 256, 16), norm="batch", act="relu", bias=False)
    images = torch.zeros(1, 1, 224, 224)
    with torch.no_grad(), FeatureTap(MIUNet().eval(), PUBLISHED) as tap, FeatureTap(basic.eval(), BASIC.values()) as of:
        assert tap.network(images).shape == (1, 4, 224, 224)
        of.network(images)
    for name, (channels, side) in PUBLISHED.items():
        assert tap.features[name].shape == of.features[BASIC[name]].shape == (1, channels, side, side)


def test_layers_are_the_published_ones():
    network = MIUNet(channels=(2, 3, 4, 5, 6))
    found = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module is not network.last:
            assert module.kernel_size == (3, 3) and module.padding == (1, 1) and module.bias is None
            found.append(f"{module.in_channels}-{module.out_channels}")
        elif isinstance(module, (nn.BatchNorm2d, nn.ReLU)):
            found.append(type(module).__name__)
        elif isinstance(module, nn.Upsample):
            assert module.mode == "nearest" and module.scale_factor == 2
            found.append("up")

    def layers(*pairs):
        return [layer for pair in pairs for layer in (pair, "BatchNorm2d", "ReLU")]

    expected = layers("1-2", "2-2", "2-3", "3-3", "3-4", "4-4", "4-5", "5-5", "5-6", "6-6")
    for width in (5, 4, 3, 2):
        expected += ["up", *layers(f"{width + 1}-{width}", f"{2 * width}-{width}", f"{width}-{width}")]
    assert found == expected
    assert network.last.kernel_size == (1, 1) and network.last.bias is not None


def test_skips_come_first():
    network = MIUNet(channels=(1, 1, 1, 1, 1)).eval()
    seen = []
    network.Up_conv2.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad(), FeatureTap(network, ["Conv1", "Up2"]) as tap:
        network(torch.rand(1, 1, 16, 16))
    assert seen[0].equal(torch.cat([tap.features["Conv1"], tap.features["Up2"]], 1))


@pytest.mark.parametrize(("dims", "shape"), [(2, (1, 1, 32, 48)), (3, (2, 1, 32, 48, 32))])
@pytest.mark.parametrize("norm", ["batch", "instance", ("group", {"num_groups": 2})])
def test_shape_gradients_and_torchscript(dims, shape, norm):
    network = MIUNet(dims, channels=(2, 2, 4, 4, 4), norm=norm)
    images = torch.rand(*shape)
    network(images).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    network.eval()
    scripted = torch.jit.script(network)
    with torch.no_grad():
        logits = network(images)
        assert logits.shape == (shape[0], 4, *shape[2:])
        assert torch.allclose(logits, scripted(images), atol=1e-6)
    with pytest.raises(torch.jit.Error, match="multiples of 16"):
        scripted(images[..., :-1])


def test_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        logits = MIUNet(channels=(2, 2, 4, 4, 4))(torch.rand(2, 1, 32, 32))
    assert logits.dtype == torch.bfloat16 and logits.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 4}, "spatial_dims must be 2 or 3, got 4"),
        ({"in_channels": 0}, "in_channels must be 1 or more, got 0"),
        ({"out_channels": 0}, "out_channels must be 1 or more, got 0"),
        ({"channels": (16, 32)}, r"channels must name 5 levels, got \[16, 32\]"),
        ({"channels": (16, 32, 0, 8, 8)}, r"channels\[2\] must be 1 or more, got 0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MIUNet(**arguments)


def test_images_that_do_not_fit_are_refused():
    network = MIUNet(channels=(2, 2, 2, 2, 2))
    with pytest.raises(ValueError, match=r"sides must be multiples of 16, got shape \[1, 1, 32, 40\]: pad or crop"):
        network(torch.zeros(1, 1, 32, 40))
    with pytest.raises(ValueError, match="must have 2 spatial axes"):
        network(torch.zeros(1, 1, 16, 16, 16))
