# SPDX-License-Identifier: Apache-2.0
"""Masks lie on the grid of their image, with names and colours that viewers show; numbers by hand."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from wss_monai.io.labels import read_label
from wss_monai.io.volumes import read_volume
from wss_monai.prediction.prediction import Prediction
from wss_monai.prediction.preview import write_preview
from wss_monai.prediction.writers import write_entropy, write_label_file

NAMES = ["background", "RV", "LV <cavity>"]
AFFINE = np.array([[0, 0, 3, 10], [-2, 0, 0, 20], [0, 1.5, 0, -30], [0, 0, 0, 1]], dtype=float)


def predicted(path, mask=None, bounds=(), affine=AFFINE):
    if mask is None:
        mask = np.zeros((6, 5, 4), np.uint8)
        mask[1:3, 1:4, 1] = 1
        mask[2:5, 2:4, 2:4] = 2
    image = np.random.RandomState(0).rand(*mask.shape).astype(np.float32)
    return Prediction((str(path),), mask, affine, NAMES, image, bounds=bounds)


@pytest.fixture
def stored(tmp_path):
    """A header with what headers can hold: seconds, a scanner's qform beside another sform code, big-endian."""
    header = nib.Nifti1Header(endianness=">")
    header.set_xyzt_units("mm", "sec")
    image = nib.Nifti1Image(np.zeros((6, 5, 4), np.int16), AFFINE, header)
    image.set_sform(AFFINE, 4)
    image.set_qform(AFFINE, 1)
    image.header["descrip"] = b"scanner text"
    path = tmp_path / "image.nii.gz"
    nib.save(image, path)
    return path


def test_the_nifti_header_of_the_image_is_kept(stored, tmp_path):
    found = predicted(stored)
    written, image = nib.load(found.save(tmp_path / "out" / "mask.nii.gz")), nib.load(stored)
    np.testing.assert_array_equal(np.asarray(written.dataobj), found.mask)
    assert written.get_data_dtype() == np.uint8
    for field in ("xyzt_units", "sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "pixdim", "dim"):
        np.testing.assert_array_equal(written.header[field], image.header[field], field)
    assert bytes(written.header["descrip"]).rstrip(b"\0") == b"1=RV 2=LV <cavity>"
    assert [extension.get_code() for extension in written.header.extensions] == [30]
    whole = gzip.decompress((tmp_path / "out" / "mask.nii.gz").read_bytes())
    assert b'<Label Key="2" Red="0.9020"' in whole and b">LV &lt;cavity&gt;</Label>" in whole


def test_no_pose_and_other_units_stay_as_they_are(tmp_path):
    image = nib.Nifti1Image(np.zeros((6, 5, 4), np.int16), None)
    image.header.set_xyzt_units("micron")
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "image.nii")
    written = nib.load(predicted(tmp_path / "image.nii").save(tmp_path / "mask.nii.gz"))
    assert written.header.get_xyzt_units()[0] == "micron"
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (0, 0)


def test_a_mask_of_another_format_has_the_place_of_its_image(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16))
    image.SetSpacing((2, 1.5, 3))
    image.SetOrigin((5, 6, 7))
    sitk.WriteImage(image, str(tmp_path / "image.nrrd"))
    affine = np.diag([-2, -1.5, 3, 1.0])
    affine[:3, 3] = -5, -6, 7
    written = nib.load(predicted(tmp_path / "image.nrrd", affine=affine).save(tmp_path / "mask.nii.gz"))
    np.testing.assert_allclose(written.affine, affine)
    assert written.header.get_xyzt_units()[0] == "mm" and int(written.header["sform_code"]) == 1


