# SPDX-License-Identifier: Apache-2.0
"""The bundle acdc_logbarrier: trains, validates, evaluates, predicts, resumes; from the command line and in process."""

from __future__ import annotations

import csv
import json
import re
from contextlib import contextmanager

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import CONFIGS, ROOT, TINY, UNET_3D, command_here, command_line, differing_voxels, interrupt, make_dataset

TRAIN, EVALUATE = ("train.yaml",), ("train.yaml", "evaluate.yaml")


@contextmanager
def refused(message, *kinds):
    """The first cause of what is raised is a user error that says so."""
    with pytest.raises(Exception) as caught:
        yield
    error = caught.value
    while error.__cause__ is not None:
        error = error.__cause__
    assert isinstance(error, kinds or (ValueError, FileNotFoundError))
    assert re.search(message, str(error)), str(error)


def summary(folder):
    return json.loads((folder / "metrics_summary.json").read_text())


@pytest.mark.parametrize("mode", ["full", "partial", "quadratic", "logbarrier", "constrained"])
def test_every_mode_trains_and_is_evaluated(run_bundle, mode):
    _, out = run_bundle(*TRAIN, mode=mode)
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row["loss"]) == float(row["loss"]) for row in rows)
    assert ("violation_size" in rows[0]) == (mode in ("quadratic", "logbarrier", "constrained"))
    assert {"val_score", "val_dice", "val_partial_ce"} <= set(rows[0])
    record = json.loads((out / "run.json").read_text())
    assert record["mode"] == mode and record["patients"]["test"] == ["p0"]
    assert record["bounds_origin"] == ("constant" if "violation_size" in rows[0] else "none")
    run_bundle(*EVALUATE, mode=mode, out=out)
    result = summary(out)
    assert set(result["dice"]) == {"mean", "RV", "Myo", "LV"}
    assert result["n_volumes"] == 1
    assert set(result["constraint_satisfaction"]) == {"size"}


def test_barrier_rises_over_the_run_and_learning_rate_falls(run_bundle):
    _, out = run_bundle(*TRAIN, **{"train#trainer#max_epochs": 3})
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert [float(row["t"]) for row in rows] == pytest.approx([5, 5 * 1.1**25, 5 * 1.1**50])
    assert float(rows[0]["lr"]) > float(rows[1]["lr"]) > float(rows[2]["lr"])


def test_training_learns_the_discs(run_bundle):
    settings = {
        "network_def#features": [8, 8, 16, 16, 16, 8],
        "learning_rate": 0.02,
        "val_interval": 60,
    }
    _, out = run_bundle(*TRAIN, **settings, **{"train#trainer#max_epochs": 60, "train#augment": None})
    run_bundle(*EVALUATE, out=out, **settings)
    assert summary(out)["dice"]["mean"] > 0.75


def test_patients_of_training_can_be_scored_beside_those_of_the_test(run_bundle, tmp_path):
    _, out = run_bundle(*TRAIN, **{"train#trainer#max_epochs": 1})
    for part, volumes in (("training", 2), ("validation", 1)):
        again = {"evaluate_on": part, "ckpt_path": str(out / "model.pt")}
        run_bundle(*EVALUATE, out=tmp_path / part, **again)
        assert summary(tmp_path / part)["n_labelled"] == volumes


def test_keep_largest_leaves_one_component_of_each_class(run_bundle):
    _, out = run_bundle(*TRAIN, **{"train#trainer#max_epochs": 4})
    counts = {}
    for keep in (False, True):
        run_bundle(*EVALUATE, out=out, keep_largest=keep)
        prediction = np.asarray(nib.load(out / "evaluation" / "predictions" / "p0_ED.nii.gz").dataobj)
        one = np.ones((3, 3, 3))
        counts[keep] = [ndimage.label(prediction == k, one)[1] for k in (1, 2, 3)]
        assert ndimage.label(prediction > 0, one)[1] == 1 or not keep
    assert max(counts[False]) > 1  # after four epochs there is something to remove
    assert max(counts[True]) == 1


