# SPDX-License-Identifier: Apache-2.0
"""Volume files: every format gives the array and the affine that nibabel gives for the same image."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.transforms import Compose, Invertd, LoadImage, LoadImaged, ResizeWithPadOrCropd, SaveImaged, Spacingd

from wss_monai.data import read_dataset
from wss_monai.io import volumes
from wss_monai.io.volumes import SimpleITKReader, UnreadableVolume, read_array, without_suffix

OBLIQUE = sitk.VersorTransform((0.3, -0.2, 0.5), 0.4).GetMatrix()


def read_volume(path):
    """Read by MONAI, and see that the reader that does without it gives the same, errors included."""
    try:
        volume = volumes.read_volume(path)
    except Exception as error:
        with pytest.raises(type(error)) as other:
            read_array(path)
        assert str(other.value) == str(error)
        raise
    array, affine = read_array(path)
    assert array.dtype == np.float32 and affine.dtype == np.float64
    np.testing.assert_array_equal(array, volume.numpy())
    np.testing.assert_array_equal(affine, volume.affine.numpy())
    return volume


def image_of(dim: int = 3, kind: str = "oblique", dtype=np.int16) -> sitk.Image:
    """A random image with anisotropic spacing, an origin, and straight, oblique or flipped axes."""
    shape = (4, 6, 5)[-dim:]
    image = sitk.GetImageFromArray(np.random.RandomState(0).randint(-90, 900, shape).astype(dtype))
    image.SetSpacing((1.25, 0.75, 8.0)[:dim])
    image.SetOrigin((-31.5, 12.25, 70.0)[:dim])
    turned = {"straight": np.eye(3).ravel(), "oblique": OBLIQUE, "sagittal": (0, 0, -1, 1, 0, 0, 0, -1, 0)}[kind]
    if dim == 2:
        turned = (0.8, -0.6, 0.6, 0.8) if kind == "oblique" else (1, 0, 0, 1)
    image.SetDirection([float(x) for x in turned])
    return image


def write_series(image: sitk.Image, folder: Path, uid: str = "1.2.3.4", skip: tuple[int, ...] = ()) -> Path:
    """Write the slices of an image as a DICOM series."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    axes = np.reshape(image.GetDirection(), (3, 3))
    for i in range(image.GetDepth()):
        if i in skip:
            continue
        piece = image[:, :, i]
        tags = {
            "0008|0060": "MR",
            "0008|103e": f"stack {uid}",
            "0020|000e": uid,
            "0020|000d": "1.2.3",
            "0008|0018": f"{uid}.{i + 1}",
            "0020|0013": str(i),
            "0020|0032": "\\".join(f"{x:.10g}" for x in image.TransformIndexToPhysicalPoint((0, 0, i))),
            "0020|0037": "\\".join(f"{x:.10g}" for x in (*axes[:, 0], *axes[:, 1])),
        }
        for key, value in tags.items():
            piece.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{uid}_{i}.dcm"))
        writer.Execute(piece)
    return folder


