# SPDX-License-Identifier: Apache-2.0
"""The bundles of cross-modality maps on tiny volumes: modes, modalities, readings of the maps, resume, prediction."""

from __future__ import annotations

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import ROOT, command_here, command_line, differing_voxels, interrupt, run_workflow, user_error

from wss_monai.__main__ import main

PROSTATE, BRATS = "prostate_cross_modality", "brats_cross_modality"
TINY = {
    "pixdim": [6.0, 6.0, -1.0],
    "crop": [24, 24, -1],
    "window": [24, 24],
    "network_def#channels": [4, 8],
    "batch_size": 8,
    "train#trainer#max_epochs": 2,
    "val_interval": 1,
    "validation": 1,
    "device": "$torch.device('cpu')",
}
READ = {key: value for key, value in TINY.items() if key in ("pixdim", "window", "network_def#channels")}
MODES = {
    "cam": ["loss_classification"],
    "equivariant": ["loss_classification", "loss_within"],
    "cross_modality": ["loss_classification", "loss_exchange", "loss_within", "loss_cross"],
}


@pytest.fixture(scope="module")
def brains(tmp_path_factory):
    """Four modalities in the layout of BraTS, prepared."""
    folder = tmp_path_factory.mktemp("brats")
    words = ["--modalities", "4", "--size", "32", "--patients", "5"]
    assert main(["synthesize", "brain", *words, "--out", str(folder / "layout")]) == 0
    assert main(["prepare", "brats", "--source", str(folder / "layout"), "--out", str(folder / "data")]) == 0
    return folder / "data"


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def run(*files, bundle=PROSTATE, tiny=TINY, **settings):
    return run_workflow(*files, bundle=bundle, tiny=tiny, **settings)


