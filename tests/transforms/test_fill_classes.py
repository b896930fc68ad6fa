# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from wss_monai.transforms import FillClassesd

NAMES = ["background", "Myo", "LV"]
SLICE = [[2, 0, 2, 0], [0, 1, 0, 0], [2, 0, 2, 0]]
FILLED = [[2, 2, 2, 0], [2, 1, 2, 0], [2, 2, 2, 0]]


@pytest.mark.parametrize(("fill", "names"), [({"LV": "hull"}, NAMES), ({2: "hull"}, None)])
def test_background_inside_the_hull_joins_the_class_and_other_classes_stay(fill, names):
    pred = torch.tensor([SLICE, [[0] * 4] * 3]).permute(1, 2, 0)[None]
    out = FillClassesd("pred", fill, names)({"pred": MetaTensor(pred, affine=torch.eye(4))})["pred"]
    assert out[0, ..., 0].tolist() == FILLED and not out[0, ..., 1].any()
    assert isinstance(out, MetaTensor) and out.dtype == pred.dtype
    assert pred[0, ..., 0].tolist() == SLICE


def test_images_and_volumes_along_another_axis():
    fill = FillClassesd("pred", {"LV": "hull"}, NAMES, slice_axis=0)
    assert fill({"pred": torch.tensor([SLICE])})["pred"].tolist() == [FILLED]
    assert fill({"pred": torch.tensor([[SLICE]])})["pred"].tolist() == [[FILLED]]


@pytest.mark.parametrize(
    ("fill", "names", "message"),
    [
        ({"LV": "holes"}, NAMES, r"fill, class 'LV': the way must be one of \['hull'\], got 'holes'"),
        ({"RV": "hull"}, NAMES, r"fill names 'RV', which is no foreground class: the classes are \['Myo', 'LV'\]"),
        ({"background": "hull"}, NAMES, "no foreground class"),
        ({"LV": "hull"}, None, "give the index of a class"),
    ],
)
def test_wrong_settings_are_refused(fill, names, message):
    with pytest.raises(ValueError, match=message):
        FillClassesd("pred", fill, names)
