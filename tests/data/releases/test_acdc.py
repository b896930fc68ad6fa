# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wss_monai.__main__ import main
from wss_monai.data import load_cases, read_dataset
from wss_monai.data.releases.acdc import prepare_acdc

AFFINE = np.array([[-1.5, 0, 0, 20], [0, -1.5, 0, 30], [0, 0, 10, -5], [0, 0, 0, 1.0]])
SHAPE = (6, 7, 3)


def nifti(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def mask() -> np.ndarray:
    array = np.zeros(SHAPE, np.int16)
    array[1:3, 2], array[3, 3], array[4, 4:6] = 1, 2, 3
    return array


def patient(root: Path, name: str, ed: int = 1, es: int = 12, group: str = "NOR", gt: bool = True) -> Path:
    folder = root / name
    for i, frame in enumerate((ed, es)):
        image = np.random.RandomState(int(name[-3:]) * 10 + i).randint(0, 900, SHAPE).astype(np.int16)
        nifti(folder / f"{name}_frame{frame:02d}.nii.gz", image)
        if gt:
            nifti(folder / f"{name}_frame{frame:02d}_gt.nii.gz", mask())
    nifti(folder / f"{name}_4d.nii.gz", np.zeros((*SHAPE, 2), np.int16))
    info = f"ED: {ed}\nES: {es}\nGroup: {group}\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n"
    (folder / "Info.cfg").write_text(info)
    return folder


@pytest.fixture
def release(tmp_path):
    root = tmp_path / "ACDC" / "database"
    patient(root / "training", "patient001", group="DCM")
    patient(root / "training", "patient090", ed=11, es=4, group="RV")
    patient(root / "testing", "patient101", gt=False)
    (root / "MANDATORY_CITATION.md").write_text("cite")
    return root


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder.parent.parent))
    return target


def tarred(folder: Path, target: Path) -> Path:
    with tarfile.open(target, "w:gz") as file:
        file.add(folder, "ACDC/database")
    return target


