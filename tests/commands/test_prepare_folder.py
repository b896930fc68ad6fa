# SPDX-License-Identifier: Apache-2.0
"""`prepare folder`: from names of files to a dataset.json that loads."""

from __future__ import annotations

import json

import pytest
from tiny import make_dataset

from wss_monai.__main__ import main
from wss_monai.data import load_cases

NAME = r"(?P<patient>p\d)_(?P<phase>E.)\.nii\.gz"
LABELS = '{"0": "background", "1": "RV", "2": "Myo", "3": "LV"}'
VALUES = '{"0": "background", "1": "RV", "2": "Myo", "3": "LV", "255": "unlabelled"}'


@pytest.fixture
def folder(tmp_path):
    made = make_dataset(tmp_path / "discs", patients=3)
    (made / "dataset.json").unlink()
    (made / "labels" / "p1_ED.nii.gz").unlink()
    return made


def prepare(folder, *more, image="images/" + NAME, labels=LABELS):
    return main(["prepare", "folder", "--source", str(folder), "--image", image, "--labels", labels, *more])


def test_a_folder_becomes_a_data_set(folder, capsys):
    arguments = ["--label", "labels/" + NAME, "--weak-label", "scribbles/" + NAME, "--weak-values", VALUES]
    assert prepare(folder, *arguments, "--undrawn-means-absent", "--dry-run") == 0
    assert not (folder / "dataset.json").exists()
    assert "would be written, 3 cases" in capsys.readouterr().out
    assert prepare(folder, *arguments, "--undrawn-means-absent") == 0
    said = capsys.readouterr().out
    assert "images: 3 cases of 3 patients" in said
    assert "dense labels: 2; cases without: 1 (p1_ED)" in said
    split = load_cases(folder, folds=2, validation=0)
    case = next(case for case in split.training + split.test if case["case"] == "p1_ED")
    assert (case["weak_kind"], case["undrawn_means_absent"], case["phase"]) == ("scribble", True, "ED")
    assert case["weak_values"] == {0: 0, 1: 1, 2: 2, 3: 3, 255: 255}
    assert case["label"] is None


def test_values_may_stand_in_a_label_file_of_itk_snap(folder, tmp_path):
    lines = [
        f'{value} 255 0 0 1 1 1 "{name}"' for value, name in ((0, "Clear Label"), (1, "RV"), (2, "Myo"), (3, "LV"))
    ]
    (tmp_path / "dense.label").write_text("# ITK-SnAP Label Description File\n" + "\n".join(lines))
    (tmp_path / "weak.label").write_text("\n".join([*lines[1:], '4 0 0 0 1 1 1 "background"']))
    arguments = ["--weak-label", "scribbles/" + NAME, "--weak-values", str(tmp_path / "weak.label")]
    assert prepare(folder, *arguments, labels=str(tmp_path / "dense.label")) == 0
    content = json.loads((folder / "dataset.json").read_text())
    assert content["labels"] == {"0": "background", "1": "RV", "2": "Myo", "3": "LV"}
    assert content["weak_label"]["values"] == {
        "0": "unlabelled",
        "1": "RV",
        "2": "Myo",
        "3": "LV",
        "4": "background",
    }


def test_nothing_is_replaced_without_leave(folder, capsys):
    (folder / "dataset.json").write_text("mine")
    assert prepare(folder) == 2
    assert "exists already; pass --overwrite" in capsys.readouterr().err
    assert (folder / "dataset.json").read_text() == "mine"
    assert prepare(folder, "--overwrite", "--slice-axis", "1", "--name", "discs") == 0
    content = json.loads((folder / "dataset.json").read_text())
    assert (content["name"], content["slice_axis"], "weak_label" in content) == ("discs", 1, False)


@pytest.mark.parametrize(
    ("more", "changes", "message"),
    [
        ((), {"labels": "{0: background}"}, '--labels must be JSON such as \'{"0": "background"'),
        ((), {"labels": "[1]"}, "--labels must be a JSON object"),
        ((), {"labels": '{"1": "LV"}'}, "value 0 must be 'background', it is missing"),
        (("--weak-label", "scribbles/" + NAME), {}, "--weak-values is needed for 'scribbles/p0_ED.nii.gz'"),
        (("--weak-label", "scribbles/" + NAME, "--weak-values", '{"1": "x"}'), {}, "names ['x'], which are no class"),
        ((), {"image": "images/.*"}, "has no group named patient"),
    ],
)
def test_errors_write_nothing(folder, capsys, more, changes, message):
    assert prepare(folder, *more, **changes) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "dataset.json").exists()
