# SPDX-License-Identifier: Apache-2.0
"""The bundle hippocampus_logbarrier: 3D, whole volumes, volumes in ml, points; in process and from the command line."""

from __future__ import annotations

import csv
import json
import logging
import math
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import ROOT, command_here, command_line, differing_voxels, interrupt, run_workflow

from wss_monai.__main__ import main

BUNDLE = "hippocampus_logbarrier"
TRAIN, EVALUATE = ("train.yaml",), ("train.yaml", "evaluate.yaml")
TINY_3D = {
    "pixdim": [2.0, 2.0, 2.0],
    "patch_size": [20, 28, 24],
    "network_def#channels": [4, 8],
    "network_def#strides": [2],
    "network_def#num_res_units": 0,
    "train#trainer#max_epochs": 2,
    "epoch_iterations": "null",
    "val_interval": 1,
    "validation": 1,
    "device": "$torch.device('cpu')",
}


@pytest.fixture(scope="module")
def points(tmp_path_factory) -> Path:
    """Generated volumes of five patients with points; patient002 is for tests."""
    folder = tmp_path_factory.mktemp("ellipsoids")
    assert main(["synthesize", "ellipsoids", "--out", str(folder / "dense"), "--patients", "5"]) == 0
    words = ["--strategy", "points", "--slice-axis", "none", "--background"]
    words += ["--option", "number=3", "--option", "radius=1", "--out", str(folder / "points")]
    assert main(["weaken", "--data", str(folder / "dense"), *words]) == 0
    return folder / "points"


@pytest.fixture
def run_3d(points, tmp_path, monkeypatch):
    """Run a workflow of the bundle from the repository root and give it back with its output folder."""
    monkeypatch.chdir(ROOT)

    def run(*files: str, folder: Path = points, out: Path = tmp_path / "run", run: bool = True, **overrides):
        return run_workflow(*files, execute=run, folder=folder, out=out, bundle=BUNDLE, tiny=TINY_3D, **overrides), out

    return run


@contextmanager
def refused(message):
    """The first cause of what is raised is a user error that says so."""
    with pytest.raises(Exception) as caught:
        yield
    error = caught.value
    while error.__cause__ is not None:
        error = error.__cause__
    assert isinstance(error, (ValueError, FileNotFoundError))
    assert re.search(message, str(error)), str(error)


def rows_of(file):
    return list(csv.DictReader(file.open()))


def summary(folder):
    return json.loads((folder / "metrics_summary.json").read_text())


@pytest.mark.parametrize("mode", ["full", "partial", "quadratic", "logbarrier", "constrained"])
def test_every_mode_trains_and_is_evaluated(run_3d, mode):
    _, out = run_3d(*TRAIN, mode=mode)
    rows = rows_of(out / "metrics.csv")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    assert ("violation_size" in rows[0]) == (mode in ("quadratic", "logbarrier", "constrained"))
    record = json.loads((out / "run.json").read_text())
    assert record["patients"]["test"] == ["patient002"]
    assert record["bounds_origin"] == ("constant" if "violation_size" in rows[0] else "none")
    run_3d(*EVALUATE, mode=mode, out=out)
    result = summary(out)
    assert set(result["dice"]) == {"mean", "Anterior", "Posterior"}
    assert set(result["constraint_satisfaction"]) == {"size"}
    bounds = rows_of(out / "evaluation" / "constraints.csv")
    assert {row["unit"] for row in bounds} == {"ml"} and {row["class"] for row in bounds} == {"Anterior", "Posterior"}
    assert [float(row[side]) for row in bounds for side in ("lower", "upper")] == pytest.approx(
        [0.8, 3.0] * len(bounds)
    )


def test_training_learns_the_ellipsoids(run_3d):
    settings = {"mode": "full", "network_def#channels": [8, 16], "learning_rate": 0.02, "val_interval": 50}
    settings |= {"train#trainer#max_epochs": 50, "train#augment": None, "network_def#num_res_units": 1}
    _, out = run_3d(*TRAIN, **settings)
    run_3d(*EVALUATE, out=out, **settings)
    assert summary(out)["dice"]["mean"] > 0.4


