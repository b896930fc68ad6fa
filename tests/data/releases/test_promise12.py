# SPDX-License-Identifier: Apache-2.0
"""`prepare promise12` on files of the release's layout."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from wss_monai.__main__ import main
from wss_monai.data import load_cases, read_dataset
from wss_monai.data.releases.promise12 import prepare_promise12

SHAPE = (6, 7, 3)
DIRECTION = np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
RAS = np.diag([-1.0, -1, 1, 1])


def write(path: Path, array: np.ndarray, spacing=(0.6, 0.6, 3.6), origin=(10.0, -20.0, 30.0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array.T)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(DIRECTION.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


def mask() -> np.ndarray:
    array = np.zeros(SHAPE, np.int8)
    array[1:4, 2:5, 1] = 1
    return array


def case(folder: Path, number: int, segmented: bool = True, seed: int | None = None) -> Path:
    image = np.random.RandomState(number if seed is None else seed).randint(-5, 900, SHAPE).astype(np.int16)
    path = write(folder / f"Case{number:02d}.mhd", image)
    if segmented:
        write(folder / f"Case{number:02d}_segmentation.mhd", mask())
    return path


@pytest.fixture
def release(tmp_path):
    root = tmp_path / "promise"
    case(root / "TrainingData_Part1", 0)
    case(root / "TrainingData_Part2" / "deep", 13)
    case(root / "TestData", 0, segmented=False, seed=100)
    (root / "readme.txt").write_text("cite")
    return root


def zipped(folder: Path, target: Path, within: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as file:
        for path in sorted(folder.rglob("*.*")):
            file.write(path, within + str(path.relative_to(folder)))
    return target


def zips(release: Path, target: Path) -> list[Path]:
    """One archive a part, the files at the top: only the archive's name says what they are."""
    target.mkdir()
    return [zipped(folder, target / f"{folder.name}.zip") for folder in sorted(release.iterdir()) if folder.is_dir()]


@pytest.mark.parametrize("form", ["folder", "zips", "folder of zips", "zip of all"])
def test_release_becomes_a_data_set(release, tmp_path, form):
    source = {
        "folder": lambda: release,
        "zips": lambda: zips(release, tmp_path / "zips"),
        "folder of zips": lambda: zips(release, tmp_path / "zips")[0].parent,
        "zip of all": lambda: zipped(release, tmp_path / "promise12.zip", "promise/"),
    }[form]()
    done = prepare_promise12(source, tmp_path / "out")
    assert (done.training, done.test, done.cases) == (2, 1, 3)
    dataset = read_dataset(tmp_path / "out")
    assert dataset.class_names == ["background", "prostate"] and dataset.slice_axis == 2
    assert dataset.raw["modality"] == {"0": "MRI (T2)"}
    first = {
        "case": "Case00", "patient": "Case00", "image": "images/Case00.nii.gz", "label": "labels/Case00.nii.gz",
    }  # fmt: skip
    assert dataset.training[0] == first and dataset.training[1]["patient"] == "Case13"
    assert dataset.test == [
        {"case": "TestData_Case00", "patient": "TestData_Case00", "image": "images/TestData_Case00.nii.gz"}
    ]
    assert ("TestData_Case00", "has no segmentation; kept without 'label'") in done.notes
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_voxels_and_geometry_stay_as_they_are(release, tmp_path):
    prepare_promise12(release, tmp_path / "out")
    image = nib.load(tmp_path / "out" / "images" / "Case13.nii.gz")
    label = nib.load(tmp_path / "out" / "labels" / "Case13.nii.gz")
    expected = np.eye(4)
    expected[:3, :3] = DIRECTION @ np.diag([0.6, 0.6, 3.6])
    expected[:3, 3] = (10, -20, 30)
    for picture, kind in ((image, np.int16), (label, np.uint8)):
        assert picture.get_data_dtype() == kind
        np.testing.assert_allclose(picture.affine, RAS @ expected, atol=1e-5)
        assert picture.header.get_xyzt_units()[0] == "mm"
    stored = np.random.RandomState(13).randint(-5, 900, SHAPE)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), stored)
    np.testing.assert_array_equal(np.asanyarray(label.dataobj), mask())


def test_values_that_are_no_int16_are_kept(tmp_path):
    write(tmp_path / "in" / "Case01.mhd", np.random.RandomState(0).rand(*SHAPE).astype(np.float32))
    write(tmp_path / "in" / "Case01_segmentation.mhd", mask())
    prepare_promise12(tmp_path / "in", tmp_path / "out")
    image = nib.load(tmp_path / "out" / "images" / "Case01.nii.gz")
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), np.random.RandomState(0).rand(*SHAPE).astype("f4"))


def test_test_cases_keep_their_number_where_no_training_case_has_it(tmp_path):
    case(tmp_path / "latest" / "train", 1)
    case(tmp_path / "latest" / "test", 2, segmented=True)
    prepare_promise12(tmp_path / "latest", tmp_path / "out")
    split = load_cases(tmp_path / "out", validation=0)
    assert split.patients == {"training": ["Case01"], "validation": [], "test": ["Case02"]}
    assert split.test[0]["label"] is not None


def test_innermost_name_says_what_is_a_test_case(tmp_path):
    case(tmp_path / "train_and_test_data" / "training", 1)
    case(tmp_path / "train_and_test_data" / "LiveTestData", 1, False, seed=9)
    done = prepare_promise12(tmp_path / "train_and_test_data", tmp_path / "out")
    assert (done.training, done.test) == (1, 1)


