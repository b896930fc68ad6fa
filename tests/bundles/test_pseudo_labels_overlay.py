# SPDX-License-Identifier: Apache-2.0
"""The overlay pseudo_labels.yaml: trains, resumes and is evaluated in every mode, in 2D and 3D, without dense masks."""

from __future__ import annotations

import csv

import pytest
import torch
from tiny import UNET_3D, interrupt

FILES = ("train.yaml", "pseudo_labels.yaml")
SURE = {
    "pseudo_labels#threshold": 0.3,
    "pseudo_labels#tolerance": 3.0,
    "train#trainer#max_epochs": 4,
    "pseudo_ramp": 0.5,
}


def rows_of(folder):
    return list(csv.DictReader((folder / "metrics.csv").open()))


@pytest.mark.parametrize("mode", ["partial", "quadratic", "logbarrier"])
def test_pseudo_labels_come_in_after_the_start(run_bundle, weak_dataset, mode):
    flow, out = run_bundle(*FILES, folder=weak_dataset, mode=mode, **SURE)
    rows = rows_of(out)
    assert float(rows[0]["pseudo_share"]) == 0 and float(rows[0]["loss_pseudo"]) == 0
    assert float(rows[3]["pseudo_share"]) > 0 and float(rows[3]["loss_pseudo"]) > 0
    assert flow.parser.get_parsed_content("loss").weights["pseudo"] == 0.5
    if mode == "partial":
        assert all(float(row["pseudo_refused"]) == 0 for row in rows)
    average = flow.parser.get_parsed_content("average")
    saved = torch.load(out / "model.pt", weights_only=True)
    student = flow.parser.get_parsed_content("network_def").state_dict()
    assert all(torch.equal(saved[name], value) for name, value in average.network.state_dict().items())
    assert not all(torch.equal(saved[name], student[name]) for name in student)


def test_full_supervision_averages_and_has_no_pseudo_labels(run_bundle):
    flow, out = run_bundle(*FILES, mode="full")
    assert "pseudo_share" not in rows_of(out)[0]
    average = flow.parser.get_parsed_content("average").network.state_dict()
    saved = torch.load(out / "model.pt", weights_only=True)
    assert all(torch.equal(saved[name], average[name]) for name in saved)


def test_evaluation_takes_the_averaged_weights_and_the_student_on_demand(run_bundle, tmp_path):
    _, out = run_bundle(*FILES)
    flow, _ = run_bundle(*FILES, "evaluate.yaml", out=out)
    evaluated = flow.parser.get_parsed_content("validate#evaluator").network.state_dict()
    saved = torch.load(out / "model.pt", weights_only=True)
    assert all(torch.equal(saved[name], evaluated[name]) for name in saved)
    flow, student = run_bundle(*FILES, out=tmp_path / "student", scored="student")
    expected = flow.parser.get_parsed_content("network_def").state_dict()
    saved = torch.load(student / "model.pt", weights_only=True)
    assert all(torch.equal(saved[name], expected[name]) for name in saved)


def test_resumed_run_ends_where_the_uninterrupted_run_ends(run_bundle, tmp_path):
    settings = {**SURE, "network_def#dropout": 0.2}
    _, whole = run_bundle(*FILES, out=tmp_path / "whole", **settings)
    flow, broken = run_bundle(*FILES, out=tmp_path / "broken", run=False, **settings)
    interrupt(flow, 4)
    run_bundle(*FILES, out=broken, resume=True, **settings)
    expected, got = (torch.load(f / "checkpoint.pt", weights_only=True)["objects"] for f in (whole, broken))
    for part in ("network", "average"):
        assert all(torch.equal(expected[part][name], got[part][name]) for name in expected[part])
    assert expected["average"]["n_averaged"] == 4 * 2
    rows = [rows_of(f) for f in (whole, broken)]
    for column in ("loss", "loss_pseudo", "pseudo_share", "pseudo_refused"):
        assert [row[column] for row in rows[0]] == [row[column] for row in rows[1]]


def test_with_volumes_on_patches_and_for_processes(run_bundle, tmp_path):
    _, out = run_bundle("train.yaml", "volume_bounds.yaml", "pseudo_labels.yaml", out=tmp_path / "volume", **SURE)
    assert float(rows_of(out)[3]["pseudo_share"]) > 0
    patches = {"patch_size": [24, 24, 4], "window": [24, 24, 4], "batch_size": 2, "pixdim": [2.0, 2.0, 8.0]}
    patches |= {"crop": [-1, -1, -1], "network_def": UNET_3D}
    _, out = run_bundle("train.yaml", "train_3d.yaml", "pseudo_labels.yaml", out=tmp_path / "3d", **SURE, **patches)
    assert float(rows_of(out)[3]["pseudo_share"]) > 0


def test_properties(run_bundle):
    for files in (FILES, (*FILES, "evaluate.yaml")):
        flow, _ = run_bundle(*files, run=False)
        assert flow.check_properties() == []
