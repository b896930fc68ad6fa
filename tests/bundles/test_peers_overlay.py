# SPDX-License-Identifier: Apache-2.0
"""The overlays peers.yaml and random_walker.yaml: each method trains, resumes and is evaluated, without dense masks."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from tiny import UNET_3D, interrupt, user_error

FILES = ("train.yaml", "peers.yaml")
TERMS = {
    "entropy": "entropy",
    "total_variation": "variation",
    "mumford_shah": "mumford_shah",
    "gated_crf": "crf",
    "uncertain_teacher": "teacher",
    "averaged_predictions": "averaged",
    "dual_decoder": "pseudo",
}
QUICK = {
    **{"teacher_passes": 2, "teacher_thresholds": [9.0, 9.0], "crf_radius": 2},
    **{"averaged_threshold": 0.05, "averaged_decay": 0.5, "averaged_start": 0.4},
}
PATCHES = {
    **{"patch_size": [24, 24, 4], "window": [24, 24, 4], "pixdim": [2.0, 2.0, 8.0], "crop": [-1, -1, -1]},
    "network_def": UNET_3D,
}


def rows_of(folder):
    return list(csv.DictReader((folder / "metrics.csv").open()))


@pytest.mark.parametrize("mode", TERMS)
def test_each_method_trains_and_is_evaluated(run_bundle, weak_dataset, dataset, mode):
    flow, out = run_bundle(*FILES, folder=weak_dataset, mode=mode, **QUICK, **{"train#trainer#max_epochs": 3})
    last = rows_of(out)[-1]
    assert float(last[f"loss_{TERMS[mode]}"]) > 0 and float(last["loss_partial"]) > 0
    saved = torch.load(out / "model.pt", weights_only=True)
    assert set(saved) == set(flow.parser.get_parsed_content("network_def").state_dict())  # a plain network
    run_bundle(*FILES, "evaluate.yaml", out=out, folder=dataset, mode=mode, **QUICK)
    summary = json.loads((out / "metrics_summary.json").read_text())
    assert summary["bounds_origin"] == "none" and 0 <= summary["dice"]["mean"] <= 1


def test_labels_of_averages_are_learnt_from_when_they_are_there(run_bundle, weak_dataset):
    _, out = run_bundle(
        *FILES, folder=weak_dataset, mode="averaged_predictions", **QUICK, **{"train#trainer#max_epochs": 3}
    )
    rows = rows_of(out)
    assert float(rows[0]["averaged_share"]) == float(rows[0]["loss_averaged"]) == 0
    assert float(rows[2]["averaged_share"]) > 0.5


@pytest.mark.parametrize("mode", ["averaged_predictions", "uncertain_teacher", "dual_decoder"])
def test_resumed_run_ends_where_the_uninterrupted_run_ends(run_bundle, weak_dataset, tmp_path, mode):
    settings = {**QUICK, "mode": mode, "folder": weak_dataset, "train#trainer#max_epochs": 4}
    _, whole = run_bundle(*FILES, out=tmp_path / "whole", **settings)
    flow, broken = run_bundle(*FILES, out=tmp_path / "broken", run=False, **settings)
    interrupt(flow, 4)
    run_bundle(*FILES, out=broken, resume=True, **settings)
    expected, got = (torch.load(f / "checkpoint.pt", weights_only=True)["objects"] for f in (whole, broken))
    assert all(torch.equal(expected["network"][name], got["network"][name]) for name in expected["network"])
    column = f"loss_{TERMS[mode]}"
    assert [row[column] for row in rows_of(whole)] == [row[column] for row in rows_of(broken)]
    if mode == "averaged_predictions":
        assert torch.equal(expected[mode]["average"], got[mode]["average"])


def test_the_second_decoder_sees_dropped_channels_and_labels_are_as_published(run_bundle, weak_dataset):
    flow, _ = run_bundle(*FILES, folder=weak_dataset, mode="dual_decoder", run=False)
    assert flow.parser.get_parsed_content("decoders").channels
    assert not flow.parser.get_parsed_content("loss").terms["pseudo"].corrected


def test_modes_of_train_yaml_are_as_without_the_overlay(run_bundle, tmp_path):
    settings = {"mode": "pseudo", "pseudo_start": 0.0, "pseudo_ramp": 0.0}
    _, plain = run_bundle("train.yaml", out=tmp_path / "plain", **settings)
    _, more = run_bundle(*FILES, out=tmp_path / "more", **settings)
    first, second = (torch.load(folder / "model.pt", weights_only=True) for folder in (plain, more))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("mode", ["gated_crf", "mumford_shah", "total_variation"])
def test_on_patches(run_bundle, mode):
    files = ("train.yaml", "train_3d.yaml", "peers.yaml")
    _, out = run_bundle(*files, mode=mode, **QUICK, **PATCHES)
    assert float(rows_of(out)[-1][f"loss_{TERMS[mode]}"]) > 0


def test_averages_are_for_slices(run_bundle):
    with pytest.raises(RuntimeError) as error:
        run_bundle("train.yaml", "train_3d.yaml", "peers.yaml", mode="averaged_predictions", **PATCHES)
    assert "averages of predictions need slices, not random patches" in user_error(error.value)


def test_the_random_walker_labels_whole_slices_of_training(run_bundle, weak_dataset, dataset):
    flow, out = run_bundle("train.yaml", "random_walker.yaml", folder=weak_dataset, mode="partial")
    for case in flow.parser.get_parsed_content("train#dataset"):
        drawn = case["weak_label"][0] != 255
        assert bool((drawn.flatten(0, 1).all(0) | ~drawn.flatten(0, 1).any(0)).all())
    for case in flow.parser.get_parsed_content("validate#dataset"):
        assert bool((case["weak_label"] == 255).any())
    run_bundle("train.yaml", "random_walker.yaml", "evaluate.yaml", out=out, folder=dataset, mode="partial")
    assert (out / "metrics_summary.json").is_file()
    with pytest.raises(RuntimeError) as error:
        run_bundle("train.yaml", "random_walker.yaml", mode="partial", out=out / "2", walker_lacking="all")
    assert "lacking must be one of ['drawn', 'background', 'unlabelled'], got 'all'" in user_error(error.value)