@pytest.mark.parametrize("form", ["folder", "zip", "tar.gz"])
def test_release_becomes_a_data_set(release, tmp_path, form):
    source = {
        "folder": lambda: release,
        "zip": lambda: zipped(release, tmp_path / "acdc.zip"),
        "tar.gz": lambda: tarred(release, tmp_path / "acdc.tar.gz"),
    }[form]()
    done = prepare_acdc(source, tmp_path / "out")
    assert (done.training, done.test, done.cases, done.scribbles) == (2, 1, 6, 0)
    dataset = read_dataset(tmp_path / "out")
    assert dataset.class_names == ["background", "RV", "Myo", "LV"]
    assert dataset.weak_kind is None
    first = dataset.training[0]
    assert first == {
        "case": "patient001_frame01", "patient": "patient001", "group": "DCM", "phase": "ED", "height": 184.0,
        "weight": 95.0, "nbframe": 30, "image": "images/patient001_frame01.nii.gz",
        "label": "labels/patient001_frame01.nii.gz",
    }  # fmt: skip
    assert {c["case"]: c["phase"] for c in dataset.training[2:]} == {
        "patient090_frame11": "ED", "patient090_frame04": "ES",
    }  # fmt: skip
    assert [c["patient"] for c in dataset.test] == ["patient101"] * 2
    assert "label" not in dataset.test[0]
    label = nib.load(tmp_path / "out" / first["label"])
    assert label.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asanyarray(label.dataobj), mask())
    np.testing.assert_allclose(label.affine, AFFINE)
    image = nib.load(tmp_path / "out" / first["image"])
    np.testing.assert_array_equal(image.dataobj, nib.load(next(release.rglob("patient001_frame01.nii.gz"))).dataobj)
    assert sorted(p.name for p in (tmp_path / "out").rglob("*4d*")) == []
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_patients_choose_and_must_be_there(release, tmp_path):
    done = prepare_acdc(release, tmp_path / "out", patients=["patient090"])
    assert (done.training, done.test) == (1, 0)
    with pytest.raises(ValueError, match=r"patients \['patient005'\] are not in the source"):
        prepare_acdc(release, tmp_path / "other", patients=["patient090", "patient005"])
    (release / "training" / "patient001" / "patient001_frame12.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"patient001, which was asked for.*patient001_frame12.nii.gz is missing"):
        prepare_acdc(release, tmp_path / "other", patients=["patient001"])
    assert not (tmp_path / "other").exists()


def _drop_mask(folder):
    (folder / "patient001_frame01_gt.nii.gz").unlink()


def _shape(folder):
    nifti(folder / "patient001_frame01_gt.nii.gz", np.zeros((6, 7, 4), np.uint8))


def _affine(folder):
    nifti(folder / "patient001_frame01_gt.nii.gz", mask(), AFFINE @ np.diag([1, 1, 1.1, 1]))


def _values(folder):
    nifti(folder / "patient001_frame01_gt.nii.gz", mask() * 85)


def _spacing(folder):
    nifti(folder / "patient001_frame12.nii.gz", np.zeros(SHAPE, np.int16), np.diag([150, 150, 10, 1]))


def _four_axes(folder):
    nifti(folder / "patient001_frame12.nii.gz", np.zeros((*SHAPE, 2), np.int16))


def _cut_short(folder):
    file = folder / "patient001_frame12.nii.gz"
    file.write_bytes(file.read_bytes()[:200])


def _nan(folder):
    nifti(folder / "patient001_frame12.nii.gz", np.full(SHAPE, np.nan, np.float32))


def _colours(folder):
    colours = np.zeros((*SHAPE, 3), np.uint8).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    nifti(folder / "patient001_frame12.nii.gz", colours)


def _claims(folder):
    file = folder / "patient001_frame12.nii.gz"
    header = bytearray(gzip.decompress(file.read_bytes()))
    header[42:48] = struct.pack("<3h", 30000, 30000, 30000)
    file.write_bytes(gzip.compress(bytes(header)))


def _checksum(folder):
    file = folder / "patient001_frame12.nii.gz"
    content = bytearray(gzip.compress(gzip.decompress(file.read_bytes()), 0))  # stored as it is
    content[-20] ^= 1
    file.write_bytes(content)


def _no_volume(folder):
    (folder / "patient001_frame12.nii.gz").write_text("no volume")


def _no_es(folder):
    (folder / "Info.cfg").write_text("ED: 1\nGroup: DCM\n")


def _bad_info(folder):
    (folder / "Info.cfg").write_text("ED: one\nES: 12\n")


def _same_frame(folder):
    (folder / "Info.cfg").write_text("ED: 12\nES: 12\n")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_drop_mask, "patient001_frame01_gt.nii.gz is missing"),
        (_shape, r"shape \(6, 7, 4\), its image \(6, 7, 3\)"),
        (_affine, "another affine than its image"),
        (_values, r"holds the values \[85, 170, 255\]; allowed are \[0, 1, 2, 3\]"),
        (_spacing, r"spacing \[150.0, 150.0, 10.0\] mm"),
        (_four_axes, "one frame has three axes"),
        (_cut_short, "patient001_frame12.nii.gz cannot be read"),
        (_nan, "patient001_frame12.nii.gz holds voxels that are no finite numbers"),
        (_colours, r"its voxels are colours \(RGB\)"),
        (_claims, "its header claims 30000 x 30000 x 30000 voxels"),
        (_checksum, "patient001_frame12.nii.gz cannot be read: CRC check failed"),
        (_no_volume, "patient001_frame12.nii.gz cannot be read"),
        (_no_es, r"does not say \['ES'\]"),
        (_bad_info, "Info.cfg is not readable"),
        (_same_frame, "frame 12 as ED and as ES"),
    ],
)
def test_broken_patient_is_skipped_with_the_reason(release, tmp_path, damage, reason):
    damage(release / "training" / "patient001")
    done = prepare_acdc(release, tmp_path / "out")
    notes = dict(done.notes)
    assert re.search(reason, notes["patient001"])
    assert done.training == 1
    assert {p.name[:10] for p in (tmp_path / "out" / "images").iterdir()} == {"patient090", "patient101"}