def _no_mask(folder):
    (folder / "Case01_segmentation.mhd").unlink()


def _no_image(folder):
    (folder / "Case01.mhd").unlink()


def _no_raw(folder):
    (folder / "Case01.raw").unlink()


def _short_raw(folder):
    (folder / "Case01.raw").write_bytes(b"123")


def _elsewhere(folder):
    header = folder / "Case01.mhd"
    header.write_text(header.read_text().replace("= Case01.raw", "= ../../secret.raw"))


def _shape(folder):
    write(folder / "Case01_segmentation.mhd", mask()[:, :-1])


def _pose(folder):
    write(folder / "Case01_segmentation.mhd", mask(), origin=(10.0, -20.0, 31.0))


def _spacing(folder):
    write(folder / "Case01_segmentation.mhd", mask(), spacing=(0.6, 0.7, 3.6))


def _values(folder):
    write(folder / "Case01_segmentation.mhd", mask() * np.int8(3))


def _same_image(folder):
    case(folder, 1, seed=0)


BROKEN = [
    (_no_mask, "Case01_segmentation.mhd is missing; test cases belong in a folder or archive with 'test' in its name"),
    (_no_image, "Case01_segmentation.mhd has no image beside it"),
    (_no_raw, "Case01.raw, which Case01.mhd names, is missing"),
    (_short_raw, "Case01.mhd: File cannot be read: Case01.mhd for reading.; is Case01.raw whole?"),
    (_elsewhere, "Case01.mhd names no file beside it that holds its voxels (ElementDataFile)"),
    (_shape, "Case01_segmentation.mhd has the shape (6, 6, 3), its image (6, 7, 3)"),
    (_pose, "Case01_segmentation.mhd has another affine than its image: spacing, origin or direction differ"),
    (_spacing, "Case01_segmentation.mhd has another affine than its image: spacing, origin or direction differ"),
    (_values, "Case01_segmentation.mhd holds the values [3.0]; allowed are 0 (background) and 1 (prostate)"),
    (_same_image, "is the same image as Case00; kept once, so that no split can leak it"),
]


@pytest.mark.parametrize(("break_it", "message"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_case_that_does_not_fit_is_skipped_by_name_and_refused_where_asked_for(tmp_path, break_it, message):
    folder = tmp_path / "in"
    case(folder, 0)
    case(folder, 1)
    break_it(folder)
    done = prepare_promise12(folder, tmp_path / "out")
    assert (done.training, done.test) == (1, 0)
    assert ("Case01", f"skipped: {message}") in done.notes
    with pytest.raises(ValueError, match="Case01, which was asked for, cannot be converted") as caught:
        prepare_promise12(folder, tmp_path / "other", patients=["Case00", "Case01"])
    assert message in str(caught.value)
    assert not (tmp_path / "other").exists()


def test_unusual_spacings_and_sizes_are_noted(tmp_path):
    case(tmp_path / "in", 0)
    write(tmp_path / "in" / "Case00.mhd", np.zeros((256, 320, 2), np.int16) + 1, spacing=(0.8, 0.6, 5.0))
    write(tmp_path / "in" / "Case00_segmentation.mhd", np.zeros((256, 320, 2), np.int8), spacing=(0.8, 0.6, 5.0))
    done = prepare_promise12(tmp_path / "in", tmp_path / "out")
    assert done.notes == [
        ("Case00", "pixels of 0.8 x 0.6 mm; the release has 0.27 to 0.75"),
        ("Case00", "slices 5 mm apart; the release has 2.2 to 4.0"),
    ]


def test_sources_that_cannot_be_converted(release, tmp_path):
    with pytest.raises(FileNotFoundError, match="source 'nowhere' does not exist"):
        prepare_promise12("nowhere", tmp_path / "out")
    with pytest.raises(ValueError, match="does not look like the PROMISE12 release"):
        prepare_promise12(_empty(tmp_path), tmp_path / "out")
    with pytest.raises(ValueError, match=r"patients \['Case99'\] are not in the source; it has 3"):
        prepare_promise12(release, tmp_path / "out", patients=["Case99"])
    with pytest.raises(ValueError, match="holds Case00 twice, in the folders 'TrainingData_Part1' and 'again'"):
        shutil.copytree(release / "TrainingData_Part1", release / "TrainingData_Part1" / "again")
        prepare_promise12(release, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(FileExistsError, match="exists already"):
        prepare_promise12(release, tmp_path / "full")
    assert not (tmp_path / "out").exists()


def _empty(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_command(release, tmp_path, capsys):
    chosen = tmp_path / "patients.json"
    chosen.write_text(json.dumps(["Case13"]))
    out = tmp_path / "made" / "out"
    words = ["prepare", "promise12", "--out", str(out), "--source"]
    assert main([*words, str(release / "TrainingData_Part1"), str(release / "TrainingData_Part2")]) == 0
    said = capsys.readouterr().out
    assert "Case00  slices of 6 x 7 pixels; the release has sides of [256, 320, 384, 512]" in said
    assert f"{out}: 2 training and 0 test patients; 2 notes" in said
    assert main([*words, str(release)]) == 2
    assert "exists already" in capsys.readouterr().err
    words[3] = str(tmp_path / "one")
    assert main([*words, str(release), "--patients", str(chosen)]) == 0
    assert [entry["case"] for entry in read_dataset(tmp_path / "one").training] == ["Case13"]