def test_prediction_lies_on_the_images_own_grid(run_bundle, dataset):
    _, out = run_bundle(*TRAIN, **{"pixdim": [2.5, 2.5, -1.0]})
    run_bundle(*EVALUATE, out=out, **{"pixdim": [2.5, 2.5, -1.0]})
    image = nib.load(dataset / "images" / "p0_ED.nii.gz")
    prediction = nib.load(out / "evaluation" / "predictions" / "p0_ED.nii.gz")
    assert prediction.shape == image.shape
    np.testing.assert_allclose(prediction.affine, image.affine, atol=1e-4)
    assert prediction.get_data_dtype() == np.uint8
    assert set(np.unique(prediction.dataobj)) <= {0, 1, 2, 3}


def test_resumed_run_ends_where_the_uninterrupted_run_ends(run_bundle, tmp_path):
    settings = {"train#trainer#max_epochs": 4, "network_def#dropout": 0.2}
    _, whole = run_bundle(*TRAIN, out=tmp_path / "whole", **settings)
    flow, broken = run_bundle(*TRAIN, out=tmp_path / "broken", run=False, **settings)
    interrupt(flow, 3)
    with refused("continue it with --resume true"):
        run_bundle(*TRAIN, out=broken, **settings)
    run_bundle(*TRAIN, out=broken, resume=True, **settings)
    expected, got = (torch.load(f / "model.pt", weights_only=True) for f in (whole, broken))
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    rows = [list(csv.DictReader((f / "metrics.csv").open())) for f in (whole, broken)]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]


