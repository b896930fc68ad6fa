# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from wss_monai.functional.weak.drawing import ellipsoid
from wss_monai.functional.weak.generators import (
    box,
    centroid_blob,
    erosion,
    points,
    present_classes,
    random_blob,
    slicewise,
    sparse_slices,
)
from wss_monai.functional.weak.scribbles import scribble, scribble_border, scribble_interior

DRAWN = {
    "random_blob": random_blob,
    "centroid_blob": partial(centroid_blob, jitter=3),
    "erosion": erosion,
    "points": points,
    "discs": partial(points, number=3, radius=2),
    "scribble": scribble,
    "scribble_border": scribble_border,
    "scribble_interior": scribble_interior,
}
each_generator = pytest.mark.parametrize("generator", DRAWN.values(), ids=DRAWN)


def rng(seed=0):
    return np.random.RandomState(seed)


def disc(shape, centre, radius):
    squares = ((np.indices(shape).T - centre) ** 2).sum(-1).T
    return squares <= radius**2


def heart():
    """Three classes in 2D: a disc (3) in a ring (2), two separate blobs (1); the rest is background."""
    label = np.zeros((64, 72), np.int16)
    label[disc(label.shape, (32, 40), 16)] = 2
    label[disc(label.shape, (32, 40), 9)] = 3
    label[20:45, 8:16] = 1
    label[52:58, 8:14] = 1
    return label


def organs():
    """Two classes in 3D: a ball (1) and a slab (2) that reaches the edge of the volume."""
    label = np.zeros((24, 26, 10), np.uint8)
    label[disc(label.shape, (9, 9, 5), 5)] = 1
    label[16:, 12:20, 2:6] = 2
    return label


@each_generator
@pytest.mark.parametrize("make", [heart, organs])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("per_component", [False, True])
def test_each_present_class_is_drawn_and_only_where_it_is(generator, make, background, per_component):
    label = make()
    weak = generator(label, rng(), background=background, per_component=per_component)
    assert weak.dtype == np.uint8 and weak.shape == label.shape
    drawn = weak != 255
    assert np.array_equal(weak[drawn], label[drawn])
    assert set(weak[drawn]) == {k for k in np.unique(label) if background or k > 0}
    assert background or drawn.mean() < 0.15


@each_generator
def test_a_draw_depends_on_the_seed_alone(generator):
    assert np.array_equal(generator(heart(), rng(3)), generator(heart(), rng(3)))
    state = np.random.get_state()[1].copy()
    generator(heart(), rng(3))
    assert np.array_equal(state, np.random.get_state()[1])
    draws = {generator(heart(), rng(seed)).tobytes() for seed in range(6)}
    assert len(draws) == (1 if generator is erosion else 6)


@each_generator
def test_unknown_voxels_are_never_drawn_on(generator):
    label = heart()
    label[:, 30:50] = 255
    weak = generator(label, rng(), background=True)
    assert (weak[:, 30:50] == 255).all()
    assert set(np.unique(weak)) == {0, 1, 2, 255}


@each_generator
def test_classes_choose_what_is_drawn_and_absent_ones_stay_absent(generator):
    assert set(np.unique(generator(heart(), rng(), classes=[3, 7]))) == {3, 255}
    assert (generator(np.zeros((9, 9), int), rng()) == 255).all()
    only_background = generator(np.zeros((9, 9), int), rng(), background=True)
    assert set(np.unique(only_background)) <= {0, 255} and (only_background == 0).any()


@each_generator
def test_per_component_draws_in_each_part(generator):
    label = np.zeros((40, 40), int)
    label[2:14, 2:14] = label[20:38, 20:38] = 1
    parts = ndimage.label(label)[0]
    weak = generator(label, rng(), per_component=True)
    assert set(parts[weak == 1]) == {1, 2}


@each_generator
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 1, 4), (2, 2, 2)])
def test_tiny_labels(generator, shape):
    weak = generator(np.ones(shape, int), rng())
    assert (weak == 1).any() and set(np.unique(weak)) <= {1, 255}


@each_generator
def test_slicewise_draws_every_class_of_every_slice(generator):
    label = organs()
    weak = slicewise(generator, label, 2, rng(), background=True)
    shown, drawn = (present_classes(volume, 3, slice_axis=2) for volume in (label, weak))
    assert np.array_equal(shown, drawn)
    one_slice = generator(label[:, :, 0], rng(), background=True)
    assert np.array_equal(weak[:, :, 0], one_slice)


