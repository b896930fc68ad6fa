# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from wss_monai.engines import PrepareTargets
from wss_monai.functional.descriptors import Centroid, Size, Spread
from wss_monai.losses import (
    ConstraintLoss,
    ConstrainToBoundaryLoss,
    PartialCrossEntropyLoss,
    PartialDiceCELoss,
    QuadraticPenalty,
    WeightedSumLoss,
)
from wss_monai.transforms import BatchAugment

INF = math.inf
QUIET = {"rotation": 0.0, "scaling": 0.0, "translation": 0.0, "intensity_probability": 0.0}


def loss_of(**descriptors):
    terms = {name: [ConstraintLoss(d, QuadraticPenalty()), 1.0] for name, d in descriptors.items()}
    return WeightedSumLoss({"partial": [PartialCrossEntropyLoss(), 1.0], **terms})


def batch(shape=(8, 8), count=6):
    """Squares of class 1 in one corner, with bounds of size and centroid that are exact."""
    weak = torch.full((count, 1, *shape), 255, dtype=torch.uint8)
    weak[:, :, 2:4, 2:5] = 1
    size = torch.tensor([-INF, INF]).repeat(count, 2, 1, 1)
    size[:, 1, 0] = torch.tensor([5.5, 6.5])
    centroid = torch.tensor([-INF, INF]).repeat(count, 2, 2, 1)
    centroid[:, 1, 0], centroid[:, 1, 1] = torch.tensor([2.4, 2.6]), torch.tensor([2.9, 3.1])
    return {
        "image": (weak == 1).float(),
        "weak_label": weak,
        "label": (weak == 1).to(torch.uint8),
        "spacing": torch.tensor([1.0, 1.0]).repeat(count, 1),
        "bounds_size": size,
        "bounds_centroid": centroid,
        "draw": torch.tensor(11),
        "volume": torch.zeros(count, dtype=torch.long),
    }


def test_targets_are_those_that_the_loss_wants():
    image, target = PrepareTargets(loss_of(size=Size()))(batch())
    assert set(target) == {"weak_label", "bounds_size", "spacing"}
    assert torch.equal(image, batch()["image"])
    dense = WeightedSumLoss({"dense": [PartialDiceCELoss(target_key="label"), 1.0]})
    assert set(PrepareTargets(dense)(batch())[1]) == {"label"}
    assert set(PrepareTargets(loss_of())(batch())[1]) == {"weak_label"}


def test_a_dense_label_never_reaches_a_weak_loss():
    augment = BatchAugment(num_classes=2)
    for prepare in (PrepareTargets(loss_of(size=Size())), PrepareTargets(loss_of(size=Size()), augment)):
        assert "label" not in prepare(batch())[1]


def test_bounds_move_with_the_batch():
    prepare = PrepareTargets(loss_of(size=Size(), centroid=Centroid()), BatchAugment(num_classes=2, **QUIET))
    image, target = prepare(batch())
    assert not torch.equal(image, batch()["image"])
    one_hot = torch.cat((1 - image, image), 1)
    for name, descriptor in (("size", Size()), ("centroid", Centroid())):
        measure, bounds = descriptor(one_hot)[:, 1], target[f"bounds_{name}"][:, 1]
        assert bounds.isfinite().all()
        assert (measure > bounds[..., 0]).all() and (measure < bounds[..., 1]).all()
    assert torch.equal(target["weak_label"] == 1, image > 0.5)


def test_spacing_turns_with_quarter_turns():
    content = batch()
    content["spacing"] = torch.tensor([1.0, 3.0]).repeat(6, 1)
    content["bounds_spread"] = torch.tensor([1.0, 2.0]).repeat(6, 2, 1, 1)
    prepare = PrepareTargets(loss_of(spread=Spread()), BatchAugment(num_classes=2, **QUIET))
    _, target = prepare(content)
    turned = target["spacing"][:, 0] == 3
    assert turned.any() and not turned.all()
    torch.testing.assert_close(target["bounds_spread"], content["bounds_spread"])  # in mm: turning changes nothing


def test_draw_alone_decides():
    prepare = PrepareTargets(loss_of(size=Size()), BatchAugment(num_classes=2))
    images = [prepare({**batch(), "draw": torch.tensor(seed)})[0] for seed in (1, 1, 2)]
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])


def test_members_of_a_group_are_moved_alike():
    prepare = PrepareTargets(loss_of(size=Size()), BatchAugment(num_classes=2, **QUIET))
    image, _ = prepare({**batch(), "group": torch.tensor([0, 0, 0, 1, 1, 1])})
    assert torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])
    assert torch.equal(image[3], image[5])


def test_the_batch_itself_is_left_alone():
    content = batch()
    PrepareTargets(loss_of(size=Size()), BatchAugment(num_classes=2))(content)
    for key, value in batch().items():
        assert torch.equal(content[key], value), key


def test_channels_last():
    content = {**batch(), "image": torch.rand(6, 3, 8, 8)}
    image, _ = PrepareTargets(loss_of(), channels_last=True)(content)
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(image, content["image"])


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_arguments_of_the_trainer_reach_the_image_alone(kind):
    image, target = PrepareTargets(loss_of(size=Size()))(batch(), torch.device("cpu"), False, dtype=kind)
    assert image.dtype == kind
    assert (target["weak_label"].dtype, target["bounds_size"].dtype) == (torch.uint8, torch.float32)


def test_the_image_may_be_a_target_too():
    loss = WeightedSumLoss({"boundary": (ConstrainToBoundaryLoss(), 1.0)})
    image, target = PrepareTargets(loss, BatchAugment(num_classes=2))(batch())
    assert set(target) <= {"image", "spacing"}
    assert torch.equal(target["image"], image) and not torch.equal(image, batch()["image"])


class Calls(TorchDispatchMode):
    """Counts the operators of torch that are called, views included."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("settings", [{}, {"flips": [], "turns": None}], ids=["all", "acdc_logbarrier"])
@pytest.mark.parametrize("shape", [(32, 32), (16, 16, 8)], ids=["2d", "3d"])
def test_a_batch_takes_few_operators(settings, shape):
    """On a GPU each is a call of the driver; 315 to 373 of them took 2.9 ms."""
    prepare = PrepareTargets(loss_of(size=Size()), BatchAugment(num_classes=2, **settings))
    found = []
    for draw in range(10):
        content = batch(shape, 8) | {"draw": torch.tensor(draw), "spacing": torch.ones(8, len(shape))}
        with Calls() as calls:
            prepare(content, "cpu")
        found.append(len(calls.names))
    assert 30 < min(found) <= max(found) <= 90, calls.names
