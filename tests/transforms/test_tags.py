# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Orientationd

from wss_monai.transforms.tags import WeakTags, WeakTagsd

DENSE, SCRIBBLE, EMPTY, ORGAN_ONLY = range(4)


def weak(numpy=True):
    """Four slices of K = 3: dense with class 1, background and 1 drawn, nothing drawn, only class 2 drawn."""
    label = np.full((1, 4, 5, 4), 255, np.uint8)
    label[..., DENSE] = 0
    label[0, 1, 1, DENSE] = 1
    label[0, 0, 0, SCRIBBLE], label[0, 2, 2, SCRIBBLE] = 0, 1
    label[0, 3, 3, ORGAN_ONLY] = 2
    return label if numpy else torch.from_numpy(label)


def read(*args, label=None, **options):
    tags, slice_tags = WeakTags(3)(weak() if label is None else label, *args, case="p1", **options)
    assert tags.dtype == slice_tags.dtype == torch.int8
    return tags.tolist(), slice_tags.tolist()


@pytest.mark.parametrize("numpy", [True, False])
def test_undrawn_is_unknown_except_in_dense_slices(numpy):
    tags, slice_tags = WeakTags(3)(weak(numpy))
    assert slice_tags.tolist() == [[1, 1, 0], [1, 1, -1], [-1, -1, -1], [-1, -1, 1]]
    assert tags.tolist() == [1, 1, 1]


def test_undrawn_means_absent_where_somebody_looked_and_never_for_background():
    _, slice_tags = read(undrawn_means_absent=True)
    assert slice_tags == [[1, 1, 0], [1, 1, 0], [-1, -1, -1], [-1, 0, 1]]


@pytest.mark.parametrize(("absent", "expected"), [(False, -1), (True, 0)])
def test_volume_is_absent_only_if_every_slice_is(absent, expected):
    label = weak()
    label[label == 2] = 0
    label[0, 0, 0, EMPTY] = 0
    assert read(label=label, undrawn_means_absent=absent)[0] == [1, 1, expected]
    label[..., EMPTY] = 255
    assert read(label=label, undrawn_means_absent=absent)[0] == [1, 1, -1]


def test_given_tags_win_over_what_is_not_drawn():
    tags, slice_tags = read([1, -1, 1], [[-1] * 3, [-1, -1, 1], [1, 0, -1], [-1, 1, -1]], undrawn_means_absent=True)
    assert slice_tags == [[1, 1, 0], [1, 1, 1], [1, 0, -1], [-1, 1, 1]]
    assert tags == [1, 1, 1]


def test_a_volume_that_lacks_a_class_lacks_it_in_every_slice():
    label = weak()
    label[label == 2] = 0
    tags, slice_tags = read([-1, -1, 0], label=label)
    assert tags == [1, 1, 0] and [row[2] for row in slice_tags] == [0, 0, 0, 0]


def test_a_class_present_somewhere_is_not_ruled_out_by_not_being_drawn():
    label = weak()
    label[..., EMPTY] = label[..., SCRIBBLE]
    label[label == 2] = 1
    assert read(label=label, undrawn_means_absent=True)[0] == [1, 1, 0]
    tags, slice_tags = read([-1, -1, 1], label=label, undrawn_means_absent=True)
    assert tags == [1, 1, 1] and [row[2] for row in slice_tags] == [0, -1, -1, -1]


def test_nothing_known_at_all():
    label = np.full((1, 3, 3, 2), 255)
    assert read(label=label, undrawn_means_absent=True) == ([-1, -1, -1], [[-1] * 3] * 2)
    assert read([-1, 1, 0], label=label) == ([-1, 1, 0], [[-1, -1, 0]] * 2)


def test_a_2d_image_is_one_slice_and_other_axes_work():
    tags, slice_tags = WeakTags(3)(weak()[..., SCRIBBLE])
    assert slice_tags.tolist() == [[1, 1, -1]] and tags.tolist() == [1, 1, -1]
    moved = np.moveaxis(weak(), 3, 1)
    assert torch.equal(WeakTags(3, slice_axis=0)(moved)[1], WeakTags(3)(weak())[1])


UNKNOWN_ROWS = [[-1] * 3 for _ in range(4)]


def rows(at, k, value):
    return [[value if (i, j) == (at, k) else -1 for j in range(3)] for i in range(4)]