def test_prediction_lies_on_the_images_own_grid(run_3d, points):
    _, out = run_3d(*TRAIN)
    run_3d(*EVALUATE, out=out)
    (case,) = json.loads((points / "dataset.json").read_text())["test"]
    image = nib.load(points / case["image"])
    prediction = nib.load(out / "evaluation" / "predictions" / f"{case['case']}.nii.gz")
    assert prediction.shape == image.shape and prediction.get_data_dtype() == np.uint8
    np.testing.assert_allclose(prediction.affine, image.affine, atol=1e-4)
    assert set(np.unique(prediction.dataobj)) <= {0, 1, 2}
    assert set(differing_voxels(out).values()) == {0}


def test_whole_volumes_keep_both_sides_of_their_bounds(run_3d, caplog):
    with caplog.at_level(logging.WARNING, "wss_monai"):
        flow, _ = run_3d(*TRAIN, run=False)
        loader = flow.parser.get_parsed_content("train#dataloader")
    assert "only upper bounds" not in caplog.text
    batch = next(iter(loader))
    assert batch["image"].shape[1:] == (1, 20, 28, 24)
    expected = torch.tensor(
        [[-math.inf, math.inf], [100.0, 375.0], [100.0, 375.0]]
    )  # 0.8 and 3.0 ml in voxels of 8 mm3
    torch.testing.assert_close(batch["bounds_size"], expected.expand(2, 3, 2).unsqueeze(2))


def test_augmentation_moves_the_bounds_of_a_padded_volume(run_3d):
    """What is left of an organ that the frame does not cut is its volume times the determinant."""
    flow, _ = run_3d(*TRAIN, run=False, **{"train_maps": ["weak_label", "label"]})
    loader = flow.parser.get_parsed_content("train#dataloader")
    augment = flow.parser.get_parsed_content("train#augment")
    augment.intensity_probability, augment.affine_probability = 0.0, 1.0
    batch = next(iter(loader))
    kept = 0
    for seed in range(6):
        for k in (1, 2):
            organ = (batch["label"] == k).float()
            moved = augment({**batch, "image": organ}, seed=seed)
            ratio = moved["image"].flatten(1).sum(1) / organ.flatten(1).sum(1)
            factor = torch.linalg.det(moved["matrix"][:, :3, :3]).abs().float()
            whole = ~moved["cut"][:, k]
            torch.testing.assert_close(ratio[whole], factor[whole], rtol=0.03, atol=0)
            kept += int(whole.sum())
    assert kept >= 12


def test_patches_are_a_setting_and_keep_the_upper_side_with_one_warning(run_3d, caplog):
    settings = {"patch_size": [12, 16, 12], "patches_per_volume": 2}
    with caplog.at_level(logging.WARNING, "wss_monai"):
        flow, out = run_3d(*TRAIN, **settings)
    assert len([record for record in caplog.records if "only upper bounds" in record.getMessage()]) == 1
    loader = flow.parser.get_parsed_content("train#dataloader")
    batch = next(iter(loader))
    assert batch["image"].shape == (2, 1, 12, 16, 12)
    assert len(loader.store) == 2 * len(loader.store.cases)
    assert bool(batch["bounds_size"][..., 0].isneginf().all())
    torch.testing.assert_close(batch["bounds_size"][:, 1:, 0, 1], torch.full((2, 2), 375.0))
    run_3d(*EVALUATE, out=out, **settings)
    assert "dice" in summary(out)


def test_a_single_slice_is_refused_by_name(run_3d, points, tmp_path):
    folder = tmp_path / "flat"
    shutil.copytree(points.parent, folder)
    for kind in ("dense/images", "points/weak_labels", "dense/labels"):
        path = folder / kind / "patient003_left.nii.gz"
        picture = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(picture.dataobj)[..., 12:13], picture.affine), path)
    with refused("patient003_left.*a single slice, which a 3D network cannot use"):
        run_3d(*TRAIN, folder=folder / "points")


