# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy of image tags."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.losses import TagLoss, WeightedSumLoss


def test_by_hand():
    logits = torch.tensor([[math.log(3), 0.0], [5.0, -math.log(3)]], dtype=torch.float64)
    tags = torch.tensor([[1, 1, 0], [1, -1, 0]], dtype=torch.int8)
    expected = (-math.log(3 / 4) - math.log(1 / 2) - math.log(3 / 4)) / 3
    assert TagLoss()(logits, tags).item() == pytest.approx(expected)


def test_unknown_tags_have_no_gradient_and_alone_no_cost():
    logits = torch.randn(3, 2, requires_grad=True)
    tags = torch.tensor([[1, -1, 0], [-1, -1, -1], [0, 1, 1]])
    TagLoss()(logits, tags).backward()
    assert ((logits.grad == 0) == (tags[:, 1:] < 0)).all()
    logits.grad = None
    loss = TagLoss()(logits, torch.full((3, 3), -1))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


def test_is_a_term_of_the_sum():
    loss = WeightedSumLoss({"tags": (TagLoss("tags"), 2.0)})
    assert loss.target_keys() == {"tags"}
    assert loss(torch.zeros(1, 1), {"tags": torch.tensor([[1, 1]])}).item() == pytest.approx(2 * math.log(2))


def test_gradient_and_bad_shapes():
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    tags = torch.tensor([[1, 1, 0, -1]] * 4)
    assert torch.autograd.gradcheck(lambda x: TagLoss()(x, tags), logits)
    for wrong in (torch.zeros(4, 3), torch.zeros(3, 4)):
        with pytest.raises(ValueError, match="one logit"):
            TagLoss()(logits, wrong)
