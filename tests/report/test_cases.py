# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from wss_monai.report.palette import class_colour
from wss_monai.report.panels import case_panel, display_view, shown_slices

NAMES = ["background", "A", "B"]
TILE, GAP = 200, 10


def size_of_picture(panel, columns):
    """Width and height of the pictures of a panel with one row: the first picture's black image stands on white."""
    dark = (np.asarray(panel) < 5).all(-1)
    return dark.any(0).sum() / columns, dark.any(1).sum()


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 1.0), (0.5, 1.5)])
def test_proportions_are_those_in_mm(spacing):
    image = np.zeros((30, 40), dtype=np.float32)
    panel = case_panel(image, {"prediction": np.zeros((30, 40), np.uint8)}, spacing, NAMES, tile=TILE)
    width, height = size_of_picture(panel, 2)
    assert width / height == pytest.approx(30 * spacing[0] / (40 * spacing[1]), rel=0.02)
    assert max(width, height) == pytest.approx(TILE, abs=2)


def test_slices_across_thick_voxels_are_stretched():
    image = np.zeros((30, 20, 6), dtype=np.float32)
    panel = case_panel(image, {}, (1, 1, 10), NAMES, slice_axis=0, slices=[4], tile=TILE)
    width, height = size_of_picture(panel, 1)
    assert width / height == pytest.approx(20 / 60, rel=0.02)