def test_bounds_from_tags_labels_and_an_estimate(run_3d, points, tmp_path):
    _, out = run_3d(*TRAIN, bounds_from="oracle")
    run_3d(*EVALUATE, bounds_from="oracle", out=out)
    assert summary(out)["bounds_origin"] == "oracle"
    with refused("the constraint 'size' has no bound in any"):  # points say of no class that it is absent
        run_3d(*TRAIN, bounds_from="tag", out=tmp_path / "tag")
    file = tmp_path / "bounds.json"
    words = ["--dense", "3", "--terms", "volume", "--validation", "1", "--out", str(file)]
    words += ["--constant", '{"volume": {"Anterior": [0.8, 3.0], "Posterior": [0.8, 3.0]}}']
    assert main(["bounds", "--fit", str(points), *words]) == 0
    settings = {"bounds_from": "estimated", "bounds_file": str(file)}
    flow, out = run_3d(*TRAIN, out=tmp_path / "estimated", **settings)
    bounds = next(iter(flow.parser.get_parsed_content("train#dataloader")))["bounds_size"]
    assert bounds.shape == (2, 3, 1, 2) and bool(bounds[:, 1:].isfinite().all())
    run_3d(*EVALUATE, out=out, **settings)
    assert summary(out)["bounds_origin"] == "estimated (k=3)"


def test_resumed_run_ends_where_the_uninterrupted_run_ends(run_3d, tmp_path):
    settings = {"train#trainer#max_epochs": 3, "network_def#dropout": 0.2}
    _, whole = run_3d(*TRAIN, out=tmp_path / "whole", **settings)
    flow, broken = run_3d(*TRAIN, out=tmp_path / "broken", run=False, **settings)
    interrupt(flow, 2)
    with refused("patch_size is .* there and .* here"):
        run_3d(*TRAIN, out=broken, resume=True, **settings, **{"patch_size": [24, 28, 24]})
    run_3d(*TRAIN, out=broken, resume=True, **settings)
    expected, got = (torch.load(f / "model.pt", weights_only=True) for f in (whole, broken))
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    rows = [rows_of(f / "metrics.csv") for f in (whole, broken)]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"mode": "logbarier"}, r"mode must be one of .* did you mean 'logbarrier'\?"),
        ({"patch_sise": [8, 8, 8]}, r"unknown setting '--patch_sise'; did you mean '--patch_size'\?"),
        ({"volume_bounds": {"Anterior": [3, 1]}}, r"Anterior.*cannot hold"),
        ({"class_names": ["background", "anterior", "posterior"]}, r"Anterior"),
        ({"patch_size": [48, 64]}, r"patch_size \[48, 64\] does not fit"),
    ],
)
def test_wrong_settings_are_refused_clearly(run_3d, overrides, message):
    with refused(message):
        run_3d(*TRAIN, **overrides)


def test_command_line_trains_without_dense_labels_and_predicts(points, tmp_path):
    """From the root with the small overlay; prediction from the bundle's own folder."""
    folder = tmp_path / "weak"
    shutil.copytree(points.parent, folder)
    content = json.loads((folder / "points" / "dataset.json").read_text())
    for case in content["training"] + content["test"]:
        del case["label"]
    (folder / "points" / "dataset.json").write_text(json.dumps(content))
    shutil.rmtree(folder / "dense" / "labels")
    config = str([f"bundles/{BUNDLE}/configs/{file}" for file in ("train.yaml", "cpu.yaml")])
    settings = {**TINY_3D, "dataset_dir": folder / "points", "output_dir": tmp_path / "run"}
    done = command_line("run", "training", "--config_file", config, **settings)
    assert done.returncode == 0, done.stderr
    row = rows_of(tmp_path / "run" / "metrics.csv")[-1]
    assert "val_partial_ce" in row and "val_dice" not in row
    small = {key: TINY_3D[key] for key in TINY_3D if key.startswith("network_def")}
    done = command_here(
        "run",
        "--config_file",
        "configs/inference.yaml",
        cwd=ROOT / "bundles" / BUNDLE,
        dataset_dir=folder / "dense" / "images",
        ckpt_path=tmp_path / "run" / "model.pt",
        output_dir=tmp_path / "predictions",
        pixdim=TINY_3D["pixdim"],
        window=TINY_3D["patch_size"],
        **small,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "predictions").glob("*_seg.nii.gz"))) == 8
    text = (ROOT / "bundles" / BUNDLE / "configs" / "inference.yaml").read_text()
    assert not re.search(r"wss_monai\.", text)


