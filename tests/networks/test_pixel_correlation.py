# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from math import sqrt

import pytest
import torch

from wss_monai.networks import PixelCorrelation


def identity(stride: int = 1, dims: int = 2, **options) -> PixelCorrelation:
    """theta hands on the image's channel and the features' one."""
    module = PixelCorrelation(1, 1, 2, stride, dims, **options)
    module.theta.weight.data = torch.eye(2).reshape(2, 2, *[1] * dims)
    return module


def test_by_hand():
    """Looks (1, 0), (0, 2), (1, 1), (-3, 0): cosines 0, r, 0; r, 0; 0 off the diagonal, with r = sqrt(1/2)."""
    image = torch.tensor([[[[1.0, 0.0], [1.0, -3.0]]]])
    features = torch.tensor([[[[0.0, 2.0], [1.0, 0.0]]]])
    cam = torch.tensor([[[[4.0, 2.0], [-3.0, 1.0]]]])  # rectified and scaled 1, .5, 0, .25
    r = sqrt(0.5)
    expected = [[1 / (1 + r), 0.5 / (1 + r)], [1.5 * r / (1 + 2 * r), 0.25]]
    torch.testing.assert_close(identity()(image, features, cam), torch.tensor([[expected]]))


def test_stride_averages_and_the_result_is_carried_linearly():
    image = torch.tensor([[[[1.0, 3.0, 0.0, 0.0], [1.0, -1.0, 0.0, 0.0]]]])  # cells (1, 0) and (0, 1)
    features = torch.tensor([[[[0.0, 1.0]]]])  # on the coarse grid already
    cam = torch.tensor([[[[4.0, 4.0, -9.0, 2.0], [0.0, 0.0, 1.0, 1.0]]]])  # cells 2 and 1 (the -9 counts as 0)
    result = identity(2)(image, features, cam)
    torch.testing.assert_close(result, torch.tensor([[[[1.0, 0.875, 0.625, 0.5]] * 2]]))


def test_places_that_look_alike_share_what_one_of_them_shows():
    """An object of which the map shows one corner, and a background of another look."""
    image = torch.zeros(1, 1, 8, 8)
    image[..., 2:6, 2:6] = 1
    cam = torch.zeros(1, 1, 8, 8)
    cam[..., 2, 2] = 5
    refined = identity()(image, 1 - image, cam)[0, 0]
    assert torch.allclose(refined[2:6, 2:6], torch.tensor(1 / 16)) and refined[0].abs().max() == 0


def test_maps_of_nothing_and_featureless_places_are_0():
    image, features = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    assert not identity()(image, features, torch.rand(1, 1, 4, 4)).any()
    assert not identity()(torch.rand(1, 1, 4, 4), features, -torch.rand(1, 1, 4, 4)).any()


def test_each_map_is_refined_by_itself():
    torch.manual_seed(0)
    module = PixelCorrelation(3, 2, 8, 2)
    image, features, cam = torch.rand(2, 2, 9, 6), torch.rand(2, 3, 9, 6), torch.randn(2, 2, 9, 6)
    both = module(image, features, cam)
    assert both.shape == (2, 2, 9, 6) and both.min() >= 0 and both.max() <= 1
    for number in range(2):
        torch.testing.assert_close(
            both[:, number : number + 1], module(image, features, cam[:, number : number + 1] * 7)
        )


def test_only_theta_gets_a_gradient():
    module = PixelCorrelation(3, 1, 8, 2)
    given = [torch.rand(1, 1, 8, 8), torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8)]
    for tensor in given:
        tensor.requires_grad_()
    (module(*given) ** 2).sum().backward()
    assert all(tensor.grad is None for tensor in given)
    assert module.theta.weight.grad.any() and len(list(module.parameters())) == 1


def test_gradient_of_theta():
    torch.manual_seed(0)
    module = PixelCorrelation(2, 1, 3, 2).double()
    given = [torch.randn(1, channels, 5, 4, dtype=torch.float64) for channels in (1, 2, 1)]

    def refined(weight):
        return torch.func.functional_call(module, {"theta.weight": weight}, tuple(given))

    assert torch.autograd.gradcheck(refined, (module.theta.weight.detach().requires_grad_(),))


def test_volumes():
    module = PixelCorrelation(3, 1, 8, 4, 3)
    result = module(torch.rand(1, 1, 9, 8, 5), torch.rand(1, 3, 9, 8, 5), torch.rand(1, 1, 9, 8, 5))
    assert result.shape == (1, 1, 9, 8, 5)


def test_a_grid_too_large_is_refused_with_a_stride_that_will_do():
    module = identity(2, limit=30)
    image = torch.rand(1, 1, 16, 16)
    with pytest.raises(ValueError, match=r"\[16, 16\] voxels has 64 cells at stride 2.*limit of 30.*take stride 4 or"):
        module(image, image, image)
    assert identity(4, limit=30)(image, image, image).shape == image.shape
    large = torch.rand(1, 1, 128, 128)
    with pytest.raises(ValueError, match=r"16384 cells at stride 1.*limit of 4096.* 1024 MiB.*take stride 2 or more"):
        identity(1)(large, large, large)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"features": 0}, "features must be 1 or more"),
        ({"image_channels": 0}, "image_channels must be 1 or more"),
        ({"width": 0}, "width must be 1 or more"),
        ({"stride": 0}, "stride must be 1 or more"),
        ({"limit": 0}, "limit must be 1 or more"),
        ({"spatial_dims": 1}, "spatial_dims must be 2 or 3"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        PixelCorrelation(**{"features": 1, **arguments})
