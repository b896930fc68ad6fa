# SPDX-License-Identifier: Apache-2.0
"""The bundle prostate_cross_modality with 3D networks on slabs: training, evaluation, resume, prediction."""

from __future__ import annotations

import csv
import json
import logging
import math

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from tiny import ROOT, interrupt, run_workflow

BUNDLE = "prostate_cross_modality"
TRAIN = ("train.yaml", "train_3d.yaml")
TINY = {
    "pixdim": [6.0, 6.0, -1.0],
    "crop": [24, 24, -1],
    "network_def#channels": [4, 8],
    "batch_size": 8,
    "train#dataloader#store#patches_per_volume": 4,
    "train#trainer#max_epochs": 2,
    "val_interval": 1,
    "validation": 1,
    "device": "$torch.device('cpu')",
}


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def run(*files, **settings):
    return run_workflow(*files, bundle=BUNDLE, tiny=TINY, **settings)


@pytest.fixture(scope="module")
def trained(prostates, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        run(*TRAIN, folder=prostates, out=out)
    return out


def test_slabs_beyond_the_gland_and_across_it(prostates, tmp_path):
    flow = run(*TRAIN, folder=prostates, out=tmp_path, execute=False)
    batches = list(flow.parser.get_parsed_content("train#dataloader"))
    assert {tuple(batch["image"].shape[1:]) for batch in batches} == {(2, 24, 24, 3)}
    tags = torch.cat([batch["tags"] for batch in batches])
    assert tags[:, 1].unique().tolist() == [0, 1]
    assert not any("slice_tags" in batch for batch in batches)
    views = flow.parser.get_parsed_content("views")
    assert all(
        torch.equal(views(4, (24, 24, 3), seed).matrix[:, 2], torch.eye(4)[2].expand(4, 4)) for seed in range(20)
    )


def test_training_validates_each_slice(trained):
    with (trained / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    parts = [name for name in rows[0] if name.startswith("loss_")]
    assert parts == ["loss_classification", "loss_exchange", "loss_within", "loss_cross"]
    assert all(math.isfinite(float(row[name])) for row in rows for name in ["loss", *parts, "val_tag_ce", "val_auc"])
    assert json.loads((trained / "run.json").read_text())["patch_size"] == [24, 24, 3]


def test_evaluation(prostates, trained, tmp_path):
    run(*TRAIN, "evaluate.yaml", folder=prostates, out=tmp_path, ckpt_path=str(trained / "model.pt"), kind=None)
    case = json.loads((prostates / "dataset.json").read_text())["test"][0]
    with (tmp_path / "evaluation" / "slice_tags.csv").open() as file:
        assert [int(row["tag"]) for row in csv.DictReader(file)] == [row[1] for row in case["slice_tags"]]
    image = nib.load(prostates / case["image"][0])
    mask = nib.load(tmp_path / "evaluation" / "predictions" / f"{case['case']}.nii.gz")
    assert mask.shape == image.shape
    assert np.allclose(mask.affine, image.affine)
    assert 0 <= json.loads((tmp_path / "metrics_summary.json").read_text())["dice"]["mean"] <= 1


def test_interrupted_run_ends_as_the_uninterrupted(prostates, trained, tmp_path):
    flow = run(*TRAIN, folder=prostates, out=tmp_path, execute=False)
    interrupt(flow, 2)
    run(*TRAIN, folder=prostates, out=tmp_path, resume=True)
    weights = [torch.load(folder / "model.pt", weights_only=True) for folder in (trained, tmp_path)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_resume_refuses_other_slabs(prostates, trained):
    with pytest.raises(Exception) as error:
        run(*TRAIN, folder=prostates, out=trained, resume=True, slab=2)
    causes = [error.value]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    assert "patch_size" in str(causes[-1])


def test_slabs_that_are_too_thick_are_told(prostates, tmp_path, caplog):
    flow = run(*TRAIN, folder=prostates, out=tmp_path, execute=False, slab=8)
    with caplog.at_level(logging.WARNING, logger="wss_monai"):
        assert flow.parser.get_parsed_content("train#dataloader").store
    assert "no patch of 8 slices is known to be without class 1" in caplog.text


def test_sizes_of_training_and_inference_agree():
    """Also those of the overlays for a CPU, which come last."""
    configs = ROOT / "bundles" / BUNDLE / "configs"
    for cpu in (False, True):
        sizes = []
        for names in ([*TRAIN, "cpu.yaml"], ["inference.yaml", "inference_3d.yaml", "inference_cpu.yaml"]):
            parser = ConfigParser()
            parser.read_config([str(configs / name) for name in names if cpu or "cpu" not in name])
            parser.parse()
            network = parser.get_parsed_content("network_def")
            sizes.append(
                ({n: w.shape for n, w in network.state_dict().items()}, parser.get_parsed_content("patch_size"))
            )
        assert sizes[0] == sizes[1]
        assert sizes[0][1] == ([64, 64, 3] if cpu else [192, 192, 3])


def test_prediction_of_files(prostates, trained, tmp_path):
    configs = ROOT / "bundles" / BUNDLE / "configs"
    parser = ConfigParser()
    parser.read_config([str(configs / name) for name in ("inference.yaml", "inference_3d.yaml")])
    parser.update(
        {
            "dataset_dir": str(prostates / "images"),
            "output_dir": str(tmp_path),
            "ckpt_path": str(trained / "model.pt"),
            "device": torch.device("cpu"),
            "pixdim": TINY["pixdim"],
            "field": TINY["crop"],
            "network_def#channels": TINY["network_def#channels"],
            "files": f"$sorted(glob.glob('{prostates}/images/*_T2.nii.gz'))[:1]",
        }
    )
    parser.get_parsed_content("run")
    written = list(tmp_path.glob("*seg.nii.gz"))
    assert len(written) == 1
    image = nib.load(sorted((prostates / "images").glob("*_T2.nii.gz"))[0])
    assert nib.load(written[0]).shape == image.shape