@pytest.mark.parametrize(
    ("tags", "slice_tags", "message"),
    [
        ([-1, 0, -1], None, "case 'p1', class 1, slice 0: the volume's tag says absent, but it is drawn"),
        (None, rows(3, 2, 0), "case 'p1', class 2, slice 3: its slice tag says absent, but it is drawn"),
        (None, rows(0, 2, 1), "case 'p1', class 2, slice 0: its slice tag says present, but the slice is dense"),
        ([-1, 0, -1], rows(2, 1, 1), "class 1, slice 0"),
        ([-1, -1], None, r"case 'p1': tags must have the shape \(3,\)"),
        ([-1, -1, 2], None, r"tags must .* got shape \(3,\) with values \[-1, 2\]"),
        (None, UNKNOWN_ROWS[:3], r"slice_tags must have the shape \(4, 3\)"),
    ],
)
def test_tags_that_cannot_be_true_are_refused(tags, slice_tags, message):
    with pytest.raises(ValueError, match=message):
        read(tags, slice_tags)


def test_tags_that_contradict_each_other_are_refused():
    label = np.full((1, 3, 3, 4), 255)
    with pytest.raises(ValueError, match="class 1, slice 2: the volume's tag says absent, but the slice's says"):
        read([-1, 0, -1], rows(2, 1, 1), label=label)
    with pytest.raises(ValueError, match="class 2, slice 0: the volume's tag says present, but every slice rules"):
        read([-1, -1, 1], label=np.zeros((1, 3, 3, 4), int))


def test_bad_labels_are_refused():
    with pytest.raises(ValueError, match=r"case 'p1': weak label holds \[7\], but num_classes=3"):
        read(label=np.full((1, 3, 3, 2), 7))
    with pytest.raises(ValueError, match=r"shape \(1, \*spatial\), got \(2, 3, 3, 2\)"):
        read(label=np.zeros((2, 3, 3, 2), int))
    with pytest.raises(ValueError, match="num_classes must be 2 or more"):
        WeakTags(1)


def test_dictionary_version_reads_the_case():
    case = {"case": "p1", "weak_label": weak(), "tags": [-1, -1, -1], "slice_tags": None, "undrawn_means_absent": True}
    done = WeakTagsd(3)(case)
    assert done["slice_tags"].tolist() == read(undrawn_means_absent=True)[1] and done["tags"].tolist() == [1, 1, 1]
    assert case["tags"] == [-1, -1, -1] and done["weak_label"] is case["weak_label"]
    own = WeakTagsd(3, weak_key="w", tags_key="t", slice_tags_key="s", undrawn_key="u")({"w": weak(), "u": False})
    assert own["s"].tolist() == read()[1] and own["t"].shape == (3,)
    assert WeakTagsd(3, allow_missing_keys=True)({"case": "p1"}) == {"case": "p1"}


def stored(slice_axis, flip):
    """A case whose file has the slices along `slice_axis`, running against the axis that RAS wants if `flip`."""
    label = np.full((1, 4, 4, 4), 255, np.uint8)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[slice_axis, slice_axis] = -1 if flip else 1
    index = [0, 0, 0, 0]
    index[slice_axis + 1] = 3
    label[tuple(index)] = 1
    tags = rows(3, 1, 1)
    meta = MetaTensor(label, affine=torch.from_numpy(affine), meta={"original_affine": affine})
    return {"case": "p1", "weak_label": meta, "slice_tags": tags, "slice_axis": slice_axis}


@pytest.mark.parametrize("flip", [False, True])
def test_given_slice_tags_follow_the_volume_when_it_is_turned(flip):
    case = Orientationd("weak_label", axcodes="RAS")(stored(2, flip))
    done = WeakTagsd(3)(case)
    assert [row[1] for row in done["slice_tags"].tolist()] == ([1, -1, -1, -1] if flip else [-1, -1, -1, 1])


def test_given_slice_tags_follow_the_volume_to_another_axis():
    case = Orientationd("weak_label", axcodes="SAR")(stored(0, True))
    done = WeakTagsd(3, slice_axis=2)(case)
    drawn_at = [row[1] for row in done["slice_tags"].tolist()].index(1)
    assert (case["weak_label"][0, :, :, drawn_at] == 1).any()
    with pytest.raises(ValueError, match=r"slice tags run along axis 0 of the file .* tensor's axis 1; set slice_axis"):
        WeakTagsd(3, slice_axis=1)(case)


def test_what_is_undrawn_is_absent_in_the_slices_of_the_file_alone():
    case = {**stored(0, False), "slice_tags": None, "undrawn_means_absent": True}
    assert WeakTagsd(3, slice_axis=0)(case)["slice_tags"].shape == (4, 3)
    with pytest.raises(ValueError, match="case 'p1': the drawn slices run along axis 0 of the file"):
        WeakTagsd(3)(case)
    WeakTagsd(3)({**case, "undrawn_means_absent": False})  # nothing is said of whole slices
