# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from wss_monai.__main__ import main

SMALL = ["--size", "32", "--patients", "4"]


def test_a_data_set_of_pairs_that_check_accepts(tmp_path, capsys):
    out = tmp_path / "pairs"
    assert main(["synthesize", "prostate", "--zones", "none", "--out", str(out), *SMALL, "--seed", "2"]) == 0
    assert "3 training and 1 test patients, T2 and ADC of each" in capsys.readouterr().out
    content = json.loads((out / "dataset.json").read_text())
    assert content["modality"] == {"0": "T2", "1": "ADC"} and content["slice_axis"] == 2
    assert content["labels"] == {"0": "background", "1": "prostate", "2": "prostate"}
    case = content["training"][0]
    assert case["image"] == ["images/prostate001_T2.nii.gz", "images/prostate001_ADC.nii.gz"]
    assert {len(row) for row in case["slice_tags"]} == {2} and {row[1] for row in case["slice_tags"]} == {0, 1}
    assert main(["check", str(out)]) == 0
    assert "4 cases of 4 patients, 0 errors" in capsys.readouterr().out


def test_the_command_in_dataset_json_makes_the_same_files(tmp_path):
    words = ["--size", "40", "--field", "150", "--patients", "2", "--test", "0", "--seed", "1", "--keep-zones"]
    assert main(["synthesize", "prostate", "--out", str(tmp_path / "a"), *words]) == 0
    again = json.loads((tmp_path / "a/dataset.json").read_text())["generator"]["command"].split()[3:]
    assert main([*again, "--out", str(tmp_path / "b")]) == 0
    for file in ("dataset.json", "images/prostate002_T2.nii.gz", "images/prostate002_ADC.nii.gz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize(("words", "number"), [([], 2), (["--modalities", "4"], 4)])
def test_brains_in_the_layout_of_brats(tmp_path, capsys, words, number):
    out = tmp_path / "release"
    command = ["synthesize", "brain", "--out", str(out), "--patients", "2", "--size", "32"]
    assert main([*command, *words]) == 0
    assert f"2 cases of {number} modalities in the layout of BraTS" in capsys.readouterr().out
    assert len(list(out.glob("BraTS19_SYN_00?_1/*.nii.gz"))) == 2 * (number + 1)


def test_the_former_words_for_brains_still_do(tmp_path, capsys):
    words = ["--patients", "1", "--size", "32", "--grades"]
    assert main(["synthesize", "prostate", "--layout", "brats", "--out", str(tmp_path / "a"), *words]) == 0
    assert "is now 'synthesize brain'" in capsys.readouterr().err
    assert main(["synthesize", "brain", "--out", str(tmp_path / "b"), *words]) == 0
    a, b = (sorted(folder.rglob("*.nii.gz")) for folder in (tmp_path / "a", tmp_path / "b"))
    assert [file.read_bytes() for file in a] == [file.read_bytes() for file in b] and len(a) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--zones", "nowhere"], "no data set folder 'nowhere'"),
        (["--size", "-5"], "size must be 24 pixels or more, got -5"),
        (["--field", "nan"], "field must lie between 60 and 1000 mm"),
        (["--patients", "2", "--test", "2"], "leave a patient to train on"),
        (["--seed", "-1"], "seed must be 0 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, capsys, words, message):
    assert main(["synthesize", "prostate", "--out", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("")
    assert main(["synthesize", "prostate", "--out", str(tmp_path), *SMALL]) == 2
    assert "is not empty" in capsys.readouterr().err