def test_slicewise_refuses_what_is_no_volume():
    with pytest.raises(ValueError, match=r"three axes, got shape \(64, 72\)"):
        slicewise(erosion, heart(), 0)
    with pytest.raises(ValueError, match="axis 3 does not exist"):
        slicewise(erosion, organs(), 3)


@pytest.mark.parametrize(("radius", "size"), [(0, 1), (1, 9), (2, 21), (5, 97)])
def test_discs_have_the_published_sizes(radius, size):
    assert ellipsoid([radius, radius]).sum() == size


@pytest.mark.parametrize("generator", [random_blob, centroid_blob])
def test_width_4_makes_a_disc_of_21_pixels(generator):
    label = np.pad(np.ones((40, 40), int), 10)
    sizes = {int((generator(label, rng(seed), width=4) == 1).sum()) for seed in range(5)}
    assert max(sizes) == 21
    flat = generator(np.pad(np.ones((20, 20, 5), int), 9), rng(0), width=(4, 4, 0)) == 1
    assert np.ptp(np.argwhere(flat), axis=0).tolist() == [4, 4, 0]


def test_random_blob_is_clipped_by_the_class():
    label = np.zeros((9, 9), int)
    label[4, 2:7] = 1
    for seed in range(10):
        weak = random_blob(label, rng(seed), width=20)
        assert np.array_equal(weak == 1, label == 1)


def test_centroid_blob_sits_at_the_centroid_and_falls_back_to_the_class():
    label = np.zeros((21, 21), int)
    label[4:15, 6:17] = 1
    weak = centroid_blob(label, width=2)
    assert np.argwhere(weak == 1).mean(0).tolist() == [9, 11] and (weak == 1).sum() == 9
    ring = np.where(disc((21, 21), (10, 10), 9) & ~disc((21, 21), (10, 10), 6), 1, 0)
    assert np.array_equal(centroid_blob(ring, width=4) == 1, ring == 1)
    with pytest.raises(ValueError, match="jitter draws at random: pass R="):
        centroid_blob(label, jitter=1)
    with pytest.raises(ValueError, match="jitter must be 0 or more voxels, got -1"):
        centroid_blob(label, rng(), jitter=-1)


@pytest.mark.parametrize(("iterations", "side"), [(1, 11), (3, 7), (6, 1), (10, 1)])
@pytest.mark.parametrize("dims", [2, 3])
def test_erosion_stops_before_the_class_vanishes(iterations, side, dims):
    label = np.pad(np.ones((13,) * dims, int), 2)
    weak = erosion(label, iterations=iterations)
    assert (weak == 1).sum() == side**dims


def test_erosion_keeps_a_class_that_would_vanish():
    label = np.zeros((8, 8), int)
    label[3:5, 2:7] = 1
    assert (erosion(label) == 1).sum() == 10
    with pytest.raises(ValueError, match="iterations must be 1 or more, got 0"):
        erosion(label, iterations=0)


@pytest.mark.parametrize(("margin", "rows", "columns"), [(0, 3, 4), (1, 4, 6), ((0, 1), 3, 6), (50, 12, 15)])
def test_box_with_a_margin_is_clipped_by_the_image(margin, rows, columns):
    label = np.zeros((12, 15), int)
    label[0, 5] = label[2, 8] = 1
    weak = box(label, margin=margin)
    assert (weak == 1).sum() == rows * columns
    assert (weak == 1)[0, 5] and (weak == 1)[2, 8]


def test_box_of_an_inner_organ_stays_whole_and_classes_set_the_order():
    label = heart()
    assert (box(label) == 3).sum() == 19 * 19
    outer_first = box(label, classes=[2, 3])
    assert (outer_first == 2).sum() == 33 * 33 and not (outer_first == 3).any()


def test_box_background_lies_outside_all_boxes_and_in_the_dense_background():
    label = heart()
    label[0] = 255
    weak = box(label, classes=[3], background=True)
    assert (weak == 0).sum() == (label == 0).sum()
    assert (weak[label == 2] != 0).all() and (weak[0] == 255).all()
    full = box(label, background=True)
    assert (full[0] == 255).all() and (full[1:] != 255).all()


