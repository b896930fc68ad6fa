# SPDX-License-Identifier: Apache-2.0
"""Generated brain-like volumes with tumours in the layout of BraTS."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from wss_monai.data.phantoms.brain import make_brain, synthesize_brats


@pytest.fixture(scope="module")
def cases():
    return [make_brain(np.random.RandomState([0, i]), 64, 4) for i in range(6)]


def test_modalities_share_one_grid_and_are_zero_outside_the_brain(cases):
    for case in cases:
        assert list(case.images) == ["t1", "t1ce", "t2", "flair"]
        brain = case.images["t1"] > 0
        for image in case.images.values():
            assert image.dtype == np.int16 and image.shape == case.label.shape == (64, 64, 41)
            np.testing.assert_array_equal(image > 0, brain)
        np.testing.assert_allclose(np.multiply(case.spacing, brain.shape), (240, 240, 155))
        assert 0.7e6 < brain.sum() * np.prod(case.spacing) < 2.2e6
        assert not (case.label[~brain]).any() and not brain[0].any() and not brain[:, :, -1].any()


def test_tumours_have_three_parts_and_many_slices_have_none(cases):
    for case in cases:
        assert set(np.unique(case.label)) == {0, 1, 2, 4}
        assert ndimage.label(case.label > 0)[1] == 1
        shown = (case.label > 0).any((0, 1))
        brain = (case.images["t1"] > 0).any((0, 1))
        assert 0.15 < shown.sum() / brain.sum() < 0.7
        assert 10 < (case.label > 0).sum() * np.prod(case.spacing) / 1000 < 200  # ml


def test_parts_differ_by_modality(cases):
    level = {
        name: {part: np.mean([np.median(case.images[name][case.label == part] / np.median(
            case.images[name][(case.images[name] > 0) & (case.label == 0)])) for case in cases]) for part in (1, 2, 4)}
        for name in cases[0].images
    }  # fmt: skip
    assert level["t1ce"][4] > 1.1 > 0.9 > level["t1ce"][2] > level["t1ce"][1]
    assert level["flair"][2] > 1.2 > 1 > level["flair"][1]
    assert level["t2"][1] > level["t2"][2] > 1.3 and level["t1"][2] < 0.9


def test_no_single_threshold_finds_the_tumour(cases):
    best = {name: [] for name in cases[0].images}
    for case in cases:
        tumour = case.label > 0
        for name, image in case.images.items():
            smooth, brain = ndimage.gaussian_filter(image.astype(float), 0.5), image > 0
            levels = np.quantile(smooth[brain], np.linspace(0, 1, 50))
            found = [(smooth > level) & brain for level in levels] + [(smooth < level) & brain for level in levels]
            best[name].append(max(2 * (f & tumour).sum() / (f.sum() + tumour.sum()) for f in found))
    assert max(np.mean(values) for values in best.values()) < 0.8
    assert sorted(np.mean(values) for values in best.values())[-2] < 0.55


def test_small_ones_have_slices_enough():
    case = make_brain(np.random.RandomState(0), 32)
    assert list(case.images) == ["flair", "t1ce"] and case.label.shape == (32, 32, 21) and (case.label > 0).any()
    assert make_brain(np.random.RandomState(0), 24).label.shape[2] >= 12


def test_files_are_those_of_a_release_and_depend_on_the_index_alone(tmp_path):
    synthesize_brats(tmp_path / "a", 2, 3, size=32, modalities=4)
    synthesize_brats(tmp_path / "b", 4, 3, size=32, modalities=4)
    names = [f"BraTS19_SYN_00{i}_1" for i in range(2)]
    kinds = ("t1", "t1ce", "t2", "flair", "seg")
    found = sorted(str(path.relative_to(tmp_path / "a")) for path in (tmp_path / "a").rglob("*.*"))
    assert found == sorted(f"{name}/{name}_{kind}.nii.gz" for name in names for kind in kinds)
    for name in found:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    pictures = [nib.load(tmp_path / "a" / names[0] / f"{names[0]}_{kind}.nii.gz") for kind in kinds]
    for picture in pictures:
        np.testing.assert_array_equal(picture.affine, pictures[0].affine)
        assert nib.aff2axcodes(picture.affine) == ("L", "P", "S")
    assert pictures[-1].get_data_dtype() == np.uint8


def test_grades_go_to_folders(tmp_path):
    synthesize_brats(tmp_path, 3, 0, size=32, grades=True)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/*")) == [
        "HGG/BraTS19_SYN_000_1", "HGG/BraTS19_SYN_001_1", "LGG/BraTS19_SYN_002_1",
    ]  # fmt: skip
    low, high = (make_brain(np.random.RandomState(1), 48, low_grade=low).label for low in (True, False))
    assert (low == 4).sum() < 0.3 * (high == 4).sum()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patients": 0}, "patients must be 1 or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"size": 16}, "size must be 24 pixels or more, got 16"),
        ({"modalities": 3}, "modalities must be 2 .* or 4 .*, got 3"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        synthesize_brats(tmp_path / "out", **{"patients": 1, "seed": 0, **changes})
    assert not (tmp_path / "out").exists()
