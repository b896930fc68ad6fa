# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from wss_monai.data.checks.geometry import check_grid, check_nifti, check_same_grid
from wss_monai.data.checks.problem import Problems
from wss_monai.io.grids import Grid, read_grid


def kinds(problems: Problems) -> list[tuple[str, str]]:
    return [(p.severity, p.kind) for p in problems]


def grid(spacing, shape=(40, 40, 12), origin=(-30.0, 12.0, 5.0)) -> Grid:
    affine = np.diag([*spacing, *[1.0] * (3 - len(spacing)), 1.0])
    affine[:3, 3] = origin
    return Grid(tuple(shape), affine)


@pytest.mark.parametrize(
    ("case", "expected", "says"),
    [
        (grid((1.5, 1.5, 8)), [], ""),
        (grid((-1.5, -1.5, 8)), [], ""),
        (grid((0.5, 0.5, 0.7)), [], ""),
        (grid((1, 1, 1), (35, 50, 35)), [], ""),
        (grid((1, 1, 1), (35, 50, 35), (0, 0, 0)), [("warning", "default_geometry")], "identity"),
        (grid((-1, -1, 1), (35, 50, 35), (1, 1, 0)), [("warning", "default_geometry")], "identity"),
        (grid((1, 1, 1), (256, 256, 12)), [("warning", "default_geometry")], "exactly 1 mm"),
        (grid((1, 1, 1.2), (256, 256, 12)), [], ""),
        (grid((1, 1, 25)), [("warning", "spacing")], "1 x 1 x 25 mm: outside of 0.05 to 20 mm"),
        (grid((0.001, 0.001, 0.008)), [("warning", "spacing")], "0.001 x 0.001 x 0.008 mm"),
        (grid((0, 1, 1)), [("error", "spacing")], "0 x 1 x 1 mm, which no voxel has"),
        (grid((np.nan, 1, 1)), [("error", "spacing")], "nan x 1 x 1 mm"),
        (grid((1.5, 1.5, 8), (40, 40, 1)), [("warning", "one_slice")], "(40, 40, 1): one slice"),
        (grid((1.5, 1.5), (40, 40)), [("warning", "one_slice")], "(40, 40): one slice"),
        (grid((1.5, 1.5, 1.5), (1, 40, 40)), [("warning", "slice_axis")], "single voxel along axis 0"),
        (grid((8, 1.5, 1.5)), [("warning", "slice_axis")], "largest along axis 0, but 'slice_axis' is 2"),
        (grid((2, 1.5, 1.5)), [], ""),
    ],
)
def test_one_grid(case, expected, says):
    problems = Problems("c")
    check_grid(case, 2, "f", problems)
    assert kinds(problems) == expected
    assert all(says in p.problem and p.case == "c" and p.file == "f" for p in problems)


def test_what_a_grid_knows_of_itself():
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2.0, 3.0, 5.0])
    oblique = Grid((4, 5, 6), affine)
    assert oblique.spacing == pytest.approx((2, 3, 5))
    assert oblique.voxel_ml == pytest.approx(0.03)
    assert oblique.axes == "oblique"
    assert not oblique.mirrored
    assert grid((-1, 1, 2)).axes == "LAS"
    assert grid((-1, 1, 2)).mirrored


@pytest.mark.parametrize(
    ("affine", "says"),
    [
        (np.diag([-2.0, 2, 8, 1]), "(axes LAS and RAS)"),
        (np.diag([2.0, 2, 9, 1]), "(spacing 2 x 2 x 9 and 2 x 2 x 8 mm)"),
        (np.array([[2.0, 0, 0, 4], [0, 2, 0, 0], [0, 0, 8, 0], [0, 0, 0, 1]]), "(origin 4 x 0 x 0 and 0 x 0 x 0 mm)"),
        (np.diag([2.0001, 2, 8, 1]), None),
    ],
)
def test_two_grids(affine, says):
    first = Grid((4, 5, 6), np.diag([2.0, 2, 8, 1]))
    problems = Problems()
    assert check_same_grid(Grid((4, 5, 6), affine), "mask", first, "image", problems)
    assert kinds(problems) == ([("error", "affine")] if says else [])
    assert not says or says in problems[0].problem
    assert not check_same_grid(Grid((4, 5, 7), affine), "mask", first, "image", problems)


