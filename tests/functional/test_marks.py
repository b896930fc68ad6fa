# SPDX-License-Identifier: Apache-2.0
"""Points and boxes on the voxels of oblique images; all positions are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from wss_monai.functional.weak.marks import box_place, draw_point, voxel_of

OBLIQUE = np.array([[1.6, -1.8, 0, 10], [1.2, 2.4, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1]])
"""Voxels of 2 x 3 x 5 mm, the first axis along (.8, .6, 0), the second along (-.6, .8, 0)."""
SWAPPED = np.array([[0, -2.0, 0, 10], [3.0, 0, 0, -5], [0, 0, 4.0, 7], [0, 0, 0, 1]])
SHAPE = (8, 6, 4)
TURNED = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("affine", "position", "voxel"),
    [
        (OBLIQUE, (10, 20, 30), (0, 0, 0)),
        (OBLIQUE, (11.4, 24.8, 45), (2, 1, 3)),  # 10 + 3.2 - 1.8, 20 + 2.4 + 2.4, 30 + 15
        (SWAPPED, (8, 1, 19), (2, 1, 3)),  # 10 - 2, -5 + 6, 7 + 12
        (OBLIQUE, (11.4 + 0.7, 24.8 + 0.5, 45), (2, 1, 3)),  # less than half a voxel on
    ],
)
def test_a_point_is_drawn_where_it_lies(affine, position, voxel):
    index = np.full(SHAPE, 255, np.uint8)
    assert tuple(draw_point(index, affine, np.array(position), 1)) == voxel
    assert np.argwhere(index == 1).tolist() == [list(voxel)]
    assert (index != 255).sum() == 1


def test_a_radius_is_in_mm():
    """3.2 mm around a voxel of 2 x 3 x 5 mm: its neighbours along the first two axes, none along the third."""
    index = np.full(SHAPE, 255, np.uint8)
    draw_point(index, OBLIQUE, np.array([11.4, 24.8, 45]), 1, radius=3.2)
    assert sorted(map(tuple, np.argwhere(index == 1).tolist())) == [
        (1, 1, 3),
        (2, 0, 3),
        (2, 1, 3),
        (2, 2, 3),
        (3, 1, 3),
    ]


def test_points_outside_and_points_of_two_classes_in_a_voxel_are_refused():
    index = np.full(SHAPE, 255, np.uint8)
    with pytest.raises(ValueError, match=r"outside of the image, at voxel \(-0\.6, 0\.0, 0\.0\)"):
        draw_point(index, OBLIQUE, np.array([10 - 0.96, 20 - 0.72, 30]), 1)
    draw_point(index, OBLIQUE, np.array([10, 20, 30]), 1)
    draw_point(index, OBLIQUE, np.array([10, 20, 30]), 1)
    with pytest.raises(ValueError, match="touches a point of another class"):
        draw_point(index, OBLIQUE, np.array([10, 20, 30]), 2)


def test_a_box_along_an_oblique_image_covers_the_voxels_in_it():
    """Centre at voxel (3, 2, 1): RAS (10 + 4.8 - 3.6, 20 + 3.6 + 4.8, 35); 6 mm are 3 voxels of 2 mm, 2 of 3 mm."""
    centre = np.array([11.2, 28.4, 35])
    assert voxel_of(centre, OBLIQUE).tolist() == pytest.approx([3, 2, 1])
    place = box_place(SHAPE, OBLIQUE, centre, TURNED, np.array([6.0, 6.0, 0.0]))
    assert place == (slice(2, 5), slice(1, 4), slice(1, 2))
    # the same box with its edges in another order and direction
    other = np.stack([-TURNED[:, 1], TURNED[:, 2], TURNED[:, 0]], axis=1)
    assert box_place(SHAPE, OBLIQUE, centre, other, np.array([6.0, 0.0, 6.0])) == place
    # 5.8 mm hold two centres beside the middle along 2 mm (2.9 < 4), one along 3 mm (2.9 < 3)
    place = box_place(SHAPE, OBLIQUE, centre, TURNED, np.array([5.8, 5.8, 9.0]))
    assert place == (slice(2, 5), slice(2, 3), slice(1, 2))


def test_a_box_is_cut_by_the_image_and_a_thin_one_takes_the_nearest_voxels():
    centre = OBLIQUE[:3, :3] @ [0, 0, 0.4] + OBLIQUE[:3, 3]
    place = box_place(SHAPE, OBLIQUE, centre, TURNED, np.array([4.4, 6.0, 1.0]))
    assert place == (slice(0, 2), slice(0, 2), slice(0, 1))
    with pytest.raises(ValueError, match="outside of the image, around voxel"):
        box_place(SHAPE, OBLIQUE, OBLIQUE[:3, :3] @ [-9, 0, 0] + OBLIQUE[:3, 3], TURNED, np.array([4.0, 4.0, 4.0]))


def test_a_box_that_is_turned_against_the_image_is_refused():
    centre = np.array([11.2, 28.4, 35])
    with pytest.raises(ValueError, match="turned against the axes"):
        box_place(SHAPE, OBLIQUE, centre, np.eye(3), np.array([6.0, 6.0, 5.0]))
    half = np.sqrt(0.5)
    diagonal = TURNED @ np.array([[half, -half, 0], [half, half, 0], [0, 0, 1]])
    with pytest.raises(ValueError, match="turned against the axes"):
        box_place(SHAPE, OBLIQUE, centre, diagonal, np.array([20.0, 20.0, 5.0]))
    small = TURNED @ np.array([[0.999, -0.0447, 0], [0.0447, 0.999, 0], [0, 0, 1]])  # 2.6 degrees, .04 voxels off
    assert box_place(SHAPE, OBLIQUE, centre, small, np.array([6.02, 6.02, 0.0])) == (
        slice(2, 5),
        slice(1, 4),
        slice(1, 2),
    )
