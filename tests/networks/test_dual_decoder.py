# SPDX-License-Identifier: Apache-2.0
"""A second decoder: what each decoder says, when, and with which weights."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from monai.networks.nets import BasicUNet, UNet
from torch import nn

from wss_monai.networks import DecoderMixture, DualDecoder

SHAPES = {2: (2, 1, 33, 32), 3: (1, 1, 32, 35, 33)}


def unet(dims: int = 2, seed: int = 0, kind: type[BasicUNet] = BasicUNet, **settings) -> BasicUNet:
    torch.manual_seed(seed)
    return kind(dims, 1, 3, features=(4, 4, 6, 6, 8, 4), **{"norm": "batch", "upsample": "nontrainable", **settings})


def images(dims: int = 2):
    return torch.rand(SHAPES[dims], generator=torch.Generator().manual_seed(1))


def same_weights(both: DualDecoder) -> DualDecoder:
    """With a second decoder that has the weights of the first."""
    both.second.load_state_dict({n: v for n, v in both.network.state_dict().items() if n.split(".")[0] in both.second})
    return both


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("upsample", ["nontrainable", "deconv", "pixelshuffle"])
def test_the_first_decoder_is_the_network(dims, upsample):
    plain = unet(dims, upsample=upsample)
    both = DualDecoder(deepcopy(plain))
    first, second = both(images(dims))  # odd sides as well
    assert torch.equal(first, plain(images(dims))) and second.shape == first.shape
    assert not torch.equal(first, second)
    both.eval()
    assert torch.equal(both(images(dims)), plain.eval()(images(dims)))  # after the same running statistics
    state = both.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())
    plain.load_state_dict(state)


def test_the_second_decoder_is_the_same_function_of_the_features():
    both = same_weights(DualDecoder(unet(), dropout=0.0))
    first, second = both(images())
    assert torch.equal(first, second)


def test_dropout_disturbs_every_level_and_the_second_decoder_alone():
    both = same_weights(DualDecoder(unet(norm="instance"), dropout=0.25))
    seen: dict[str, list] = {"first": [], "second": []}
    for name, upcats in (("first", both.network), ("second", both.second)):
        for level in (4, 3, 2, 1):
            upcat = upcats[f"upcat_{level}"] if name == "second" else getattr(upcats, f"upcat_{level}")
            upcat.register_forward_pre_hook(
                lambda module, inputs, name=name, level=level: seen[name].extend(inputs if level == 4 else inputs[1:])
            )
    first, second = both(images())
    assert not torch.equal(first, second)
    assert len(seen["first"]) == len(seen["second"]) == 5
    for clean, disturbed in zip(seen["first"], seen["second"], strict=True):
        kept = disturbed != 0
        assert torch.allclose(disturbed[kept], clean[kept] / 0.75)
        assert not bool(kept[clean != 0].all())
    finest = [seen[name][-1] for name in ("first", "second")]
    share = float((finest[1] == 0)[finest[0] != 0].float().mean())
    assert share == pytest.approx(0.25, abs=0.02)


def test_initial_weights_are_drawn_by_the_seed_and_are_those_of_a_new_decoder():
    def second(seed, network):
        torch.manual_seed(seed)
        return DualDecoder(network).second.state_dict()

    network = unet()
    before = deepcopy(network.state_dict())
    found, again, other = second(3, network), second(3, unet(seed=9)), second(4, network)
    assert all(torch.equal(found[name], again[name]) for name in found)
    assert not torch.equal(found["upcat_4.convs.conv_0.conv.weight"], other["upcat_4.convs.conv_0.conv.weight"])
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    assert not any(torch.equal(found[n], before[n]) for n in found if n.endswith("conv.weight"))
    network(images())  # moves the running statistics of what is copied next
    moved = second(3, network)
    assert all(torch.equal(found[name], moved[name]) for name in found)
    weight = second(0, unet(upsample="pixelshuffle"))["upcat_4.upsample.pixelshuffle.conv_block.weight"]
    groups = weight.unflatten(0, (-1, 4))  # the four pixels of a channel start alike
    assert torch.equal(groups, groups[:, :1].expand_as(groups)) and not torch.equal(groups[0], groups[1])


def test_gradients_reach_both_decoders_and_the_encoder_from_each():
    both = DualDecoder(unet())
    for number, (own, foreign) in enumerate(((both.network, both.second), (both.second, both.network))):
        both.zero_grad()
        both(images())[number].square().mean().backward()
        assert float(both.network.conv_0.conv_0.conv.weight.grad.abs().sum()) > 0
        reached = [
            dict(part.named_parameters())["final_conv.weight"].grad is not None for part in (own, foreign)
        ]  # fmt: skip
        assert reached == [True, False]


def test_names_in_the_state():
    both = DualDecoder(unet())
    names = {name.partition(".")[0] for name in both.state_dict()}
    assert names == {"network", "second"}
    assert {name.split(".")[1] for name in both.state_dict() if name.startswith("second.")} == {
        *(f"upcat_{level}" for level in (4, 3, 2, 1)),
        "final_conv",
    }


def test_the_mixture_is_the_mean_of_probabilities_in_evaluation_mode():
    both = DualDecoder(unet())
    both(images())
    both.second["upcat_1"].eval()  # a mode of its own stays
    before = deepcopy(both.state_dict())
    mixture = both.mixture()
    assert isinstance(mixture, DecoderMixture)
    found, again = mixture(images()), mixture(images())
    assert torch.equal(found, again) and not found.requires_grad
    assert all(torch.equal(value, both.state_dict()[name]) for name, value in before.items())
    assert both.training and both.network.training and not both.second["upcat_1"].training
    plain = unet().eval()
    soft = []
    for weights in (both.network.state_dict(), {**both.network.state_dict(), **both.second.state_dict()}):
        plain.load_state_dict(weights)
        soft.append(plain(images()).softmax(1))
    assert torch.allclose(found.softmax(1), (soft[0] + soft[1]) / 2, atol=1e-6)
    assert torch.allclose(found.exp().sum(1), torch.ones(2, 33, 32), atol=1e-5)


def test_under_autocast():
    both = DualDecoder(unet())
    with torch.autocast("cpu", torch.bfloat16):
        first, second = both(images())
        assert first.dtype == second.dtype == torch.bfloat16
        assert both.mixture()(images()).dtype == torch.float32


class Other(BasicUNet):
    def forward(self, x):
        return super().forward(x) * 2


@pytest.mark.parametrize(
    ("network", "name"),
    [(UNet(2, 1, 2, (4, 8), (2,)), "UNet"), (unet(kind=Other), "Other"), (nn.Identity(), "Identity")],
)
def test_other_networks_are_refused(network, name):
    with pytest.raises(ValueError, match=rf"needs MONAI's BasicUNet .* got a {name}: .*--pseudo_teacher average"):
        DualDecoder(network)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_impossible_dropout_is_refused(dropout):
    with pytest.raises(ValueError, match="dropout must be at least 0"):
        DualDecoder(unet(), dropout)
