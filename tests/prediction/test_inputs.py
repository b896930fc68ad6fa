# SPDX-License-Identifier: Apache-2.0
"""Which files are cases, and which belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from wss_monai.prediction.inputs import endings_of, find_cases

TWO = endings_of(["T2", "ADC"], 2)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_all_formats_and_sub_folders_but_no_segmentations(tmp_path):
    folder = touch(
        tmp_path / "[new set]", "hans.nii.gz", "plain.nii", "slicer.nrrd", "m.mhd", "m.raw", "sub/deep.NII.GZ",
        "notes.txt", "drawn.seg.nrrd", ".part-x.nii.gz", "ward 3/anna/1.dcm", "ward 3/anna/2.dcm", "scan/IM0001",
    )  # fmt: skip
    (folder / "scan/IM0001").write_bytes(bytes(128) + b"DICM")
    (folder / "sub" / "back").symlink_to(folder)
    cases, left = find_cases([folder])
    assert {case.name: Path(case.files[0]).name for case in cases} == {
        "hans": "hans.nii.gz", "plain": "plain.nii", "slicer": "slicer.nrrd", "m": "m.mhd",
        "sub/deep": "deep.NII.GZ", "ward 3/anna": "anna", "scan": "scan",
    }  # fmt: skip
    assert [Path(path).name for path in left] == ["drawn.seg.nrrd"]


def test_single_files_and_series(tmp_path):
    folder = touch(tmp_path, "a/x.nii.gz", "b/1.dcm")
    cases, _ = find_cases([folder / "a" / "x.nii.gz", folder / "b", folder / "a"])
    assert [case.name for case in cases] == ["x", "b"], "what is given twice is one case"
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        find_cases([folder / "c"])
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no volume in .*empty; files end with \.nii\.gz"):
        find_cases([folder / "empty"])


@pytest.mark.parametrize(
    "names",
    [
        ("anna_ADC.nii.gz", "anna_T2.nii.gz"),
        ("anna_t2.nrrd", "anna_adc.nii"),
        ("anna_0001.nii.gz", "anna_0000.nii.gz"),
        ("anna/ADC.nii.gz", "anna/T2.nii.gz"),
        ("anna/T2/1.dcm", "anna/ADC/1.dcm"),
    ],
)
def test_modalities_are_put_together_in_their_order(tmp_path, names):
    (case,), _ = find_cases([touch(tmp_path, *names)], TWO)
    assert case.name == "anna" and not case.fault
    first, second = (str(Path(file).relative_to(tmp_path)).lower() for file in case.files)
    assert ("t2" in first or "0000" in first) and ("adc" in second or "0001" in second)


def test_one_file_of_a_case_stands_for_it(tmp_path):
    folder = touch(tmp_path, "anna_T2.nii.gz", "anna_ADC.nii.gz", "berta_T2.nii.gz", "berta_ADC.nii.gz")
    (case,), _ = find_cases([folder / "anna_ADC.nii.gz"], TWO)
    assert [Path(file).name for file in case.files] == ["anna_T2.nii.gz", "anna_ADC.nii.gz"]


def test_what_does_not_belong_together_is_said_of_each_case(tmp_path):
    folder = touch(tmp_path, "anna_T2.nii.gz", "b_T2.nii.gz", "b_T2.nrrd", "b_ADC.nii", "odd.nii.gz")
    cases, _ = find_cases([folder], TWO)
    faults = {case.name: case.fault for case in cases if case.fault}
    assert faults["anna"] == "no file of the case 'anna' ends with _adc or _0001"
    assert "are the same modality of the case 'b'" in faults["b_T2"]
    assert "ends with no modality: this run has 2, whose files end with _t2 or _0000 / _adc or _0001" in faults["odd"]
    assert [case.name for case in cases if not case.fault] == ["b"]


def test_endings_of_ones_own(tmp_path):
    folder = touch(tmp_path, "anna-flair.nii.gz", "anna-t1ce.nii.gz")
    (case,), _ = find_cases([folder], endings_of(["T1", "T2"], 2, ["-t1ce", "-flair"]))
    assert [Path(file).name for file in case.files] == ["anna-t1ce.nii.gz", "anna-flair.nii.gz"]
    with pytest.raises(ValueError, match="--endings: the run has 2 channels, so give 2 endings"):
        endings_of(["T1", "T2"], 2, ["-t1ce"])
