# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels on hand-made probabilities: rows of pixels whose classes and sizes one can count."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from wss_monai.engines import PreparePseudoLabels, refused_by_bounds
from wss_monai.functional.box_descriptors import BoxStrips
from wss_monai.functional.descriptors import Centroid, Size
from wss_monai.losses import (
    ConstraintLoss,
    PartialCrossEntropyLoss,
    PartialDiceCELoss,
    QuadraticPenalty,
    WeightedSumLoss,
)

INF = math.inf


def row_of(*classes: int, second: dict[int, tuple[int, float]] | None = None):
    """Probabilities (1, 3, 1, N): .95 for each pixel's class; ``second``: pixel -> its runner-up and how likely."""
    probs = torch.full((len(classes), 3), 0.025)
    for pixel, k in enumerate(classes):
        probs[pixel, k] = 0.95
    for pixel, (other, value) in (second or {}).items():
        probs[pixel] = 0
        probs[pixel, other], probs[pixel, classes[pixel]] = value, 1 - value
    return probs.T[None, :, None, :]


def bounds_of(*pairs: tuple[float, float]):
    return torch.tensor(pairs).view(1, len(pairs), 1, 2)


FREE = (-INF, INF)


def pixels(mask):
    return mask[0, 0, 0].nonzero()[:, 0].tolist()


@pytest.mark.parametrize(
    ("upper", "tolerance", "refused"),
    [(3, 0.0, []), (2, 0.0, [1, 2, 3]), (2, 0.5, []), (0, 0.5, [1, 2, 3]), (INF, 0.0, [])],
)
def test_a_class_that_is_too_large_or_absent_loses_all_its_pixels(upper, tolerance, refused):
    probs = row_of(0, 1, 1, 1, 2, 0)
    bounds = bounds_of(FREE, (-INF, upper), FREE)
    assert pixels(refused_by_bounds(probs, bounds, Size(), tolerance=tolerance)) == refused


@pytest.mark.parametrize(("too_small", "refused"), [("rivals", [2, 4]), ("own", [1]), ("sample", [0, 1, 2, 3, 4, 5])])
def test_a_class_that_is_too_small(too_small, refused):
    # class 1 holds pixel 1 and is the runner-up at 4 and, less so, at 2: with 3 pixels it would have these
    probs = row_of(0, 1, 2, 0, 0, 0, second={2: (1, 0.3), 4: (1, 0.4)})
    bounds = bounds_of(FREE, (3, INF), FREE)
    assert pixels(refused_by_bounds(probs, bounds, Size(), tolerance=0.0, too_small=too_small)) == refused


def test_a_lower_bound_that_holds_within_the_tolerance_refuses_nothing():
    probs = row_of(0, 1, 1, 1)
    bounds = bounds_of(FREE, (3.3, INF), FREE)
    assert pixels(refused_by_bounds(probs, bounds, Size(), tolerance=0.1)) == []
    assert pixels(refused_by_bounds(probs, bounds, Size(), tolerance=0.05)) == [0]


def test_a_lower_bound_beyond_the_image_refuses_all_rivals():
    probs = row_of(0, 1, 2)
    assert pixels(refused_by_bounds(probs, bounds_of(FREE, (50, INF), FREE), Size())) == [0, 2]


def test_samples_and_volumes_are_judged_one_by_one():
    probs = torch.cat((row_of(0, 1, 1, 1), row_of(0, 1, 1, 0)))[..., None]  # (2, 3, 1, 4, 1): 3D
    bounds = bounds_of(FREE, (-INF, 2), FREE).expand(2, -1, -1, -1)
    refused = refused_by_bounds(probs, bounds, Size(), tolerance=0.0)
    assert refused.shape == (2, 1, 1, 4, 1)
    assert refused.flatten(1).tolist() == [[False, True, True, True], [False] * 4]


def test_a_class_in_the_wrong_place_loses_its_pixels_and_an_empty_one_has_none():
    probs = row_of(0, 0, 0, 1, 1)
    bounds = torch.full((1, 3, 2, 2), INF) * torch.tensor([-1, 1])
    bounds[0, 1, 1] = torch.tensor([0.0, 1.0])
    bounds[0, 2, 1] = torch.tensor([2.0, 4.0])
    assert pixels(refused_by_bounds(probs, bounds, Centroid(), tolerance=0.1)) == [3, 4]


