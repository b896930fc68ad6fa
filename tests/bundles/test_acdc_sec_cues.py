# SPDX-License-Identifier: Apache-2.0
"""The overlays classifier.yaml and cues.yaml: from the tags of slices to a data set of cues, and training on it."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from tiny import TINY

from wss_monai.__main__ import main
from wss_monai.data import load_cases
from wss_monai.data.schema import read_dataset
from wss_monai.transforms import load_case

PLAIN = {key: value for key, value in TINY.items() if key != "size_bounds"}
SETTINGS = {key: value for key, value in PLAIN.items() if not key.startswith("network_def")}
SETTINGS |= {"network_def#channels": [4, 8], "network_def#stride": 2}
CLASSIFIER = ("train.yaml", "classifier.yaml")


@pytest.fixture
def run_sec(run_bundle):
    return lambda *files, tiny=SETTINGS, **more: run_bundle(*files, bundle="acdc_sec", tiny=tiny, **more)


def write_cues(run_sec, out, capsys, **settings):
    flow, _ = run_sec(*CLASSIFIER, "cues.yaml", out=out, run=False, **settings)
    capsys.readouterr()
    flow._run_expr("cues")
    return flow, capsys.readouterr().out


def test_tags_to_classifier_to_cues_to_segmentation(run_sec, weak_dataset, tmp_path, capsys):
    flow, out = run_sec(*CLASSIFIER, folder=weak_dataset)
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert {"loss_tags", "val_score", "val_tag_ce", "val_tag_accuracy", "val_auc_RV"} <= set(rows[-1])
    assert float(rows[-1]["val_score"]) == pytest.approx(-float(rows[-1]["val_tag_ce"]))
    assert not list(out.glob("snapshots*"))
    assert flow.check_properties() == []

    _, said = write_cues(run_sec, out, capsys, folder=weak_dataset)
    assert "cues of 3 cases; 1 to test without" in said and "evaluation only" not in said
    cues = read_dataset(out / "cues")
    old = read_dataset(weak_dataset)
    assert cues.weak_kind == "cam" and not cues.undrawn_means_absent
    assert [case["case"] for case in cues.training] == [case["case"] for case in old.training]
    for case in cues.training:
        image, made = (nib.load(cues.file_of(case, key)) for key in ("image", "weak_label"))
        assert np.allclose(image.affine, made.affine, atol=1e-4) and image.shape == made.shape
        index = np.asarray(made.dataobj)
        assert made.get_data_dtype() == np.uint8 and set(np.unique(index)) <= {0, 1, 2, 3, 255}
        assert len(case["slice_tags"]) == 4 and case["slice_tags"][0][1] == 0  # no RV in the first slice
        assert 1 not in index[..., 0] and (index == 255).any() and 0 in index
        cropped = index[:2]  # outside of the 32 x 32 pixels that the classifier sees
        assert (cropped == 255).all()
    (test,) = cues.test
    assert "weak_label" not in test and cues.weak_of(test).kind == "nothing"
    assert main(["check", str(out / "cues")]) == 0

    flow, trained = run_sec("train.yaml", tiny=PLAIN, folder=out / "cues", out=tmp_path / "segmentation")
    assert (trained / "model.pt").is_file()
    row = list(csv.DictReader((trained / "metrics.csv").open()))[-1]
    assert all(np.isfinite(float(row[name])) for name in ("loss_seed", "loss_expand", "loss_constrain"))


def test_a_fold_is_the_test_set_of_the_new_data_set(run_sec, dataset, tmp_path, capsys, monkeypatch):
    folds = {"test": {"a": ["p0"], "b": ["p1"], "c": ["p2"], "d": ["p3"]}}
    (tmp_path / "split.json").write_text(json.dumps(folds))
    split = {"split": str(tmp_path / "split.json"), "fold": "b", "train#trainer#max_epochs": 1, "validation": 0}
    read = []
    original = load_case.read_label
    monkeypatch.setattr(load_case, "read_label", lambda path, *rest: read.append(str(path)) or original(path, *rest))
    _, out = run_sec(*CLASSIFIER, folder=dataset, **split)
    _, said = write_cues(run_sec, out, capsys, folder=dataset, **split)
    assert read and not any("labels" in path for path in read)  # tags and images alone
    assert "cues of 3 cases; 1 to test without" in said
    data = load_cases(out / "cues", validation=0)
    assert data.patients["test"] == ["p1"] and data.patients["training"] == ["p0", "p2", "p3"]
    assert data.test[0]["weak_kind"] == "nothing" and data.test[0]["label"] is not None
    again = load_cases(out / "cues", split=tmp_path / "split.json", fold="b", validation=0)
    assert again.patients == data.patients

    _, said = write_cues(run_sec, out, capsys, folder=dataset, score_cues=True, **split)
    table = [line.split() for line in said.splitlines()]
    assert "evaluation only: right %" in said
    drawn, right, recall, share = (float(v) for v in next(row for row in table if row[0] == "LV")[2:])
    assert drawn > 0 and 0 <= right <= 100 and 0 <= recall <= 100 and 0 < share < 20

    with pytest.raises(Exception) as error:
        write_cues(run_sec, out, capsys, folder=dataset, cues_dir=str(dataset), **split)
    cause = error.value
    while cause.__cause__ is not None:
        cause = cause.__cause__
    assert "is the folder of the data set itself" in str(cause)
