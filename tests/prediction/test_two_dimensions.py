# SPDX-License-Identifier: Apache-2.0
"""A data set of 2D files is checked, trained, scored and predicted as volumes of one slice."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
from tiny import ROOT, make_dataset, run_workflow

from wss_monai.__main__ import main


def test_flat_files_train_and_are_predicted(tmp_path, monkeypatch, capsys):
    """Public case: 2D files trained nowhere; "Sequence must have length 2, got 3"."""
    monkeypatch.chdir(ROOT)
    data = make_dataset(tmp_path / "flat")
    for file in data.glob("*/*.nii.gz"):
        stored = nib.load(file)
        nib.save(nib.Nifti1Image(np.asarray(stored.dataobj)[:, :, 2], stored.affine), file)
    assert main(["check", str(data)]) == 0
    out = tmp_path / "run"
    for files in (["train.yaml"], ["train.yaml", "evaluate.yaml"]):
        run_workflow(*files, folder=data, out=out, **{"train#trainer#max_epochs": 1})
    assert json.loads((out / "metrics_summary.json").read_text())["n_labelled"] == 1
    scored = np.asarray(nib.load(out / "evaluation" / "predictions" / "p0_ED.nii.gz").dataobj)
    image = data / "images" / "p0_ED.nii.gz"
    assert main(["predict", "--run", str(out), "--input", str(image), "--out", str(tmp_path / "new")]) == 0
    mask = nib.load(tmp_path / "new" / "p0_ED_seg.nii.gz")
    assert mask.shape == (36, 34) and (np.asarray(mask.dataobj) == scored[..., 0]).all()
