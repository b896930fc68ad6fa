# SPDX-License-Identifier: Apache-2.0
"""Scaling between percentiles gives what MONAI's transform gives, bit for bit."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import ScaleIntensityRangePercentiles, ScaleIntensityRangePercentilesd

from wss_monai.transforms import ScalePercentilesd
from wss_monai.transforms.percentiles import ScalePercentiles, quantiles

SETTINGS = {"lower": 0.5, "upper": 99.0, "b_min": 0.0, "b_max": 1.0, "clip": True, "channel_wise": True}
SHAPES = [(1, 1), (1, 2), (1, 7, 5), (2, 33, 21, 9), (1, 64, 64, 40), (1, 120, 100, 90)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["normal", "few values", "integers", "flat"])
@pytest.mark.filterwarnings("ignore:Divide by zero")
def test_values_are_those_of_monai(shape, kind):
    generator = torch.Generator().manual_seed(len(shape))
    image = 300 * torch.randn(shape, generator=generator)
    image = {"normal": image, "few values": image.sign(), "integers": image.round(), "flat": image * 0 + 3}[kind]
    data = {"image": MetaTensor(image, affine=torch.diag(torch.tensor([2.0, 2.0, 8.0, 1.0])))}
    ours = ScalePercentilesd("image", **SETTINGS)(data)["image"]
    theirs = ScaleIntensityRangePercentilesd("image", **SETTINGS)(data)["image"]
    assert type(ours) is type(theirs) and ours.dtype == theirs.dtype and ours.meta.keys() == theirs.meta.keys()
    assert ours.as_tensor().equal(theirs.as_tensor()) and ours.affine.equal(theirs.affine)


@pytest.mark.parametrize(
    "change",
    [
        {"channel_wise": False},
        {"clip": False, "b_min": -1.0, "b_max": 2.0},
        {"b_min": None, "b_max": None, "clip": False},
        {"relative": True},
        {"dtype": np.float64},
        {"lower": 0.0, "upper": 100.0},
    ],
)
@pytest.mark.parametrize("make", [torch.Tensor.float, torch.Tensor.double, torch.Tensor.numpy])
def test_every_argument_and_type(change, make):
    image = make(100 * torch.randn(2, 13, 11, generator=torch.Generator().manual_seed(1)))
    settings = {**SETTINGS, **change}
    ours, theirs = ScalePercentiles(**settings)(image), ScaleIntensityRangePercentiles(**settings)(image)
    assert type(ours) is type(theirs) and ours.dtype == theirs.dtype
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_what_is_not_finite_is_left_to_monai():
    image = torch.tensor([[1.0, 2.0, float("nan"), 4.0], [1.0, float("inf"), 3.0, 2.0]])
    ours, theirs = (scale(**SETTINGS)(image) for scale in (ScalePercentiles, ScaleIntensityRangePercentiles))
    assert torch.equal(ours.isnan(), theirs.isnan()) and torch.equal(ours.nan_to_num(), theirs.nan_to_num())


@pytest.mark.parametrize("count", [1, 2, 3, 10, 999, 65537, 553_000])
def test_quantiles_are_those_of_torch(count):
    values = torch.randn(count, generator=torch.Generator().manual_seed(count))
    q = torch.tensor([0.0, 0.005, 0.1, 0.5, 0.99, 0.9999, 1.0])
    expected = torch.stack([torch.quantile(values, one) for one in q])
    assert quantiles(values.numpy(), q).equal(expected)


def test_the_arguments_are_those_of_monai():
    assert inspect.signature(ScalePercentiles) == inspect.signature(ScaleIntensityRangePercentiles)


@pytest.mark.filterwarnings("ignore:Divide by zero")
def test_percentiles_that_coincide_name_the_case():
    image = torch.zeros(1, 40, 40, 4)
    image[0, 20:24, 20:24, 1] = torch.arange(16.0).reshape(4, 4) + 900
    with pytest.raises(ValueError, match=r"case 'p7': nearly all .* percentiles 0.5 and 99"):
        ScalePercentilesd("image", **SETTINGS)({"case": "p7", "image": image})
    whole = ScalePercentilesd("image", **{**SETTINGS, "upper": 99.9})({"case": "p7", "image": image})["image"]
    assert whole.min() == 0 and whole.max() == 1