def nifti(tmp_path, sform=None, qform=None, pixdim=None):
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([2.0, 2, 8, 1]))
    image.header.set_sform(sform, 0 if sform is None else 1)
    image.header.set_qform(qform, 0 if qform is None else 1)
    nib.save(image, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())  # nibabel would mend these on the way
    content[252:256] = np.array([qform is not None, sform is not None], "<i2").tobytes()
    if pixdim is not None:
        content[80:92] = np.array(pixdim, "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    problems = Problems()
    check_nifti(str(tmp_path / "a.nii"), "a.nii", problems)
    return problems


A = np.diag([2.0, 2, 8, 1])


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"sform": A, "qform": A}, []),
        ({"sform": A}, []),
        ({"qform": A}, []),
        ({}, [("warning", "no_pose")]),
        ({"sform": A, "qform": np.diag([2.0, 2, 4, 1])}, [("warning", "two_poses")]),
        ({"sform": A, "qform": np.diag([-2.0, -2, 8, 1])}, [("warning", "two_poses")]),
        ({"sform": A, "pixdim": [0, 2, 8]}, [("error", "spacing")]),
        ({"sform": A, "pixdim": [2, 2, -8]}, [("error", "spacing")]),
        ({"sform": A, "pixdim": [2, np.nan, 8]}, [("error", "spacing")]),
    ],
)
def test_headers_that_say_two_things(tmp_path, header, expected, capfd):
    assert kinds(nifti(tmp_path, **header)) == expected
    assert capfd.readouterr().err == ""  # nibabel's own complaints stay away


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha", "a.mhd"])
def test_headers_of_all_formats(tmp_path, name):
    image = sitk.GetImageFromArray(np.zeros((6, 5, 4), np.int16))
    image.SetSpacing((0.5, 0.75, 3.0))
    image.SetOrigin((10.0, -20.0, 5.0))
    sitk.WriteImage(image, str(tmp_path / name))
    found = read_grid(str(tmp_path / name))
    assert found.shape == (4, 5, 6)
    expected = np.diag([-0.5, -0.75, 3.0, 1])
    expected[:3, 3] = (-10, 20, 5)
    np.testing.assert_allclose(found.affine, expected, atol=1e-5)


def test_a_folder_of_dicom_files(tmp_path):
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for i in range(3):
        image = sitk.GetImageFromArray(np.zeros((5, 4), np.int16))
        image.SetSpacing((0.5, 0.75))
        image = sitk.JoinSeries([image])
        for key, value in {
            "0020|000e": "1.2.3", "0020|000d": "1.2", "0008|0018": f"1.2.3.{i}", "0020|0013": str(i), "0008|0060": "MR",
            "0020|0032": f"10\\-20\\{5 + 4 * i}", "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():  # fmt: skip
            image.SetMetaData(key, value)
        writer.SetFileName(str(tmp_path / f"{i}.dcm"))
        writer.Execute(image)
    found = read_grid(str(tmp_path))
    assert found.shape == (4, 5, 3)
    assert found.spacing == pytest.approx((0.5, 0.75, 4.0))
    assert found.affine[:3, 3] == pytest.approx((-10, 20, 5))


NO_AXES = b"ObjectType = Image\nNDims =-3\nElementSpacing = 2 2 8\n"  # SimpleITK dies of it


@pytest.mark.parametrize(
    ("name", "content"), [("a.nii.gz", b"nonsense"), ("a.nii", b"short"), ("a.mha", b"x = y"), ("a.mha", NO_AXES)]
)
def test_an_unreadable_header(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read: "):
        read_grid(str(tmp_path / name))
