# SPDX-License-Identifier: Apache-2.0
"""The bundle acdc_sec on tiny volumes: modes, the CRF in training and evaluation, other networks, resume, inference."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from tiny import ROOT, TINY, UNET_3D, command_here, command_line, differing_voxels, interrupt, workflow

BUNDLE = "acdc_sec"
SMALL = {key: value for key, value in TINY.items() if key != "size_bounds"}
MODES = {
    "full": ["loss_dense"],
    "seed": ["loss_seed"],
    "seed_expand": ["loss_seed", "loss_expand"],
    "seed_expand_constrain": ["loss_seed", "loss_expand", "loss_constrain"],
}


def run(*files, tiny=SMALL, **settings):
    flow = workflow(*files, bundle=BUNDLE, tiny=tiny, **settings)
    flow.initialize()
    flow.run()
    flow.finalize()
    return flow


def log(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("mode", MODES)
def test_modes_train_and_log_their_parts(dataset, tmp_path, mode):
    run("train.yaml", folder=dataset, out=tmp_path, mode=mode)
    rows = log(tmp_path)
    assert len(rows) == 2
    assert [name for name in rows[0] if name.startswith("loss_")] == MODES[mode]
    assert all(np.isfinite(float(row[name])) for row in rows for name in ["loss", *MODES[mode]])
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["bounds_origin"] == ("tag" if "expand" in mode else "none")
    assert (tmp_path / "model.pt").is_file()


def test_trains_and_validates_without_any_dense_mask(weak_dataset, tmp_path):
    run("train.yaml", folder=weak_dataset, out=tmp_path)
    assert "val_dice" not in log(tmp_path)[0] or not log(tmp_path)[0]["val_dice"]


def test_evaluation_with_and_without_crf(dataset, tmp_path):
    run("train.yaml", folder=dataset, out=tmp_path / "run")
    scores, masks = [], []
    for crf in (False, True):
        out = tmp_path / ("run" if crf else "plain")
        run(
            "train.yaml",
            "evaluate.yaml",
            folder=dataset,
            out=out,
            ckpt_path=str(tmp_path / "run" / "model.pt"),
            crf=crf,
        )
        scores.append(json.loads((out / "metrics_summary.json").read_text()))
        masks.append(nib.load(out / "evaluation" / "predictions" / "p0_ED.nii.gz"))
    assert masks[0].shape == masks[1].shape == (36, 34, 4)
    assert not np.array_equal(masks[0].get_fdata(), masks[1].get_fdata())
    assert scores[0]["dice"] != scores[1]["dice"]
    assert scores[0]["bounds_origin"] == "tag"
    assert set(differing_voxels(tmp_path / "run").values()) == {0}


def test_interrupted_run_ends_as_the_uninterrupted(dataset, tmp_path):
    run("train.yaml", folder=dataset, out=tmp_path / "whole")
    flow = workflow("train.yaml", folder=dataset, out=tmp_path / "cut", bundle=BUNDLE, tiny=SMALL)
    flow.initialize()
    interrupt(flow, 2)
    run("train.yaml", folder=dataset, out=tmp_path / "cut", resume=True)
    first, second = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("whole", "cut"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_with_other_widths_of_the_crf_is_not_continued(dataset, tmp_path):
    flow = workflow("train.yaml", folder=dataset, out=tmp_path, bundle=BUNDLE, tiny=SMALL)
    flow.initialize()
    interrupt(flow, 2)
    with pytest.raises(Exception) as caught:
        run("train.yaml", folder=dataset, out=tmp_path, resume=True, **{"boundary_loss#crf#theta_alpha": 5.0})
    error = caught.value
    while error.__cause__ is not None:
        error = error.__cause__
    assert "boundary_loss" in str(error)


def test_network_of_the_paper_with_its_optimiser(dataset, tmp_path):
    tiny = {key: value for key, value in SMALL.items() if not key.startswith("network_def")}
    small = {"network_def#width": 4, "network_def#hidden": 8, "network_def#dilation": 1, "decay_iterations": 3}
    tiny |= {**small, "crop": [33, 33, -1], "window": [33, 33]}
    files = ["train.yaml", "large_fov.yaml", "published_optimizer.yaml"]
    flow = run(*files, folder=dataset, out=tmp_path, tiny=tiny)
    rows = log(tmp_path)
    assert [float(row["lr"]) for row in rows] == pytest.approx([1e-3, 1e-4])  # two iterations an epoch
    optimizer = flow.parser.get_parsed_content("optimizer")
    assert sorted({group["lr"] / 1e-4 for group in optimizer.param_groups}) == pytest.approx([1, 2, 10, 20])
    run(
        *files[:2],
        "evaluate.yaml",
        folder=dataset,
        out=tmp_path,
        tiny={k: v for k, v in tiny.items() if k != "decay_iterations"},
    )
    assert nib.load(tmp_path / "evaluation" / "predictions" / "p0_ED.nii.gz").shape == (36, 34, 4)


def test_published_sizes_of_training_and_inference_agree():
    networks = []
    for files in (["train.yaml", "large_fov.yaml"], ["inference.yaml", "inference_large_fov.yaml"]):
        parser = ConfigParser()
        parser.read_config([str(ROOT / "bundles" / BUNDLE / "configs" / file) for file in files])
        parser.parse()
        networks.append(parser.get_parsed_content("network_def"))
    first, second = ({name: w.shape for name, w in network.state_dict().items()} for network in networks)
    assert first == second


def test_volumes(dataset, tmp_path):
    tiny = {**SMALL, "pixdim": [2.0, 2.0, 8.0], "patch_size": [16, 16, 4], "window": [16, 16, 4], "crop": [-1, -1, -1]}
    tiny |= {"network_def": UNET_3D}
    run("train.yaml", "train_3d.yaml", folder=dataset, out=tmp_path, tiny=tiny)
    rows = log(tmp_path)
    assert all(np.isfinite(float(row[f"loss_{part}"])) for row in rows for part in ("seed", "expand", "constrain"))


def test_command_line_trains_and_predicts_with_the_crf(dataset, tmp_path):
    settings = {key: value for key, value in SMALL.items() if key != "device"}
    configs = f"bundles/{BUNDLE}/configs"
    done = command_line(
        "run",
        "training",
        config_file=f"{configs}/train.yaml",
        dataset_dir=dataset,
        output_dir=tmp_path / "run",
        **settings,
    )
    assert done.returncode == 0, done.stderr
    network = {
        key: value for key, value in settings.items() if key.startswith("network_def") or key in ("pixdim", "window")
    }
    done = command_here(
        "run",
        config_file=str([f"{configs}/inference.yaml", f"{configs}/inference_crf.yaml"]),
        dataset_dir=dataset / "images",
        ckpt_path=tmp_path / "run" / "model.pt",
        output_dir=tmp_path / "predictions",
        **network,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "predictions").glob("*_seg.nii.gz"))) == 4
