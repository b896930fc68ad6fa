# SPDX-License-Identifier: Apache-2.0
"""What one ml of a common volume is in a case, and that augmentation makes true volumes no less equal."""

from __future__ import annotations

import math

import pytest
import torch
from monai.data import MetaTensor

from wss_monai.data import BatchLoader, SliceStore, VolumeBatchSampler
from wss_monai.engines import PrepareTargets
from wss_monai.losses import EqualVolumeLoss, QuadraticPenalty, ReLUPenalty, SmoothAreasLoss, WeightedSumLoss
from wss_monai.transforms import BatchAugment, EqualVolumed

NAMES = ["background", "ring", "core"]


def case(spacing=(2.0, 2.0, 5.0), shape=(20, 20, 4), **also):
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    return {"image": MetaTensor(torch.rand(1, *shape), affine=affine), "case": "p1", **also}


def test_voxels_of_one_ml():
    bounds = EqualVolumed({"core": 0.21}, NAMES)(case())["bounds_equal_volume"]
    assert bounds.shape == (3, 1, 2) and bool(bounds[:2].isinf().all())
    assert bounds[2, 0].tolist() == pytest.approx([50 / 1.1, 50 * 1.1])  # of 20 mm3


def test_none_where_the_class_is_absent_or_at_an_edge():
    tags = torch.tensor([1, 0, 1])
    weak = torch.full((1, 20, 20, 4), 255, dtype=torch.uint8)
    weak[0, 5, 19, 2] = 2
    weak[0, 5, 5, 0] = 1  # the first slice is no edge of the plane
    transform = EqualVolumed({"ring": 0.2, "core": 0.2}, NAMES)
    assert bool(transform(case(tags=tags))["bounds_equal_volume"][1].isinf().all())
    found = transform(case(weak_label=weak))["bounds_equal_volume"]
    assert bool(found[1].isfinite().all()) and bool(found[2].isinf().all())


@pytest.mark.parametrize(
    ("tolerance", "message"),
    [
        ({}, "names no class"),
        ({"heart": 0.1}, "names the class 'heart'"),
        ({"background": 0.1}, "names the class 'background'"),
        ({"core": 0}, "a relative tolerance above 0, got 0"),
        ({"core": "15 %"}, "a relative tolerance above 0"),
    ],
)
def test_refusals(tolerance, message):
    with pytest.raises(ValueError, match=message):
        EqualVolumed(tolerance, NAMES)


def test_a_picture_has_no_volume():
    with pytest.raises(ValueError, match="case 'p1': unit 'ml' does not fit"):
        EqualVolumed({"core": 0.2}, NAMES)({"image": torch.rand(1, 8, 8), "case": "p1"})


def cones() -> list[dict]:
    """Two cases of a patient: a cone of the same ml in voxels of 1 x 1 x 10 and of 1.25 x 1.25 x 8 mm."""
    out = []
    for phase, step, thickness in (("ED", 1.0, 10.0), ("ES", 1.25, 8.0)):
        axes = [
            (torch.arange(n) - (n - 1) / 2) * s for n, s in ((96, step), (96, step), (round(80 / thickness), thickness))
        ]
        x, y, z = torch.meshgrid(*axes, indexing="ij")
        index = (x**2 + y**2 < (18 + z / 8) ** 2).to(torch.uint8) * 2
        image = case((step, step, thickness), tuple(index.shape))["image"]
        rows = torch.tensor([1, 0, 1]).repeat(index.shape[2], 1)
        out.append(
            {"case": f"p_{phase}", "patient": "p", "image": image, "weak_label": index[None], "slice_tags": rows}
        )
    return out


def test_augmentation_makes_true_volumes_no_less_equal_and_true_areas_no_less_smooth():
    """Each case has a draw of its own, with zooms of up to 40 % in volume; 6 % is left of tolerance, for resampling."""
    bounds = EqualVolumed({"core": 0.06}, NAMES)
    limit = torch.tensor([-math.inf, 18.5]).repeat(3, 1, 1)  # 2 pi r dr/dz = 2 pi 23 / 8
    cases = [{**bounds(each), "bounds_smooth": limit} for each in cones()]
    loss = WeightedSumLoss(
        {
            "equal_volume": [EqualVolumeLoss(ReLUPenalty()), 1.0],
            "smooth": [SmoothAreasLoss(QuadraticPenalty()), 1.0],
        }
    )
    augment = BatchAugment(3, rotation=30.0, scaling=0.2, translation=0.02, affine_probability=1.0)
    loader = BatchLoader(SliceStore(cases), volume_sampler=VolumeBatchSampler(pairs="patient"))
    prepare = PrepareTargets(loss, augment, also=["weak_label"])
    compared, sizes = 0, []
    for epoch in range(1, 13):
        loader.set_epoch(epoch)
        for batch in loader:
            _, targets = prepare(batch, "cpu")
            label = targets["weak_label"]
            logits = 20 * torch.cat([label == k for k in range(3)], 1).float()
            logits[:, 0] += 10  # also where nothing is known
            loss(logits, targets)
            assert loss.violations["equal_volume"] == 0, epoch
            assert loss.violations["smooth"] < 0.05, epoch
            compared += int(targets["bounds_equal_volume"][:, 2].isfinite().all())
            sizes.append([int((label[targets["volume"] == v] == 2).sum()) for v in (0, 1)])
    assert compared >= 8
    voxels = torch.tensor(sizes).float()
    assert float((voxels[:, 0] / voxels[:, 1]).log().std()) > 0.15  # in voxels they do differ