def test_pseudo_labels_with_stated_volumes(run_3d):
    settings = {"mode": "pseudo", "pseudo_start": 0.0, "set_size": "stated"}
    flow, out = run_3d(*TRAIN, **settings, stated_sizes={"Anterior": 1.75, "Posterior": 1.75})
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert all(float(row["loss_pseudo"]) > 0 and float(row["set_size_Anterior"]) > 0 for row in rows)
    assert json.loads((out / "run.json").read_text())["bounds_origin"] == "set size stated"
    assert flow.parser.get_parsed_content("set_sizes").shift.abs().max() > 0


def test_statements_on_anatomy_are_trained_scored_and_reported(run_3d):
    """All of the overlay, of whole volumes; the bounds of the generated ellipsoids are not those of a hippocampus."""
    said = ["ratio", "distance", "contact", "enclosure", "pieces", "border"]
    files, settings = ("train.yaml", "anatomy.yaml"), {"mode": "constrained", "anatomy": said}
    flow, out = run_3d(*files, **settings)
    loss = flow.parser.get_parsed_content("loss")
    assert [name for name in loss.terms if name in said] == said
    assert {loss.weights[name] for name in said} == {0.1}
    for row in csv.DictReader((out / "metrics.csv").open()):
        assert all(math.isfinite(float(row[f"{what}_{name}"])) for name in said for what in ("loss", "violation"))
    run_3d(*files, "evaluate.yaml", out=out, **settings)
    rows = list(csv.DictReader((out / "evaluation" / "constraints.csv").open()))
    units = {row["term"]: row["unit"] for row in rows}
    assert units == {"size": "ml", "ratio": "1", "distance": "mm", "contact": "mm2", "enclosure": "1", "pieces": "1",
                     "border": "1/mm"}  # fmt: skip
    assert {row["slice"] for row in rows} == {""}
    assert {row["class"] for row in rows if row["term"] in ("ratio", "distance", "contact")} == {"Posterior"}
    assert main(["report", "html", "--runs", str(out), "--out", str(out / "report.html")]) == 0
    assert "contact (mm2)" in (out / "report.html").read_text()


def test_no_statement_is_the_mode_itself(run_3d):
    flow, _ = run_3d("train.yaml", "anatomy.yaml", mode="constrained", anatomy=[], run=False)
    assert list(flow.parser.get_parsed_content("loss").terms) == ["partial", "size"]


def test_statements_estimated_of_whole_volumes(run_3d, points, tmp_path):
    file = tmp_path / "bounds.json"
    words = ["--terms", "volume_ratio:Anterior", "volume_distance:Anterior", "volume_pieces", "volume_border"]
    words += ["--dense", "3", "--validation", "0", "--out", str(file)]
    assert main(["bounds", "--fit", str(points), *words]) == 0
    settings = {"mode": "constrained", "anatomy_from": "estimated", "bounds_file": str(file)}
    flow, _ = run_3d("train.yaml", "anatomy.yaml", run=False, **settings)
    made = {each.term: each for each in flow.parser.get_parsed_content("all_bounds")}
    assert list(made) == ["size", "ratio", "distance", "pieces", "border"]
    assert {made[term].origin for term in ("ratio", "distance", "pieces", "border")} == {"estimated (k=3)"}
    fitted = json.loads(file.read_text())["terms"]["volume_distance"]["classes"]["Posterior"]["interval"]
    assert made["distance"].bounds.values[2][0].tolist() == pytest.approx(fitted)
    assert flow.parser.get_parsed_content("bounds_origin") == "constant, estimated (k=3)"
    with refused("holds \\['volume_ratio:Anterior'.*not 'volume_contact:Anterior'; fit it with --terms"):
        run_3d("train.yaml", "anatomy.yaml", run=False, **settings, anatomy=["contact"])[0].parser.get_parsed_content(
            "all_bounds"
        )
