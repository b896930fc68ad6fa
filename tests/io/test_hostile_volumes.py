# SPDX-License-Identifier: Apache-2.0
"""Volume files that read as something else than they are: refused by name, or read right."""

import bz2
import gzip
import os
import zlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from wss_monai.data.checks.geometry import check_grid, check_nifti
from wss_monai.data.checks.problem import Problems
from wss_monai.io.grids import read_grid, spacing_of
from wss_monai.io.labels import is_segmentation, read_label
from wss_monai.io.volumes import UnreadableVolume, read_volume

A = np.diag([1.5, 1.5, 8.0, 1.0])


def values(shape=(16, 16, 5), seed=0):
    return (np.random.RandomState(seed).rand(*shape) * 900).astype(np.int16)


def itk(array, path, compressed=False):
    image = sitk.GetImageFromArray(array.T)
    image.SetSpacing([1.5, 1.5, 8.0][: array.ndim])
    sitk.WriteImage(image, str(path), compressed)
    return path


def refused(path, words):
    with pytest.raises(UnreadableVolume, match=words) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", np.linspace(0.1, 0.98, 12))
@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".nii.gz"])
def test_a_flipped_bit_in_compressed_voxels_is_refused(tmp_path, suffix, place):
    file, array = tmp_path / f"v{suffix}", values()
    if suffix == ".nii.gz":
        nib.save(nib.Nifti1Image(array, A), file)
    else:
        itk(array, file, compressed=True)
    np.testing.assert_array_equal(read_volume(file).numpy(), array)
    data = bytearray(file.read_bytes())
    start = data.index(b"\x1f\x8b") if suffix != ".mha" else data.index(b"LOCAL\n") + 6
    data[start + 12 + int(place * (len(data) - start - 13))] ^= 0x40
    file.write_bytes(data)
    try:
        np.testing.assert_array_equal(read_volume(file).numpy(), array)  # a bit that nothing depends on
    except UnreadableVolume as error:
        assert str(file) in str(error)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".nii.gz"])
@pytest.mark.parametrize("gone", [1, 4, 8, 400])
def test_compressed_voxels_that_end_early_are_refused(tmp_path, suffix, gone):
    file = tmp_path / f"v{suffix}"
    nib.save(nib.Nifti1Image(values(), A), file) if suffix == ".nii.gz" else itk(values(), file, compressed=True)
    file.write_bytes(file.read_bytes()[:-gone])
    refused(file, "early|end-of-stream|corrupt|nrrd|unexpected")


def test_voxels_beside_a_header_are_checked_too(tmp_path):
    raw, array = tmp_path / "v.zraw", values()
    header = "NDims = 3\nDimSize = 16 16 5\nElementType = MET_SHORT\nCompressedData = True\nElementDataFile = v.zraw\n"
    (tmp_path / "v.mhd").write_text(header)
    raw.write_bytes(zlib.compress(array.tobytes("F")))
    np.testing.assert_array_equal(read_volume(tmp_path / "v.mhd").numpy(), array)
    raw.write_bytes(b"garbage" * 99)
    refused(tmp_path / "v.mhd", "corrupt")
    raw.unlink()
    refused(tmp_path / "v.mhd", "No such file")


def test_nrrd_with_bzip2_or_with_a_detached_list_is_read(tmp_path):
    array = values()
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 16 16 5\nendian: little\nencoding: {}\n{}\n"
    (tmp_path / "b.nrrd").write_bytes(head.format("bzip2", "").encode() + bz2.compress(array.tobytes("F")))
    try:
        np.testing.assert_array_equal(read_volume(tmp_path / "b.nrrd").numpy(), array)
    except UnreadableVolume as error:  # not every ITK reads it
        assert "bzip2" in str(error) or "encoding" in str(error)
    for z in range(5):
        (tmp_path / f"s{z}.raw").write_bytes(array[..., z].tobytes("F"))
    (tmp_path / "d.nhdr").write_text(head.format("raw", "data file: s%d.raw 0 4 1"))
    np.testing.assert_array_equal(read_volume(tmp_path / "d.nhdr").numpy(), array)
    names = "\n".join(f"s{z}.raw" for z in range(5))
    (tmp_path / "l.nhdr").write_text(head.format("raw", f"data file: LIST 2\n{names}"))
    np.testing.assert_array_equal(read_volume(tmp_path / "l.nhdr").numpy(), array)


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.raw", "sub/../../secret.raw", "link.raw"])
@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nhdr", ".nrrd"])
def test_a_header_leads_to_no_file_outside_its_folder(tmp_path, suffix, name):
    inner = tmp_path / "set"
    (inner / "sub").mkdir(parents=True)
    (tmp_path / "secret.raw").write_bytes(bytes(1280))
    os.symlink(tmp_path / "secret.raw", inner / "link.raw")
    file = inner / f"v{suffix}"
    if "m" in suffix:
        text = f"NDims = 3\nDimSize = 8 8 4\nElementType = MET_UCHAR\nElementDataFile = {name}\n"
    else:
        text = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 8 8 4\nencoding: raw\ndata file: {name}\n"
    file.write_text(text)
    refused(file, "not in its folder")
    with pytest.raises(ValueError, match="not in its folder"):
        read_grid(str(file))


