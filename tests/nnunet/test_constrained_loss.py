# SPDX-License-Identifier: Apache-2.0
"""Terms beside a loss with the signature of nnU-Net's, without nnU-Net."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from wss_monai.nnunet import ConstrainedLoss, Constraints
from wss_monai.nnunet.constrained_loss import whole_classes

INF = math.inf
NAMES = ["background", "LV"]
IGNORE = 2


class Base(nn.Module):
    """Stands for nnU-Net's deep supervision: counts the outputs it got."""

    def forward(self, output, target):
        self.outputs = len(output) if isinstance(output, list) else 1
        return torch.tensor(10.0)


def loss_of(spacing=(2.0, 2.0), whole=True, **given):
    return ConstrainedLoss(Base(), Constraints(**given), NAMES, spacing, IGNORE, whole)


def target(size=20):
    """A class drawn in the middle; the rest has the ignore label."""
    index = torch.full((1, 1, size, size), float(IGNORE))
    index[..., 9:11, 9:11] = 1
    return index


def logits(voxels, size=20):
    """So many voxels are surely of the class, the others surely not."""
    out = torch.zeros(1, 2, size * size)
    out[:, 1] = -50
    out[:, 1, :voxels] = 50
    return out.reshape(1, 2, size, size)


@pytest.mark.parametrize(("voxels", "violated"), [(10, 15 / 25), (50, 0.0), (150, 50 / 100)])
def test_bounds_in_mm2_act_on_the_output_at_full_resolution(voxels, violated):
    """Bounds of 100 and 400 mm2 are 25 and 100 voxels of 4 mm2; 5 % of the domain is less than either."""
    loss = loss_of(size_bounds={"LV": [100, 400]}, penalty="quadratic", size_weight=2.0)
    half = torch.zeros(1, 2, 10, 10)
    value = loss([logits(voxels), half], [target(), target(10)])
    assert loss.base.outputs == 2
    expected = violated**2 / 2  # two sides, of which one is violated
    assert float(value) == pytest.approx(10 + 2 * expected, abs=1e-5)
    assert float(loss(logits(voxels), target())) == pytest.approx(float(value))
    assert float(loss.terms.violations["size"]) == pytest.approx(violated / 2, abs=1e-5)


def test_each_training_case_has_multipliers():
    """z of 150 voxels of at most 100 is 0.5. A rate of 0.2 makes the multiplier 0.1 in the case that was seen."""
    settings = {"primal_dual": {"rate": 0.2, "damping": 0.0}}
    loss = loss_of(size_bounds={"LV": [None, 400]}, enforcer="primal_dual", enforcers=settings, size_weight=1.0)
    loss.cases, loss.sample = 3, torch.tensor([1])
    penalty = loss.terms.terms["size"].penalty
    assert float(loss(logits(150), target())) == pytest.approx(10.0)  # all multipliers are 0
    penalty.update()
    assert penalty.rows["multiplier"][:, 1, 0, 1].tolist() == pytest.approx([0, 0.1])
    assert float(loss(logits(150), target())) == pytest.approx(10 + 0.1 * 0.5)
    loss.sample = torch.tensor([0])
    assert float(loss(logits(150), target())) == pytest.approx(10.0)
    loss.sample = None  # validation: no training case
    with torch.no_grad():
        assert float(loss(logits(150), target())) == pytest.approx(10.0)


def test_the_set_has_multipliers_without_cases():
    settings = {"primal_dual": {"rate": 0.2, "damping": 0.0, "per": "set", "tolerance": 0.1}}
    loss = loss_of(size_bounds={"LV": [None, 400]}, enforcer="primal_dual", enforcers=settings, size_weight=1.0)
    loss(logits(150), target())
    loss.terms.terms["size"].penalty.update()
    assert loss.terms.terms["size"].penalty.rows["multiplier"][0, 1, 0, 1].tolist() == pytest.approx(0.2 * (0.5 - 0.1))


def test_the_lower_side_needs_a_drawing_and_a_whole_image():
    given = {"size_bounds": {"LV": [100, 400]}}
    nothing = torch.full((1, 1, 20, 20), float(IGNORE))
    edge = nothing.clone()
    edge[..., 1, 10] = 1
    for loss, index, lower in (
        (loss_of(**given), target(), 25),
        (loss_of(**given), nothing, -INF),
        (loss_of(**given), edge, -INF),
        (loss_of(**given, whole=False), target(), -INF),
    ):
        targets = loss.targets(logits(1), index)
        assert targets["bounds_size"][0, :, 0].tolist() == [[-INF, INF], [lower, 100]]
    assert targets["weak_label"].unique().tolist() == [1, 255]


def test_outside_of_the_image_is_not_labelled():
    index = target()
    index[..., 0, :] = -1
    assert int((loss_of(pseudo_weight=1.0).targets(logits(1), index)["weak_label"] == 255).sum()) == 396


def test_bounds_are_widened_by_what_augmentation_does():
    loss = loss_of(size_bounds={"LV": [100, 400]})
    loss.widen(0.5, 2.0)
    assert loss.bounds() == {"LV": [50, 800]}
    assert loss.targets(logits(1), target())["bounds_size"][0, 1, 0].tolist() == [12.5, 200]
    loss = loss_of(size_bounds={"LV": [None, 400]})
    loss.widen(0.5, 2.0)
    assert loss.bounds() == {"LV": [None, 800]}


def test_volumes_are_bounded_in_ml():
    loss = loss_of((10.0, 10.0, 10.0), volume_bounds={"LV": [2, 8]}, size_bounds={"LV": [1, 2]})
    index = torch.full((1, 1, 10, 10, 10), float(IGNORE))
    index[..., 5, 5, 5] = 1
    assert loss.targets(torch.zeros(1, 2, 10, 10, 10), index)["bounds_size"][0, 1, 0].tolist() == [2, 8]


def test_pseudo_labels_need_the_teacher_and_take_the_shift():
    loss = loss_of(pseudo_weight=1.0)
    student = logits(100)
    assert float(loss(student, target())) == 10.0
    drawn_in = torch.full_like(target(), IGNORE)
    drawn_in[..., :5, :] = 1  # the piece that is predicted is drawn in
    loss.teacher = student.softmax(1)
    assert float(loss(student, drawn_in)) == pytest.approx(10.0, abs=0.01)
    loss.shift = torch.tensor([0.0, -200.0])  # nothing but the drawn voxels is of the class
    drawn_in[..., :5, :] = float(IGNORE)
    drawn_in[..., 0, 0] = 1
    assert float(loss(student, drawn_in)) > 12


def test_without_terms_it_is_nnunets_loss():
    assert float(loss_of(volume_bounds={"LV": [1, 2]})(logits(3), target())) == 10.0


def test_bounds_without_room_are_refused():
    with pytest.raises(ValueError, match="'LV' leave no room"):
        loss_of(size_bounds={"LV": [4, 4]})


def test_whole_classes_stay_away_from_the_faces():
    index = torch.full((4, 1, 20, 10), 255)
    index[0, 0, 8:12, 4:6] = 1  # in the middle
    index[1, 0, 8:12, 1] = 1  # nearer than a fifth of the axis
    index[2, 0, 5:15, 4:6] = 1  # half of it is 5, and 5 are left
    index[3, 0, 5:16, 4:6] = 1  # half of it is more than what is left
    assert whole_classes(index, 3).tolist() == [
        [False, True, False],
        [False, False, False],
        [False, True, False],
        [False, False, False],
    ]
