# SPDX-License-Identifier: Apache-2.0
"""Mode pseudo: trains, resumes and is evaluated, in 2D and 3D, from scribbles, without dense masks."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import TINY, UNET_3D, command_line, differing_voxels, interrupt, user_error

from wss_monai.functional.convex_hull import in_hull

SETTINGS = {"mode": "pseudo", "train#trainer#max_epochs": 4, "pseudo_start": 0.25, "pseudo_ramp": 0.5}


def rows_of(folder):
    return list(csv.DictReader((folder / "metrics.csv").open()))


def test_pseudo_labels_come_in_after_the_start(run_bundle, weak_dataset):
    flow, out = run_bundle("train.yaml", folder=weak_dataset, **SETTINGS)
    rows = rows_of(out)
    assert float(rows[0]["loss_pseudo"]) == 0 and float(rows[0]["pseudo_removed"]) == 0
    assert all(float(row["loss_pseudo"]) > 0 for row in rows[1:])
    assert flow.parser.get_parsed_content("loss").weights["pseudo"] == 0.5
    saved = torch.load(out / "model.pt", weights_only=True)
    student = flow.parser.get_parsed_content("network_def").state_dict()
    average = flow.parser.get_parsed_content("average").network.state_dict()
    assert all(torch.equal(saved[name], student[name]) for name in student)
    assert not all(torch.equal(saved[name], average[name]) for name in student)


def test_other_modes_have_no_teacher(run_bundle):
    flow, out = run_bundle("train.yaml", mode="partial")
    assert flow.parser.get_parsed_content("average") is None
    assert "average" not in torch.load(out / "checkpoint.pt", weights_only=True)["objects"]
    assert "pseudo_removed" not in rows_of(out)[0]


def test_the_teacher_is_scored_on_demand(run_bundle, tmp_path):
    flow, out = run_bundle("train.yaml", out=tmp_path / "average", scored="average", **SETTINGS)
    expected = flow.parser.get_parsed_content("average").network.state_dict()
    saved = torch.load(out / "model.pt", weights_only=True)
    assert all(torch.equal(saved[name], expected[name]) for name in saved)
    flow, _ = run_bundle("train.yaml", "evaluate.yaml", out=out, scored="average", **SETTINGS)
    evaluated = flow.parser.get_parsed_content("validate#evaluator").network.state_dict()
    assert all(torch.equal(saved[name], evaluated[name]) for name in saved)


def test_resumed_run_ends_where_the_uninterrupted_run_ends(run_bundle, tmp_path):
    settings = {**SETTINGS, "network_def#norm": "BATCH", "network_def#dropout": 0.2}
    _, whole = run_bundle("train.yaml", out=tmp_path / "whole", **settings)
    flow, broken = run_bundle("train.yaml", out=tmp_path / "broken", run=False, **settings)
    interrupt(flow, 4)
    run_bundle("train.yaml", out=broken, resume=True, **settings)
    expected, got = (torch.load(f / "checkpoint.pt", weights_only=True)["objects"] for f in (whole, broken))
    for part in ("network", "average"):
        assert all(torch.equal(expected[part][name], got[part][name]) for name in expected[part])
    assert expected["average"]["n_averaged"] == 4 * 2
    rows = [rows_of(f) for f in (whole, broken)]
    for column in ("loss", "loss_pseudo", "pseudo_removed"):
        assert [row[column] for row in rows[0]] == [row[column] for row in rows[1]]


def test_on_patches(run_bundle):
    patches = {"patch_size": [24, 24, 4], "window": [24, 24, 4], "batch_size": 2, "pixdim": [2.0, 2.0, 8.0]}
    patches |= {"crop": [-1, -1, -1], "network_def": UNET_3D}
    _, out = run_bundle("train.yaml", "train_3d.yaml", **SETTINGS, **patches)
    assert float(rows_of(out)[3]["loss_pseudo"]) > 0


def test_properties(run_bundle):
    for files in (("train.yaml",), ("train.yaml", "evaluate.yaml")):
        flow, _ = run_bundle(*files, run=False, **SETTINGS)
        assert flow.check_properties() == []


SIZES = {"ED": {"RV": 2.0, "Myo": 3.0, "LV": 2.0}}


def test_stated_sizes_of_the_set_are_kept_recorded_and_resumed(run_bundle, weak_dataset, tmp_path):
    settings = {**SETTINGS, "set_size": "stated", "stated_sizes": SIZES, "set_sizes#every": 3, "set_sizes#count": 1}
    flow, whole = run_bundle("train.yaml", folder=weak_dataset, out=tmp_path / "whole", **settings)
    assert json.loads((whole / "run.json").read_text())["bounds_origin"] == "set size stated"
    sizes = flow.parser.get_parsed_content("set_sizes")
    assert sizes.solved == 2  # at iteration 3, the first with pseudo-labels, and at 6 of 8
    rows = rows_of(whole)
    assert rows[0]["set_shift_RV"] == "" and float(rows[3]["set_shift_LV"]) == pytest.approx(float(sizes.shift[3]))
    flow, broken = run_bundle("train.yaml", folder=weak_dataset, out=tmp_path / "broken", run=False, **settings)
    interrupt(flow, 4)
    run_bundle("train.yaml", folder=weak_dataset, out=broken, resume=True, **settings)
    expected, got = (torch.load(f / "checkpoint.pt", weights_only=True)["objects"] for f in (whole, broken))
    assert torch.equal(expected["set_size"]["shift"], got["set_size"]["shift"])
    assert all(torch.equal(expected["network"][name], got["network"][name]) for name in expected["network"])
    flow, _ = run_bundle("train.yaml", "evaluate.yaml", folder=weak_dataset, out=whole, **settings)
    assert json.loads((whole / "metrics_summary.json").read_text())["bounds_origin"] == "set size stated"


def test_estimated_sizes_of_the_set(run_bundle, six_patients, bounds_file):
    settings = {**SETTINGS, "set_size": "estimated", "bounds_file": str(bounds_file)}
    _, out = run_bundle("train.yaml", folder=six_patients, **settings)
    assert json.loads((out / "run.json").read_text())["bounds_origin"] == "set size estimated (k=4)"
    assert float(rows_of(out)[3]["set_size_LV"]) > 0


def test_a_set_size_needs_pseudo_labels(run_bundle):
    with pytest.raises(RuntimeError) as error:
        run_bundle("train.yaml", mode="partial", set_size="stated", stated_sizes=SIZES)
    assert "choose --mode pseudo" in user_error(error.value)


def test_with_far_background_by_a_distance_and_a_filled_class(run_bundle, tmp_path):
    files, settings = ("train.yaml", "far_background.yaml"), {**SETTINGS, "far_mm": 20}
    _, out = run_bundle(*files, **settings)
    assert json.loads((out / "run.json").read_text())["bounds_origin"] == "extent constant (20 mm)"
    assert float(rows_of(out)[3]["loss_far"]) > 0
    flow, _ = run_bundle(*files, "evaluate.yaml", out=out, keep_largest=True, fill={"LV": "hull"}, **settings)
    steps = flow.parser.get_parsed_content("validate#postprocessing").transforms
    assert steps[-1].classes == [3]
    assert set(differing_voxels(out).values()) == {0}


def test_predictions_of_a_finished_network_are_shifted_to_stated_sizes(run_bundle, tmp_path):
    _, out = run_bundle("train.yaml", mode="partial")
    volumes = {}
    for name, sizes in (("free", {}), ("small", {"LV": 0.5})):
        folder, weights = tmp_path / name, str(out / "model.pt")
        run_bundle(
            "train.yaml",
            "evaluate.yaml",
            mode="partial",
            out=folder,
            ckpt_path=weights,
            predicted_sizes=sizes,
            keep_largest=False,
        )
        rows = csv.DictReader((folder / "evaluation" / "cases.csv").open())
        volumes[name] = next(float(row["volume_ml"]) for row in rows if row["class"] == "LV")
    assert volumes["free"] > 1 and volumes["small"] == pytest.approx(0.5, rel=0.25)  # 5 % on the network's grid


def test_predictions_of_new_images_are_filled(run_bundle, dataset, tmp_path):
    flow, _ = run_bundle("train.yaml", run=False, mode="partial")
    network = flow.parser.get_parsed_content("network_def")
    torch.manual_seed(0)
    for parameter in network.parameters():  # large weights by chance, so that masks are ragged
        torch.nn.init.normal_(parameter)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    small = {key: TINY[key] for key in TINY if key.startswith("network_def")} | {"window": [32, 32]}
    files = {
        "dataset_dir": dataset / "images",
        "pattern": "p1*.nii.gz",
        "ckpt_path": tmp_path / "model.pt",
        "keep_largest": False,
    }
    masks = []
    for name in ("inference.yaml", "inference_fill.yaml"):
        config = str([f"bundles/acdc_logbarrier/configs/{file}" for file in dict.fromkeys(("inference.yaml", name))])
        done = command_line("run", "--config_file", config, output_dir=tmp_path / name, **files, **small)
        assert done.returncode == 0, done.stderr
        masks.append(np.asarray(nib.load(tmp_path / name / "p1_ED_seg.nii.gz").dataobj))
    plain, filled = masks
    hull = np.stack([in_hull(plane) for plane in np.moveaxis(plain == 3, 2, 0)], 2)
    assert np.array_equal(filled, np.where(hull & (plain == 0), 3, plain)) and (filled != plain).any()
