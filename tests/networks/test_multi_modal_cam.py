# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import partial

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.inferers import SliceInferer, SlidingWindowInferer
from monai.networks.nets import BasicUNet, UNet
from torch import nn

from wss_monai.functional.cams.channels import split_channels
from wss_monai.networks import CAMUNet, MultiModalCAM

TINY = {"channels": (4, 8, 8)}


def test_each_network_sees_its_own_channel():
    torch.manual_seed(0)
    network = MultiModalCAM(3, **TINY).eval()
    image = torch.rand(2, 3, 16, 24)
    raw = network(image)
    assert raw.shape == (2, 6, 16, 24)
    maps, _ = split_channels(raw, 3)
    for number in range(3):
        torch.testing.assert_close(maps[number], network.networks[number](image[:, number : number + 1]))
    other = image.clone()
    other[:, 1] = torch.rand(2, 16, 24)
    moved = (network(other) - raw).flatten(2).abs().amax((0, 2)) > 0
    assert moved.tolist() == [False, False, True, True, False, False]


def test_networks_start_apart_and_share_nothing():
    network = MultiModalCAM(2, **TINY)
    one, two = list(network.parameters_of(0)), list(network.parameters_of(1))
    assert len(one) == len(two) and len(one) + len(two) == len(list(network.parameters()))
    assert not {id(parameter) for parameter in one} & {id(parameter) for parameter in two}
    assert not network.networks[0].head.weight.equal(network.networks[1].head.weight)


@pytest.mark.parametrize("modality", [0, 1, 2])
def test_gradients_of_one_modality_touch_no_other_network(modality):
    network = MultiModalCAM(3, **TINY)
    maps, _ = split_channels(network(torch.rand(2, 3, 16, 16)), 3)
    maps[modality].square().sum().backward()
    for number in range(3):
        assert any(p.grad is not None and p.grad.any() for p in network.parameters_of(number)) == (number == modality)


@pytest.mark.parametrize("modalities", [1, 2, 3, 4])
@pytest.mark.parametrize("shown", ["cam", "gradcam", "gradcam++", "refined"])
@pytest.mark.parametrize("dims", [2, 3])
def test_shapes(modalities, shown, dims):
    size = (13, 16, 5)[:dims]
    network = MultiModalCAM(modalities, dims, (2, 3, 4), shown=shown)
    raw = network(torch.rand(1, modalities, *size))
    assert raw.shape == (1, modalities * (2 if shown == "cam" else 3), *size) and raw.isfinite().all()
    assert raw.dtype == torch.float32


@pytest.mark.parametrize(
    "backbone",
    [
        partial(BasicUNet, 2, 1, 6, features=(4, 4, 4, 4, 4, 4)),
        partial(UNet, 2, 1, 6, channels=(4, 8), strides=(2,)),
        lambda: nn.Conv2d(1, 6, 4, 4),
    ],
)
def test_any_backbone(backbone):
    network = MultiModalCAM(2, backbone=backbone, features=6, shown="refined", refine=8)
    assert network(torch.rand(2, 2, 32, 32)).shape == (2, 6, 32, 32)
    assert not isinstance(network.networks[0].backbone, CAMUNet)


def test_from_a_configuration():
    parser = ConfigParser(
        {
            "network_def": {
                "_target_": "wss_monai.networks.MultiModalCAM",
                "modalities": 2,
                "features": 6,
                "backbone": {
                    "_target_": "BasicUNet",
                    "_mode_": "callable",
                    "spatial_dims": 2,
                    "in_channels": 1,
                    "out_channels": 6,
                    "features": [4, 4, 4, 4, 4, 4],
                },
            }
        }
    )
    network = parser.get_parsed_content("network_def")
    assert network(torch.rand(1, 2, 32, 32)).shape == (1, 4, 32, 32)


def test_slices_of_a_volume_are_what_a_loop_over_them_gives():
    torch.manual_seed(0)
    network = MultiModalCAM(2, shown="gradcam++", standardize=True, **TINY).eval()
    volume = torch.rand(1, 2, 18, 16, 5)
    with torch.no_grad():
        stitched = SliceInferer(roi_size=(18, 16), spatial_dim=2, sw_batch_size=2)(volume, network)
        loop = torch.stack([network(volume[..., k]) for k in range(5)], -1)
    assert stitched.shape == (1, 6, 18, 16, 5)
    torch.testing.assert_close(stitched, loop, rtol=1e-4, atol=1e-6)


def test_sliding_windows_of_a_volume():
    network = MultiModalCAM(2, 3, (2, 3, 4)).eval()
    volume = MetaTensor(torch.rand(1, 2, 18, 16, 9))
    with torch.no_grad():
        stitched = SlidingWindowInferer((16, 16, 8), overlap=0.25)(volume, network)
    assert stitched.shape == (1, 4, 18, 16, 9) and stitched.isfinite().all()


