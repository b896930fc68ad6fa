# SPDX-License-Identifier: Apache-2.0
"""Bounds on sizes for a batch, and the schedule of t, for training loops of one's own."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.functional.descriptors import Size
from wss_monai.losses import ConstraintLoss, LogBarrierExtension, barrier_t, drawn_classes, size_bounds

INF = math.inf
NAMES = ["background", "LV", "RV"]


def test_the_lower_side_holds_where_the_class_is_there():
    present = torch.tensor([[True, True, False], [True, False, False]])
    bounds = size_bounds({"LV": (100, 600), "RV": (None, 50)}, NAMES, present, unit="mm2", spacing=(1.25, 2.0))
    assert bounds.shape == (2, 3, 1, 2)
    assert bounds[0, :, 0].tolist() == [[-INF, INF], [40, 240], [-INF, 20]]  # a voxel is 2.5 mm2
    assert bounds[1, :, 0].tolist() == [[-INF, INF], [-INF, 240], [-INF, 20]]


def test_tags_say_absent_too():
    tags = torch.tensor([[1, 0, -1]])
    bounds = size_bounds({"LV": (1, 2), "RV": (1, 2)}, NAMES, tags, unit="ml", spacing=(1.0, 1.0, 8.0))
    assert bounds[0, :, 0].tolist() == [[-INF, INF], [-INF, 0], [-INF, 250]]
    bounds = size_bounds({"LV": (1, 2)}, NAMES, torch.tensor([[1, 1, -1]]), unit="ml", spacing=(1.0, 1.0, 8.0))
    assert bounds[0, 1, 0].tolist() == [125, 250]


def test_each_sample_may_have_a_spacing_of_its_own():
    spacing = torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    bounds = size_bounds({"LV": (8, 16)}, NAMES, torch.ones(2, 3, dtype=torch.bool), unit="mm2", spacing=spacing)
    assert bounds[:, 1, 0].tolist() == [[8, 16], [2, 4]]


def test_a_lower_side_of_nothing_says_nothing():
    bounds = size_bounds({"LV": (0, 5)}, NAMES, torch.ones(1, 3, dtype=torch.bool))
    assert bounds[0, 1, 0].tolist() == [-INF, 5]


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        ({"Aorta": (1, 2)}, {}, r"classes \['Aorta'\]"),
        ({"LV": (3, 2)}, {}, "class 'LV' cannot hold"),
        ({"LV": 3}, {}, "class 'LV': give"),
        ({"LV": (1, 2)}, {"unit": "ml"}, "need the spacing"),
        ({"LV": (1, 2)}, {"unit": "ml", "spacing": (1, 1)}, "in 2D, 'mm2', got 'ml'"),
        ({"LV": (1, 2)}, {"unit": "mm2", "spacing": (1, 0)}, "above 0"),
        ({"LV": (1, 2)}, {"unit": "mm2", "spacing": [[1, 1], [1, 1]]}, r"\(1, D\)"),
    ],
)
def test_what_cannot_be_is_refused(values, options, words):
    with pytest.raises(ValueError, match=words):
        size_bounds(values, NAMES, torch.ones(1, 3, dtype=torch.bool), **options)
    with pytest.raises(ValueError, match="present must be"):
        size_bounds({}, NAMES, torch.ones(1, 2, dtype=torch.bool))


def test_drawn_classes_are_those_with_a_voxel():
    index = torch.full((2, 1, 2, 2), 255)
    index[0, 0, 0, 1], index[1, 0] = 2, 0
    assert drawn_classes(index, 3).tolist() == [[False, False, True], [True, False, False]]


def test_a_training_loop_in_a_few_lines():
    """Without a drawn voxel outside, bounds alone give a disc of logits about the right size."""
    index = torch.full((1, 1, 16, 16), 255)
    index[..., 8, 8] = 1
    x, y = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    far = ((x - 8) ** 2 + (y - 8) ** 2).sqrt()
    radius = torch.nn.Parameter(torch.tensor(2.0))
    loss = ConstraintLoss(Size(), LogBarrierExtension())
    bounds = size_bounds({"LV": (80, 120)}, NAMES[:2], drawn_classes(index, 2))
    optimizer = torch.optim.Adam([radius], 0.1)
    for epoch in range(1, 41):
        loss.penalty.set_t(barrier_t(epoch, 40))
        logits = torch.stack([far - radius, radius - far])[None]
        optimizer.zero_grad()
        loss(logits, bounds).backward()
        optimizer.step()
    assert 80 <= logits.softmax(1)[0, 1].sum().item() <= 120


def test_t_rises_from_t0_to_the_last_epoch():
    assert barrier_t(1, 11) == 5.0
    assert barrier_t(2, 11) == pytest.approx(5 * 1.1**5)
    assert barrier_t(11, 11) == pytest.approx(5 * 1.1**50)
    assert barrier_t(3, 11, t0=1, published=True) == pytest.approx(1.21)
    assert barrier_t(11, 11, t_max=100) == 100
    assert barrier_t(1, 1) == 5.0
    with pytest.raises(ValueError, match="positive"):
        barrier_t(1, 1, t0=0)
