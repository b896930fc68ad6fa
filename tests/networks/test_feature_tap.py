# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy

import pytest
import torch
from monai.networks.nets import BasicUNet, DynUNet, SegResNet, UNet
from one_process import process_group
from torch import nn

from wss_monai.networks import FeatureTap, MIUNet


class Chain(nn.Module):
    """Doubles, then adds one, then calls what it is told to."""

    def __init__(self, *more: str) -> None:
        super().__init__()
        self.twice, self.pair, self.idle, self.act = Double(), Pair(), nn.Identity(), nn.ReLU(inplace=True)
        self.members = nn.ModuleList([nn.Identity()])
        self.more = more

    def forward(self, x):
        x = self.twice(x)
        for name in self.more:
            x = getattr(self, name)(x)
        return self.pair(x)[0] + 1


class Double(nn.Module):
    def forward(self, x):
        return 2 * x


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def basic(dims: int = 2) -> BasicUNet:
    return BasicUNet(dims, 1, 2, features=(2, 2, 2, 2, 2, 2))


def test_features_are_of_the_last_forward_and_stay():
    network = Chain()
    tap = FeatureTap(network, ["twice"])
    assert tap.features == {} and hooks(network) == 0
    with tap:
        assert network(torch.tensor([1.0])).item() == 3
        assert tap.features["twice"].item() == 2
        network(torch.tensor([5.0]))
        network.twice(torch.tensor([9.0]))  # is no forward of the network
        assert tap.features["twice"].item() == 10
    network(torch.tensor([7.0]))
    assert tap.features["twice"].item() == 10 and hooks(network) == 0
    with tap:
        network(torch.tensor([4.0]))
    assert tap.features["twice"].item() == 8


def test_gradients_flow_through_features():
    x = torch.tensor([1.0], requires_grad=True)
    network = Chain()
    with FeatureTap(network, ["twice"]) as tap:
        network(x)
    tap.features["twice"].sum().backward()
    assert x.grad.item() == 2


def test_output_is_the_same_and_several_taps_do_not_disturb_each_other():
    network, images = basic().eval(), torch.rand(1, 1, 32, 32)
    expected = network(images)
    with FeatureTap(network, ["down_1", "upcat_1"]) as one, FeatureTap(network, ["upcat_1"]) as other:
        assert network(images).equal(expected)
    assert list(one.features) == ["down_1", "upcat_1"]
    assert other.features["upcat_1"] is one.features["upcat_1"]
    assert network.final_conv(other.features["upcat_1"]).equal(expected)


@pytest.mark.parametrize(
    ("network", "shapes"),
    [
        (lambda d: basic(d), {"down_4": (2, 2), "upcat_1.convs": (2, 32)}),
        (
            lambda d: UNet(d, 1, 2, channels=(2, 4, 6), strides=(2, 2)),
            {"model.1.submodule.1.submodule": (6, 8), "model.1.submodule.2": (2, 16), "model.0": (2, 16)},
        ),
        (lambda d: SegResNet(d, init_filters=8), {"down_layers.3": (64, 4), "up_layers.2": (8, 32)}),
        (
            lambda d: DynUNet(d, 1, 2, [3] * 3, [1, 2, 2], [2, 2], filters=[2, 4, 6]),
            {"bottleneck": (6, 8), "upsamples.1": (2, 32), "skip_layers.next_layer.upsample": (4, 16)},
        ),
    ],
)
@pytest.mark.parametrize("dims", [2, 3])
def test_networks_of_monai(network, shapes, dims):
    made = network(dims)
    with FeatureTap(made, shapes) as tap:
        made(torch.rand(1, 1, *[32] * dims)).sum().backward()
    for name, (channels, side) in shapes.items():
        assert tap.features[name].shape == (1, channels, *[side] * dims)


def test_a_distributed_network_has_the_names_it_has_without_it(tmp_path):
    with process_group(tmp_path) as distributed:
        network = distributed(basic())
        with FeatureTap(network, ["down_4"]) as tap:
            network(torch.rand(1, 1, 32, 32)).sum().backward()
        assert tap.features["down_4"].shape == (1, 2, 2, 2) and hooks(network) == 0
        with pytest.raises(ValueError, match=r"BasicUNet has no module named 'down_9'; the nearest are \['down_4'"):
            FeatureTap(network, ["down_9"])


@pytest.mark.parametrize(
    ("more", "name", "message"),
    [
        ([], "idle", r"modules \['idle'\] are not called in a forward of Chain"),
        ([], "members", r"modules \['members'\] are not called .* for a ModuleList the members of it"),
        (["idle", "idle"], "idle", "module 'idle' is used more than once"),
        ([], "pair", "module 'pair' gives no tensor but a tuple"),
        (["act"], "twice", "what module 'twice' gives is changed in place"),
    ],
)
def test_modules_that_give_no_features_are_refused_and_no_hook_stays(more, name, message):
    network = Chain(*more)
    with pytest.raises(ValueError, match=message), FeatureTap(network, [name]):
        network(torch.ones(1))
    assert hooks(network) == 0
    assert network(torch.ones(1)).item() == 3


def test_no_hook_stays_after_any_exception_and_the_next_forward_is_whole():
    network = Chain()
    tap = FeatureTap(network, ["twice"])
    with pytest.raises(TypeError), tap:
        network(None)
    assert hooks(network) == 0
    with tap, pytest.raises(RuntimeError, match="in use already"), tap:
        pass
    with tap:
        network(torch.ones(1))
    assert tap.features["twice"].item() == 2 and hooks(network) == 0
    copy.deepcopy(network)


def test_without_gradients_and_in_inference_mode():
    for mode in (torch.no_grad, torch.inference_mode):
        with mode(), FeatureTap(basic(), ["down_1"]) as tap:
            tap.network(torch.rand(1, 1, 32, 32))
        assert tap.features["down_1"].shape == (1, 2, 16, 16)


@pytest.mark.parametrize(
    ("network", "name", "nearest"),
    [
        (basic, "dwn_4", "down_4"),
        (basic, "Conv5", "down_4"),
        (basic, "Up_conv2", "upcat_1"),
        (MIUNet, "upcat_2", "Up_conv3"),
        (MIUNet, "Upconv3", "Up_conv3"),
        (lambda: UNet(2, 1, 2, channels=(2, 4), strides=(2,)), "model.3", "model.2"),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest_first_and_not_with_hundreds(network, name, nearest):
    made = network()
    with pytest.raises(ValueError, match=rf"has no module named '{name}'; the nearest are \['{nearest}'") as error:
        FeatureTap(made, [name])
    assert str(error.value).count("'") // 2 < 25
    for child, _ in made.named_children():
        assert f"'{child}'" in str(error.value)


def test_many_children_are_not_all_named():
    network = nn.Sequential(*[nn.Identity() for _ in range(100)])
    with pytest.raises(ValueError, match=r"there are \['0', '1'.*'15'\] and 84 more, see named_modules\(\)"):
        FeatureTap(network, ["something"])


@pytest.mark.parametrize("name", ["", None, 3])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ValueError, match=f"has no module named {name!r}"):
        FeatureTap(basic(), [name])


def test_one_name_alone_and_torchscript_are_refused():
    with pytest.raises(ValueError, match=r"must be a list .* got 'down_4': write \['down_4'\]"):
        FeatureTap(basic(), "down_4")
    with pytest.raises(ValueError, match="network is in TorchScript"):
        FeatureTap(torch.jit.script(MIUNet(channels=(2, 2, 2, 2, 2))), ["Conv5"])