def nibabel_of(image: sitk.Image, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    sitk.WriteImage(image, str(folder / "same.nii.gz"))
    same = nib.load(folder / "same.nii.gz")
    return np.asarray(same.dataobj), same.affine


@pytest.mark.parametrize("kind", ["straight", "oblique", "sagittal"])
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.MHA", "a.NRRD"])
def test_every_format_is_what_nibabel_reads(tmp_path, name, dim, kind):
    image = image_of(dim, kind)
    array, affine = nibabel_of(image, tmp_path)
    sitk.WriteImage(image, str(tmp_path / name.lower()))
    (tmp_path / name.lower()).rename(tmp_path / name)
    volume = read_volume(tmp_path / name)
    assert volume.dtype == torch.float32
    np.testing.assert_array_equal(volume.numpy(), array)
    np.testing.assert_allclose(volume.affine.numpy(), affine, atol=1e-5)


@pytest.mark.parametrize("kind", ["straight", "oblique", "sagittal"])
def test_a_dicom_series(tmp_path, kind):
    image = image_of(3, kind)
    array, affine = nibabel_of(image, tmp_path)
    volume = read_volume(write_series(image, tmp_path / "series"))
    np.testing.assert_array_equal(volume.numpy(), array)
    np.testing.assert_allclose(volume.affine.numpy(), affine, atol=1e-5)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_number_types(tmp_path, dtype):
    image = sitk.Cast(image_of(), sitk.sitkUInt8) if dtype == "u1" else image_of(dtype=dtype)
    sitk.WriteImage(image, str(tmp_path / "a.mha"), useCompression=True)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mha").numpy(), sitk.GetArrayFromImage(image).T)


def test_loaders_of_monai_take_the_reader(tmp_path):
    image = image_of()
    array, affine = nibabel_of(image, tmp_path)
    for name in ("a.nrrd", "b.nrrd"):
        sitk.WriteImage(image, str(tmp_path / name))
    dotted = f"{SimpleITKReader.__module__}.SimpleITKReader"
    out = LoadImaged("image", reader=dotted, ensure_channel_first=True)({"image": tmp_path / "a.nrrd"})["image"]
    np.testing.assert_array_equal(out[0].numpy(), array)
    np.testing.assert_allclose(out.affine.numpy(), affine, atol=1e-5)
    nifti = LoadImaged("image", reader=dotted)({"image": tmp_path / "same.nii.gz"})["image"]
    np.testing.assert_array_equal(nifti.numpy(), array)
    two = LoadImage(reader=SimpleITKReader(), ensure_channel_first=True)([tmp_path / "a.nrrd", tmp_path / "b.nrrd"])
    assert two.shape == (2, *array.shape)


def test_components_of_a_voxel_are_channels_for_monai_and_refused_as_a_volume(tmp_path):
    image = sitk.Compose(image_of(), image_of() * 2)
    sitk.WriteImage(image, str(tmp_path / "two.nrrd"))
    out = LoadImage(reader=SimpleITKReader(), ensure_channel_first=True)(tmp_path / "two.nrrd")
    assert out.shape == (2, 5, 6, 4)
    assert torch.equal(out[1], out[0] * 2)
    with pytest.raises(ValueError, match=r"two.nrrd: shape \(5, 6, 4, 2\), expected 2 or 3 non-empty axes; split"):
        read_volume(tmp_path / "two.nrrd")


def test_four_axes_are_refused_unless_the_last_is_one(tmp_path):
    sitk.WriteImage(sitk.JoinSeries([image_of()]), str(tmp_path / "one.nrrd"))
    array, affine = nibabel_of(image_of(), tmp_path)
    volume = read_volume(tmp_path / "one.nrrd")
    np.testing.assert_array_equal(volume.numpy(), array)
    np.testing.assert_allclose(volume.affine.numpy(), affine, atol=1e-5)
    sitk.WriteImage(sitk.JoinSeries([image_of(), image_of()]), str(tmp_path / "two.mha"))
    with pytest.raises(ValueError, match=r"two.mha: shape \(5, 6, 4, 2\), expected 2 or 3"):
        read_volume(tmp_path / "two.mha")


@pytest.mark.parametrize("name", ["a.mhd", "a.nrrd", "a.nii.gz", "series"])
def test_predictions_go_home_to_the_grid_of_the_input(tmp_path, name):
    image = image_of()
    array, affine = nibabel_of(image, tmp_path)
    write_series(image, tmp_path / name) if name == "series" else sitk.WriteImage(image, str(tmp_path / name))
    before = Compose(
        [
            LoadImaged("image", reader=SimpleITKReader(), ensure_channel_first=True),
            Spacingd("image", pixdim=(1.0, 1.0, -1.0)),
            ResizeWithPadOrCropd("image", spatial_size=(16, 16, -1)),
        ]
    )
    item = before({"image": str(tmp_path / name)})
    item["pred"] = item["image"].clone()
    save = {"output_dir": tmp_path / "out", "separate_folder": False, "resample": False, "print_log": False}
    Compose([Invertd("pred", before, orig_keys="image"), SaveImaged("pred", **save)])(item)
    prediction = nib.load(next((tmp_path / "out").iterdir()))
    assert prediction.shape == array.shape
    np.testing.assert_allclose(prediction.affine, affine, atol=1e-5)


@pytest.mark.parametrize(
    ("folder", "number", "suffix"),
    [
        ("hippocampus", 0, "mhd"),
        ("hippocampus", 1, "nrrd"),
        ("sct_multicontrast", 0, "mha"),
        ("open_ms_mni", 0, "nrrd"),
    ],
)
def test_real_volumes(real_data, tmp_path, folder, number, suffix):
    dataset = read_dataset(real_data(folder))
    path = dataset.file_of(dataset.training[number], "image")
    path = path[0] if isinstance(path, list) else path
    sitk.WriteImage(sitk.ReadImage(path), str(tmp_path / f"same.{suffix}"))
    stored, volume = nib.load(path), read_volume(tmp_path / f"same.{suffix}")
    np.testing.assert_allclose(volume.affine.numpy(), stored.affine, atol=1e-4)
    np.testing.assert_allclose(volume.numpy(), np.asarray(stored.dataobj, np.float32), rtol=1e-5)


class TestUnreadable:
    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"none.nrrd does not exist"):
            read_volume(tmp_path / "none.nrrd")

    @pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.98])
    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha", "dcm"])
    def test_truncated(self, tmp_path, suffix, part, compressed, capfd):
        image = sitk.Cast(sitk.AdditiveGaussianNoise(sitk.Image(30, 30, 8, sitk.sitkFloat32), 90.0), sitk.sitkInt32)
        image = sitk.Cast(image + 999, sitk.sitkUInt16)
        whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
        sitk.WriteImage(image, str(whole), useCompression=compressed and suffix != "dcm")
        cut.write_bytes(whole.read_bytes()[: int(part * whole.stat().st_size)])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ValueError, match=rf"^{re.escape(str(cut))}: \S.*$") as caught:
                read_volume(cut)
        assert "\n" not in str(caught.value)
        read_volume(whole)

    @pytest.mark.parametrize("suffix", ["mhd", "nrrd"])
    def test_sizes_beyond_all_memory(self, tmp_path, suffix):
        header = {
            "mhd": "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 100000 100000 100000\n"
            "ElementType = MET_SHORT\nElementDataFile = a.raw\n",
            "nrrd": "NRRD0004\ntype: short\ndimension: 3\nsizes: 100000 100000 100000\nencoding: raw\n"
            "endian: little\n\n",
        }[suffix]
        (tmp_path / f"a.{suffix}").write_text(header)
        (tmp_path / "a.raw").write_bytes(b"short")
        with pytest.raises(UnreadableVolume, match=rf"a\.{suffix}: .*[Mm]emory"):
            read_volume(tmp_path / f"a.{suffix}")

    def test_a_raw_file_that_is_missing_or_short(self, tmp_path):
        sitk.WriteImage(image_of(), str(tmp_path / "a.mhd"))
        raw = tmp_path / "a.raw"
        raw.write_bytes(raw.read_bytes()[:99])
        with pytest.raises(ValueError, match=r"a\.mhd: "):
            read_volume(tmp_path / "a.mhd")
        raw.unlink()
        with pytest.raises(ValueError, match=r"a\.mhd: "):
            read_volume(tmp_path / "a.mhd")

    def test_a_flat_affine(self, tmp_path):
        header = nib.Nifti1Header()
        header.set_sform(np.diag([1, 1, 0, 1.0]), 1)
        nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.float32), None, header), tmp_path / "flat.nii.gz")
        with pytest.raises(ValueError, match=r"flat\.nii\.gz: its affine cannot be inverted"):
            read_volume(tmp_path / "flat.nii.gz")

    def test_folders(self, tmp_path, capfd):
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match=r"empty: a folder without a DICOM file"):
            read_volume(tmp_path / "empty")
        folder = write_series(image_of(), tmp_path / "series")
        write_series(image_of(), folder, "1.2.9")
        match = r"holds 2 DICOM series; keep one a folder: 1.2.3.4.* \(4 files, 'stack 1.2.3.4'\), 1.2.9.* \(4 files"
        with pytest.raises(ValueError, match=match):
            read_volume(folder)
        with pytest.raises(ValueError, match=r"gap: its slices lie 8.000 to 16.000 mm apart: slices are missing"):
            read_volume(write_series(image_of(), tmp_path / "gap", skip=(1,)))
        cut = sorted(write_series(image_of(), tmp_path / "cut").iterdir())[1]
        cut.write_bytes(cut.read_bytes()[:-20])
        with pytest.raises(ValueError, match=r"cut: "):
            read_volume(tmp_path / "cut")
        assert not capfd.readouterr().err


