# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Spacing
from torch import nn

from wss_monai.transforms import PredictedBounds, PredictedBoundsd

NAMES = ["background", "A", "B"]
INF = math.inf


class Count(nn.Module):
    """Says that class k has as many voxels as the image has of value k; the dropout would spoil it in training."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.dropout = nn.Dropout(0.9)

    def forward(self, image):
        return torch.stack([(self.dropout(image) == k).flatten(1).sum(1) for k in range(3)], 1) * self.gain


def image(spacing=(2.0, 3.0, 5.0)) -> MetaTensor:
    """Slice 0: 10 voxels of A, 4 of B; slice 1: 20 of A; slice 2: nothing. 20 slices in all."""
    values = torch.zeros(1, 8, 6, 20)
    values[0, :5, :2, 0] = 1
    values[0, 6, :4, 0] = 2
    values[0, :5, :4, 1] = 1
    return MetaTensor(values, affine=torch.diag(torch.tensor([*spacing, 1.0])).double())


def test_an_interval_around_the_predicted_size_of_each_slice():
    network = Count().train()
    bounds = PredictedBounds(network, NAMES, slice_axis=2)(image())
    assert bounds.shape == (20, 3, 1, 2) and not bounds.requires_grad
    torch.testing.assert_close(bounds[0, 1:, 0], torch.tensor([[9.0, 11.0], [3.6, 4.4]]))
    torch.testing.assert_close(bounds[1, 1, 0], torch.tensor([18.0, 22.0]))
    assert bounds[2, 1, 0].tolist() == [-INF, 0] and not bounds[:, 0].isfinite().any()
    assert not network.training


def test_volumes_margins_units_and_scale():
    whole = PredictedBounds(Count(), NAMES, margin=4, mode="absolute")(image())
    assert whole[:, 0].tolist() == [[-INF, INF], [26, 34], [-INF, 8]]
    ml = PredictedBounds(Count(), NAMES, margin=0.03, mode="absolute", unit="ml", scale=0.1)(image())  # 30 mm3 a voxel
    torch.testing.assert_close(ml[1, 0], torch.tensor([99.0, 101.0]))
    mm2 = PredictedBounds(Count(), NAMES, margin=0.5, unit="mm2", slice_axis=2)(image())  # 6 mm2 a pixel
    torch.testing.assert_close(mm2[0, 1, 0], torch.tensor([5 / 6, 15 / 6]))
    flat = PredictedBounds(lambda_net(torch.tensor([0.0, 8.0, -3.0])), NAMES, margin=0.5)(torch.zeros(1, 8, 6))
    assert flat[1:, 0].tolist() == [[4, 12], [-INF, 0]]


def lambda_net(output):
    network = nn.Identity()
    network.forward = lambda image: output  # type: ignore[method-assign]
    return network


def test_the_network_sees_what_prepare_makes_and_the_bounds_fit_the_image():
    for spacing in ((2.0, 3.0, 5.0), (1.0, 1.5, 5.0)):
        made = []
        prepare = Spacing(pixdim=(2.0, 3.0, -1.0), mode="nearest")
        network = Count()
        network.register_forward_hook(lambda module, inputs, output, made=made: made.append(inputs[0]))
        bounds = PredictedBounds(network, NAMES, prepare=prepare, slice_axis=2)(image(spacing))
        seen = (made[0][0] == 1).sum()
        pixels = seen * 6 / (spacing[0] * spacing[1])
        torch.testing.assert_close(bounds[0, 1, 0], torch.stack((0.9 * pixels, 1.1 * pixels)))


def test_tags_say_where_the_lower_side_holds_and_what_is_absent():
    tags = torch.full((20, 3), -1)
    tags[0, 1], tags[1, 1] = 1, 0
    bounds = PredictedBounds(Count(), NAMES, slice_axis=2)(image(), tags)
    assert bounds[:2, 1, 0].tolist() == [[9, 11], [-INF, 0]]
    torch.testing.assert_close(bounds[0, 2, 0], torch.tensor([-INF, 4.4]))
    of_absent = PredictedBounds(Count(), NAMES, slice_axis=2, absent=(None, 7))(image(), tags)
    assert of_absent[1, 1, 0].tolist() == [-INF, 7]
    whole = PredictedBounds(Count(), NAMES)(image(), torch.tensor([1, -1, 0]))
    torch.testing.assert_close(whole[1:, 0], torch.tensor([[27.0, 33.0], [-INF, 0.0]]))


def test_dictionary_version_and_weights_from_a_file(tmp_path):
    file = tmp_path / "regressor.pt"
    torch.save({"gain": torch.tensor(2.0)}, file)
    transform = PredictedBoundsd(network=Count(), weights=file, class_names=NAMES, slice_axis=2)
    data = {"case": "a", "image": image()}
    assert (transform.origin, transform.term, transform.descriptor.name) == ("predicted", "size", "size")
    torch.testing.assert_close(transform(data)["bounds_size"][0, 1, 0], torch.tensor([18.0, 22.0]))
    present = transform({**data, "slice_tags": torch.zeros(20, 3)})["bounds_size"]
    assert present[0, 1, 0].tolist() == [-INF, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "percentage"}, "mode must be"),
        ({"margin": 0}, "margin must be positive"),
        ({"scale": math.inf}, "scale must be positive"),
        ({"unit": "cm"}, "unit must be"),
        ({"absent": (3, 2)}, "bounds of 'size' for an absent class cannot hold"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        PredictedBounds(Count(), NAMES, **settings)


def test_wrong_files_and_predictions(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file '.*none\.pt'"):
        PredictedBounds(Count(), NAMES, weights=tmp_path / "none.pt")
    file = tmp_path / "other.pt"
    torch.save(nn.Linear(2, 2).state_dict(), file)
    with pytest.raises(ValueError, match=r"other\.pt' does not hold the weights of this Count"):
        PredictedBounds(Count(), NAMES, weights=file)
    with pytest.raises(ValueError, match="unit 'ml' does not fit 2D"):
        PredictedBounds(Count(), NAMES, unit="ml", slice_axis=2)(image())
    with pytest.raises(ValueError, match=r"finite sizes \(20, 2\).*got shape \(20, 3\)"):
        PredictedBounds(Count(), NAMES[:2], slice_axis=2)(image())
    broken = PredictedBoundsd(network=lambda_net(torch.tensor([1, math.nan, 1])), class_names=NAMES)
    with pytest.raises(ValueError, match=r"case 'p7': .*the network must give finite sizes"):
        broken({"case": "p7", "image": image()})
