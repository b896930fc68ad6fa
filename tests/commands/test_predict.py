# SPDX-License-Identifier: Apache-2.0
"""The command: folders of everything, what goes wrong with one file, and what is refused at once."""

from __future__ import annotations

import csv
import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from tiny import ROOT, make_dataset, run_workflow, write_series

from wss_monai.__main__ import main


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("discs") / "data")


@pytest.fixture(scope="module")
def run(discs, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        run_workflow("train.yaml", folder=discs, out=out, val_interval=2)
    return out


@pytest.fixture
def new(discs, tmp_path):
    """Two NIfTI files, a cut one, a series and a file in a sub-folder."""
    folder = tmp_path / "new"
    (folder / "sub").mkdir(parents=True)
    images = discs / "images"
    shutil.copy(images / "p0_ED.nii.gz", folder / "hans.nii.gz")
    (folder / "cut.nii.gz").write_bytes((images / "p1_ED.nii.gz").read_bytes()[:3000])
    read = sitk.ReadImage(str(images / "p0_ED.nii.gz"))
    write_series(read, folder / "anna")
    sitk.WriteImage(read, str(folder / "sub" / "hans.nrrd"))
    return folder


def predict(run, *words):
    return main(["predict", "--run", str(run), *map(str, words)])


def rows(folder):
    with (folder / "volumes.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_folder_of_everything_and_a_file_that_cannot_be_read(run, new, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(run, "--input", new, "--out", out, "--preview", "--uncertainty") == 1
    said = capsys.readouterr().err
    assert "cut.nii.gz: " in said and "1 of 4 cases failed, named above, and have no mask" in said
    assert sorted(str(file.relative_to(out)) for file in out.rglob("*_seg.nii.gz")) == [
        "anna_seg.nii.gz", "hans_seg.nii.gz", "sub/hans_seg.nii.gz",
    ]  # fmt: skip
    for name in ("hans_preview.png", "sub/hans_entropy.nii.gz", "itksnap.label"):
        assert (out / name).is_file(), name
    found = rows(out)
    assert [row["class"] for row in found] == ["RV", "Myo", "LV"] * 3
    assert {row["patient"] for row in found if row["file"].endswith("anna")} == {"hans"}, "of the DICOM header"
    masks = [np.asarray(nib.load(file).dataobj) for file in sorted(out.rglob("*_seg.nii.gz"))]
    assert all((mask == masks[0]).all() for mask in masks)
    counts = np.bincount(masks[0].ravel(), minlength=4)[1:]
    assert [int(row["voxels"]) for row in found[:3]] == counts.tolist()
    assert not list(out.rglob(".*"))


def test_masks_for_slicer_with_several_runs(run, new, tmp_path, capsys):
    words = ("--input", new / "hans.nii.gz", new / "sub", "--format", "nrrd", "--ensemble", run, "--keep-largest", "no")
    assert predict(run, *words, "--out", tmp_path / "a") == 2
    assert "would share the mask" in capsys.readouterr().err
    (new / "sub" / "hans.nrrd").rename(new / "sub" / "other.nrrd")
    assert predict(run, *words, "--out", tmp_path / "a") == 0
    assert {file.name for file in (tmp_path / "a").glob("*.seg.nrrd")} == {"hans.seg.nrrd", "other.seg.nrrd"}
    assert "2 masks and volumes.csv written to" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(run, new, tmp_path, capsys):
    assert predict(run, "--input", new, "--out", tmp_path / "out", "--dry-run") == 0
    said = capsys.readouterr().out
    assert f"{new / 'hans.nii.gz'} -> {tmp_path / 'out' / 'hans_seg.nii.gz'}" in said
    assert not (tmp_path / "out").exists()


def test_what_is_there_stays_unless_told(run, new, tmp_path, capsys):
    words = ("--input", new / "hans.nii.gz", "--out", tmp_path / "out")
    assert predict(run, *words) == 0
    mask = tmp_path / "out" / "hans_seg.nii.gz"
    before = mask.read_bytes()
    assert predict(run, *words) == 2
    assert "1 of 1 masks are there already" in capsys.readouterr().err and mask.read_bytes() == before
    assert predict(run, *words, "--overwrite") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "{new}/masks"], "lies in the input folder"),
        (["--out", "{new}/hans.nii.gz"], "is a file; give a folder"),
        (["--out", "{tmp}/o", "--weights", "{tmp}/none.pt"], "there are no weights"),
        (["--out", "{tmp}/o", "--tta"], "trained without mirrored images"),
        (["--out", "{tmp}/o", "--device", "gpu"], "is no device"),
        (["--out", "{tmp}/o", "--input", "{tmp}/nothing"], "there is no file or folder"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(run, new, tmp_path, capsys, words, message):
    assert predict(run, "--input", new, *(word.format(new=new, tmp=tmp_path) for word in words)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists() and not (new / "masks").exists()


def test_a_misspelt_option_is_refused(run, new, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        predict(run, "--input", new, "--out", tmp_path / "o", "--keep_largset", "yes")
    assert caught.value.code == 2 and "unrecognized arguments" in capsys.readouterr().err


def test_dicom_seg_without_highdicom_is_refused_with_the_way_to_get_it(run, new, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    assert predict(run, "--input", new / "anna", "--out", tmp_path / "o", "--format", "dicom-seg") == 2
    assert 'pip install "wss_monai[dicom-seg]"' in capsys.readouterr().err


def test_dicom_seg_has_the_segments_on_the_slices_of_the_series(run, new, tmp_path):
    highdicom = pytest.importorskip("highdicom", reason="an extra, not installed here")
    words = ("--input", new / "anna", new / "hans.nii.gz", "--out", tmp_path / "o")
    assert predict(run, *words) == 0
    assert predict(run, *words, "--format", "dicom-seg") == 1, "a NIfTI file is no series"
    found = highdicom.seg.segread(tmp_path / "o" / "anna_seg.dcm")
    mask = np.asarray(nib.load(tmp_path / "o" / "anna_seg.nii.gz").dataobj)
    shown = {part.SegmentLabel for part in found.SegmentSequence}
    assert shown == {"RV", "Myo", "LV"}
    volume = found.get_volume(combine_segments=True)
    present = np.flatnonzero(mask.any(axis=(0, 1)))
    cut = mask[..., present[0] : present[-1] + 1].transpose(2, 1, 0)
    assert np.array_equal(volume.array, cut) or np.array_equal(volume.array[::-1], cut)