class Fixed(nn.Module):
    """A network whose logits are the logarithm of its input's channels."""

    calls = 0

    def forward(self, image):
        self.calls += 1
        return image.clamp(min=1e-6).log()


def setup(weight=0.5, constrained=True, **settings):
    terms = {
        "partial": (PartialCrossEntropyLoss(), 1.0),
        "pseudo": (PartialDiceCELoss(target_key="pseudo_label"), weight),
    }
    if constrained:
        terms["size"] = (ConstraintLoss(Size(), QuadraticPenalty()), 0.1)
    loss = WeightedSumLoss(terms)
    network = Fixed()
    return loss, network, PreparePseudoLabels(loss, network, **settings)


def batch(probs, weak, bounds):
    spacing = torch.ones(len(probs), 2)
    return {"image": probs, "weak_label": torch.tensor([[[weak]]]).byte(), "bounds_size": bounds, "spacing": spacing}


def test_sure_voxels_without_a_weak_label_and_within_the_bounds_are_taught():
    probs = row_of(0, 1, 1, 2, 2, 0, second={5: (1, 0.4)})
    loss, _, prepare = setup(threshold=0.9, tolerance=0.0)
    weak = [255, 2, 255, 255, 255, 255]
    image, targets = prepare(batch(probs, weak, bounds_of(FREE, (1, 2), (-INF, 0))))
    # pixel 1 has a weak label, 3 and 4 are of an absent class, 5 is not sure
    assert targets["pseudo_label"].flatten().tolist() == [0, 255, 1, 255, 255, 255]
    assert targets["pseudo_label"].dtype == torch.uint8
    assert {name: float(v) for name, v in prepare.logged.items()} == pytest.approx(
        {"pseudo_share": 2 / 6, "pseudo_refused": 2 / 6}
    )
    assert float(loss(image, targets)) > 0 and float(loss.parts["pseudo"]) > 0


def test_bounds_are_not_asked_where_there_is_no_constraint_or_on_demand():
    probs, weak, bounds = row_of(0, 1, 1), [255] * 3, bounds_of(FREE, (-INF, 0), FREE)
    for settings in ({"constrained": False}, {"filter_by_bounds": False}):
        _, _, prepare = setup(**settings)
        assert prepare(batch(probs, weak, bounds))[1]["pseudo_label"].flatten().tolist() == [0, 1, 1]


def test_before_the_ramp_nothing_is_predicted_and_the_term_costs_nothing():
    loss, network, prepare = setup(weight=0.0)
    image, targets = prepare(batch(row_of(0, 1), [255, 255], bounds_of(FREE, FREE, FREE)))
    assert network.calls == 0
    assert targets["pseudo_label"].flatten().tolist() == [255, 255]
    logits = image.clone().requires_grad_()
    loss.weights["pseudo"] = 1.0
    loss(logits, targets).backward()
    assert float(loss.parts["pseudo"]) == 0 and float(logits.grad.abs().sum()) == 0
    prepare(batch(row_of(0, 1), [255, 255], bounds_of(FREE, FREE, FREE)))
    assert network.calls == 1  # as soon as the weight is there


def test_without_a_term_that_reads_them_nothing_is_added():
    loss = WeightedSumLoss({"partial": (PartialCrossEntropyLoss(), 1.0)})
    network = Fixed()
    prepare = PreparePseudoLabels(loss, network)
    assert set(prepare(batch(row_of(0, 1), [0, 255], bounds_of(FREE, FREE, FREE)))[1]) == {"weak_label"}
    assert network.calls == 0 and prepare.logged == {}