@pytest.fixture(scope="module")
def trained(prostates, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        run("train.yaml", folder=prostates, out=out)
    return out


def log(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def weights(folder):
    return torch.load(folder / "model.pt", weights_only=True)


@pytest.mark.parametrize("mode", MODES)
def test_modes_train_and_log_their_parts_and_gradients(prostates, tmp_path, mode):
    run("train.yaml", folder=prostates, out=tmp_path, mode=mode, gradient_interval=2)
    rows = log(tmp_path)
    assert len(rows) == 2
    assert [name for name in rows[0] if name.startswith("loss_")] == MODES[mode]
    pulls = [name.replace("loss_", "gradient_") for name in MODES[mode]]
    assert all(np.isfinite(float(row[name])) for row in rows for name in ["loss", *MODES[mode], *pulls])
    assert float(rows[0]["gradient_classification"]) > 0
    assert {"val_tag_ce", "val_auc", "val_auc_T2", "val_auc_ADC"} <= set(rows[0])
    assert {path.name for path in (tmp_path / "snapshots").iterdir()} == {"epoch_0001.png", "epoch_0002.png"}
    assert json.loads((tmp_path / "run.json").read_text())["mode"] == mode


def test_no_dense_mask_is_read_in_training(prostates, trained, tmp_path):
    """The same weights, to the last bit, where the files of the masks are not there at all."""
    bare = tmp_path / "data"
    shutil.copytree(prostates, bare, ignore=shutil.ignore_patterns("labels"))
    content = json.loads((bare / "dataset.json").read_text())
    for case in content["training"] + content["test"]:
        del case["label"]
    (bare / "dataset.json").write_text(json.dumps(content))
    run("train.yaml", folder=bare, out=tmp_path / "run")
    first, second = weights(trained), weights(tmp_path / "run")
    assert all(torch.equal(first[key], second[key]) for key in first)
    run("train.yaml", "evaluate.yaml", folder=bare, out=tmp_path / "run", maps=False)
    assert "dice" not in json.loads((tmp_path / "run" / "metrics_summary.json").read_text())
    assert set(differing_voxels(tmp_path / "run").values()) == {0}
    with pytest.raises(Exception) as caught:
        run(
            "train.yaml",
            "evaluate.yaml",
            folder=bare,
            out=tmp_path / "run",
            evaluate_on="validation",
            run=["$@choose_threshold.run()"],
        )
    assert "no validation case has a dense label" in user_error(caught.value)


@pytest.mark.parametrize("optimizers", ["separate"])
def test_an_optimiser_for_each_network_gives_the_same(prostates, trained, tmp_path, optimizers):
    run("train.yaml", folder=prostates, out=tmp_path, optimizers=optimizers)
    first, second = weights(trained), weights(tmp_path)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("optimizers", ["joint", "separate"])
def test_interrupted_run_ends_as_the_uninterrupted(prostates, trained, tmp_path, optimizers):
    flow = run("train.yaml", folder=prostates, out=tmp_path, optimizers=optimizers, execute=False)
    interrupt(flow, 2)
    run("train.yaml", folder=prostates, out=tmp_path, optimizers=optimizers, resume=True)
    first, second = weights(trained), weights(tmp_path)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_with_another_loss_is_not_continued(prostates, tmp_path):
    flow = run("train.yaml", folder=prostates, out=tmp_path, execute=False)
    interrupt(flow, 2)
    with pytest.raises(Exception) as caught:
        run("train.yaml", folder=prostates, out=tmp_path, resume=True, cross_weight=2.0)
    assert "loss" in user_error(caught.value)


READINGS = [
    {},
    {"fuse": "ADC", "gate": "none"},
    {"fuse": "max", "gate": "soft", "threshold": "otsu"},
    {"normalize": "volume", "gate": "tags", "keep_largest": True},
    {"normalize": "evidence", "crf": True},
    {"threshold": "chosen"},
]


@pytest.mark.parametrize("reading", READINGS, ids=lambda r: " ".join(f"{v}" for v in r.values()) or "default")
def test_readings_of_the_maps(prostates, trained, tmp_path, reading):
    settings = {"folder": prostates, "out": tmp_path, "ckpt_path": str(trained / "model.pt"), **reading}
    files = ("train.yaml", "evaluate.yaml")
    if reading.get("threshold") == "chosen":
        settings_of_choice = {**settings, "evaluate_on": "validation", "threshold": 0.5}
        run(*files, **settings_of_choice, run=["$@allowed", "$@choose_threshold.run()"])
        assert 0 < json.loads((tmp_path / "threshold.json").read_text())["threshold"] < 1
    run(*files, **settings)
    case = json.loads((prostates / "dataset.json").read_text())["test"][0]
    image = nib.load(prostates / case["image"][0])
    mask = nib.load(tmp_path / "evaluation" / "predictions" / f"{case['case']}.nii.gz")
    assert mask.shape == image.shape and np.allclose(mask.affine, image.affine, atol=1e-4)
    assert set(np.unique(mask.get_fdata())) <= {0, 1}
    for name in ("T2", "ADC", "fused"):
        values = nib.load(tmp_path / "evaluation" / "maps" / f"{case['case']}_{name}.nii.gz").get_fdata()
        assert values.shape == image.shape and values.min() >= 0 and values.max() <= 1
    assert (tmp_path / "evaluation" / "figures" / f"{case['case']}.png").stat().st_size > 5000
    tags = json.loads((tmp_path / "evaluation" / "tags.json").read_text())
    assert {"auc", "auc_T2", "auc_ADC"} <= set(tags)
    summary = json.loads((tmp_path / "metrics_summary.json").read_text())
    assert {"dice", "slice_dice", "slice_dice_positive", "hd95_mm", "asd_mm"} <= set(summary)
    if reading.get("gate") == "tags":  # slices without the organ are empty
        absent = [row[1] == 0 for row in case["slice_tags"]]
        assert not mask.get_fdata()[..., absent].any()


def test_thresholds_are_not_chosen_on_test_patients(prostates, trained, tmp_path):
    with pytest.raises(Exception) as caught:
        run(
            "train.yaml",
            "evaluate.yaml",
            folder=prostates,
            out=tmp_path,
            ckpt_path=str(trained / "model.pt"),
            run=["$@allowed", "$@choose_threshold.run()"],
        )
    assert "--evaluate_on validation" in user_error(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"network_def#share": 0.5},
        {"network_def#refine": 4},
        {"network_def#share": 0.5, "network_def#standardize": True},
        {
            "network_def#backbone": {
                "_target_": "UNet", "_mode_": "callable", "spatial_dims": 2, "in_channels": 1, "out_channels": 6,
                "channels": [4, 8], "strides": [2],
            },
            "network_def#features": 6,
        },
    ],
    ids=["mean", "pixel correlation", "z-score", "UNet"],
)  # fmt: skip
def test_other_networks_train_and_evaluate(prostates, tmp_path, settings):
    run("train.yaml", folder=prostates, out=tmp_path, **settings)
    run("train.yaml", "evaluate.yaml", folder=prostates, out=tmp_path, **settings)
    assert (tmp_path / "metrics_summary.json").is_file()


