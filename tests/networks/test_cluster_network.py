# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import re

import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import BasicUNet, SegResNet, UNet
from one_process import process_group
from torch import nn

from wss_monai.functional.spatial_map import SpatialMap
from wss_monai.networks import ClusterNetwork, FeatureTap, MIUNet

FEATURES = {
    "down_4": {"scale": "global", "importance": 1.0},
    "upcat_2": {"scale": "local", "padding": 1, "importance": 0.5},
    "upcat_1": {"scale": "local", "padding": 3, "patch_size": 1024, "importance": 0.5},
}
SMALL = {"num_clusters": 3, "num_heads": 2}


def basic(dims: int = 2, norm: str = "batch", channels: int = 1) -> BasicUNet:
    return BasicUNet(dims, channels, 2, features=(2, 3, 4, 5, 6, 2), norm=norm)


def small(dims: int = 2, norm: str = "batch", **arguments) -> ClusterNetwork:
    torch.manual_seed(0)
    return ClusterNetwork(basic(dims, norm), FEATURES, spatial_dims=dims, probe_size=32, **(SMALL | arguments))


def flips(shape: tuple[int, ...], which: list[tuple[int, ...]]) -> SpatialMap:
    """The reversal of the axes that each sample names."""
    matrix = torch.eye(len(shape) + 1, dtype=torch.float64).repeat(len(which), 1, 1)
    for sample, axes in enumerate(which):
        for axis in axes:
            matrix[sample, axis, axis], matrix[sample, axis, -1] = -1, shape[axis] - 1
    return SpatialMap(matrix, shape)


def flipped(values: torch.Tensor, which: list[tuple[int, ...]]) -> torch.Tensor:
    return torch.stack([value.flip([1 + axis for axis in axes]) for value, axes in zip(values, which, strict=True)])


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: values.clone() for name, values in network.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(values.equal(other[name]) for name, values in one.items())


