# SPDX-License-Identifier: Apache-2.0
"""Mode constrained: every enforcer trains; multipliers are logged, saved, and the same after a resume."""

from __future__ import annotations

import csv

import nibabel as nib
import pytest
import torch
from tiny import UNET_3D, interrupt, make_dataset, user_error

MODE = {"mode": "constrained", "train#trainer#max_epochs": 3}
STRONG = {"enforcer_weight": 0.5, "enforcers#primal_dual#rate": 1.0}


def rows_of(folder):
    return list(csv.DictReader((folder / "metrics.csv").open()))


@pytest.mark.parametrize("name", ["quadratic", "relu", "logbarrier", "augmented_lagrangian", "primal_dual"])
def test_each_enforcer_trains(run_bundle, weak_dataset, name):
    _, out = run_bundle("train.yaml", folder=weak_dataset, enforcer=name, **MODE, **STRONG)
    rows = rows_of(out)
    assert float(rows[-1]["violation_size"]) >= 0 and float(rows[-1]["loss_partial"]) > 0
    if name in ("augmented_lagrangian", "primal_dual"):
        assert float(rows[0]["multiplier_max_size"]) == 0 < float(rows[-1]["multiplier_max_size"])
    else:
        assert "multiplier_size" not in rows[0]


def test_enforcers_of_that_name_are_the_modes(run_bundle, weak_dataset, tmp_path):
    _, mode = run_bundle("train.yaml", folder=weak_dataset, out=tmp_path / "mode", mode="quadratic")
    same = {"mode": "constrained", "enforcer": "quadratic", "enforcer_weight": 0.3}
    _, constrained = run_bundle("train.yaml", folder=weak_dataset, out=tmp_path / "constrained", **same)
    first, second = (torch.load(folder / "model.pt", weights_only=True) for folder in (mode, constrained))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_each_enforcer_has_a_weight_of_its_own_unless_one_is_given(run_bundle, weak_dataset, tmp_path):
    for name, words, weight in (
        ("quadratic", {}, 0.09),
        ("primal_dual", {}, 0.3),
        ("relu", {"enforcer_weight": 7.0}, 7.0),
    ):
        settings = {**MODE, "train#trainer#max_epochs": 1, "enforcer": name, **words}
        flow, _ = run_bundle("train.yaml", folder=weak_dataset, out=tmp_path / name, **settings)
        assert flow.parser.get_parsed_content("loss").weights["size"] == weight


def test_multipliers_of_the_set_are_moved_by_every_batch(run_bundle, weak_dataset):
    of_set = {"enforcer": "primal_dual", "enforcers#primal_dual#per": "set", "enforcers#primal_dual#tolerance": 0.0}
    flow, out = run_bundle("train.yaml", folder=weak_dataset, **MODE, **STRONG, **of_set)
    penalty = flow.parser.get_parsed_content("loss").terms["size"].penalty
    assert penalty.rows["multiplier"].shape == (1, 4, 1, 2) and float(penalty.rows["multiplier"].max()) > 0
    assert float(rows_of(out)[0]["multiplier_max_size"]) > 0  # in the first epoch already


@pytest.mark.parametrize(
    "settings",
    [
        {"enforcer": "augmented_lagrangian"},
        {"enforcer": "primal_dual"},
        {"enforcer": "primal_dual", "enforcers#primal_dual#per": "set"},
    ],
)
def test_resumed_run_ends_where_the_uninterrupted_run_ends(run_bundle, weak_dataset, tmp_path, settings):
    settings = {**MODE, **STRONG, **settings, "folder": weak_dataset, "train#trainer#max_epochs": 4}
    settings[f"enforcers#{settings['enforcer']}#violation"] = "hard"
    _, whole = run_bundle("train.yaml", out=tmp_path / "whole", **settings)
    flow, broken = run_bundle("train.yaml", out=tmp_path / "broken", run=False, **settings)
    interrupt(flow, 4)
    run_bundle("train.yaml", out=broken, resume=True, **settings)
    first, second = (torch.load(f / "checkpoint.pt", weights_only=True)["objects"] for f in (whole, broken))
    assert all(torch.equal(first["network"][key], second["network"][key]) for key in first["network"])
    states = [objects["loss"]["terms.size.penalty._extra_state"] for objects in (first, second)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert float(states[0]["multiplier"].max()) > 0


def test_volumes_have_multipliers_of_their_own(run_bundle, weak_dataset, tmp_path):
    settings = {**MODE, **STRONG, "volume_bounds": {"RV": [0.1, 0.2], "Myo": [0.1, 0.2], "LV": [0.1, 0.2]}}
    flow, out = run_bundle("train.yaml", "volume_bounds.yaml", folder=weak_dataset, **settings)
    terms = flow.parser.get_parsed_content("loss").terms
    slices, volumes = (len(terms[name].penalty.rows["multiplier"]) for name in ("size", "volume"))
    assert slices > volumes > 0 and float(rows_of(out)[-1]["multiplier_max_volume"]) > 0
    patches = {"patch_size": [24, 24, 4], "window": [24, 24, 4], "pixdim": [2.0, 2.0, 8.0], "crop": [-1, -1, -1]}
    settings |= {**patches, "network_def": UNET_3D, "out": tmp_path / "3d", "folder": weak_dataset}
    flow, out = run_bundle("train.yaml", "train_3d.yaml", **settings)
    assert "multiplier_size" in rows_of(out)[-1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"enforcer": "lagrangian"}, "enforcer must be one of ['quadratic', 'relu', 'logbarrier', "),
        ({"enforcers#primal_dual#rate": -1}, "rate must be a positive number"),
        (
            {"enforcer": "augmented_lagrangian", "enforcers#augmented_lagrangian#penalty": -1},
            "penalty must be a positive number",
        ),
        ({"enforcers#primal_dual#per": "class"}, "per must be one of ['sample', 'set'], got 'class'"),
    ],
)
def test_impossible_settings_are_refused(run_bundle, settings, message):
    with pytest.raises(RuntimeError) as error:
        run_bundle("train.yaml", **{**MODE, **settings})
    assert message in user_error(error.value)


def test_multipliers_of_slices_that_are_gone_are_not_given_to_others(run_bundle, tmp_path):
    """A case with fewer slices than before moves the numbers of all slices behind it."""
    data = make_dataset(tmp_path / "data", dense=False)
    settings = {**MODE, **STRONG, "folder": data}
    flow, out = run_bundle("train.yaml", run=False, **settings)
    interrupt(flow, 3)
    for file in data.glob("*/p2_ED.nii.gz"):
        nib.save(nib.load(file).slicer[..., :3], file)
    with pytest.raises(Exception) as error:
        run_bundle("train.yaml", out=out, resume=True, **settings)
    assert "other data: case 'p2_ED' had 4 slices or patches in training there and has 3" in user_error(error.value)
    saved = torch.load(out / "checkpoint.pt", weights_only=True)
    del saved["samples"]  # as a release before wrote it
    torch.save(saved, out / "checkpoint.pt")
    run_bundle("train.yaml", out=out, resume=True, **settings)