@pytest.mark.parametrize(
    ("axes", "slice_axis", "rows", "columns", "flips", "edges"),
    [
        ("LPS", 2, 1, 0, (False, False), ("R", "A")),
        ("RAS", 2, 1, 0, (True, True), ("R", "A")),
        ("PLS", 2, 0, 1, (False, False), ("R", "A")),
        ("LPS", 0, 2, 1, (True, False), ("A", "S")),
        ("LPS", 1, 2, 0, (True, False), ("R", "S")),
        ("PSR", 2, 1, 0, (True, False), ("A", "S")),
    ],
)
@pytest.mark.parametrize("tilt", [0, 25])
def test_view_follows_the_affine(axes, slice_axis, rows, columns, flips, edges, tilt):
    world = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    affine = np.zeros((4, 4))
    for axis, letter in enumerate(axes):
        affine[world[letter][0], axis] = world[letter][1] * (axis + 1)
    c, s = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    affine[:3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ affine[:3]
    affine[3, 3] = 1
    view = display_view(affine, slice_axis)
    assert (view.row_axis, view.column_axis, (view.flip_rows, view.flip_columns)) == (rows, columns, flips)
    assert view.edges == edges


def test_same_anatomy_looks_the_same_however_it_is_stored():
    image = np.random.RandomState(0).rand(12, 9, 3).astype(np.float32)
    label = np.zeros((12, 9, 3), np.uint8)
    label[2:5, 1:4, 1] = 1
    lps = np.diag([-1.0, -2, 5, 1])
    panel = case_panel(image, {"x": label}, (1, 2, 5), NAMES, affine=lps, tile=TILE)
    turned = [np.ascontiguousarray(a[::-1].transpose(1, 0, 2)) for a in (image, label)]
    stored = np.array([[0, 1.0, 0, 0], [-2, 0, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]])
    again = case_panel(turned[0], {"x": turned[1]}, (2, 1, 5), NAMES, affine=stored, tile=TILE)
    assert np.array_equal(np.asarray(panel), np.asarray(again))


def test_a_point_is_thickened_and_a_mask_is_not():
    image = np.zeros((60, 60), dtype=np.float32)
    weak, dense = np.full((60, 60), 255, np.uint8), np.zeros((60, 60), np.uint8)
    weak[30, 30] = 2
    dense[30, 30] = 2
    panel = np.asarray(case_panel(image, {"weak": weak, "dense": dense}, (1, 1), NAMES, tile=300, around=[]))
    left = panel[:, 310:610].astype(int)
    right = panel[:, 620:].astype(int)
    near = [(np.abs(half - class_colour(2)).max(-1) < 40).sum() for half in (left, right)]
    assert near[0] >= 40
    assert near[1] == 16  # the rim of the 5 x 5 pixels of its voxel


def test_background_is_drawn_in_partial_maps_only():
    image = np.zeros((40, 40), dtype=np.float32)
    weak, dense = np.full((40, 40), 255, np.uint8), np.zeros((40, 40), np.uint8)
    weak[10:30, 20] = 0
    panel = np.asarray(case_panel(image, {"weak": weak, "dense": dense}, (1, 1), NAMES, tile=TILE))
    parts = [panel[50:, start : start + TILE] for start in (TILE + GAP, 2 * (TILE + GAP))]
    assert [part.max() > 90 for part in parts] == [True, False]


def test_crop_shows_all_predictions():
    image = np.ones((100, 100, 2), dtype=np.float32)
    small, far = np.zeros((2, 100, 100, 2), np.uint8)
    small[40:50, 40:50] = 1
    far[40:50, 40:50], far[98, 2, 1] = 1, 2
    one = np.asarray(case_panel(image, {"a": small}, (1, 1, 1), NAMES, tile=TILE))
    two = np.asarray(case_panel(image, {"a": small, "b": far}, (1, 1, 1), NAMES, tile=TILE, slices=[1]))
    blue = [(np.abs(p[:, 210:410].astype(int) - class_colour(1)).max(-1) < 60).sum() for p in (one, two)]
    orange = (np.abs(two[:, 420:].astype(int) - class_colour(2)).max(-1) < 60).sum()
    assert blue[0] > 3 * blue[1]
    assert orange > 0


def test_crop_around_a_map_says_what_it_leaves_out():
    image = np.zeros((100, 100), dtype=np.float32)
    reference, far = np.zeros((2, 100, 100), np.uint8)
    reference[40:50, 40:50], far[40:50, 40:50], far[98, 2] = 1, 1, 2
    options = {"spacing": (1, 1), "class_names": NAMES, "tile": TILE}
    cropped = case_panel(image, {"x": far, "reference": reference}, around=["reference"], **options)
    pictures = np.asarray(cropped)[50:].astype(int)
    white = [(pictures[:, start : start + TILE] > 200).all(-1).sum() for start in (TILE + GAP, 2 * (TILE + GAP))]
    assert white[0] > 50 and white[1] == 0  # "1 % outside" on the prediction only
    with pytest.raises(ValueError, match=r"around names .*nobody"):
        case_panel(image, {"x": far}, around=["nobody"], **options)


def test_slices_run_from_one_end_of_the_organ_to_the_other():
    volume = np.zeros((4, 4, 20), np.uint8)
    volume[..., 5:16] = 1
    empty = np.zeros_like(volume)
    assert shown_slices([empty, volume]) == [6, 10, 14]
    assert shown_slices([volume], number=1) == [10]
    assert shown_slices([empty]) == [2, 10, 17]
    assert shown_slices([np.full_like(volume, 255)]) == [2, 10, 17]
    volume[..., 6:] = 0
    assert shown_slices([volume]) == [5]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"maps": {"x": np.zeros((5, 4), np.uint8)}}, r"map 'x' has shape \(5, 4\) and the image \(5, 5\)"),
        ({"maps": {"x": np.full((5, 5), 7)}}, r"map 'x' holds \[7\]"),
        ({"spacing": (1, 1, 1)}, "one spacing an axis"),
        ({"slice_axis": 3}, "slice_axis must be 0, 1 or 2, got 3"),
    ],
)
def test_misfits_are_refused(change, match):
    good = {"image": np.zeros((5, 5)), "maps": {}, "spacing": (1, 1), "class_names": NAMES}
    with pytest.raises(ValueError, match=match):
        case_panel(**{**good, **change})
