# SPDX-License-Identifier: Apache-2.0
"""Modalities on one grid: left alone, resampled and said so, or refused with what differs."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from wss_monai.data.releases.modalities import check_label_grid, grid_difference, on_one_grid
from wss_monai.data.simulated_tags import checked_class_name, file_word, merged_labels, slice_tags

SHAPE = (8, 10, 6)
AFFINE = np.array([[-2.0, 0, 0, 7], [0, -2, 0, 9], [0, 0, 3, -20], [0, 0, 0, 1]])


def ramp(shape, affine):
    """A function of the place in mm, linear: what linear resampling gives back exactly."""
    index = np.stack([*np.meshgrid(*map(np.arange, shape), indexing="ij"), np.ones(shape)])
    x, y, z, _ = np.einsum("ij,jabc->iabc", affine, index)
    return (100 + x + 2 * y - 3 * z).astype(np.float32)


def write(folder, name, affine=AFFINE, shape=SHAPE, array=None):
    file = folder / name
    nib.save(nib.Nifti1Image(ramp(shape, affine) if array is None else array, affine), file)
    return file


def turned(degrees):
    a = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    centre = np.eye(4)
    centre[:3, 3] = (AFFINE @ [*(np.array(SHAPE) - 1) / 2, 1])[:3]
    return centre @ turn @ np.linalg.inv(centre) @ AFFINE


def test_one_grid_is_left_alone(tmp_path):
    near = AFFINE.copy()
    near[:3, 3] += 0.005  # rounding in a header
    files = {"T2": write(tmp_path, "a.nii.gz"), "ADC": write(tmp_path, "b.nii", near)}
    images, notes = on_one_grid(files)
    assert notes == [] and list(images) == ["T2", "ADC"]
    assert images["ADC"].get_filename() == str(files["ADC"])


def test_a_coarser_modality_is_resampled_to_the_first_grid(tmp_path):
    coarse = AFFINE @ np.diag([2.0, 2, 1, 1])
    coarse[:3, 3] = (AFFINE @ [-1.5, -1.5, -1, 1])[:3]
    files = {"T2": write(tmp_path, "t2.nii.gz"), "ADC": write(tmp_path, "adc.nii.gz", coarse, (7, 8, 8))}
    images, (note,) = on_one_grid(files)
    moved = images["ADC"]
    assert moved.shape == SHAPE and moved.get_data_dtype() == np.float32
    np.testing.assert_allclose(moved.affine, AFFINE)
    np.testing.assert_allclose(np.asanyarray(moved.dataobj), ramp(SHAPE, AFFINE), atol=1e-3)
    assert note.startswith("adc.nii.gz (ADC) resampled linearly from 7 x 8 x 8 voxels of 4 x 4 x 3 mm to the grid of")
    assert "t2.nii.gz (T2), 8 x 10 x 6 voxels of 2 x 2 x 3 mm" in note and "100% of the first one's box" in note


def test_axes_stored_in_another_order_and_sense_are_the_same_frame(tmp_path):
    other = nib.Nifti1Image(ramp(SHAPE, AFFINE), AFFINE).as_reoriented(np.array([[2, -1], [0, 1], [1, 1]]))
    nib.save(other, tmp_path / "psr.nii.gz")
    images, (note,) = on_one_grid({"T2": write(tmp_path, "t2.nii.gz"), "ADC": tmp_path / "psr.nii.gz"})
    np.testing.assert_allclose(np.asanyarray(images["ADC"].dataobj), ramp(SHAPE, AFFINE), atol=1e-3)
    assert "axes 0.0 degrees apart, centres 0.0 mm apart, 100%" in note


def test_where_it_does_not_reach_is_its_smallest_value(tmp_path):
    up = AFFINE.copy()
    up[2, 3] += 3
    images, (note,) = on_one_grid({"T2": write(tmp_path, "t2.nii.gz"), "ADC": write(tmp_path, "adc.nii.gz", up)})
    stored = ramp(SHAPE, up)
    result = np.asanyarray(images["ADC"].dataobj)
    np.testing.assert_allclose(result[..., 0], stored.min())
    np.testing.assert_allclose(result[..., 1:], stored[..., :-1], atol=1e-4)
    assert "centres 3.0 mm apart" in note


def test_difference_by_hand():
    first = nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE)
    moved = AFFINE.copy()
    moved[:2, 3] += (6, 8)  # 3 of 8 columns and 4 of 10 rows
    difference = grid_difference(first, nib.Nifti1Image(np.zeros(SHAPE, np.uint8), moved))
    assert difference.degrees == pytest.approx(0, abs=1e-3) and difference.centre_mm == pytest.approx(10)
    assert difference.overlap == pytest.approx(5 / 8 * 6 / 10, abs=0.02) and not difference.same_frame
    difference = grid_difference(first, nib.Nifti1Image(np.zeros(SHAPE, np.uint8), turned(30)))
    assert difference.degrees == pytest.approx(30, abs=1e-3) and difference.centre_mm == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("affine", "said"),
    [
        (turned(5), r"axes 5\.0 degrees apart, centres 0\.0 mm apart"),
        (np.diag([1.0, 1, 1, 1]), r"axes 0\.0 degrees apart, centres [\d.]+ mm apart, 0%"),
        (AFFINE + np.array([[0, 0, 0, 9.0]] + [[0] * 4] * 3), r"centres 9\.0 mm apart, 4[0-9]% of the first"),
    ],
)
def test_another_frame_is_refused_with_what_differs(tmp_path, affine, said):
    files = {"T2": write(tmp_path, "t2.nii.gz"), "ADC": write(tmp_path, "adc.nii.gz", affine)}
    with pytest.raises(ValueError, match=said) as caught:
        on_one_grid(files)
    assert "adc.nii.gz (ADC) does not lie in the frame of t2.nii.gz (T2)" in str(caught.value)


def test_what_is_no_modality_is_refused_by_name(tmp_path):
    first = write(tmp_path, "t2.nii.gz")
    four = write(tmp_path, "four.nii.gz", array=np.zeros((*SHAPE, 2), np.float32))
    nan = write(tmp_path, "nan.nii.gz", array=np.full(SHAPE, np.nan, np.float32))
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")
    for file, said in (
        (four, r"four.nii.gz has the shape \(8, 10, 6, 2\); a modality has three axes"),
        (nan, "nan.nii.gz holds intensities that are not finite"),
        (tmp_path / "broken.nii.gz", "broken.nii.gz cannot be read"),
    ):
        with pytest.raises(ValueError, match=said):
            on_one_grid({"T2": first, "ADC": file})


def test_a_label_is_never_resampled(tmp_path):
    first = nib.load(write(tmp_path, "t2.nii.gz"))

    def check(affine=AFFINE, shape=SHAPE):
        file = write(tmp_path, "seg.nii.gz", array=np.zeros(shape, np.uint8), affine=affine)
        check_label_grid(nib.load(file), file, first, tmp_path / "t2.nii.gz")

    check()
    with pytest.raises(ValueError, match=r"seg.nii.gz is not on the grid of t2.nii.gz: 4 x 5 x 6 voxels of 4 x 4 x 3"):
        check(AFFINE @ np.diag([2.0, 2, 1, 1]), (4, 5, 6))
    with pytest.raises(ValueError, match=r"axes 5\.0 degrees apart"):
        check(turned(5))
    with pytest.raises(ValueError, match="three axes"):
        check(shape=(*SHAPE, 1))


def test_tags_of_slices_and_merged_labels():
    label = np.zeros((2, 2, 4), np.uint8)
    label[..., 1] = 1
    label[0, 0, 2] = 2
    labels = {"0": "background", "1": "PZ", "2": "TZ"}
    assert slice_tags(label, labels) == [[1, 0, 0], [0, 1, 0], [1, 0, 1], [1, 0, 0]]
    assert slice_tags(label, merged_labels(labels, "prostate")) == [[1, 0], [0, 1], [1, 1], [1, 0]]
    assert len(slice_tags(label, labels, 0)) == 2
    with pytest.raises(ValueError, match=r"holds the values \[2\]"):
        slice_tags(label, {"0": "background", "1": "PZ"})
    assert merged_labels({"0": "background", "4": "background", "1": "a"}, "b")["4"] == "background"
    assert file_word("T1 (Gd)/post") == "T1-Gd-post" and file_word("..") == "image"
    for name in ("", " ", "background", "unlabelled"):
        with pytest.raises(ValueError, match="--merge must name a class"):
            checked_class_name(name, "--merge")