def test_a_segmentation_of_slicer_has_names_colours_and_place(stored, tmp_path):
    found = predicted(stored)
    path = found.save(tmp_path / "mask.seg.nrrd")
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, found.mask)
    assert [image.GetMetaData(f"Segment{n}_Name") for n in (0, 1)] == NAMES[1:]
    assert [image.GetMetaData(f"Segment{n}_LabelValue") for n in (0, 1)] == ["1", "2"]
    assert len(image.GetMetaData("Segment0_Color").split()) == 3
    reference = sitk.ReadImage(str(stored))
    for corner in ((0, 0, 0), (5, 4, 3)):
        np.testing.assert_allclose(
            image.TransformIndexToPhysicalPoint(corner), reference.TransformIndexToPhysicalPoint(corner), atol=1e-5
        )


def test_a_segmentation_is_a_label_map_of_this_package_too(stored, tmp_path):
    found = predicted(stored)
    image = read_volume(stored)[None]
    index = read_label(found.save(tmp_path / "m.seg.nrrd"), image, segments={"RV": 1, "LV <cavity>": 2})
    np.testing.assert_array_equal(index[0].numpy(), found.mask)


def test_labels_for_itk_snap(tmp_path):
    lines = write_label_file(NAMES, tmp_path / "labels.txt").read_text().splitlines()
    assert lines[2].split()[:4] == ["0", "0", "0", "0"]
    assert lines[4].split(maxsplit=7) == ["2", "230", "159", "0", "1", "1", "1", '"LV <cavity>"']


def test_an_image_is_never_written_over_and_other_endings_are_refused(stored, tmp_path):
    before = stored.read_bytes()
    with pytest.raises(ValueError, match="is a file of the image"):
        predicted(stored).save(stored)
    assert stored.read_bytes() == before
    with pytest.raises(ValueError, match=r"masks are written as .nii, .nii.gz, .seg.nrrd"):
        predicted(stored).save(tmp_path / "mask.mha")
    with pytest.raises(ValueError, match="the entropy was not computed"):
        write_entropy(predicted(stored), tmp_path / "entropy.nii.gz")


def test_the_entropy_is_a_map_of_numbers(stored, tmp_path):
    found = predicted(stored)
    found.entropy = np.linspace(0, 1, found.mask.size, dtype=np.float32).reshape(found.mask.shape)
    written = nib.load(write_entropy(found, tmp_path / "entropy.nii.gz"))
    assert written.get_data_dtype() == ">f4"
    np.testing.assert_allclose(written.get_fdata(), found.entropy)


def test_volumes_borders_and_bounds_by_hand(stored):
    bounds = [
        {"values": {"RV": [10, 60], "LV <cavity>": [None, 20]}, "unit": "mm2", "slices": True},
        {"values": {"RV": [0.01, None]}, "unit": "ml", "slices": False},
    ]
    first, second = predicted(stored, bounds=bounds).rows()
    assert (first["class"], first["voxels"], first["ml"]) == ("RV", 6, pytest.approx(6 * 9 / 1000))
    assert first["touches_border"] == "no" and second["touches_border"] == "yes"
    assert first["bounds"] == "10 to 60 mm2 a slice; at least 0.01 ml" and first["inside_bounds"] == "yes"  # 18 mm2
    assert second["voxels"] == 12 and second["inside_bounds"] == "yes"  # 6 x 3 mm2 in each of two slices
    nothing, _ = predicted(stored, np.zeros((6, 5, 4), np.uint8), bounds).rows()
    assert (nothing["ml"], nothing["inside_bounds"], nothing["touches_border"]) == (0, "no", "no")
    one = np.zeros((6, 5, 1), np.uint8)
    one[2, 2, 0] = 1
    row, other = predicted(stored, one).rows()
    assert row["touches_border"] == "no", "a single slice has no border along its normal"
    assert row["inside_bounds"] == other["inside_bounds"] == ""


def test_a_picture(stored, tmp_path):
    with Image.open(write_preview(predicted(stored), tmp_path / "p.png")) as picture:
        assert picture.size[0] > 100 and len(picture.getcolors(1 << 20) or []) > 10
