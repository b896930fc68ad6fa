# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.networks.layers import Conv
from monai.networks.nets import BasicUNet, FlexibleUNet, UNet
from monai.visualize import GradCAM, GradCAMpp
from torch import nn

from wss_monai.functional.cams.channels import tag_logits
from wss_monai.functional.rank_pooling import decay_of_share, rank_pooling
from wss_monai.networks import CAMNet, CAMUNet, PixelCorrelation


class Given(nn.Module):
    """A backbone that gives what it is given."""

    features = 3

    def forward(self, x):
        return x


class Logits(nn.Module):
    def __init__(self, network: CAMNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)[:, :2].flatten(2).mean(2)


def small(shown: str = "cam", **options) -> CAMNet:
    refine = PixelCorrelation(4, 1, 8, 4) if shown == "refined" else None
    return CAMNet(CAMUNet(channels=(4, 8, 8)), shown=shown, refine=refine, **options)


def test_maps_are_the_features_weighted_without_bias_and_may_be_negative():
    network = CAMNet(Given())
    network.head.weight.data = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.0, 1.0]])[..., None, None]
    features = torch.zeros(1, 3, 2, 2)
    features[0, :, 0, 1] = torch.tensor([1.0, 10.0, -2.0])
    maps = network(features)
    assert maps.tolist() == [[[[0, 15], [0, 0]], [[0, -3], [0, 0]]]]
    assert tag_logits(maps[None]).tolist() == [[[3.75, -0.75]]]


@pytest.mark.parametrize("shown", ["cam", "gradcam", "gradcam++", "refined"])
def test_channels_and_that_the_first_two_do_not_depend_on_what_is_shown(shown):
    torch.manual_seed(0)
    plain = small().eval()
    network = small(shown).eval()
    network.load_state_dict(plain.state_dict(), strict=False)
    image = torch.rand(2, 1, 23, 16)
    maps = network(image)
    assert maps.shape == (2, 2 if shown == "cam" else 3, 23, 16)
    assert maps[:, :2].equal(plain(image))
    if shown != "cam":
        assert (maps[:, 2] >= 0).all()


@pytest.mark.parametrize(("shown", "tracer"), [("gradcam", GradCAM), ("gradcam++", GradCAMpp)])
def test_shown_maps_are_what_monai_traces_back(shown, tracer):
    torch.manual_seed(0)
    network = small(shown).eval()
    network.head.weight.data.mul_(5)  # MONAI adds 1e-7 to a denominator
    image = torch.randn(1, 1, 8, 8)
    trace = tracer(Logits(network).eval(), target_layers="network.backbone.backbone", postprocessing=lambda maps: maps)
    expected = torch.as_tensor(trace(image, class_idx=1)).detach()[0, 0]
    result = network(image).detach()[0, 2]
    assert result.max() > 0
    torch.testing.assert_close(result / result.max(), expected / expected.max(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["unet", "basic", "coarse"])
def test_backbones_of_monai(dims, kind):
    if kind == "unet":
        backbone = UNet(dims, 1, 6, channels=(4, 8), strides=(2,))
    elif kind == "basic":
        backbone = BasicUNet(dims, 1, 6, features=(4, 4, 4, 4, 4, 4))
    else:
        backbone = nn.Sequential(nn.Conv2d(1, 6, 4, 4) if dims == 2 else nn.Conv3d(1, 6, 4, 4), nn.ReLU())
    network = CAMNet(backbone, 6, shown="gradcam++", spatial_dims=dims)
    maps = network(torch.rand(2, 1, *(32, 16, 16)[:dims]))
    assert maps.shape == (2, 3, *(32, 16, 16)[:dims])
    maps[:, :2].flatten(2).mean(2).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)


def test_an_encoder_made_for_images():
    network = CAMNet(FlexibleUNet(1, 6, "efficientnet-b0", pretrained=False), 6).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 1, 64, 32)).shape == (1, 2, 64, 32)


def test_coarser_maps_are_carried_linearly():
    network = CAMNet(nn.AvgPool2d(2, 2), features=2, shown="gradcam")
    network.head.weight.data = torch.tensor([[1.0, 0.0], [0.0, 4.0]])[..., None, None]
    image = torch.zeros(1, 2, 2, 4)
    image[0, :, :, 2:] = 1
    maps = network(image)
    assert maps[0, 0, 0].tolist() == [0, 0.25, 0.75, 1]
    assert maps[0, 1, 1].tolist() == [0, 1, 3, 4]
    assert maps[0, 2, 1].tolist() == [0, 0.5, 1.5, 2]  # over the two cells of the grid
    assert tag_logits(maps[None, :, :2]).tolist() == [[[0.5, 2]]]


