# SPDX-License-Identifier: Apache-2.0
"""The shift that gives classes their sizes, on pixels whose margins one can sort."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.functional.class_shift import class_shift

NAN = math.nan


def two_classes(*margins: float):
    """An image (2, N) whose pixels have these log-odds of class 1."""
    return torch.sigmoid(torch.tensor([[-m for m in margins], list(margins)]))


def solve(probs, expected, sizes=None, possible=None, **settings):
    sizes = torch.ones(len(probs), len(expected)) if sizes is None else torch.tensor(sizes)
    settings = {"tolerance": 0.0, **settings}
    return class_shift(probs, sizes, torch.tensor(expected), possible, **settings)


@pytest.mark.parametrize(
    ("expected", "shift"),
    [
        (4.0, 1.5),  # of -2, -1.5, -.5, .5, 1.5 the four greatest: until -1.5 just wins
        (3.0, 0.5),
        (2.0, 0.0),
        (1.0, -0.5),  # until .5 just loses
    ],
)
def test_the_voxels_nearest_to_the_decision_change(expected, shift):
    found = solve([two_classes(-2, -1.5), two_classes(-0.5, 0.5, 1.5)], [NAN, expected])
    assert float(found.shift[1]) == pytest.approx(shift, abs=1e-4) and float(found.shift[0]) == 0
    assert float(found.before[1]) == pytest.approx(2 / expected)
    assert float(found.after[1]) == pytest.approx(1)
    assert math.isnan(float(found.before[0]))


def test_a_size_within_the_tolerance_stays_and_another_comes_to_its_edge():
    probs = [two_classes(*[1.0] * 100, *[x / 100 - 2 for x in range(100)])]
    assert float(solve(probs, [NAN, 105.0], tolerance=0.05).shift[1]) == 0
    found = solve(probs, [NAN, 120.0], tolerance=0.1)  # 108 are enough: the eighth below is at -1.08
    assert float(found.shift[1]) == pytest.approx(1.08, abs=1e-4)
    assert float(found.after[1]) == pytest.approx(0.9)


def test_images_count_what_their_voxels_measure_or_not_at_all():
    probs = [two_classes(0.2, -0.2), two_classes(-0.1, -0.3)]
    # voxels of 1 and of 10: .2 alone measures 1, and the next pixel, -.1, has 10
    found = solve(probs, [NAN, 11.0], sizes=[[1.0, 1.0], [10.0, 10.0]])
    assert float(found.shift[1]) == pytest.approx(0.1, abs=1e-4)
    # an image that does not count gives no pixel: the second of the first image is needed
    found = solve(probs, [NAN, 2.0], sizes=[[1.0, 1.0], [0.0, 0.0]])
    assert float(found.shift[1]) == pytest.approx(0.2, abs=1e-4)


def test_what_cannot_be_there_does_not_win():
    probs = [two_classes(5.0, 5.0), two_classes(-1.0, -2.0)]
    possible = torch.tensor([[True, False], [True, True]])
    found = solve(probs, [NAN, 1.0], possible=possible)
    assert float(found.before[1]) == 0
    assert float(found.shift[1]) == pytest.approx(1.0, abs=1e-4)


def test_a_shift_ends_at_the_cap():
    found = solve([two_classes(-9.0, -9.0, 9.0)], [NAN, 3.0], cap=4.0)
    assert float(found.shift[1]) == pytest.approx(4.0, abs=1e-4)
    assert float(found.after[1]) == pytest.approx(1 / 3)
    found = solve([two_classes(9.0, 9.0, 9.0)], [NAN, 1.0], cap=2.0)
    assert float(found.shift[1]) == pytest.approx(-2.0, abs=1e-4)


def test_classes_that_take_voxels_from_each_other_get_their_sizes_in_rounds():
    generator = torch.Generator().manual_seed(0)
    probs = [torch.randn((4, 20, 20), generator=generator).mul(2).softmax(0) for _ in range(3)]
    expected = [NAN, 200.0, 400.0, 300.0]
    found = solve(probs, expected, tolerance=0.02, rounds=6)
    moved = [(image.log() + found.shift[:, None, None]).argmax(0) for image in probs]
    for k in (1, 2, 3):
        count = sum(int((hard == k).sum()) for hard in moved)
        assert count == pytest.approx(expected[k], rel=0.021)
        assert float(found.after[k]) == pytest.approx(count / expected[k], abs=1e-3)


def test_a_class_of_which_nothing_is_known_is_not_shifted():
    found = solve([torch.rand(3, 9, generator=torch.Generator().manual_seed(1))], [NAN, NAN, 5.0])
    assert float(found.shift[1]) == 0 and math.isnan(float(found.after[1]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance": 1.0}, "tolerance must be at least 0 and below 1"),
        ({"cap": 0.0}, "cap must be above 0"),
        ({"rounds": 0}, "rounds at least 1"),
        ({"sizes": [[1.0, 1.0]] * 2}, "do not fit"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        solve([two_classes(0.0)], [NAN, 1.0], **settings)
