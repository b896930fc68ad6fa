# SPDX-License-Identifier: Apache-2.0
"""A data set as a raw data set of nnU-Net, and back."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from tiny import make_dataset

from wss_monai.__main__ import main
from wss_monai.data import load_cases
from wss_monai.nnunet.export import export_nnunet
from wss_monai.transforms import LoadCased


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("discs"), patients=6)


@pytest.fixture(scope="module")
def exported(discs, tmp_path_factory):
    out = tmp_path_factory.mktemp("raw") / "Dataset501_Discs"
    assert main(["export", "nnunet", "--data", str(discs), "--out", str(out)]) == 0
    return out


def weak_labels(folder):
    cases = load_cases(folder, fold="all", validation=0)
    loaded = {case["case"]: LoadCased(["image", "weak_label"])(case) for case in cases.training}
    return {name: (case["image"].numpy(), case["weak_label"].numpy()) for name, case in loaded.items()}


def test_what_is_not_drawn_has_the_ignore_label(discs, exported):
    content = json.loads((exported / "dataset.json").read_text())
    assert content["labels"] == {"background": 0, "RV": 1, "Myo": 2, "LV": 3, "ignore": 4}
    assert content["channel_names"] == {"0": "MRI"}
    assert (content["numTraining"], content["file_ending"]) == (5, ".nii.gz")
    ours = np.asarray(nib.load(discs / "scribbles" / "p1_ED.nii.gz").dataobj)
    picture = nib.load(exported / "labelsTr" / "p1_ED.nii.gz")
    assert picture.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(picture.dataobj), np.where(ours == 255, 4, ours))
    image = exported / "imagesTr" / "p1_ED_0000.nii.gz"
    assert image.read_bytes() == (discs / "images" / "p1_ED.nii.gz").read_bytes()
    assert np.array_equal(picture.affine, nib.load(image).affine)
    assert [path.name for path in (exported / "imagesTs").iterdir()] == ["p0_ED_0000.nii.gz"]
    assert [path.name for path in (exported / "labelsTs").iterdir()] == ["p0_ED.nii.gz"]


def test_there_and_back_gives_the_same_voxels(discs, exported, tmp_path):
    assert main(["prepare", "nnunet", "--source", str(exported), "--out", str(tmp_path / "back")]) == 0
    before, after = weak_labels(discs), weak_labels(tmp_path / "back")
    assert before.keys() == after.keys()
    for name, (image, weak) in before.items():
        assert np.array_equal(after[name][0], image)
        assert np.array_equal(after[name][1], weak)


def test_folds_are_by_patient(tmp_path):
    folder = make_dataset(tmp_path / "discs", patients=5)
    content = json.loads((folder / "dataset.json").read_text())
    again = [{**case, "case": case["case"] + "_b", "phase": "ES"} for case in content["training"]]
    content["training"] += again
    (folder / "dataset.json").write_text(json.dumps(content))
    export_nnunet(folder, tmp_path / "Dataset001_A")
    folds = json.loads((tmp_path / "Dataset001_A" / "splits_final.json").read_text())
    assert len(folds) == 4  # as many as there are training patients
    assert sorted(name for fold in folds for name in fold["val"]) == sorted(folds[0]["train"] + folds[0]["val"])
    for fold in folds:
        assert not {name[:2] for name in fold["train"]} & {name[:2] for name in fold["val"]}


def test_dense_patients_take_the_place_of_scribbles(discs, tmp_path):
    done = export_nnunet(discs, tmp_path / "Dataset002_B", dense=5)
    assert not done.ignored
    assert "ignore" not in json.loads((done.path / "dataset.json").read_text())["labels"]


def test_boxes_and_images_without_labels_are_left_out(tmp_path):
    folder = make_dataset(tmp_path / "discs", dense=False)
    content = json.loads((folder / "dataset.json").read_text())
    content["training"][0]["weak_labels"] = {"kind": "box"}
    del content["training"][1]["weak_label"]
    (folder / "dataset.json").write_text(json.dumps(content))
    done = export_nnunet(folder, tmp_path / "Dataset003_C")
    assert done.training == 1
    assert [name for name, _ in done.notes] == ["p1_ED", "p2_ED"]
    assert "boxes" in done.notes[0][1]
    assert not (done.path / "labelsTs").exists()


def test_what_nnunet_would_not_find_is_refused(discs, exported, tmp_path, capsys):
    for out, words in (
        (tmp_path / "hearts", "Dataset501_MINE"),
        (exported, "exists already"),
    ):
        assert main(["export", "nnunet", "--data", str(discs), "--out", str(out)]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1
    folder = make_dataset(tmp_path / "discs")
    content = (folder / "dataset.json").read_text().replace('"RV"', '"ignore"')
    (folder / "dataset.json").write_text(content)
    with pytest.raises(ValueError, match="a class is called 'ignore'"):
        export_nnunet(folder, tmp_path / "Dataset004_D")
    assert not (tmp_path / "Dataset004_D").exists()
