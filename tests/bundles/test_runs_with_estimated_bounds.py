# SPDX-License-Identifier: Apache-2.0
"""Bounds estimated from a few dense patients, from the command that fits them to the run that uses them."""

from __future__ import annotations

import json

import pytest
from test_acdc_logbarrier import refused

TRAIN, EVALUATE = ("train.yaml",), ("train.yaml", "evaluate.yaml")


@pytest.mark.parametrize("mode", ["quadratic", "logbarrier"])
def test_a_run_with_estimated_bounds(run_bundle, six_patients, bounds_file, mode):
    settings = {"mode": mode, "bounds_from": "estimated", "bounds_file": str(bounds_file)}
    _, out = run_bundle(*TRAIN, folder=six_patients, **settings)
    assert json.loads((out / "run.json").read_text())["bounds_origin"] == "estimated (k=4)"
    run_bundle(*EVALUATE, folder=six_patients, out=out, **settings)
    result = json.loads((out / "metrics_summary.json").read_text())
    assert result["bounds_origin"] == "estimated (k=4)"
    assert set(result["constraint_satisfaction"]["size"]) == {"RV", "Myo", "LV", "mean"}


def test_estimated_volumes_beside_areas(run_bundle, six_patients, bounds_file):
    settings = {"bounds_from": "estimated", "bounds_file": str(bounds_file)}
    flow, _ = run_bundle("train.yaml", "volume_bounds.yaml", folder=six_patients, **settings)
    loss = flow.parser.get_parsed_content("loss")
    assert set(loss.violations) == {"size", "volume"}


def test_hybrid_supervision_trains_on_dense_labels_of_some(run_bundle, six_patients, bounds_file):
    settings = {"bounds_from": "estimated", "bounds_file": str(bounds_file), "dense": ["p2", "p3"]}
    flow, _ = run_bundle(*TRAIN, folder=six_patients, **settings)
    known = {
        case["case"]: float((case["weak_label"] != 255).float().mean())
        for case in flow.parser.get_parsed_content("train#dataset")
    }
    assert known["p2_ED"] > 0.9 and all(share < 0.2 for name, share in known.items() if name not in ("p2_ED", "p3_ED"))


def test_what_is_refused_before_training(run_bundle, six_patients, bounds_file, tmp_path):
    with refused("bounds_from estimated needs bounds_file", ValueError):
        run_bundle(*TRAIN, folder=six_patients, bounds_from="estimated")
    with refused("no file .*nowhere.json", FileNotFoundError):
        run_bundle(*TRAIN, folder=six_patients, bounds_from="estimated", bounds_file="nowhere.json")
    content = json.loads(bounds_file.read_text())
    leaking = tmp_path / "leaking.json"
    leaking.write_text(json.dumps({**content, "patients": ["p0", *content["patients"]]}))
    with refused(r"fitted on \['p0'\], whom this run is scored on", ValueError):
        run_bundle(*TRAIN, folder=six_patients, bounds_from="estimated", bounds_file=str(leaking))
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