def test_mirror_averages_the_prediction_of_the_image_and_of_its_mirror_image():
    class Shifted(Fixed):
        def forward(self, image):
            return super().forward(
                image + 0.3 * torch.eye(3)[1].view(1, 3, 1, 1) * (torch.arange(2) == 0).view(1, 1, 2, 1)
            )

    image = torch.tensor([[0.6, 0.6], [0.4, 0.4], [0.0, 0.0]])[None, :, :, None]  # (1, 3, 2, 1)
    loss, _, _ = setup(constrained=False)
    one, both = (PreparePseudoLabels(loss, Shifted(), threshold=0.0, mirror=m) for m in (False, True))
    targets = {"weak_label": torch.full((1, 1, 2, 1), 255)}
    assert one.labels(image, targets).flatten().tolist() == [1, 0]
    # each pixel sees class 1 once at .7 / 1.3 and once at .4: the mean of both, .469, is below that of class 0, .531
    assert both.labels(image, targets).flatten().tolist() == [0, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 1.2}, "threshold must be between 0 and 1"),
        ({"tolerance": -1.0}, "tolerance must be 0 or more"),
        ({"too_small": "rival"}, r"too_small must be one of \['rivals', 'sample', 'own'\]"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        setup(**settings)


def prepare_for(constraint):
    """Pseudo-labels under one constraint, by the name "of_boxes"."""
    terms = {
        "pseudo": (PartialDiceCELoss(target_key="pseudo_label"), 0.5),
        "of_boxes": (constraint, 0.1),
    }
    return PreparePseudoLabels(WeightedSumLoss(terms), Fixed(), tolerance=0.0)


def boxed(probs, boxes, bounds):
    """A batch without weak labels whose boxes (K, N) lie under "boxes"."""
    given = torch.tensor(boxes).byte()[None, :, None, :]
    return {"image": probs, "boxes": given, "bounds_of_boxes": bounds, "spacing": torch.ones(1, 2)}


@pytest.mark.parametrize(
    ("box", "taught"),
    [([1, 1, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0]), ([0, 0, 1, 1, 0, 0], [0, 255, 255, 255, 0, 0])],
    ids=["one pixel inside", "two pixels inside"],
)
def test_a_size_is_measured_in_the_region_that_the_constraint_reads(box, taught):
    # class 1 has three pixels in the image, and at most one is allowed in the boxes
    prepare = prepare_for(ConstraintLoss(Size(), QuadraticPenalty(), region_key="boxes"))
    given = boxed(row_of(0, 1, 1, 1, 0, 0), [[0] * 6, box, [0] * 6], bounds_of(FREE, (-INF, 1), FREE))
    assert prepare(given)[1]["pseudo_label"].flatten().tolist() == taught


def test_strips_are_measured_in_the_boxes_that_the_constraint_reads():
    # each column of the box of class 2 needs a pixel of it, and one has none: its pixels are not believed
    prepare = prepare_for(ConstraintLoss(BoxStrips(1), QuadraticPenalty(), region_key="boxes"))
    boxes = [[0] * 6, [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1]]
    given = boxed(row_of(0, 1, 1, 0, 2, 0), boxes, bounds_of(FREE, (1, INF), (1, INF)))
    assert prepare(given)[1]["pseudo_label"].flatten().tolist() == [0, 1, 1, 0, 255, 0]


def test_a_region_of_the_terms_own_name_is_read_too():
    prepare = prepare_for(ConstraintLoss(Size(), QuadraticPenalty()))
    given = boxed(row_of(0, 1, 1, 0), [[1, 1, 0, 0]], bounds_of(FREE, (-INF, 1), FREE))
    given["region_of_boxes"] = given.pop("boxes")
    assert prepare(given)[1]["pseudo_label"].flatten().tolist() == [0, 1, 1, 0]


def test_only_pixels_of_the_region_can_make_a_class_large_enough_in_it():
    # pixel 0 is the likeliest rival, but outside of the region; 3 is the likeliest inside
    probs = row_of(0, 1, 0, 0, 0, second={0: (1, 0.4), 2: (1, 0.1), 3: (1, 0.3)})
    region = torch.tensor([[[[0, 1, 1, 1, 255]]]])
    bounds = bounds_of(FREE, (2, INF), FREE)
    assert pixels(refused_by_bounds(probs, bounds, Size(), tolerance=0.0)) == [0]
    assert pixels(refused_by_bounds(probs, bounds, Size(), tolerance=0.0, region=region)) == [3]
    nowhere = torch.zeros_like(region)
    assert pixels(refused_by_bounds(probs, bounds, Size(), tolerance=0.0, region=nowhere)) == []
