# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.networks.nets import BasicUNet, DynUNet, UNet
from torch import nn

from wss_monai.handlers.network_check import check_network


def unet(dims=2, **more):
    return UNet(dims, 1, 3, (4, 8, 8), (2, 2), num_res_units=1, **more)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (unet(), (1, 32, 32)),
        (unet(3), (1, 16, 16, 8)),
        (BasicUNet(2, 1, 3, (4, 4, 4, 4, 4, 4)), (1, 32, 48)),
        (BasicUNet(2, 1, 3, (4, 4, 4, 4, 4, 4)), (1, 33, 33)),  # pads by itself
        (DynUNet(2, 1, 3, (3, 3, 3), (1, 2, 2), (2, 2), (4, 8, 8)), (1, 32, 32)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_networks_that_take_the_images_pass_and_stay_as_they_are(network, shape):
    network.train()
    network[0].eval() if isinstance(network, nn.Sequential) else None
    before = {key: value.clone() for key, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    check_network(network, torch.zeros(1, *shape), 3)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (unet(), (1, 33, 33), r"shape \(1, 33, 33\) .* multiples of 4 "),
        (unet(), (2, 32, 32), "in_channels are the modalities"),
        (UNet(2, 1, 2, (4, 8), (2,)), (1, 32, 32), r"gives \(1, 2, 32, 32\), where \(1, 3, 32, 32\) is needed"),
        (nn.Conv2d(1, 3, 3, stride=2, padding=1), (1, 32, 32), r"gives \(1, 3, 16, 16\)"),
        (unet(3), (1, 16, 16, 1), "multiples of|in_channels"),
    ],
)
def test_networks_that_do_not_are_refused_with_what_would_fit(network, shape, words):
    with pytest.raises(ValueError, match=words) as caught:
        check_network(network, torch.zeros(1, *shape), 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "window", "words"),
    [
        (
            unet(),
            [-1, -1],
            r"images of any size, as whole ones are: .*'--window' .* multiples of 4, such as \[32, 32\]",
        ),
        (unet(), [-1, 32], r"multiples of 4, such as \[32, 32\]; got \[-1, 32\]"),
        (unet(), [30, 32], r"images of \[30, 32\] voxels: setting '--window' .* multiples of 4"),
        (BasicUNet(2, 1, 3, (4, 4, 4, 4, 4, 4)), [1, 2], r"images of \[1, 2\] voxels: .* multiples of 32"),
        (unet(), [64, 48], None),
        (unet(), [32], None),  # of other dimensions: somebody else's
        (BasicUNet(2, 1, 3, (4, 4, 4, 4, 4, 4)), [-1, -1], None),
    ],
)
def test_windows_of_prediction(network, window, words):
    image = torch.zeros(1, 1, 32, 32)
    if words is None:
        check_network(network, image, 3, window)
        return
    with pytest.raises(ValueError, match=words):
        check_network(network, image, 3, window)
