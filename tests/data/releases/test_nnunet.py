# SPDX-License-Identifier: Apache-2.0
"""Raw data sets of nnU-Net, read where they are."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from wss_monai.__main__ import main
from wss_monai.data import load_cases, read_dataset
from wss_monai.data.releases.nnunet import prepare_nnunet
from wss_monai.transforms import LoadCased

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)


def make_raw(folder, labels=None, channels=1, cases=("p01_ED", "p01_ES", "p02_ED"), test=("p03_ED",), **more):
    """Cases of 6 x 5 x 4 voxels: two of the class LV, one of background, the rest has the ignore label 2."""
    for name in cases + test:
        part = "Ts" if name in test else "Tr"
        label = np.full((6, 5, 4), 0 if part == "Ts" else 2, np.uint8)
        label[2, 2, 1:3], label[0, 0, 0] = 1, 0
        for number in range(channels):
            save(folder / f"images{part}" / f"{name}_{number:04d}.nii.gz", np.random.rand(6, 5, 4).astype(np.float32))
        save(folder / f"labels{part}" / f"{name}.nii.gz", label)
    content = {
        "channel_names": {str(number): f"MRI{number}" for number in range(channels)},
        "labels": {"background": 0, "LV": 1, "ignore": 2} if labels is None else labels,
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
        **more,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_an_ignore_label_means_unlabelled(tmp_path):
    source = make_raw(tmp_path / "raw" / "Dataset007_Hearts", channels=2)
    before = (source / "dataset.json").read_bytes()
    words = ["--out", str(tmp_path / "mine"), "--patient", r"(?P<patient>p\d+)_.*", "--weak-kind", "points"]
    assert main(["prepare", "nnunet", "--source", str(source), *words]) == 0
    assert (source / "dataset.json").read_bytes() == before
    dataset = read_dataset(tmp_path / "mine")
    assert (dataset.name, dataset.class_names) == ("Hearts", ["background", "LV"])
    assert dataset.raw["modality"] == {"0": "MRI0", "1": "MRI1"}
    assert [case["patient"] for case in dataset.training] == ["p01", "p01", "p02"]
    split = load_cases(tmp_path / "mine", validation=0)
    case = next(case for case in split.training if case["case"] == "p01_ES")
    assert case["weak_kind"] == "points"
    loaded = LoadCased(["image", "weak_label"])(case)
    assert loaded["image"].shape == (2, 6, 5, 4)
    values, counts = np.unique(loaded["weak_label"], return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {0: 1, 1: 2, 255: 117}
    (test,) = split.test
    assert LoadCased(["image", "label"])(test)["label"].sum() == 2


def test_without_an_ignore_label_the_maps_are_dense(tmp_path):
    source = make_raw(tmp_path / "Dataset008_Dense", {"background": 0, "LV": [1], "RV": 2}, test=())
    found = prepare_nnunet(source, tmp_path / "mine")
    assert "weak_label" not in found.content
    assert "test" not in found.content
    assert {case["patient"] for case in found.content["training"]} == {"p01_ED", "p01_ES", "p02_ED"}
    assert all("label" in case for case in read_dataset(tmp_path / "mine").training)


def test_files_that_nnunet_lists_itself(tmp_path):
    source = make_raw(tmp_path / "Dataset009_A", test=())
    raw = json.loads((source / "dataset.json").read_text())
    raw["dataset"] = {"one": {"images": ["imagesTr/p01_ED_0000.nii.gz"], "label": "labelsTr/p01_ED.nii.gz"}}
    raw["numTraining"] = 1
    (source / "dataset.json").write_text(json.dumps(raw))
    assert [case["case"] for case in prepare_nnunet(source, tmp_path / "mine").content["training"]] == ["one"]


@pytest.mark.parametrize(
    ("labels", "more", "words"),
    [
        ({"background": 0, "whole": [1, 2], "core": 2}, {}, "'whole' is the values .1, 2. together"),
        ({"0": "background", "1": "LV"}, {}, "prepare decathlon"),
        ({"background": 0, "LV": "1"}, {}, "label 'LV' must have a whole number"),
        (None, {"file_ending": ".png"}, "file_ending '.png' is not read"),
        (None, {"channel_names": {"1": "MRI"}}, "numbered from 0"),
        (None, {"channel_names": {"0": "T1", "1": "T2"}}, "lacks the channels _0001"),
    ],
)
def test_what_cannot_be_said_here_is_refused(tmp_path, capsys, labels, more, words):
    source = make_raw(tmp_path / "Dataset010_B", labels, test=(), **more)
    assert main(["prepare", "nnunet", "--source", str(source), "--out", str(tmp_path / "mine")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(part in said for part in words.split("."))
    assert not (tmp_path / "mine" / "dataset.json").exists()


def test_nothing_of_nnunets_is_written_over(tmp_path, capsys):
    source = make_raw(tmp_path / "Dataset011_C", test=())
    before = (source / "dataset.json").read_bytes()
    assert main(["prepare", "nnunet", "--source", str(source), "--out", str(source)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (source / "dataset.json").read_bytes() == before
    assert main(["prepare", "nnunet", "--source", str(tmp_path / "no"), "--out", str(tmp_path / "mine")]) == 2
    (source / "labelsTr" / "p02_ED.nii.gz").unlink()
    found = prepare_nnunet(source, tmp_path / "mine")
    assert found.notes == [("p02_ED", "has no label map; kept as an image without labels")]
    with pytest.raises(ValueError, match="no group named patient"):
        prepare_nnunet(source, tmp_path / "other", "p.*")
    with pytest.raises(ValueError, match="does not match the whole name"):
        prepare_nnunet(source, tmp_path / "other", r"(?P<patient>q\d+)")
