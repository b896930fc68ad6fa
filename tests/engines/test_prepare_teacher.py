# SPDX-License-Identifier: Apache-2.0
"""What a teacher says of a batch, when it is asked, and what its share is drawn from."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from wss_monai.engines import PrepareTeacher
from wss_monai.losses import MixedLabelLoss, PartialCrossEntropyLoss, WeightedSumLoss
from wss_monai.transforms import BatchAugment


class Fixed(nn.Module):
    """A network whose logits are the image and its negative."""

    calls = 0

    def forward(self, image):
        self.calls += 1
        return torch.cat((image, -image), 1)


def batch(draw: int = 1):
    image = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return {
        "image": image,
        "weak_label": torch.full((2, 1, 4, 4), 255, dtype=torch.uint8),
        "slice_tags": torch.tensor([[-1, 1], [-1, 0]]),
        "spacing": torch.ones(2, 2),
        "draw": torch.tensor(draw),
    }


def loss_of(weight: float = 0.5):
    return WeightedSumLoss({"partial": (PartialCrossEntropyLoss(), 1.0), "pseudo": (MixedLabelLoss(), weight)})


def test_the_teacher_sees_what_the_network_sees():
    teacher = Fixed()
    prepare = PrepareTeacher(loss_of(), teacher, BatchAugment(2))
    image, targets = prepare(batch())
    assert torch.equal(targets["teacher"], torch.cat((image, -image), 1).softmax(1))
    assert torch.equal(targets["slice_tags"], torch.tensor([[-1, 1], [-1, 0]])) and "class_shift" not in targets
    assert not torch.equal(image, batch()["image"])


def test_the_share_is_a_function_of_the_draw_alone():
    prepare = PrepareTeacher(loss_of(), Fixed())
    shares = [float(prepare(batch(draw))[1]["student_share"]) for draw in (1, 2, 1)]
    assert shares[0] == shares[2] != shares[1]
    drawn = torch.tensor([float(prepare(batch(draw))[1]["student_share"]) for draw in range(400)])
    assert 0 <= float(drawn.min()) < 0.02 and 0.98 < float(drawn.max()) < 1
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.05)


def test_the_teacher_is_not_asked_while_nobody_learns_from_it():
    teacher = Fixed()
    prepare = PrepareTeacher(loss_of(0.0), teacher)
    assert prepare(batch())[1]["teacher"].numel() == 0 and teacher.calls == 0
    prepare.loss.weights["pseudo"] = 0.1
    assert prepare(batch())[1]["teacher"].shape == (2, 2, 4, 4) and teacher.calls == 1


def test_the_shift_travels_along():
    holder = SimpleNamespace(shift=torch.tensor([0.0, 1.5]))
    prepare = PrepareTeacher(loss_of(), Fixed(), set_size=holder)
    assert prepare(batch())[1]["class_shift"].tolist() == [0.0, 1.5]


def test_without_a_term_that_reads_it_nothing_is_added_and_a_term_needs_a_network():
    partial = WeightedSumLoss({"partial": (PartialCrossEntropyLoss(), 1.0)})
    assert set(PrepareTeacher(partial, None)(batch())[1]) == {"weak_label"}
    with pytest.raises(ValueError, match=r"the terms \['pseudo'\] read the teacher's prediction"):
        PrepareTeacher(loss_of(), None)


def test_of_two_decoders_no_network_is_asked_and_the_share_is_the_same():
    holder = SimpleNamespace(shift=torch.tensor([0.0, 1.5]))
    _, targets = PrepareTeacher(loss_of(), None, set_size=holder, decoders=True)(batch())
    assert targets["teacher"].numel() == 0 and targets["class_shift"].tolist() == [0.0, 1.5]
    assert torch.equal(targets["student_share"], PrepareTeacher(loss_of(), Fixed())(batch())[1]["student_share"])
