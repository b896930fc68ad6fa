# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels of student and teacher, corrected by every kind of drawing, on rows of pixels."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.functional import UNLABELLED
from wss_monai.losses import MixedLabelLoss, PartialCrossEntropyLoss, PartialDiceCELoss, WeightedSumLoss

U = UNLABELLED


def soft(*classes: int, sure: float = 0.9, count: int = 3):
    """Probabilities (1, K, 1, N) of pixels that are sure of these classes."""
    rest = (1 - sure) / (count - 1)
    return torch.tensor([[sure if k == c else rest for c in classes] for k in range(count)])[None, :, None]


def row(*values: int):
    return torch.tensor(values, dtype=torch.uint8)[None, None, None]


def labels_of(student, teacher, drawn, share=0.5, pieces="any", **known):
    return MixedLabelLoss(pieces=pieces).labels(student, teacher, share, drawn, **known).flatten().tolist()


NOTHING = row(U, U, U, U)
STUDENT, TEACHER = soft(0, 1, 1, 2), soft(0, 2, 1, 0)


@pytest.mark.parametrize(("share", "expected"), [(1.0, [0, 1, 1, 2]), (0.0, [0, 2, 1, 0]), (0.9, [0, 1, 1, 2])])
def test_unlabelled_slices_learn_what_the_mixture_says(share, expected):
    assert labels_of(STUDENT, TEACHER, NOTHING, share) == expected


def test_drawn_pixels_are_as_drawn():
    # background on one pixel of what both call class 1, and class 1 on what both call 2
    assert labels_of(STUDENT, STUDENT, row(U, U, 0, 1), pieces="all") == [0, 1, 0, 1]


def test_scribbles_rule_out_pieces_without_a_stroke():
    both = soft(1, 0, 1, 1)
    assert labels_of(both, both, row(U, U, 1, U)) == [0, 0, 1, 1]
    assert labels_of(both, both, row(U, U, 1, U), pieces="all") == [1, 0, 1, 1]
    # class 2 is drawn nowhere, class 1 is: only what is drawn is known not to be elsewhere
    other = soft(2, 0, 1, 1)
    assert labels_of(other, other, row(U, U, 1, U)) == [2, 0, 1, 1]


def test_tags_rule_out_classes_that_are_absent_and_not_those_that_are_unknown():
    both = soft(1, 1, 2, 2, sure=0.6)  # of class 1 and 2 the runner-up is background: .2 each, the lower index
    assert labels_of(both, both, NOTHING, tags=torch.tensor([[-1, 0, -1]])) == [0, 0, 2, 2]
    assert labels_of(both, both, NOTHING, tags=torch.tensor([[1, 1, 0]])) == [1, 1, 0, 0]


def test_boxes_keep_classes_inside_and_touch_their_pieces():
    both = soft(1, 1, 0, 1, sure=0.6)
    boxes = torch.zeros(1, 3, 1, 4, dtype=torch.uint8)
    boxes[0, 1, 0, :2] = 1
    assert labels_of(both, both, NOTHING, boxes=boxes) == [1, 1, 0, 0]
    # a stroke of class 2 elsewhere: the piece in the box is touched by the box
    assert labels_of(both, both, row(U, U, U, 2), boxes=boxes) == [1, 1, 0, 2]


def test_a_dense_slice_is_its_own_label():
    assert labels_of(STUDENT, TEACHER, row(2, 2, 0, 1)) == [2, 2, 0, 1]


def test_a_shift_makes_a_class_larger():
    both = soft(0, 0, 1, 2, sure=0.6)
    shift = torch.tensor([0.0, math.log(4), 0.0])  # .2 becomes .8 > .6
    assert labels_of(both, both, NOTHING, shift=shift) == [1, 1, 1, 1]


def test_volumes_and_mixed_labels_sample_by_sample():
    both = torch.cat((soft(1, 0, 1, 1), soft(1, 0, 1, 1)))[..., None]  # (2, 3, 1, 4, 1)
    drawn = torch.cat((row(U, U, 1, U), NOTHING))[..., None]
    found = MixedLabelLoss().labels(both, both, 0.5, drawn)
    assert found.shape == (2, 1, 1, 4, 1) and found.dtype == torch.uint8
    assert found.flatten(1).tolist() == [[0, 0, 1, 1], [1, 0, 1, 1]]


def test_the_cost_is_that_of_the_inner_loss_and_labels_get_no_gradient():
    logits = STUDENT.log().requires_grad_()
    for inner in (PartialCrossEntropyLoss(), PartialDiceCELoss()):
        loss = MixedLabelLoss(inner)
        value = loss(logits, TEACHER, torch.tensor(1.0), row(U, U, 0, U))
        expected = inner(logits, row(0, 1, 0, 2))
        assert value.item() == pytest.approx(expected.item())
        assert torch.equal(*(torch.autograd.grad(cost, logits)[0] for cost in (value, expected)))


def test_without_a_teacher_the_term_costs_nothing():
    logits = STUDENT.log().requires_grad_()
    loss = MixedLabelLoss()
    value = loss(logits, torch.zeros(0), torch.tensor(0.3), NOTHING)
    value.backward()
    assert value.item() == 0 and float(logits.grad.abs().sum()) == 0
    assert float(loss.logged["pseudo_removed"]) == 0


def test_how_much_was_removed_is_logged():
    loss = MixedLabelLoss()
    both = soft(1, 0, 1, 1)
    loss.labels(both, both, 0.5, row(U, U, 1, U))
    assert float(loss.logged["pseudo_removed"]) == 0.25


def test_as_a_term_it_reads_tags_of_slices_or_of_patches_and_what_is_missing_is_unknown():
    loss = WeightedSumLoss({"pseudo": (MixedLabelLoss(PartialCrossEntropyLoss()), 1.0)})
    both = soft(1, 1, 2, 2, sure=0.6)
    target = {"teacher": both, "student_share": torch.tensor(0.5), "weak_label": NOTHING}
    absent = torch.tensor([[-1, 0, 0]])
    free = float(loss(both.log(), target))
    assert free == pytest.approx(-math.log(0.6), abs=1e-6)
    for key in ("slice_tags", "tags"):
        assert float(loss(both.log(), {**target, key: absent})) == pytest.approx(-math.log(0.2), abs=1e-6)
    with pytest.raises(KeyError, match=r"term 'pseudo' needs target\['teacher'\]"):
        loss(both.log(), {"weak_label": NOTHING, "student_share": torch.tensor(0.5)})


def test_gradients():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.double, requires_grad=True)
    teacher = torch.rand(2, 3, 4, 5, generator=generator).softmax(1)
    drawn = torch.full((2, 1, 4, 5), U, dtype=torch.uint8)
    drawn[0, 0, 1, 1:3] = 1
    loss = MixedLabelLoss()
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher, torch.tensor(0.2), drawn), [logits])


def test_wrong_pieces_are_refused():
    with pytest.raises(ValueError, match=r"pieces must be one of \['any', 'one', 'all'\], got 'some'"):
        MixedLabelLoss(pieces="some")


def test_uncorrected_labels_are_the_most_probable_class_alone():
    loss = MixedLabelLoss(corrected=False)
    both = soft(1, 0, 1, 2)
    known = {"tags": torch.tensor([[-1, 0, 0]])}
    assert loss.labels(both, both, 0.5, row(U, U, 0, U), **known).flatten().tolist() == [1, 0, 1, 2]
    assert float(loss.logged["pseudo_removed"]) == 0
    with pytest.raises(ValueError, match="corrected must be true or false, got 'no'"):
        MixedLabelLoss(corrected="no")
