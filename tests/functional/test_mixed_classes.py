# SPDX-License-Identifier: Apache-2.0
"""The mixture of two predictions on rows of pixels whose probabilities one can add up."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.functional.mixed_classes import mixed_classes, possible_classes


def pixels(*rows: tuple[float, ...]):
    """Probabilities (1, K, 1, N) of N pixels."""
    return torch.tensor(rows).T[None, :, None]


FIRST = pixels((0.6, 0.4, 0.0), (0.2, 0.7, 0.1), (0.1, 0.3, 0.6))
SECOND = pixels((0.1, 0.8, 0.1), (0.2, 0.1, 0.7), (0.5, 0.3, 0.2))


@pytest.mark.parametrize(
    ("share", "classes"),
    [
        (1.0, [0, 1, 2]),
        (0.0, [1, 2, 0]),
        # .5: (.35, .6, .05), (.2, .4, .4): the lower index of two alike, (.3, .3, .4)
        (0.5, [1, 1, 2]),
        # .8: (.5, .48, .02), (.2, .58, .22), (.18, .3, .52)
        (0.8, [0, 1, 2]),
    ],
)
@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_the_most_probable_class_of_the_mixture(share, classes, kind):
    assert mixed_classes(FIRST, SECOND, kind(share)).flatten().tolist() == classes


def test_a_shift_of_the_log_probability_multiplies_the_probability():
    # class 2 three times as probable: (.35, .6, .15), (.2, .4, 1.2), (.3, .3, 1.2)
    shift = torch.tensor([0.0, 0.0, math.log(3)])
    assert mixed_classes(FIRST, SECOND, 0.5, shift).flatten().tolist() == [1, 2, 2]


def test_impossible_classes_are_not_chosen_even_where_nothing_else_is_likely():
    possible = torch.tensor([[True, False, False]])[..., None, None]
    certain = pixels((0.0, 1.0, 0.0))
    assert mixed_classes(certain, certain, 0.5, possible=possible).flatten().tolist() == [0]


def test_volumes():
    volume = torch.rand((2, 3, 2, 3, 4), generator=torch.Generator().manual_seed(0))
    assert torch.equal(mixed_classes(volume, volume, 0.3), volume.argmax(1))


def test_tags_rule_out_what_is_absent_and_leave_open_what_is_unknown():
    like = torch.zeros(2, 3, 1, 4)
    tags = torch.tensor([[0, 0, 1], [-1, -1, 0]])
    assert possible_classes(tags, None, like).flatten(1).tolist() == [[True, False, True], [True, True, False]]
    assert possible_classes(None, None, like) is None


def test_boxes_rule_out_what_lies_outside_of_them():
    boxes = torch.zeros(1, 3, 1, 4, dtype=torch.uint8)
    boxes[0, 1, 0] = torch.tensor([0, 1, 2, 255])  # two boxes and an unknown pixel; class 2 has no box
    possible = possible_classes(torch.tensor([[-1, -1, -1]]), boxes, torch.zeros(1, 3, 1, 4))
    assert possible[0, :, 0].tolist() == [[True] * 4, [False, True, True, True], [True] * 4]
