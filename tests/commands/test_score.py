# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from tiny import make_dataset, workflow

from wss_monai.__main__ import main
from wss_monai.metrics import volume_metrics


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("discs"))


def save(data, folder, case, file=None, change=lambda label: label, affine=None):
    """A prediction made from the dense label of a case."""
    folder.mkdir(exist_ok=True)
    image = nib.load(data / "labels" / f"{case}.nii.gz")
    label = change(np.asarray(image.dataobj).copy())
    nib.save(nib.Nifti1Image(label, image.affine if affine is None else affine), folder / (file or f"{case}.nii.gz"))
    return label


def score(data, folder, *words):
    return main(["score", "--predictions", str(folder), "--data", str(data), *words])


def swapped(label):
    label[label == 2] = 1
    return label


def test_scores_of_predictions_by_any_of_their_names(data, tmp_path, capsys):
    folder = tmp_path / "predictions"
    pred = save(data, folder, "p0_ED", "p0_ED_seg.nii.gz", swapped)
    save(data, folder, "p2_ED")
    assert score(data, folder) == 0
    summary = json.loads((folder / "scores" / "metrics_summary.json").read_text())
    label = nib.load(data / "labels" / "p0_ED.nii.gz")
    spacing = label.header.get_zooms()
    names = ["background", "RV", "Myo", "LV"]
    expected = volume_metrics(pred, np.asarray(label.dataobj), [float(s) for s in spacing], names)
    assert (summary["n_labelled"], summary["bounds_origin"]) == (2, "none")
    assert summary["dice"]["RV"] == pytest.approx((expected[0]["dice"] + 1) / 2)
    assert summary["iou"]["Myo"] == pytest.approx(0.5)
    counts = np.array(summary["confusion"])
    assert counts.shape == (4, 4) and counts[2, 1] > 0  # Myo taken for RV in the first
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    pooled = counts.diagonal() / union
    assert list(summary["iou_pooled"].values()) == pytest.approx([pooled.mean(), *pooled])
    assert list(summary["iou_pooled"]) == ["mean", *names]
    assert summary["classes_never_seen"] == []
    assert {"slice_dice", "size_difference", "hd95_mm"} <= set(summary)
    with (folder / "scores" / "evaluation" / "cases.csv").open() as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["p0_ED"] * 3 + ["p2_ED"] * 3
    assert "2 cases of" in capsys.readouterr().out


def test_the_scores_are_those_of_the_evaluation(data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    for files in (("train.yaml",), ("train.yaml", "evaluate.yaml")):
        flow = workflow(*files, folder=data, out=run, mode="partial", **{"train#trainer#max_epochs": 1})
        flow.initialize()
        flow.run()
        flow.finalize()
    assert score(data, run / "evaluation" / "predictions", "--out", str(tmp_path / "again")) == 0
    ours, theirs = (json.loads((folder / "metrics_summary.json").read_text()) for folder in (tmp_path / "again", run))
    assert theirs.pop("evaluated_on") == "test"
    assert theirs.pop("weights")["file"] == "model.pt"
    assert theirs.pop("partial_ce")["mean"] > 0  # masks have no probabilities
    assert ours["stroke_recall"]
    assert {**theirs, "constraint_satisfaction": {}} == ours
    assert score(data, run / "evaluation" / "predictions", "--out", str(run)) == 2


def test_any_number_of_processes_writes_the_same_bytes(data, tmp_path, capsys):
    """Also what is said of a case that fails in a process is the line of a single one."""
    folder = tmp_path / "predictions"
    for number, case in enumerate(sorted(path.name.removesuffix(".nii.gz") for path in (data / "labels").iterdir())):
        save(data, folder, case, change=swapped if number else lambda label: label)
    written = []
    for processes in ("1", "2"):
        out = tmp_path / processes
        assert score(data, folder, "--out", str(out), "--processes", processes) == 0
        written.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert written[0] == written[1]
    assert len(written[0]) == 5 + 4  # tables and summary, and the volumes
    capsys.readouterr()
    save(data, folder, "p2_ED", change=lambda label: label + np.uint8(7))
    lines = []
    for processes in ("1", "2"):
        assert score(data, folder, "--out", str(tmp_path / "bad"), "--processes", processes) == 1
        lines.append([line for line in capsys.readouterr().err.splitlines() if "failed: p2_ED" in line])
    assert lines[0] == lines[1]
    assert len(lines[0]) == 1 and "holds the values [7" in lines[0][0]


def test_what_cannot_be_scored_is_refused_and_nothing_written(data, tmp_path, capsys):
    def refused(folder, message, *words):
        assert score(data, folder, *words) == 2
        assert message in capsys.readouterr().err

    refused(tmp_path / "none", "there is no folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no volume in")
    save(data, tmp_path / "strange", "p0_ED", "somebody.nii.gz")
    refused(tmp_path / "strange", "['somebody.nii.gz'] in")
    save(data, tmp_path / "twice", "p0_ED")
    save(data, tmp_path / "twice", "p0_ED", "p0_ED_seg.nii.gz")
    refused(tmp_path / "twice", "are both of 'p0_ED'")
    save(data, tmp_path / "moved", "p0_ED", affine=np.eye(4))
    refused(tmp_path / "moved", "has another affine than")
    save(data, tmp_path / "values", "p0_ED", change=lambda label: label + np.uint8(7))
    refused(tmp_path / "values", "holds the values [7")
    refused(tmp_path / "values", "JSON list", "--class-names", "RV")
    refused(tmp_path / "values", "--processes must be 1 or more, got 0", "--processes", "0")
    assert not list(tmp_path.rglob("metrics_summary.json"))