def test_nothing_left_is_an_error_and_leaves_nothing(release, tmp_path):
    for folder in release.glob("*/patient*"):
        (folder / "Info.cfg").write_text("nothing")
    with pytest.raises(ValueError, match=r"no case could be converted: patient001 skipped: Info.cfg"):
        prepare_acdc(release, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["ACDC"]


def test_same_images_under_two_names_are_kept_once(release, tmp_path):
    folder = release / "training" / "patient002"
    shutil.copytree(release / "training" / "patient001", folder)
    for file in list(folder.iterdir()):
        file.rename(folder / file.name.replace("patient001", "patient002"))
    done = prepare_acdc(release, tmp_path / "out")
    assert "same image as patient001_frame01" in dict(done.notes)["patient002"]
    assert done.training == 2


def test_frames_beside_ed_and_es_are_named(release, tmp_path):
    folder = release / "training" / "patient001"
    nifti(folder / "patient001_frame05.nii.gz", np.zeros(SHAPE, np.int16))
    assert ("patient001", "skipped patient001_frame05: neither ED nor ES in Info.cfg") in prepare_acdc(
        release, tmp_path / "out"
    ).notes


def scribble(folder: Path, name: str, array: np.ndarray | None = None, affine: np.ndarray = AFFINE) -> None:
    if array is None:
        array = np.full(SHAPE, 4, np.uint8)
        array[0, 0], array[1, 2], array[4, 4] = 0, 1, 3
    nifti(folder / name, array, affine)


@pytest.mark.parametrize("suffix", ["_scribble", ""])
@pytest.mark.parametrize("unlabelled", [4, 255])
def test_scribbles_come_along(release, tmp_path, suffix, unlabelled):
    array = np.full(SHAPE, unlabelled, np.uint8)
    array[1, 2], array[0, 0] = 1, 0
    scribble(tmp_path / "scribbles" / "deep", f"patient001_frame01{suffix}.nii.gz", array)
    done = prepare_acdc(release, tmp_path / "out", scribbles=tmp_path / "scribbles")
    assert done.scribbles == 1
    dataset = read_dataset(tmp_path / "out")
    assert (dataset.weak_kind, dataset.undrawn_means_absent) == ("scribble", True)
    written = np.asanyarray(nib.load(tmp_path / "out" / dataset.training[0]["weak_label"]).dataobj)
    assert written.dtype == np.uint8
    assert {int(v): int(n) for v, n in zip(*np.unique(written, return_counts=True), strict=True)} == {
        0: 3, 1: 3, 255: 6 * 7 * 3 - 6,
    }  # fmt: skip
    assert "weak_label" not in dataset.training[1]


def test_scribble_header_without_pose_is_checked_against_the_mask(release, tmp_path):
    nominal = np.diag([1.5, 1.5, 10, 1])
    scribble(tmp_path / "s", "patient001_frame01_scribble.nii.gz", affine=nominal)
    wrong = np.full(SHAPE, 4, np.uint8)
    wrong[0, 0], wrong[5, 5] = 3, 2
    scribble(tmp_path / "s", "patient001_frame12_scribble.nii.gz", wrong, nominal)
    scribble(tmp_path / "s", "patient101_frame01_scribble.nii.gz", affine=nominal)
    scribble(tmp_path / "s", "patient077_frame01_scribble.nii.gz")
    done = prepare_acdc(release, tmp_path / "out", scribbles=tmp_path / "s")
    notes = dict(done.notes)
    assert done.scribbles == 1
    assert "another pose; voxels kept (100% agree" in notes["patient001_frame01"]
    assert "fits its mask in 0% only" in notes["patient001_frame12"]
    assert "scribble skipped" in notes["patient101_frame01"]
    assert notes["scribbles"] == "1 of 4 belong to no volume that was converted"
    written = nib.load(tmp_path / "out" / "scribbles" / "patient001_frame01.nii.gz")
    np.testing.assert_allclose(written.affine, AFFINE)


@pytest.mark.parametrize(
    ("array", "affine", "reason"),
    [
        (np.full(SHAPE, 4, np.uint8), AFFINE, "is empty"),
        (np.full(SHAPE, 9, np.uint8), AFFINE, r"holds the values \[9\]"),
        (np.zeros((6, 7, 4), np.uint8), AFFINE, "has the shape"),
        (np.zeros(SHAPE, np.uint8), np.diag([1.0, 1, 10, 1]), "has the spacing"),
    ],
)
def test_broken_scribble_is_skipped_with_the_reason(release, tmp_path, array, affine, reason):
    scribble(tmp_path / "s", "patient001_frame01.nii.gz", array, affine)
    done = prepare_acdc(release, tmp_path / "out", scribbles=tmp_path / "s")
    assert re.search(reason, dict(done.notes)["patient001_frame01"])
    assert done.scribbles == 0


def test_folder_without_scribbles_is_refused(release, tmp_path):
    (tmp_path / "s").mkdir()
    with pytest.raises(ValueError, match="no file named patientXXX_frameYY"):
        prepare_acdc(release, tmp_path / "out", scribbles=tmp_path / "s")


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "C:/x", "a\\..\\x"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_unsafe_paths_are_refused_before_anything_is_unpacked(tmp_path, name, kind):
    inside = tmp_path / "inside"
    inside.mkdir()
    archive = inside / f"bad.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("ACDC/training/patient001/Info.cfg", "ED: 1\nES: 2\n")
            file.writestr(name, "x")
    else:
        with tarfile.open(archive, "w") as file:
            for member in ("ACDC/training/patient001/Info.cfg", name):
                file.addfile(tarfile.TarInfo(member), io.BytesIO(b""))
    with pytest.raises(ValueError, match="is refused: the path"):
        prepare_acdc(archive, inside / "out")
    assert [p.name for p in inside.iterdir()] == [archive.name]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_links_are_refused(tmp_path, kind):
    archive = tmp_path / f"bad.{kind}"
    if kind == "zip":
        info = zipfile.ZipInfo("training/patient001/Info.cfg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(info, "/etc/passwd")
    else:
        info = tarfile.TarInfo("training/patient001/Info.cfg")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        with tarfile.open(archive, "w") as file:
            file.addfile(info)
    with pytest.raises(ValueError, match="is a link or a device"):
        prepare_acdc(archive, tmp_path / "out")


def test_archive_that_is_none_or_cut_short(release, tmp_path):
    (tmp_path / "a.zip").write_text("a page that says: log in first")
    with pytest.raises(ValueError, match="neither a zip nor a tar"):
        prepare_acdc(tmp_path / "a.zip", tmp_path / "out")
    whole = zipped(release, tmp_path / "b.zip").read_bytes()
    (tmp_path / "b.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"b\.zip"):
        prepare_acdc(tmp_path / "b.zip", tmp_path / "out")
    broken = bytearray(whole)
    broken[200:220] = b"x" * 20
    (tmp_path / "c.zip").write_bytes(bytes(broken))
    with pytest.raises(ValueError, match=r"c\.zip' cannot be unpacked"):
        prepare_acdc(tmp_path / "c.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_source_that_is_no_release(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="does not look like the ACDC release"):
        prepare_acdc(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"source '.*nowhere.zip' does not exist"):
        prepare_acdc(tmp_path / "nowhere.zip", tmp_path / "out")


def test_patient_in_two_places_is_refused(release, tmp_path):
    patient(release / "testing", "patient001")
    with pytest.raises(ValueError, match="holds patient001 twice"):
        prepare_acdc(release, tmp_path / "out")


def test_what_is_there_is_not_overwritten(release, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        prepare_acdc(release, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_an_interrupted_conversion_leaves_nothing(release, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wss_monai.data.releases.acdc.write_like", full)
    with pytest.raises(OSError, match="No space left"):
        prepare_acdc(release, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["ACDC"]


def test_command_line(release, tmp_path, capsys):
    (tmp_path / "list.json").write_text(json.dumps({"patients": ["patient001", "patient090"]}))
    words = ["prepare", "acdc", "--source", str(release), "--out", str(tmp_path / "out"), "--patients"]
    assert main([*words, str(tmp_path / "list.json")]) == 0
    assert "2 training and 0 test patients, 4 volumes, 0 with a scribble" in capsys.readouterr().out
    assert load_cases(tmp_path / "out", folds=2, validation=0).patients["training"] == ["patient090"]
    assert main([*words, str(tmp_path / "list.json")]) == 2
    assert "wss_monai prepare: error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "no file"), ("{", "is not a JSON file"), ("{}", "must hold a list"), ("[1]", "must hold a list")],
)
def test_command_refuses_a_bad_patients_file(release, tmp_path, capsys, text, message):
    file = tmp_path / "list.json"
    if text is not None:
        file.write_text(text)
    assert main(["prepare", "acdc", "--source", "x", "--out", "y", "--patients", str(file)]) == 2
    assert message in capsys.readouterr().err


def test_committed_split_is_that_of_the_development_data(real_data):
    root = Path(__file__).resolve().parents[3]
    mine = json.loads((root / "benchmarks" / "splits" / "acdc40.json").read_text())
    folder = real_data("acdc")
    assert mine["test"] == json.loads((folder / "dev_folds.json").read_text())["test"]
    split = load_cases(folder, split=root / "benchmarks" / "splits" / "acdc40.json", fold="fold1", validation="fold2")
    assert {part: len(ids) for part, ids in split.patients.items()} == {"training": 24, "validation": 8, "test": 8}
    assert mine["patients"] == sorted(p for ids in split.patients.values() for p in ids)