@pytest.mark.parametrize("dimension", ["16", "1", "-3", "x", ""])
def test_a_header_whose_dimensions_end_the_process_is_refused(tmp_path, dimension):
    for suffix, name in ((".nrrd", "dimension: "), (".mha", "NDims = ")):
        file = tmp_path / f"v{suffix}"
        sizes = "2 " * 16
        text = (
            f"NRRD0004\ntype: short\n{name}{dimension}\nsizes: {sizes}\nencoding: raw\n\n"
            if suffix == ".nrrd"
            else f"{name}{dimension}\nDimSize = {sizes}\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
        )
        file.write_bytes(text.encode() + bytes(131072))
        refused(file, "of 2 to 4")
        assert not is_segmentation(file)


@pytest.mark.parametrize("name", ["sizes", "space directions", "kinds", "endian", "labels"])
def test_fields_whose_length_ends_the_process_are_refused(tmp_path, name):
    fields = {"type": "short", "dimension": "3", "sizes": "8 8 4", "encoding": "raw", name: "x" * 1500}
    head = "NRRD0004\n" + "".join(f"{key}: {value}\n" for key, value in fields.items())
    (tmp_path / "v.nrrd").write_bytes(f"{head}\n".encode() + bytes(512))
    refused(tmp_path / "v.nrrd", f"'{name}' is longer than 1000 characters")


def test_keys_of_a_header_are_no_fields(tmp_path):
    """Those may be long, as 3D Slicer's are, and do not hide the number of dimensions."""
    head = "NRRD0004\n{}type: short\ndimension: {}\nsizes: 8 8 4\nendian: little\nencoding: raw\n"
    head += f"Segment0_Tags:={'x' * 5000}\n\n"
    (tmp_path / "v.nrrd").write_bytes(head.format("", 3).encode() + bytes(512))
    assert read_volume(tmp_path / "v.nrrd").shape == (8, 8, 4)
    (tmp_path / "w.nrrd").write_bytes(head.format("dimension:=3\n", 16).encode() + bytes(512))
    refused(tmp_path / "w.nrrd", "of 2 to 4")


def test_complex_voxels_and_colours_are_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((4, 4, 3), np.complex64), A), tmp_path / "c.nii.gz")
    refused(tmp_path / "c.nii.gz", "complex")
    colours = np.zeros((4, 4, 3), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nib.save(nib.Nifti1Image(colours, A), tmp_path / "rgb.nii")
    refused(tmp_path / "rgb.nii", "colours")
    image = sitk.GetImageFromArray(np.ones((3, 4, 4), np.complex64))
    sitk.WriteImage(image, str(tmp_path / "c.mha"))
    refused(tmp_path / "c.mha", "complex|pixel")


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1.0), ("unknown", 1.0), ("micron", 1e-3), ("meter", 1e3)])
def test_units_of_length_are_read_as_itk_reads_them(tmp_path, unit, mm):
    affine = np.array([[7.0, 0, 0, 3], [0, 7, 0, -5], [0, 0, 10, 9], [0, 0, 0, 1]])
    image = nib.Nifti1Image(values((4, 4, 3)), affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "u.nii.gz")
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "u.nii.gz")), str(tmp_path / "u.nrrd"))
    here, theirs = read_volume(tmp_path / "u.nii.gz"), read_volume(tmp_path / "u.nrrd")
    np.testing.assert_allclose(spacing_of(here[None]), [7 * mm, 7 * mm, 10 * mm], rtol=1e-6)
    np.testing.assert_allclose(here.affine, theirs.affine, rtol=1e-5)
    np.testing.assert_allclose(read_grid(str(tmp_path / "u.nii.gz")).affine, here.affine)
    problems = Problems("u")
    check_nifti(str(tmp_path / "u.nii.gz"), "u.nii.gz", problems)
    assert [p.kind for p in problems] == (["unit"] if mm != 1 else [])


