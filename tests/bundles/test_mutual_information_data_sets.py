# SPDX-License-Identifier: Apache-2.0
"""The other data sets of the paper, by overlays, on small volumes that are named and labelled as the releases are."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny import ROOT, make_dataset, run_workflow

from wss_monai.__main__ import main

TINY = {
    "pixdim": [2.0, 2.0, -1.0],
    "crop": [32, 32, -1],
    "window": [32, 32],
    "network_def#features": [4, 4, 4, 4, 8, 4],
    "num_clusters": 3,
    "num_heads": 2,
    "labelled": 1,
    "labelled_batch": 2,
    "unlabelled_batch": 3,
    "epoch_iterations": 2,
    "warmup_epochs": 0,
    "train#trainer#max_epochs": 1,
    "val_interval": 1,
    "validation": 1,
    "device": "$torch.device('cpu')",
}


def train(overlay: str, folder: Path, out: Path) -> dict[str, str]:
    run_workflow("train.yaml", overlay, bundle="acdc_mutual_information", tiny=TINY, folder=folder, out=out)
    with (out / "metrics.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    assert math.isfinite(float(row["loss"])) and math.isfinite(float(row["loss_mutual_information"]))
    return row


def spleens(folder: Path) -> Path:
    """Volumes of one organ, which dataset.json calls spleen."""
    make_dataset(folder, patients=5)
    content = json.loads((folder / "dataset.json").read_text())
    content["labels"] = {"0": "background", "1": "background", "2": "background", "3": "spleen"}
    content["weak_label"]["values"] = {**content["labels"], "255": "unlabelled"}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def hearts(folder: Path) -> Path:
    """Volumes as MM-WHS names them, prepared by the command at the head of the overlay."""
    folder.mkdir()
    values = np.array([0, 205, 420, 500, 550, 600, 820, 850], np.int16)
    for number in range(1001, 1006):
        R = np.random.RandomState(number)
        label = np.zeros((36, 34, 3), np.int16)
        for place, value in enumerate(values[1:]):
            x, y = 3 + 8 * (place % 4), 4 + 14 * (place // 4)
            label[x : x + 6, y : y + 8] = value
        image = label / 8 + R.randint(0, 20, label.shape)
        for kind, array in (("image", image.astype(np.int16)), ("label", label)):
            nib.save(nib.Nifti1Image(array, np.diag([2.0, 2, 5, 1])), folder / f"ct_train_{number}_{kind}.nii.gz")
    head = (ROOT / "bundles" / "acdc_mutual_information" / "configs" / "mmwhs.yaml").read_text()
    command = re.search(r"prepare folder (.*)", head)[1].replace("data/MMWHS", str(folder))
    words = re.findall(r"'([^']*)'|(\S+)", command)
    assert main(["prepare", "folder", *(quoted or plain for quoted, plain in words)]) == 0
    return folder


@pytest.mark.parametrize(("overlay", "make"), [("spleen.yaml", spleens), ("mmwhs.yaml", hearts)])
def test_an_overlay_trains(tmp_path, monkeypatch, overlay, make):
    monkeypatch.chdir(ROOT)
    train(overlay, make(tmp_path / "data"), tmp_path / "run")
    classes = {"spleen.yaml": ["spleen"], "mmwhs.yaml": ["Myo", "LA", "LV", "AA"]}[overlay]
    row = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))[-1]
    assert {f"val_dice_{name}" for name in classes} <= set(row) or "val_dice" in row


def test_the_prostate_by_one_of_two_modalities(prostates, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    train("prostate.yaml", prostates, tmp_path)