@pytest.mark.parametrize("shown", ["gradcam", "gradcam++"])
def test_other_maps_of_a_network_with_mean_pooling(prostates, tmp_path, shown):
    settings = {"folder": prostates, "out": tmp_path, "network_def#share": 0.5}
    run("train.yaml", "published.yaml", mode="cam", **settings, **{"views#sizes": [16, 32, 8]})
    assert len(log(tmp_path)) == 2
    run("train.yaml", "evaluate.yaml", shown=shown, **settings)
    assert list((tmp_path / "evaluation" / "maps").glob("*_fused.nii.gz"))


@pytest.mark.parametrize("modalities", [["FLAIR"], ["FLAIR", "T1c"], ["T1", "T1c", "T2", "FLAIR"], ["T2", "T1", "T1c"]])
def test_any_number_of_modalities(brains, tmp_path, modalities):
    settings = {"folder": brains, "out": tmp_path, "modalities": modalities, "bundle": BRATS}
    run("train.yaml", **settings)
    row = log(tmp_path)[-1]
    assert (float(row["loss_cross"]) == 0) == (len(modalities) == 1)
    run("train.yaml", "evaluate.yaml", **settings)
    summary = json.loads((tmp_path / "metrics_summary.json").read_text())
    assert "whole tumour" in summary["dice"]
    ends = {path.name.split(".")[0].rsplit("_", 1)[1] for path in (tmp_path / "evaluation" / "maps").iterdir()}
    assert ends == {*modalities, *(["fused"] if len(modalities) > 1 else [])} or len(modalities) == 1
    run(
        "inference.yaml",
        bundle=BRATS,
        kind="inference",
        tiny=READ | {"device": TINY["device"]},
        folder=brains / "images",
        out=tmp_path / "predictions",
        modalities=modalities,
        field=TINY["crop"],
        ckpt_path=str(tmp_path / "model.pt"),
        maps=True,
    )
    names = {path.name for path in (tmp_path / "predictions").glob("*_seg.nii.gz")}
    cases = json.loads((brains / "dataset.json").read_text())
    assert names == {f"{case['case']}_seg.nii.gz" for case in cases["training"] + cases.get("test", [])}
    if len(modalities) == 2:  # the same masks as evaluation's
        made = tmp_path / "evaluation" / "predictions"
        for path in made.iterdir():
            other = nib.load(tmp_path / "predictions" / path.name.replace(".nii.gz", "_seg.nii.gz"))
            assert np.array_equal(nib.load(path).get_fdata(), other.get_fdata())


def test_a_modality_that_is_not_there_is_named(brains, tmp_path):
    with pytest.raises(Exception) as caught:
        run("train.yaml", folder=brains, out=tmp_path, bundle=BRATS, modalities=["FLAIR", "DWI"])
    assert "DWI" in user_error(caught.value)


@pytest.mark.parametrize("bundle", [PROSTATE, BRATS])
def test_command_line_trains_and_predicts(bundle, prostates, brains, tmp_path):
    """Each bundle once in a process of its own: one trains in it, the other predicts."""
    train, predict = (command_line, command_here) if bundle == PROSTATE else (command_here, command_line)
    data = prostates if bundle == PROSTATE else brains
    settings = {key: value for key, value in TINY.items() if key != "device"}
    configs = f"bundles/{bundle}/configs"
    done = train(
        "run",
        "training",
        config_file=f"{configs}/train.yaml",
        dataset_dir=data,
        output_dir=tmp_path / "run",
        **settings,
    )
    assert done.returncode == 0, done.stderr
    done = predict(
        "run",
        config_file=f"{configs}/inference.yaml",
        dataset_dir=data / "images",
        ckpt_path=tmp_path / "run" / "model.pt",
        output_dir=tmp_path / "predictions",
        field=TINY["crop"],
        **READ,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "predictions").glob("*_seg.nii.gz"))) == len(list((data / "labels").iterdir()))
