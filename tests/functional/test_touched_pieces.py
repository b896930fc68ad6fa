# SPDX-License-Identifier: Apache-2.0
"""Pieces of a prediction that no stroke touches, on drawings of a few pixels."""

from __future__ import annotations

import numpy as np
import pytest

from wss_monai.functional.touched_pieces import untouched


def picture(*rows: str) -> np.ndarray:
    """A dot is 255."""
    return np.array([[255 if letter == "." else int(letter) for letter in row] for row in rows], np.uint8)


LABELS = picture("110010", "120010", "000000", "330020")
DRAWN = picture("1.....", "......", "...0..", "......")


def marks(away: np.ndarray) -> list[str]:
    return ["".join("x" if pixel else "-" for pixel in row) for row in away]


def test_a_drawn_class_in_an_untouched_piece_is_not_believed():
    # class 1 is drawn in the upper left piece; 2 and 3 are not drawn, so that nothing says where they are
    assert marks(untouched(LABELS, DRAWN)) == ["----x-", "----x-", "------", "------"]


def test_every_piece_with_a_stroke_stays_and_the_union_of_all_classes_is_one_piece():
    drawn = picture("1.....", "......", "......", "3...2.")
    # the 2 in the upper left is next to a 1 that is drawn in; the pieces of 3 and 2 below have strokes of their own
    assert marks(untouched(LABELS, drawn)) == ["----x-", "----x-", "------", "------"]
    # without the stroke in the lower right, the piece there goes if 2 is drawn elsewhere
    assert marks(untouched(LABELS, picture("12....", "......", "......", "3.....")))[3] == "----x-"


def test_one_piece_is_that_with_most_drawn_voxels():
    drawn = picture("11..1.", "......", "......", "3.....")
    assert marks(untouched(LABELS, drawn, "one")) == ["----x-", "----x-", "------", "xx----"]
    assert marks(untouched(LABELS, drawn, "any")) == ["------"] * 4
    assert marks(untouched(LABELS, drawn, "all")) == ["------"] * 4


@pytest.mark.parametrize("drawn", [picture(*["......"] * 4), picture(*["0....."] * 4)])
def test_without_a_foreground_stroke_nothing_is_known(drawn):
    assert not untouched(LABELS, drawn).any()


def test_a_stroke_on_predicted_background_touches_nothing():
    drawn = picture("..1...", "......", "......", "......")
    assert marks(untouched(LABELS, drawn)) == ["xx--x-", "x---x-", "------", "------"]
    assert marks(untouched(LABELS, drawn, "one")) == ["xx--x-", "x---x-", "------", "------"]


def test_volumes_have_pieces_through_the_slices():
    labels, drawn = np.zeros((3, 3, 2), np.uint8), np.full((3, 3, 2), 255, np.uint8)
    labels[0, 0] = labels[2, 2, 1] = 1  # the first reaches through both slices, the second is alone
    drawn[0, 0, 0] = 1
    away = untouched(labels, drawn)
    assert np.argwhere(away).tolist() == [[2, 2, 1]]