def test_without_suffix():
    names = ["a.nii.gz", "a.seg.nrrd", "a.NRRD", "a.mhd", "a", "a.b.mha", ".nii"]
    assert [without_suffix(name) for name in names] == ["a", "a", "a", "a", "a", "a.b", ".nii"]


@pytest.mark.parametrize("header", [b"NDims = -3\nDimSize = 2 2 2\n", b"ObjectType = Image\n"])
def test_a_header_that_would_end_the_process_is_refused(tmp_path, header):
    file = tmp_path / "broken.mha"
    file.write_bytes(header + b"ElementDataFile = LOCAL\n" + bytes(16))
    with pytest.raises(UnreadableVolume, match="no NDims of 2 to 4"):
        read_volume(file)


@pytest.mark.parametrize("which", ["sform", "qform", "neither"])
def test_voxel_sizes_that_contradict_the_affine_are_mended_as_monai_does(tmp_path, which):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine)
    other = np.diag([1.0, 1.5, 2.0, 1.0])
    image.set_sform(affine if which == "qform" else other, 2)
    image.set_qform(other if which == "qform" else affine, 1)
    if which == "neither":
        image.header["pixdim"][1:4] = 7.0, 7.0, 7.0
    nib.save(image, tmp_path / "a.nii.gz")
    assert read_volume(tmp_path / "a.nii.gz").shape == (2, 3, 4)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (3, 4, 5, 1), (3, 4, 5, 1, 1)])
@pytest.mark.parametrize("slope", [None, (0.5, -3.0)])
def test_axes_of_one_and_scaled_values(tmp_path, shape, slope):
    image = nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), np.diag([1.0, 2.0, 3.0, 1.0]))
    if slope:
        image.header.set_slope_inter(*slope)
    nib.save(image, tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").shape == shape[:3]


def test_other_formats_of_monai(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(2, 3))
    assert read_volume(tmp_path / "a.npy").shape == (2, 3)
