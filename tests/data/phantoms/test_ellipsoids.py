# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from wss_monai.data import load_cases, read_dataset
from wss_monai.data.phantoms.ellipsoids import SCALES, make_volume, synthesize_ellipsoids

SEEDS = range(12)
ANTERIOR, POSTERIOR = 1, 2


@pytest.fixture(scope="module")
def volumes():
    return [make_volume(np.random.RandomState(seed)) for seed in SEEDS]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("ellipsoids") / "data"
    synthesize_ellipsoids(out, 5, seed=7)
    return out


def test_same_state_same_volume(volumes):
    again = make_volume(np.random.RandomState(0))
    assert again.image.tobytes() == volumes[0].image.tobytes() and again.label.tobytes() == volumes[0].label.tobytes()
    assert volumes[1].image.shape != again.image.shape or not np.array_equal(volumes[1].label, again.label)


def test_shapes_vary_about_35_50_35_and_the_body_is_whole(volumes):
    shapes = np.array([volume.image.shape for volume in volumes])
    assert (shapes.min(0) >= (32, 44, 30)).all() and (shapes.max(0) <= (39, 55, 41)).all()
    assert (np.ptp(shapes, axis=0) >= 4).all()
    for volume in volumes:
        inside = np.argwhere(volume.label)
        assert inside.min() > 0 and (inside.max(0) < np.array(volume.label.shape) - 1).all()


def test_a_front_and_a_back_end_of_one_body(volumes):
    for volume in volumes:
        assert volume.image.dtype == np.float32 and volume.label.dtype == np.uint8
        assert set(np.unique(volume.label)) == {0, ANTERIOR, POSTERIOR}
        assert ndimage.label(volume.label > 0)[1] == 1
        front, back = (np.argwhere(volume.label == k).mean(0) for k in (ANTERIOR, POSTERIOR))
        assert front[1] > back[1] + 10  # mm along the second axis
        millilitres = [(volume.label == k).sum() / 1000 for k in (ANTERIOR, POSTERIOR)]
        assert all(0.8 < v < 3.0 for v in millilitres), millilitres


def test_the_body_differs_from_what_surrounds_it_and_the_scale_from_case_to_case(volumes):
    levels = []
    for volume in volumes:
        body = volume.label > 0
        around = ndimage.binary_dilation(body, iterations=4) & ~ndimage.binary_dilation(body)
        core = ndimage.binary_erosion(body, iterations=2)
        assert np.median(volume.image[around]) > 1.08 * np.median(volume.image[core])
        parts = [np.median(volume.image[core & (volume.label == k)]) for k in (ANTERIOR, POSTERIOR)]
        assert parts[0] == pytest.approx(parts[1], rel=0.3)  # not told apart by their grey alone
        assert (volume.image >= 0).all() and np.isfinite(volume.image).all()
        levels.append(np.percentile(volume.image, 99))
    assert min(levels) > 0.5 * SCALES[0] and max(levels) < 2 * SCALES[1]
    assert max(levels) / min(levels) > 1000


def test_right_is_the_mirror_image_of_left():
    left, right = (make_volume(np.random.RandomState(3), side=side) for side in ("left", "right"))
    np.testing.assert_array_equal(right.image, left.image[::-1])
    np.testing.assert_array_equal(right.label, left.label[::-1])
    with pytest.raises(ValueError, match="side must be one of left, right, got 'middle'"):
        make_volume(np.random.RandomState(3), side="middle")


def test_the_written_set_is_a_data_set(written):
    dataset = read_dataset(written)
    assert dataset.class_names == ["background", "Anterior", "Posterior"]
    cases = dataset.training + dataset.test
    assert [case["case"] for case in dataset.test] == ["patient002_left"]
    assert len(cases) == 8 and len({case["patient"] for case in cases}) == 5
    assert all(case.get("weak_label") is None for case in cases)
    split = load_cases(written, validation=1)
    assert len(split.patients["validation"]) == 1 and split.patients["test"] == ["patient002"]
    image, label = (nib.load(written / split.training[0][key]) for key in ("image", "label"))
    assert image.header.get_zooms() == (1.0, 1.0, 1.0)
    np.testing.assert_array_equal(image.affine, label.affine)
    assert image.get_data_dtype() == np.float32 and label.get_data_dtype() == np.uint8


def test_a_case_depends_on_seed_patient_and_side_alone(written, tmp_path):
    synthesize_ellipsoids(tmp_path, 2, seed=7)
    content = json.loads((tmp_path / "dataset.json").read_text())
    for case in content["training"] + content["test"]:
        for key in ("image", "label"):
            one, two = (np.asarray(nib.load(folder / case[key]).dataobj) for folder in (written, tmp_path))
            np.testing.assert_array_equal(one, two)
    synthesize_ellipsoids(tmp_path / "other", 1, seed=8)
    path = "images/patient001_left.nii.gz"
    one, two = (nib.load(folder / path) for folder in (tmp_path, tmp_path / "other"))
    assert one.shape != two.shape or not np.array_equal(one.dataobj, two.dataobj)


def test_a_quarter_of_the_patients_is_for_tests_with_one_and_two_cases(tmp_path):
    synthesize_ellipsoids(tmp_path, 16, seed=0)
    content = json.loads((tmp_path / "dataset.json").read_text())
    cases = [case["patient"] for case in content["test"]]
    assert len(set(cases)) == 4 and sorted(cases.count(patient) for patient in set(cases)) == [1, 1, 2, 2]
    assert len(content["training"]) + len(cases) == len(list((tmp_path / "images").iterdir())) == 24


@pytest.mark.parametrize(("patients", "seed", "message"), [(0, 0, "patients must be 1"), (1, -1, "seed must be 0")])
def test_wrong_numbers_are_refused(tmp_path, patients, seed, message):
    with pytest.raises(ValueError, match=message):
        synthesize_ellipsoids(tmp_path, patients, seed)
