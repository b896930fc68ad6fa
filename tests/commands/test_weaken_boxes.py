# SPDX-License-Identifier: Apache-2.0
"""Boxes that overlap survive `weaken`, the file and LoadCased."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from tiny import make_dataset

from wss_monai.__main__ import main
from wss_monai.data.checks.dataset import check_dataset
from wss_monai.data.datalist import load_cases
from wss_monai.data.schema import read_dataset
from wss_monai.functional.weak.box_maps import box_channels
from wss_monai.transforms import LoadCased, WeakTagsd
from wss_monai.transforms.weak_labels import RandWeakLabel


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("weaken_boxes") / "data", patients=3)


def loaded(folder, **settings):
    for case in load_cases(folder, validation=0).training:
        out = LoadCased(**settings)(case)
        yield out, out["label"][0].numpy()


@pytest.mark.parametrize("options", [{}, {"margin": 1}, {"per_component": True}])
def test_each_class_keeps_its_box(data, tmp_path, options):
    words = [word for key, value in options.items() for word in ("--option", f"{key}={json.dumps(value)}")]
    picture = tmp_path / "look.png"
    assert main(["weaken", "--data", str(data), "--strategy", "box", "--out", str(tmp_path / "out"),
                 "--preview", str(picture), *words]) == 0  # fmt: skip
    assert picture.is_file()
    dataset = read_dataset(tmp_path / "out")
    assert dataset.undrawn_means_absent
    assert ("Myo", "LV") in dataset.weak_values.values()
    for out, label in loaded(tmp_path / "out"):
        expected = box_channels(label, 4, 2, **options)
        boxes = out["boxes"].numpy()
        if options.get("per_component"):
            assert (boxes[expected] > 0).all(), "parts whose boxes touch are one"
        else:
            np.testing.assert_array_equal(boxes > 0, expected)
        weak = out["weak_label"][0].numpy()
        np.testing.assert_array_equal(weak == 0, ~expected.any(0) & expected.any((0, 1, 2)))
        tags = WeakTagsd(4, 2)(out)["slice_tags"].numpy()
        shown = np.stack([(label == k).any((0, 1)) for k in range(1, 4)], 1)
        np.testing.assert_array_equal(tags[:, 1:] == 1, shown)
        np.testing.assert_array_equal(tags[:, 1:] == 0, ~shown)
    assert not check_dataset(tmp_path / "out").problems, "outside of the boxes is background"


def test_boxes_of_volumes(data, tmp_path):
    out = tmp_path / "out"
    assert main(["weaken", "--data", str(data), "--strategy", "box", "--slice-axis", "none", "--out", str(out)]) == 0
    assert not read_dataset(out).undrawn_means_absent
    for item, label in loaded(out, spatial_dims=3):
        np.testing.assert_array_equal(item["boxes"].numpy() == 1, box_channels(label, 4))


def test_background_is_what_lies_outside(data, tmp_path):
    out = tmp_path / "out"
    assert main(["weaken", "--data", str(data), "--strategy", "box", "--background", "--out", str(out)]) == 0
    for item, label in loaded(out):
        inside = box_channels(label, 4, 2).any(0)
        np.testing.assert_array_equal(item["weak_label"][0].numpy(), np.where(inside, 255, 0))


def test_a_file_with_one_class_a_voxel_still_works(data, tmp_path):
    """The smallest box is seen where boxes overlap; the rings that are left are taken as rectangles."""
    out = tmp_path / "out"
    main(["weaken", "--data", str(data), "--strategy", "box", "--option", "classes=[2,3]", "--out", str(out)])
    draw = RandWeakLabel("box", 2, classes=[3, 2])
    for case in read_dataset(out).training:
        file = out / case["weak_label"]
        stored = nib.load(file)
        dense = nib.load(data / "labels" / file.name)
        nib.save(nib.Nifti1Image(draw(np.asarray(dense.dataobj)[None])[0], stored.affine), file)
    for item, label in loaded(out):
        np.testing.assert_array_equal(item["boxes"].numpy() > 0, box_channels(label, 4, 2, classes=[2, 3]))


def test_channels_are_for_boxes():
    with pytest.raises(ValueError, match="strategy 'points' draws one class a voxel; only boxes have channels"):
        RandWeakLabel("points").channels(np.zeros((4, 4), np.uint8), 2)