def test_volumes_of_a_tilted_gantry_are_those_of_the_determinant(tmp_path):
    affine = np.array([[1.5, 0, 0.9, 0], [0, 1.5, 3.0, 0], [0, 0, 6.0, 0], [0, 0, 0, 1]])
    image = nib.Nifti1Image(np.ones((4, 5, 3), np.int16), affine)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "t.nii")
    grid = read_grid(str(tmp_path / "t.nii"))
    assert grid.sheared
    assert grid.voxel_ml == pytest.approx(1.5 * 1.5 * 6 / 1000)  # 1.5 * 1.5 * sqrt(.81 + 9 + 36) would be 15.2
    np.testing.assert_allclose(grid.spacing, [1.5, 1.5, 6.0])
    np.testing.assert_allclose(spacing_of(MetaTensor(torch.zeros(1, 4, 5, 3), affine=affine)), [1.5, 1.5, 6.0])
    problems = Problems("t")
    check_grid(grid, 2, "t.nii", problems)
    assert "sheared" in [p.kind for p in problems]
    turned = np.eye(4)
    turned[:2, :2] = np.array([[0.8, -0.6], [0.6, 0.8]]) * 1.5
    np.testing.assert_allclose(spacing_of(MetaTensor(torch.zeros(1, 4, 5, 3), affine=turned)), [1.5, 1.5, 1.0])


def test_check_says_which_of_two_poses_is_used(tmp_path):
    image = nib.Nifti1Image(values((4, 4, 3)), None)
    image.set_qform(np.diag([1, 1, 0.6, 1]), code=1)  # and pixdim with it
    image.set_sform(np.diag([1, 1, 0.8, 1]), code=1)
    image.header["pixdim"][3] = 0.6
    nib.save(image, tmp_path / "two.nii")
    problems = Problems("two")
    check_nifti(str(tmp_path / "two.nii"), "two.nii", problems)
    (problem,) = problems
    used = "qform" if "the qform is used" in problem.problem else "sform"
    step = spacing_of(read_volume(tmp_path / "two.nii")[None])[2]
    assert (used, step) == ("qform", pytest.approx(0.6))
    assert read_grid(str(tmp_path / "two.nii")).spacing[2] == pytest.approx(0.6)


IMAGE = MetaTensor(torch.zeros(1, 6, 6, 3), affine=torch.from_numpy(np.diag([-1.5, -1.5, 8.0, 1.0])))


def test_labels_that_a_scale_left_nearly_whole_are_rounded(tmp_path):
    index = np.random.RandomState(0).randint(0, 3, (6, 6, 3))
    image = nib.Nifti1Image(index.astype(float), np.asarray(IMAGE.affine))
    image.header.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "l.nii.gz")
    assert (np.asarray(nib.load(tmp_path / "l.nii.gz").dataobj) != index).any()
    read = read_label(tmp_path / "l.nii.gz", IMAGE, {0: 0, 1: 1, 2: 2})
    np.testing.assert_array_equal(read[0].numpy(), index)
    nib.save(nib.Nifti1Image(index + 0.01, np.asarray(IMAGE.affine)), tmp_path / "off.nii.gz")
    with pytest.raises(ValueError, match="not whole numbers"):
        read_label(tmp_path / "off.nii.gz", IMAGE, {0: 0, 1: 1, 2: 2})


def test_labels_that_float32_cannot_tell_apart_are_refused(tmp_path):
    index = np.where(np.arange(108).reshape(6, 6, 3) % 2, 2**24, 2**24 + 1).astype(np.int32)
    nib.save(nib.Nifti1Image(index, np.asarray(IMAGE.affine)), tmp_path / "big.nii.gz")
    with pytest.raises(ValueError, match="16777216 and more"):
        read_label(tmp_path / "big.nii.gz", IMAGE, {2**24: 0, 2**24 + 1: 1})


@pytest.mark.parametrize("named", [True, False])
def test_an_empty_segmentation_is_nothing_drawn(tmp_path, named):
    segments = "Segment0_Name:=background\nSegment0_ID:=a\nSegment1_Name:=organ\nSegment1_ID:=b\n" if named else ""
    head = (
        "NRRD0004\ntype: unsigned char\ndimension: 3\nspace: left-posterior-superior\nsizes: 1 1 1\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nkinds: domain domain domain\nencoding: raw\n"
        f"space origin: (0,0,0)\n{segments}\n"
    )
    (tmp_path / "e.seg.nrrd").write_bytes(head.encode() + b"\0")
    for undrawn in (0, 255):
        read = read_label(tmp_path / "e.seg.nrrd", IMAGE, None, {"background": 0, "organ": 1}, undrawn)
        assert read.shape == IMAGE.shape
        assert (read == undrawn).all()


def test_gzip_with_several_members_is_whole(tmp_path):
    nib.save(nib.Nifti1Image(values(), A), tmp_path / "a.nii")
    data = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data[:1000]) + gzip.compress(data[1000:]))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").numpy(), values())