@pytest.mark.parametrize("shown", ["gradcam", "gradcam++"])
def test_no_gradient_flows_through_shown_gradients(shown):
    network = small(shown)
    network(torch.rand(1, 1, 8, 8))[:, 2].sum().backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in network.parameters())


def test_refined_map_trains_the_module_alone():
    torch.manual_seed(0)
    network = small("refined")
    (network(torch.rand(1, 1, 16, 16))[:, 2] ** 2).sum().backward()
    for name, parameter in network.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.any())
        assert moved == (name == "refine.theta.weight"), name


def test_dropout_drops_channels_in_training_alone():
    torch.manual_seed(0)
    network = small(dropout=0.5)
    image = torch.rand(1, 1, 16, 16)
    network.train()
    assert not network(image).equal(network(image))
    network.eval()
    assert network(image).equal(network(image))
    assert isinstance(network.dropout, nn.Dropout2d)
    assert not any(isinstance(module, nn.Dropout2d) for module in small().modules())


def test_half_precision_inside_full_precision_outside():
    network = small("refined").eval()
    image = torch.rand(1, 1, 16, 24)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        narrow = network(image)
    wide = network(image)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, wide, rtol=0.05, atol=0.05)
    assert network.double()(image.double()).dtype == torch.float64


@pytest.mark.parametrize("shown", ["cam", "gradcam", "gradcam++", "refined"])
def test_torchscript_takes_other_sizes(shown):
    network = small(shown).eval()
    script = torch.jit.script(network)
    for size in ((16, 16), (23, 9)):
        image = torch.rand(1, 1, *size)
        with torch.no_grad():
            torch.testing.assert_close(script(image), network(image))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"backbone": nn.ReLU()}, "features must say how many channels the backbone gives, for ReLU"),
        ({"backbone": nn.ReLU(), "features": 0}, "features must be 1 or more"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"shown": "grad-cam"}, "shown must be one of .*'gradcam'.*got 'grad-cam'"),
        ({"shown": "refined"}, "shown 'refined' needs refine"),
        ({"spatial_dims": 4}, "spatial_dims must be 2 or 3"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        CAMNet(**{"backbone": Given(), **arguments})


def test_backbones_that_do_not_fit():
    with pytest.raises(ValueError, match=r"features of shape \[1, 2, 8, 8\].*set features"):
        CAMNet(Given())(torch.rand(1, 2, 8, 8))
    with pytest.raises(ValueError, match="shape"):
        CAMNet(nn.Flatten(2), 3)(torch.rand(1, 3, 8, 8))

    class Deep(nn.Module):
        def forward(self, x):
            return [x, x]

    with pytest.raises(ValueError, match="one tensor"):
        CAMNet(Deep(), 3)(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize("dims", [2, 3])
def test_pooled_by_rank_the_logit_is_the_mean_of_the_first_maps(dims):
    """And the third map is the evidence that was pooled: a share of half the frame is the mean."""
    torch.manual_seed(0)
    x = torch.rand(2, 1, *[8] * dims)
    body = Conv[Conv.CONV, dims](1, 4, 3, padding=1)
    plain, half, small = (CAMNet(body, 4, spatial_dims=dims, share=share) for share in (0.5, 0.4999, 0.02))
    half.load_state_dict(plain.state_dict())
    small.load_state_dict(plain.state_dict())
    maps, ranked, few = plain(x), half(x), small(x)
    assert maps.shape[1] == 2 and ranked.shape[1] == 3
    evidence = maps[:, 1] - maps[:, 0]
    torch.testing.assert_close(ranked[:, 2], evidence)
    assert not ranked[:, 0].any()
    logit = ranked[:, 1].flatten(1).mean(1)
    torch.testing.assert_close(logit, evidence.flatten(1).mean(1), rtol=0, atol=2e-3)
    top = evidence.flatten(1)
    assert (few[:, 1].flatten(1).mean(1) > top.quantile(0.9, dim=1)).all()
    assert (few[:, 1].flatten(1).mean(1) < top.amax(1)).all()
    pooled = rank_pooling(evidence[:, None], decay_of_share(0.02, top.shape[1]))[:, 0]
    torch.testing.assert_close(few[:, 1].flatten(1).mean(1), pooled)
    torch.testing.assert_close(torch.jit.script(small)(x), few)


def test_shares_that_make_no_sense_are_refused():
    body = Conv[Conv.CONV, 2](1, 4, 3, padding=1)
    with pytest.raises(ValueError, match="share must lie in"):
        CAMNet(body, 4, share=0.7)
    with pytest.raises(ValueError, match="for the mean over the frame"):
        CAMNet(body, 4, share=0.1, shown="gradcam")
