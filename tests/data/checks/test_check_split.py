# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny import make_dataset

from wss_monai.data.checks.dataset import check_dataset


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("split") / "data", patients=5)


@pytest.fixture
def data(healthy, tmp_path):
    """Training patients p1 to p4, test patient p0."""
    shutil.copytree(healthy, tmp_path / "data")
    return tmp_path / "data"


def patients(folder: Path, *names: str) -> None:
    """Rename the training patients."""
    content = json.loads((folder / "dataset.json").read_text())
    for case, name in zip(content["training"], names, strict=True):
        case["patient"] = name
        case.pop("group", None)
    (folder / "dataset.json").write_text(json.dumps(content))


def found(folder: Path, **options) -> list[tuple[str, str, str]]:
    return [(p.severity, p.kind, p.problem) for p in check_dataset(folder, quick=True, **options).problems]


def test_one_patient_in_training_and_test_however_it_is_written(data):
    patients(data, "P0", "p2", "p3", "p4")
    assert found(data) == [("error", "leak", "one patient on two sides: 'P0' in 'training' and 'p0' in 'test'")]
    patients(data, "p0", "p2", "P000", "p4")
    kinds = [(severity, kind) for severity, kind, _ in found(data)]
    assert kinds == [("error", "leak"), ("warning", "spelling")]


def test_two_spellings_on_one_side(data):
    patients(data, "site_1", "site_01", "p3", "p4")
    assert found(data) == [("warning", "spelling", "['site_01', 'site_1'] in 'training' read as one patient")]


def test_few_patients(data):
    content = json.loads((data / "dataset.json").read_text())
    content["test"] = []
    (data / "dataset.json").write_text(json.dumps(content))
    assert found(data) == [("warning", "few_patients", "4 patients: too few for the default 5 folds")]
    (data / "s.json").write_text(json.dumps({"training": ["p1", "p2", "p3"], "validation": ["p4"]}))
    assert found(data, split="s.json") == []


def split(folder: Path, content) -> Path:
    path = folder.parent / "split.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_sound_split(data):
    folds = [["p0", "p1"], ["p2", "p3", "p4"]]
    assert found(data, split=split(data, {"test": {"fold1": folds[0], "fold2": folds[1]}})) == []
    assert found(data, split=split(data, {"folds": folds})) == []
    assert found(data, split=split(data, {"training": folds[1], "test": folds[0]})) == []


def test_every_fault_of_a_split_file(data):
    file = split(data, {"training": ["p1", "p2", "p3", "nobody"], "validation": ["P1"], "test": ["p2", "who"]})
    severities, kinds, texts = zip(*found(data, split=file), strict=True)
    assert set(severities) == {"error"}
    assert kinds == ("leak", "leak", "split", "split", "split")
    assert texts[:2] == (
        "one patient on two sides: 'p1' in 'training' and 'P1' in 'validation'",
        "one patient on two sides: 'p2' in 'training' and 'p2' in 'test'",
    )
    assert "'training' names 'nobody', who are not in the data set" in texts[2]
    assert "'validation' names 'P1'" in texts[3]
    assert "'test' names 'who'" in texts[4]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not a JSON file"),
        ([], "a split file holds a JSON object, got list"),
        ({"patients": ["p1"]}, "neither"),
        ({"training": ["p1", "p1", 3]}, "'training' must be a list of patient names"),
    ],
)
def test_what_is_no_split_file(data, content, says):
    problems = found(data, split=split(data, content))
    assert problems[0][:2] == ("error", "split")
    assert says in problems[0][2]


def test_patients_whom_a_split_forgets(data):
    file = split(data, {"training": ["p1", "p2"], "test": ["p0"]})
    assert found(data, split=file) == [("warning", "split", "leaves out 2 patients: 'p3', 'p4'")]
    with pytest.raises(FileNotFoundError, match=r"no split file 'gone.json'"):
        check_dataset(data, split="gone.json")


def images(folder: Path) -> list[tuple[str, str, str, str]]:
    return [(p.severity, p.kind, p.case, p.file) for p in check_dataset(folder).problems]


def copy_voxels(source: Path, target: Path, dtype) -> None:
    """Write the voxels of an image under another header and type."""
    old = nib.load(target)
    nib.save(nib.Nifti1Image(np.asarray(nib.load(source).dataobj).astype(dtype), old.affine), target)


def test_one_image_under_two_patients_is_a_leak(data):
    copy_voxels(data / "images/p1_ED.nii.gz", data / "images/p3_ED.nii.gz", np.float32)
    problems = check_dataset(data).problems
    leak = next(p for p in problems if p.kind == "leak")
    assert (leak.severity, leak.case, leak.file) == ("error", "p3_ED", "images/p3_ED.nii.gz")
    assert "the patients 'p1' and 'p3'" in leak.problem
    patients(data, "p1", "p2", "P01", "p4")
    assert ("warning", "same_image", "p3_ED", "images/p3_ED.nii.gz") in images(data)


def test_one_file_in_two_places(data):
    content = json.loads((data / "dataset.json").read_text())
    training = content["training"]
    training[1]["image"] = "images/../images/p1_ED.nii.gz"
    training[2]["weak_label"] = training[2]["label"]
    training[3]["label"] = "labels/p0_ED.nii.gz"
    (data / "dataset.json").write_text(json.dumps(content))
    problems = [p for p in images(data) if p[1] in ("leak", "same_file", "same_image")]
    assert sorted(problems) == [
        ("error", "leak", "p2_ED", "images/../images/p1_ED.nii.gz"),
        ("error", "same_file", "p3_ED", "labels/p3_ED.nii.gz"),
        ("warning", "same_file", "p0_ED", "labels/p0_ED.nii.gz"),
    ]


def test_two_modalities_that_are_one(data):
    shutil.copy(data / "images/p1_ED.nii.gz", data / "images/again.nii.gz")
    content = json.loads((data / "dataset.json").read_text())
    for case in content["training"] + content["test"]:
        case["image"] = [case["image"], case["image"]]
    content["training"][0]["image"][1] = "images/again.nii.gz"
    (data / "dataset.json").write_text(json.dumps(content))
    problems = images(data)
    assert ("warning", "same_image", "p1_ED", "images/again.nii.gz") in problems
    assert ("warning", "same_file", "p2_ED", "images/p2_ED.nii.gz") in problems
    assert not any(kind == "leak" for _, kind, _, _ in problems)
