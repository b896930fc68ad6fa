# SPDX-License-Identifier: Apache-2.0
"""Agreement with a teacher where it is certain: by hand, its threshold, and the teacher's passes with noise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from wss_monai.engines import PrepareTeacher
from wss_monai.losses import PartialCrossEntropyLoss, UncertainTeacherLoss, WeightedSumLoss


def voxels(*first):
    """Probabilities (1, 2, n, 1) of two classes by that of the first."""
    one = torch.tensor(first)[None, :, None]
    return torch.stack((one, 1 - one), 1)


def test_by_hand():
    # entropies .325, .693 and .199 nats: at the first threshold, .75 log 2 = .520, the second voxel is not certain
    average, teacher = voxels(0.9, 0.5, 0.95), voxels(0.8, 0.1, 1.0)
    logits = voxels(0.5, 0.5, 0.5).log()
    loss = UncertainTeacherLoss()
    loss.set_share(0.0)
    expected = (2 * 0.3**2 + 2 * 0.5**2) / (2 * 2)
    assert loss(logits, teacher, average).item() == pytest.approx(expected, abs=1e-6)
    assert loss.logged["certain_share"].item() == pytest.approx(2 / 3)
    loss.set_share(1.0)
    assert loss.threshold == pytest.approx(math.log(2))
    assert UncertainTeacherLoss(0.0, 0.0)(logits, teacher, average).item() == 0  # nobody is certain


def test_no_gradient_into_the_teacher_and_nothing_without_one():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    teacher = torch.softmax(torch.randn(2, 3, 4, 4), 1).requires_grad_()
    UncertainTeacherLoss(9, 9)(logits, teacher, teacher).backward()
    assert teacher.grad is None and bool((logits.grad != 0).any())
    assert UncertainTeacherLoss()(logits, torch.zeros(0), torch.zeros(0)).item() == 0
    with pytest.raises(ValueError, match="at least 0"):
        UncertainTeacherLoss(-1)


class Seen(nn.Module):
    """Logits that tell the image: class 0 where it is bright."""

    def __init__(self):
        super().__init__()
        self.images = []

    def forward(self, image):
        self.images.append(image)
        return torch.cat((image, -image), 1)


def prepared(weight=1.0, shape=(4, 4), draw=3, **settings):
    loss = WeightedSumLoss({"partial": (PartialCrossEntropyLoss(), 1.0), "teacher": (UncertainTeacherLoss(), weight)})
    teacher = Seen()
    image = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0))
    batch = {"image": image, "spacing": torch.ones(2, 2), "draw": torch.tensor(draw)}
    batch["weak_label"] = torch.full((2, 1, *shape), 255, dtype=torch.uint8)
    return teacher, image, PrepareTeacher(loss, teacher, **{"passes": 3, "noise": 0.01, **settings})(batch)[1]


@pytest.mark.parametrize("shape", [(4, 4), (3, 5)])
def test_the_teacher_sees_turned_noisy_images_and_is_turned_back(shape):
    turned = set()
    for draw in range(12):
        teacher, image, targets = prepared(shape=shape, draw=draw)
        plain = torch.softmax(torch.cat((image, -image), 1), 1)
        assert len(teacher.images) == 4
        turned |= {k for k in range(4) if torch.rot90(image, k, (-2, -1)).shape == teacher.images[0].shape
                   and torch.allclose(torch.rot90(image, k, (-2, -1)), teacher.images[0], atol=0.021)}  # fmt: skip
        for key in ("teacher", "teacher_average"):
            assert torch.allclose(targets[key], plain, atol=0.02) and not torch.equal(targets[key], plain)
        assert not torch.equal(teacher.images[0], teacher.images[1])
    assert turned == ({0, 1, 2, 3} if shape[0] == shape[1] else {0, 2})


def test_passes_are_a_function_of_the_draw_and_asked_for_only_with_a_weight():
    first, again, other = (prepared(draw=draw)[2]["teacher_average"] for draw in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    teacher, _, targets = prepared(weight=0.0)
    assert not teacher.images and targets["teacher"].numel() == targets["teacher_average"].numel() == 0
    with pytest.raises(ValueError, match="passes must be at least 1, got 0"):
        prepared(passes=0)