def test_box_per_component():
    label = np.zeros((10, 10), int)
    label[0, 0] = label[8:, 8:] = 1
    assert (box(label) == 1).sum() == 100
    assert (box(label, per_component=True) == 1).sum() == 5


@pytest.mark.parametrize("seed", range(5))
def test_points_are_whole_discs_where_they_fit(seed):
    label = heart()
    weak = points(label, rng(seed), background=True, radius=2)
    assert [(weak == k).sum() for k in range(4)] == [21, 21, 21, 21]
    several = points(label, rng(seed), number=4)
    assert [(several == k).sum() for k in range(4)] == [0, 4, 4, 4]


def test_points_in_a_class_too_small_for_the_disc():
    label = np.zeros((12, 12), int)
    label[5:8, 2:9] = 1
    weak = points(label, rng(), radius=2)
    assert (weak == 1)[6].any() and (weak == 1).sum() in (12, 14, 15)
    assert (points(label, rng(), number=99) == 1).sum() == 21
    with pytest.raises(ValueError, match="number must be 1 or more points, got 0"):
        points(label, rng(), number=0)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_sparse_slices_are_dense_or_empty(axis):
    label = organs()
    for options, kept in (({"every": 4}, None), ({"number": 2}, 2)):
        weak = sparse_slices(label, rng(1), axis=axis, **options)
        rows, dense = (np.moveaxis(a, axis, 0) for a in (weak, label))
        whole = [i for i in range(len(rows)) if np.array_equal(rows[i], dense[i])]
        assert all((rows[i] == 255).all() for i in range(len(rows)) if i not in whole)
        assert len(whole) == (kept or -(-(len(rows) - whole[0]) // 4))
        assert kept or set(np.diff(whole)) <= {4}
        if kept:
            assert all((dense[i] > 0).any() for i in whole)


def test_sparse_slices_of_some_classes_and_without_background():
    label = organs()
    weak = sparse_slices(label, rng(), every=1, classes=[2], background=False)
    assert np.array_equal(weak == 2, label == 2) and set(np.unique(weak)) == {2, 255}
    assert (sparse_slices(np.zeros((4, 4, 4), int), rng(), number=3) == 255).all()


@pytest.mark.parametrize("options", [{}, {"every": 2, "number": 2}, {"every": 0}, {"number": -1}])
def test_sparse_slices_need_one_rule(options):
    with pytest.raises(ValueError, match="give either every or number, 1 or more"):
        sparse_slices(organs(), rng(), **options)


def test_sparse_slices_need_a_volume():
    with pytest.raises(ValueError, match=r"three axes, got shape \(64, 72\)"):
        sparse_slices(heart(), rng(), every=2)


@pytest.mark.parametrize("seed", range(8))
def test_interior_scribble_is_one_thin_connected_curve(seed):
    label = np.zeros((80, 80), int)
    label[disc(label.shape, (25, 30), 18)] = 1
    label[50:62, 10:70] = 2
    weak = scribble_interior(label, rng(seed))
    for k in (1, 2):
        curve = weak == k
        assert ndimage.label(curve, np.ones((3, 3)))[1] == 1
        assert not ndimage.binary_erosion(curve, np.ones((2, 2))).any()
        assert 10 <= curve.sum() <= 70
    whole = scribble_interior(label, rng(seed), length=1.0, deform=0.0) == 2
    rows, columns = np.nonzero(whole)
    assert set(rows) <= {54, 55, 56, 57} and np.ptp(columns) > 45
    assert (scribble_interior(label, rng(seed), length=0.25, deform=0.0) == 2).sum() < 0.35 * whole.sum()


@pytest.mark.parametrize("seed", range(4))
def test_interior_scribble_goes_around_a_ring(seed):
    ring = np.where(disc((60, 60), (30, 30), 24) & ~disc((60, 60), (30, 30), 14), 1, 0)
    rows, columns = np.nonzero(scribble_interior(ring, rng(seed), length=1.0) == 1)
    sectors = np.unique(np.floor(np.degrees(np.arctan2(rows - 30, columns - 30)) / 30))
    assert len(sectors) >= 11


def test_interior_scribble_runs_through_the_slices_of_a_volume():
    label = np.zeros((20, 20, 30), int)
    label[6:15, 6:15, 3:28] = 1
    where = np.argwhere(scribble_interior(label, rng(), length=1.0) == 1)
    assert np.ptp(where[:, 2]) > 15 and (np.abs(where[:, :2] - 10) <= 4).all()


@pytest.mark.parametrize(("inset", "depths"), [(0, (1, 2)), (1, (1.4, 3)), (4, (4, 6)), (99, (8, 12))])
def test_border_scribble_keeps_its_distance_to_the_border(inset, depths):
    label = np.where(disc((40, 40), (20, 20), 11.5), 1, 0)
    depth = ndimage.distance_transform_edt(label)
    for seed in range(3):
        drawn = depth[scribble_border(label, rng(seed), inset=inset) == 1]
        assert depths[0] <= drawn.min() and drawn.max() <= depths[1]


def test_border_of_the_background_follows_the_organs_and_not_the_frame():
    label = np.zeros((50, 50), int)
    label[15:35, 15:35] = 1
    for seed in range(4):
        where = np.argwhere(scribble_border(label, rng(seed), background=True) == 0)
        assert where.min() >= 10 and where.max() < 40


def test_border_scribble_of_a_volume_lies_in_one_plane():
    where = np.argwhere(scribble_border(organs(), rng(), classes=[1]) == 1)
    assert np.ptp(where, axis=0).min() == 0 and len(where) > 3


def test_scribble_joins_interior_and_border():
    label = heart()
    both = scribble(label, rng(5))
    assert (both[scribble_interior(label, rng(5)) != 255] != 255).all()
    assert (both != 255).sum() > 1.3 * (scribble_interior(label, rng(5)) != 255).sum()


@pytest.mark.parametrize("generator", [scribble_interior, scribble_border])
def test_width_thickens_a_curve(generator):
    label = np.where(disc((60, 60), (30, 30), 25), 1, 0)
    thin, thick = ((generator(label, rng(1), width=width) == 1) for width in (1, 3))
    assert (thick[thin]).all() and 2 * thin.sum() < thick.sum() < 4 * thin.sum()
    with pytest.raises(ValueError, match="width must be an odd number of voxels, got 2"):
        generator(label, rng(), width=2)


@pytest.mark.parametrize("length", [0, 1.5, (0.8, 0.4)])
@pytest.mark.parametrize("generator", [scribble_interior, scribble_border])
def test_length_must_be_a_fraction(generator, length):
    with pytest.raises(ValueError, match="length must be a fraction"):
        generator(heart(), rng(), length=length)


def test_scribbles_refuse_bad_options():
    with pytest.raises(ValueError, match=r"deform must lie in 0\.\.1, got 2"):
        scribble_interior(heart(), rng(), deform=2)
    with pytest.raises(ValueError, match="inset must be 0 or more voxels, got -1"):
        scribble_border(heart(), rng(), inset=-1)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.zeros(5), r"two or three spatial axes and no channel, got shape \(5,\)"),
        (np.full((4, 4), 0.5), "whole class indices"),
        (np.full((4, 4), -1), "whole class indices"),
        (np.full((4, 4), 500), "values from 500 to 500"),
    ],
)
def test_a_label_that_is_no_index_map_is_refused(label, message):
    for generator in (box, points, partial(present_classes, num_classes=2)):
        with pytest.raises(ValueError, match=message):
            generator(label, R=rng()) if generator in (box, points) else generator(label)


@pytest.mark.parametrize("classes", [[1, 1], [255], [-1]])
def test_classes_must_be_different_indices(classes):
    with pytest.raises(ValueError, match=r"classes must be different indices in 0\.\.254"):
        erosion(heart(), classes=classes)


@pytest.mark.parametrize("width", [-1, (1, 2, 3), 1.5])
def test_widths_must_be_whole_numbers(width):
    with pytest.raises(ValueError, match="width must be one whole number of voxels"):
        random_blob(heart(), rng(), width=width)


def test_present_classes():
    label = np.zeros((4, 4, 3), int)
    label[0, 0, 1] = 2
    label[..., 2] = 255
    assert present_classes(label, 4).tolist() == [1, 0, 1, 0]
    assert present_classes(label, 3, slice_axis=-1).tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0]]
    assert present_classes(label.astype(np.float32), 3).dtype == np.int8
    with pytest.raises(ValueError, match=r"label holds \[2\], but num_classes=2 allows 0..1"):
        present_classes(label, 2)