def test_resume_with_other_settings_is_refused_and_touches_nothing(run_bundle):
    _, out = run_bundle(*TRAIN, mode="partial")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for overrides, message in (
        ({"mode": "quadratic"}, "mode is 'partial' there and 'quadratic' here; bounds_origin is 'none' there"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        (
            {"partial_loss#_target_": "wss_monai.losses.PartialDiceCELoss"},
            r"partial_loss is 'PartialCrossEntropyLoss\(\)'",
        ),
        ({"size_bounds": {"LV": [10, 99]}}, "size_bounds is .* there and {'LV': .*} here"),
        ({"validation": 2}, "patients is "),
        ({"learning_rate": 0.5}, "learning_rate is 0.002 there and 0.5 here"),
        ({"network_def#features": [8, 4, 4, 4, 4, 4]}, "network_def#features#0 is 4 there and 8 here"),
        ({"batch_size": 2}, "batch_size is 4 there and 2 here"),
        ({"train#augment#rotation": 80}, "train#augment#rotation is 30.0 there and 80 here"),
        ({"train#handlers#2#t0": 50}, "train#handlers#2#t0 is not set there and 50 here"),
        ({"overwrite": True}, "resume and overwrite exclude each other"),
    ):
        with refused(message):
            run_bundle(*TRAIN, out=out, resume=True, **{"mode": "partial", **overrides})
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    run_bundle(*TRAIN, out=out, resume=True, mode="partial", **{"train#trainer#max_epochs": 3})  # and longer goes on


def test_volume_bounds_need_whole_volumes_in_a_batch(run_bundle):
    _, out = run_bundle("train.yaml", "volume_bounds.yaml")
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert "violation_volume" in rows[0]
    run_bundle("train.yaml", "volume_bounds.yaml", "evaluate.yaml", out=out)
    assert set(summary(out)["constraint_satisfaction"]) == {"size", "volume"}
    with refused("VolumeBatchSampler"):
        run_bundle("train.yaml", "volume_bounds.yaml", **{"train#volume_sampler": None})


def test_oracle_and_tag_bounds_are_called_so(run_bundle, tmp_path):
    for origin in ("oracle", "tag"):
        _, out = run_bundle(*TRAIN, bounds_from=origin, out=tmp_path / origin)
        run_bundle(*EVALUATE, bounds_from=origin, out=out)
        assert summary(out)["bounds_origin"] == origin


def test_training_in_3d_on_patches(run_bundle):
    settings = {"patch_size": [24, 24, 4], "window": "@patch_size", "batch_size": 2, "pixdim": [2.0, 2.0, 8.0]}
    settings |= {"crop": [-1, -1, -1], "network_def": UNET_3D}
    _, out = run_bundle("train.yaml", "train_3d.yaml", **settings)
    run_bundle("train.yaml", "train_3d.yaml", "evaluate.yaml", out=out, **settings)
    result = summary(out)
    assert "dice" in result and set(result["constraint_satisfaction"]) == {"size"}
    rows = list(csv.DictReader((out / "evaluation" / "constraints.csv").open()))
    assert {row["unit"] for row in rows} == {"ml"}
    assert set(differing_voxels(out).values()) == {0}


def test_properties(run_bundle, tmp_path):
    for files in (TRAIN, EVALUATE):
        flow, _ = run_bundle(*files, run=False)
        assert flow.check_properties() == []


def test_command_line_without_any_dense_label(weak_dataset, tmp_path):
    out = tmp_path / "weak"
    settings = {**TINY, "dataset_dir": weak_dataset, "output_dir": out, "mode": "logbarrier"}
    for run_id, files in (("training", TRAIN), ("evaluating", EVALUATE)):
        config = str([f"bundles/acdc_logbarrier/configs/{file}" for file in files])
        done = command_here("run", run_id, "--config_file", config, **settings)
        assert done.returncode == 0, done.stderr
    assert "Dice, distances and volume errors are left out" in done.stdout
    result = summary(out)
    assert 0 <= result["strokes_right"]["mean"] <= 1 and result["partial_ce"]["mean"] > 0
    assert set(result["stroke_recall"]) == {"mean", "RV", "Myo", "LV"} and result["n_drawn"] == result["n_volumes"]
    assert "dice" not in result and result["constraint_satisfaction"]["size"]["mean"] >= 0
    row = next(csv.DictReader((out / "metrics.csv").open()))
    assert "val_partial_ce" in row and "val_dice" not in row
    from wss_monai.report import write_report

    page = write_report([out], tmp_path / "report.html").read_text()
    assert "no dense label" in page.lower()


def test_inference_from_the_bundles_own_folder(run_bundle, dataset, tmp_path):
    _, out = run_bundle(*TRAIN)
    small = {key: TINY[key] for key in TINY if key.startswith("network_def")} | {"window": [32, 32]}
    done = command_line(
        "run",
        "--config_file",
        "configs/inference.yaml",
        cwd=CONFIGS.parent,
        dataset_dir=dataset / "images",
        ckpt_path=out / "model.pt",
        output_dir=tmp_path / "predictions",
        **small,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "predictions").glob("*_seg.nii.gz"))) == 4
    text = (CONFIGS / "inference.yaml").read_text()
    assert not re.search(r"wss_monai\.", text)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"mode": "logbarier"}, r"mode must be one of .* did you mean 'logbarrier'\?"),
        ({"learning_rte": 0.1}, r"unknown setting '--learning_rte'; did you mean '--learning_rate'\?"),
        ({"train#trainer#max_epoch": 3}, r"did you mean '--train#trainer#max_epochs'\?"),
        ({"network_def#featurs": [4, 8]}, r"did you mean '--network_def#features'\?"),
        ({"dataset_dir": "nowhere"}, r"nowhere(.|\n)*synthesize"),
        ({"bounds_from": "orakel"}, r"bounds_from must be one of"),
        ({"size_bounds": {"LV": [50, 10]}}, r"LV.*cannot hold"),
        ({"class_names": ["background", "RV", "LV"]}, r"Myo"),
    ],
)
def test_wrong_settings_are_refused_clearly(run_bundle, overrides, message):
    with refused(message):
        run_bundle(*TRAIN, **overrides)


def test_command_line_ends_with_the_cause(dataset, tmp_path):
    config = "bundles/acdc_logbarrier/configs/train.yaml"
    done = command_here("run", "training", "--config_file", config, dataset_dir=dataset, mode="partiall")
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith("Error: mode must be one of")


def test_broken_volumes_are_refused_by_name(run_bundle, tmp_path):
    folder = make_dataset(tmp_path / "broken")
    path = folder / "scribbles" / "p2_ED.nii.gz"
    good = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(good.dataobj)[:-1], good.affine), path)
    with refused("p2_ED.*shape"):
        run_bundle(*TRAIN, folder=folder)


def test_own_folder_and_root_name_the_same_places(monkeypatch):
    from monai.bundle import ConfigParser

    for cwd, home in ((ROOT, ""), (CONFIGS.parent, "../../")):
        monkeypatch.chdir(cwd)
        parser = ConfigParser()
        parser.read_config(str(CONFIGS / "train.yaml"))
        assert parser.get_parsed_content("dataset_dir") == home + "data/ACDC"
        assert parser.get_parsed_content("output_dir") == home + "runs/acdc_logbarrier/logbarrier"