def test_number_of_weights_is_the_published_one():
    features = {"Conv5": {"scale": "global"}, "Up_conv3": {"scale": "local"}, "Up_conv2": {"scale": "local"}}
    network = ClusterNetwork(MIUNet(), features)
    count = {name: sum(p.numel() for p in network.head(name).parameters()) for name in features}
    assert count == {"Conv5": 25_700, "Up_conv3": 3_300, "Up_conv2": 1_700}


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize(("dims", "shape"), [(2, (32, 48)), (3, (32, 32, 48))])
def test_shapes_without_and_with_parts(dims, shape, norm):
    network = small(dims, norm)
    images = torch.rand(3, 1, *shape)
    assert network(images).shape == (3, 2, *shape)
    found = network(images, parts=(1, 1, 1))
    assert found.keys() == {"labelled", "first", "second", "clusters"}
    assert all(found[key].shape == (1, 2, *shape) for key in ("labelled", "first", "second"))
    half = tuple(side // 2 for side in shape)
    for name, size in (("down_4", ()), ("upcat_2", half), ("upcat_1", shape)):
        for values in found["clusters"][name]:
            assert values.shape == (1, 6, *size)
            assert torch.allclose(values.unflatten(1, (2, 3)).sum(2), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("separate", [False, True])
def test_parts_without_pairs_have_no_clusters(separate):
    network, images = small(separate_statistics=separate), torch.rand(4, 1, 32, 32)
    for parts, keys in (
        ((4, 0, 0), {"labelled"}),
        ((1, 3, 0), {"labelled", "first"}),
        ((1, 0, 3), {"labelled", "second"}),
        ((0, 0, 4), {"labelled", "second"}),
    ):
        found = network(images, parts=parts)
        assert found.keys() == keys | {"clusters"} and found["clusters"] == {}
        assert [len(found[key]) for key in ("labelled", "first", "second") if key in keys] == [
            size for key, size in zip(("labelled", "first", "second"), parts, strict=True) if key in keys
        ]
    without = ClusterNetwork(basic(), {})
    assert without(images, parts=(0, 2, 2))["clusters"] == {}
    assert len(without(images, parts=(0, 2, 2))["labelled"]) == 0


def test_clusters_are_the_heads_of_the_features_and_only_local_ones_are_moved():
    network = small().eval()
    which = [(0,), (0, 1)]
    first = torch.rand(2, 1, 32, 48)
    images = torch.cat([torch.rand(1, 1, 32, 48), first, flipped(first, which)])
    with torch.no_grad():
        found = network(images, parts=(1, 2, 2), view=flips((32, 48), which))
        with FeatureTap(network.network, FEATURES) as tap:
            logits = network.network(images)
        assert torch.cat([found[key] for key in ("labelled", "first", "second")]).equal(logits)
        for name, (a, b) in found["clusters"].items():
            features = tap.features[name][1:3]
            features = features if name == "down_4" else flipped(features, which)
            assert torch.allclose(a, network.head(name)(features), atol=1e-6)
            assert torch.allclose(b, network.head(name)(tap.features[name][3:]), atol=1e-6)
        still = network(images, parts=(1, 2, 2))["clusters"]
    assert torch.allclose(flipped(still["upcat_1"][0], which), found["clusters"]["upcat_1"][0], atol=1e-6)
    assert still["down_4"][0].equal(found["clusters"]["down_4"][0])
    moved = []
    network(images, parts=(1, 2, 2), view=lambda values: moved.append(tuple(values.shape)) or values)
    assert moved == [(2, 3, 16, 24), (2, 2, 32, 48)]


class OneVoxel(nn.Module):
    """A convolution of one voxel, which flips commute with."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Conv2d(1, 3, 1), nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.last(self.layer(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_assignments_agree_where_the_network_commutes_with_the_view(dtype):
    """On a long side: coordinates in bfloat16 would pick neighbours."""
    network = ClusterNetwork(OneVoxel(), {"layer": {"scale": "local"}}, **SMALL)
    which = [(), (0,), (1,), (0, 1)]
    first = torch.randn(4, 1, 1200, 16)
    images = torch.cat([first, flipped(first, which)])
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        a, b = network(images, parts=(0, 4, 4), view=flips((1200, 16), which))["clusters"]["layer"]
    assert a.dtype == b.dtype == torch.float32
    assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("branch", [0, 1])
@pytest.mark.parametrize("name", list(FEATURES))
def test_gradients_reach_heads_and_network_through_either_branch(branch, name):
    network = small()
    images = torch.rand(5, 1, 32, 32, requires_grad=True)
    view = flips((32, 32), [(0,), (1,)])
    found = network(images, parts=(1, 2, 2), view=view)["clusters"][name][branch]
    found.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.head(name).parameters())
    assert network.network.conv_0.conv_0.conv.weight.grad.abs().sum() > 0
    assert all(p.grad is None for other in FEATURES if other != name for p in network.head(other).parameters())


def test_one_forward_shares_statistics_and_separate_ones_equal_three_forwards():
    network = small()
    images = torch.rand(5, 1, 32, 32) * torch.tensor([1.0, 2, 2, 5, 5]).view(5, 1, 1, 1)
    apart = copy.deepcopy(network)
    apart.separate_statistics = True
    alone = copy.deepcopy(network.network)
    whole = copy.deepcopy(network.network)
    together, separate = network(images, parts=(1, 2, 2)), apart(images, parts=(1, 2, 2))
    assert torch.cat([together[key] for key in ("labelled", "first", "second")]).equal(whole(images))
    assert same(state(network.network), state(whole))
    with FeatureTap(alone, FEATURES) as tap:
        for key, part in zip(("labelled", "first", "second"), images.split((1, 2, 2)), strict=True):
            assert separate[key].equal(alone(part))
            for name in FEATURES:
                if key != "labelled":
                    found = separate["clusters"][name][("first", "second").index(key)]
                    assert torch.allclose(found, apart.head(name)(tap.features[name]), atol=1e-6)
            assert (separate[key] - together[key]).abs().max() > 1e-3
    assert same(state(apart.network), state(alone)) and not same(state(alone), state(whole))
    network.eval(), apart.load_state_dict(network.state_dict()), apart.eval()
    together, separate = network(images, parts=(1, 2, 2)), apart(images, parts=(1, 2, 2))
    for key in ("labelled", "first", "second"):
        assert torch.allclose(together[key], separate[key], atol=1e-5)


def test_probing_leaves_modes_buffers_and_random_numbers_as_they_were():
    network = BasicUNet(2, 1, 2, features=(2, 2, 2, 2, 2, 2), norm="batch", dropout=0.5)
    network.train()
    network.down_1.eval()
    network.register_buffer("seen", torch.zeros(()))
    network.register_forward_hook(lambda module, inputs, output: module.seen.add_(torch.rand(())))
    modes, before = [module.training for module in network.modules()], state(network)
    torch.manual_seed(3)
    made = ClusterNetwork(network, {"down_1": {"scale": "local"}}, probe_size=32)
    assert [module.training for module in network.modules()] == modes and same(before, state(network))
    assert all(p.grad is None for p in network.parameters())
    torch.manual_seed(3)
    again = copy.deepcopy(made.head("down_1"))
    again.first.reset_parameters()
    assert again.first.weight.equal(made.head("down_1").first.weight)
    with pytest.raises(ValueError, match="network fails on zeros"):
        ClusterNetwork(network, {"down_1": {"scale": "local"}}, in_channels=2)
    assert [module.training for module in network.modules()] == modes and same(before, state(network))


def test_state_has_the_network_and_the_heads_apart_and_dotted_names():
    features = {"model.1.submodule": {"scale": "local"}, "model.0": {"scale": "global", "kind": "mlp"}}
    network = ClusterNetwork(UNet(2, 1, 2, channels=(2, 4, 6), strides=(2, 2)), features, **SMALL)
    names = set(network.state_dict())
    inner = {f"network.{name}" for name in network.network.state_dict()}
    assert inner < names and all(name.startswith("heads.") for name in names - inner)
    assert names - inner >= {"heads.model/1/submodule.first.weight", "heads.model/0.second.bias"}
    other = ClusterNetwork(UNet(2, 1, 2, channels=(2, 4, 6), strides=(2, 2)), features, **SMALL)
    other.load_state_dict(network.state_dict())
    images = torch.rand(2, 1, 16, 16)
    one, two = network.eval()(images, (0, 1, 1)), other.eval()(images, (0, 1, 1))
    assert one["clusters"]["model.0"][0].equal(two["clusters"]["model.0"][0])


def test_settings_of_a_feature_win_and_names_of_a_dict_can_be_tapped():
    class Odd(OneVoxel):
        def __init__(self) -> None:
            super().__init__()
            self.values = nn.Identity()

        def forward(self, x):
            return self.last(self.values(self.layer(x)))

    own = {"scale": "local", "num_clusters": 4, "num_heads": 1, "kind": "mlp", "normalize": True, "temperature": 0.1}
    network = ClusterNetwork(Odd(), {"layer": own, "values": {"scale": "global"}}, temperature=2.0, **SMALL)
    head, other = network.head("layer"), network.head("values")
    assert (head.num_clusters, head.num_heads, head.normalize, head.temperature) == (4, 1, True, 0.1)
    assert head.second is not None and not head.pooled
    assert (other.num_clusters, other.num_heads, other.normalize, other.temperature) == (3, 2, False, 2.0)
    assert other.second is None and other.pooled
    assert network.scales == {"layer": "local", "values": "global"}
    assert network(torch.rand(2, 1, 4, 4), (0, 1, 1))["clusters"]["layer"][0].shape == (1, 4, 4, 4)
    with pytest.raises(ValueError, match=r"there are no heads on 'last', only on \['layer', 'values'\]"):
        network.head("last")


def test_modes_copies_meta_tensors_and_types():
    network = small().double()
    images = MetaTensor(torch.rand(3, 1, 32, 32, dtype=torch.float64))
    network.eval()
    copied = copy.deepcopy(network)
    found, again = network(images, (1, 1, 1)), copied(images.as_tensor(), (1, 1, 1))
    assert type(found["first"]) is torch.Tensor and type(found["clusters"]["upcat_1"][0]) is torch.Tensor
    assert found["clusters"]["down_4"][1].equal(again["clusters"]["down_4"][1])
    assert found["clusters"]["down_4"][1].dtype == torch.float64
    assert not network.network.training and not network.heads.training
    wide = ClusterNetwork(basic().double(), FEATURES, **SMALL)
    assert wide.head("down_4").first.weight.dtype == torch.float64


def test_autocast():
    network, images = small(), torch.rand(5, 1, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(images, (1, 2, 2), flips((32, 32), [(0,), (1,)]))
    assert found["first"].dtype == torch.bfloat16
    for pair in found["clusters"].values():
        assert all(values.dtype == torch.float32 and values.isfinite().all() for values in pair)
    sum((a * b).sum() for a, b in found["clusters"].values()).backward()
    assert all(p.grad is not None for p in network.heads.parameters())


@pytest.mark.parametrize("inner", [False, True])
def test_distributed(tmp_path, inner):
    """The whole within DistributedDataParallel, or the network alone."""
    with process_group(tmp_path) as distributed:
        plain, images = small(norm="instance"), torch.rand(5, 1, 32, 32)
        view = flips((32, 32), [(0,), (1,)])
        expected = plain(images, (1, 2, 2), view)
        network = copy.deepcopy(plain)
        if inner:
            network.network = distributed(network.network)
        else:
            network = distributed(network)
        found = network(images, parts=(1, 2, 2), view=view)
        assert found["first"].equal(expected["first"])
        for result in (expected, found):
            sum((a * b).sum() for a, b in result["clusters"].values()).add(result["labelled"].sum()).backward()
        for one, other in zip(plain.parameters(), network.parameters(), strict=True):
            assert torch.allclose(one.grad, other.grad, atol=1e-6)


def test_other_networks():
    for network, name in (
        (SegResNet(2, init_filters=8), "up_layers.2"),
        (UNet(2, 1, 2, channels=(2, 4, 6), strides=(2, 2), norm="instance"), "model.1.submodule.1"),
        (torch.nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 2, 1)), "0"),
    ):
        made = ClusterNetwork(network, {name: {"scale": "local"}}, **SMALL)
        assert made(torch.rand(2, 1, 32, 32), (0, 1, 1))["clusters"][name][0].shape[:2] == (1, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": ["down_4"]}, "features must map names of modules to settings, got"),
        ({"features": {"down_4": "global"}}, "features['down_4'] must be settings such as"),
        ({"features": {"dwn_4": {"scale": "global"}}}, "no module named 'dwn_4'; the nearest are ['down_4'"),
        ({"features": {"down_4": {}}}, "features['down_4']: scale must be one of ['global', 'local'], got None"),
        ({"features": {"down_4": {"scale": "both"}}}, "scale must be one of ['global', 'local'], got 'both'"),
        (
            {"features": {"down_4": {"scale": "local", "num_cluster": 3}}},
            "features['down_4'] has the unknown setting 'num_cluster'; there are ['scale', 'num_clusters', "
            "'num_heads', 'kind', 'normalize', 'temperature', 'importance', 'padding', 'patch_size']; did you mean "
            "'num_clusters'?",
        ),
        (
            {"features": {"down_4": {"scale": "local", "num_heads": 0}}},
            "features['down_4']: num_heads must be a whole number of 1 or more, got 0",
        ),
        ({"num_clusters": 1}, "features['down_4']: num_clusters must be a whole number of 2 or more, got 1"),
        ({"kind": "deep"}, "features['down_4']: kind must be one of"),
        ({"temperature": 0.0}, "features['down_4']: temperature must be a positive number, got 0.0"),
        ({"spatial_dims": 4}, "spatial_dims must be 1, 2 or 3, got 4"),
        ({"in_channels": 0}, "in_channels must be 1 or more, got 0"),
        ({"separate_statistics": "no"}, "separate_statistics must be true or false, got 'no'"),
        ({"probe_size": 0}, "probe_size must be a whole number above 0, or 2 of them, got 0"),
        ({"probe_size": (64,)}, "probe_size must be a whole number above 0, or 2 of them, got (64,)"),
        ({"probe_size": "64"}, "probe_size must be a whole number above 0, or 2 of them, got '64'"),
        ({"in_channels": 2}, "fails on zeros of shape (1, 2, 64, 64): set probe_size (now (64, 64))"),
        ({"probe_size": (8, 32)}, "fails on zeros of shape (1, 1, 8, 32): set probe_size (now (8, 32))"),
        ({"spatial_dims": 3, "probe_size": 16}, "fails on zeros of shape (1, 1, 16, 16, 16)"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ClusterNetwork(**({"network": basic(), "features": FEATURES} | arguments))


def test_features_without_places_are_global_alone():
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.tags, self.rows = nn.Conv2d(1, 3, 1), nn.Linear(3, 4), nn.Flatten(0, 1)

        def forward(self, x):
            x = self.layer(x)
            return x + self.tags(x.flatten(2).mean(2)).sum() + 0 * self.rows(x).sum()

    network = ClusterNetwork(Classifier(), {"tags": {"scale": "global"}}, **SMALL)
    assert network(torch.rand(4, 1, 8, 8), (0, 2, 2))["clusters"]["tags"][0].shape == (2, 6)
    with pytest.raises(ValueError, match=r"features\['tags'\]: the module gives \(1, 4\) .* for the scale 'local'"):
        ClusterNetwork(Classifier(), {"tags": {"scale": "local"}})
    with pytest.raises(ValueError, match=r"features\['rows'\]: the module gives \(3, 64, 64\) for one image"):
        ClusterNetwork(Classifier(), {"rows": {"scale": "global"}})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((1, 1, 1), "parts (1, 1, 1) add up to 3, but there are 4 images"),
        ((1, 2, 1), "first and second are pairs, as many of each: 2 are not 1"),
        ((5, -1, 0), "parts must be three whole numbers from 0 up"),
        ((4, 0), "parts must be three whole numbers from 0 up"),
        (4, "parts must be three whole numbers from 0 up"),
        ((4.0, 0, 0), "parts must be three whole numbers from 0 up"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ClusterNetwork(OneVoxel(), {})(torch.zeros(4, 1, 4, 4), parts=parts)


def test_no_images_and_other_outputs_are_refused():
    class Listing(OneVoxel):
        def forward(self, x):
            return [super().forward(x)]

    with pytest.raises(ValueError, match="there are 0 images"):
        ClusterNetwork(OneVoxel(), {})(torch.zeros(0, 1, 4, 4), parts=(0, 0, 0))
    network = ClusterNetwork(Listing(), {"layer": {"scale": "local"}})
    assert isinstance(network(torch.zeros(1, 1, 4, 4)), list)
    with pytest.raises(ValueError, match="network must give one tensor of logits, got a list"):
        network(torch.zeros(1, 1, 4, 4), parts=(1, 0, 0))
