# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.visualize import GradCAM, GradCAMpp
from torch import nn

from wss_monai.functional.cams.grad_cam import grad_cam, grad_cam_pp

WEIGHT = torch.tensor([[2.0, -4.0, 6.0]])
FEATURES = torch.tensor([[[[1.0, 0.0], [2.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]], [[3.0, 0.0], [0.0, 1.0]]]])


class Classifier(nn.Module):
    """Features, the head's maps and their means, in one tensor of logits."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if dims == 2 else nn.Conv3d
        self.features = nn.Sequential(convolution(1, 5, 3, padding=1), nn.ReLU())
        self.head = convolution(5, 2, 1, bias=False)

    def forward(self, x):
        return self.head(self.features(x)).flatten(2).mean(2)


def test_grad_cam_by_hand():
    """g = w / 4 = (.5, -1, 1.5)."""
    expected = torch.tensor([[[[0.5 + 4.5, 0.0], [0.0, 0.5 + 1.5]]]])
    torch.testing.assert_close(grad_cam(FEATURES, WEIGHT), expected)


def test_grad_cam_pp_by_hand():
    """g = (.5, -1, 1.5), sums (4, 2, 4): alpha = 1 / (2 + 2), not used as relu(g) is 0, 1 / (2 + 6); four places."""
    first, third = 4 / 4 * 0.5, 4 / 8 * 1.5
    expected = torch.tensor([[[[first + 3 * third, 0.0], [2 * first, first + third]]]])
    torch.testing.assert_close(grad_cam_pp(FEATURES, WEIGHT), expected)


def test_grad_cam_pp_is_the_published_formula_and_survives_denominators_of_zero():
    torch.manual_seed(0)
    features, weight = torch.randn(3, 4, 5, 6, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    weight[0, 1] = 0
    features[1, 2] *= -2 * 30 / (weight[1, 2] * features[1, 2].sum())  # S g = -2
    expected = torch.empty(3, 2, 5, 6, dtype=torch.float64)
    for sample in range(3):
        for cls in range(2):
            total = torch.zeros(5, 6, dtype=torch.float64)
            for k in range(4):
                g = weight[cls, k] / 30
                below = 2 * g**2 + (features[sample, k] * g**3).sum()
                alpha = g**2 / below if abs(below) > 1e-15 else torch.zeros(())
                total += 30 * alpha * torch.relu(g) * features[sample, k]
            expected[sample, cls] = torch.relu(total)
    result = grad_cam_pp(features, weight)
    assert result.isfinite().all()
    others = [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]  # what rounding makes of S g = -2 may be a little off it
    for sample, cls in others:
        torch.testing.assert_close(result[sample, cls], expected[sample, cls])


def test_a_denominator_of_exactly_zero_gives_no_weight():
    features = torch.tensor([[[[-4.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]])
    result = grad_cam_pp(features, torch.tensor([[2.0, 4.0]]))  # S g = -4 x .5 = -2; 2 + 2 x 1
    torch.testing.assert_close(result, torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]]))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("ours", "theirs"), [(grad_cam, GradCAM), (grad_cam_pp, GradCAMpp)])
def test_closed_form_is_what_monai_traces_back(dims, ours, theirs):
    torch.manual_seed(1)
    network = Classifier(dims).eval()
    network.head.weight.data.mul_(20)  # MONAI adds 1e-7 to the denominator of alpha, which must not count
    image = torch.randn(1, 1, *(6, 5, 4)[:dims])
    tracer = theirs(nn_module=network, target_layers="features.1", postprocessing=lambda maps: maps)
    for cls in range(2):
        expected = torch.as_tensor(tracer(image, class_idx=cls)).detach()
        with torch.no_grad():
            result = ours(network.features(image), network.head.weight.flatten(1)[cls : cls + 1])
        if ours is grad_cam_pp:  # the factor exp(logit)
            result = result * network(image)[0, cls].exp()
        assert expected.max() > 0
        torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-5)


def test_grad_cam_is_the_rectified_map_over_the_places_and_grad_cam_pp_is_not():
    torch.manual_seed(2)
    features, weight = torch.rand(2, 4, 8, 8), torch.randn(1, 4)
    maps = torch.relu(torch.einsum("bfhw,nf->bnhw", features, weight))
    torch.testing.assert_close(grad_cam(features, weight), maps / 64)
    other = grad_cam_pp(features, weight)
    assert (other / other.amax() - maps / maps.amax()).abs().max() > 0.05


def test_large_images_do_not_underflow():
    """g is 5e-9 here, and its square 2.5e-17 stays in the published form behind any guard added to it."""
    features = torch.ones(1, 1, 2000, 1000)
    torch.testing.assert_close(
        grad_cam_pp(features, torch.tensor([[0.01]])), torch.full((1, 1, 2000, 1000), 0.01 / 2.01)
    )