def test_standardize_is_the_published_z_score():
    torch.manual_seed(0)
    plain = MultiModalCAM(2, **TINY).eval()
    network = MultiModalCAM(2, standardize=True, **TINY).eval()
    network.load_state_dict(plain.state_dict())
    image = 100 + 30 * torch.rand(2, 2, 16, 16)
    scores = torch.stack([torch.stack([(c - c.mean()) / c.std() for c in sample]) for sample in image])
    torch.testing.assert_close(network(image), plain(scores), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network(5 * image - 7), network(image), rtol=1e-3, atol=1e-3)
    empty = torch.full((1, 2, 16, 16), 0.1)
    torch.testing.assert_close(network(empty), plain(torch.zeros_like(empty)))


def test_refine_options():
    by_number = MultiModalCAM(2, refine=8, **TINY)
    assert by_number.networks[1].refine.stride == 8 and by_number(torch.rand(1, 2, 16, 16)).shape[1] == 4
    by_name = MultiModalCAM(2, refine={"stride": 2, "width": 5, "limit": 64}, shown="refined", **TINY)
    assert by_name.networks[0].refine.theta.weight.shape == (5, 5, 1, 1)
    assert by_name(torch.rand(1, 2, 16, 16)).shape[1] == 6
    with pytest.raises(ValueError, match=r"limit of 64.*take stride 4"):
        by_name(torch.rand(1, 2, 32, 32))
    trained = MultiModalCAM(2, refine=8, shown="refined", **TINY)
    by_number.load_state_dict(trained.state_dict())


def test_state_dict_round_trip():
    torch.manual_seed(0)
    network = MultiModalCAM(2, shown="refined", **TINY)
    network(torch.rand(4, 2, 16, 16))  # moves the running statistics
    copy = MultiModalCAM(2, shown="refined", **TINY)
    copy.load_state_dict(network.state_dict())
    image = torch.rand(1, 2, 16, 16)
    assert copy.eval()(image).equal(network.eval()(image))


def test_autocast():
    network = MultiModalCAM(2, standardize=True, **TINY)
    image = torch.rand(2, 2, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        raw = network(image)
    assert raw.dtype == torch.float32
    raw.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    torch.testing.assert_close(raw, network(image), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("shown", ["cam", "gradcam", "gradcam++", "refined"])
def test_other_layouts_and_kinds_of_tensors(shown):
    torch.manual_seed(0)
    network = MultiModalCAM(2, shown=shown, standardize=True, **TINY).eval()
    image = torch.rand(2, 2, 13, 16)
    expected = network(image).detach()
    with torch.no_grad():
        torch.testing.assert_close(network(MetaTensor(image)).as_tensor(), expected)
        network.to(memory_format=torch.channels_last)
        torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("shown", ["cam", "refined"])
@pytest.mark.slow
def test_torchscript(shown):
    network = MultiModalCAM(2, shown=shown, standardize=True, **TINY).eval()
    script = torch.jit.script(network)
    for size in ((16, 16), (13, 20)):
        image = torch.rand(1, 2, *size)
        with torch.no_grad():
            torch.testing.assert_close(script(image), network(image))
            torch.testing.assert_close(torch.jit.trace(network, image)(image), network(image))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"modalities": 0}, "modalities must be 1 or more"),
        ({"spatial_dims": 1}, "spatial_dims must be 2 or 3"),
        ({"shown": "CAM"}, "shown must be one of"),
        ({"dropout": -0.1}, "dropout must be at least 0"),
        ({"refine": 0}, "stride must be 1 or more"),
        ({"backbone": nn.ReLU(), "features": 1}, "backbone must be a callable.*got ReLU.*_mode_: callable"),
        ({"backbone": "BasicUNet"}, "backbone must be a callable.*got str"),
        ({"backbone": nn.ReLU}, "features must say how many channels"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        MultiModalCAM(**{"modalities": 2, "channels": (2, 2), **arguments})


def test_a_backbone_made_once_is_refused():
    one = CAMUNet(channels=(2, 2))
    with pytest.raises(ValueError, match="the same one twice"):
        MultiModalCAM(2, backbone=lambda: one)


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (1, 3, 16, 16), (2, 16, 16), (1, 2, 16, 16, 16)])
def test_an_image_of_other_channels_is_refused(shape):
    network = MultiModalCAM(2, **TINY)
    with pytest.raises(ValueError, match=r"is not \(B, 2, \*spatial\).*set modalities"):
        network(torch.rand(shape))
