# SPDX-License-Identifier: Apache-2.0
"""The overlay that supervises background far from what is drawn."""

from __future__ import annotations

import csv
import json

import pytest

TRAIN = ("train.yaml", "far_background.yaml")


@pytest.mark.parametrize("mode", ["partial", "logbarrier"])
def test_far_background_is_learnt_from(run_bundle, six_patients, bounds_file, mode):
    settings = {"mode": mode, "bounds_from": "estimated", "bounds_file": str(bounds_file)}
    flow, out = run_bundle(*TRAIN, folder=six_patients, **settings)
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert all(float(row["loss_far"]) > 0 for row in rows)
    for case in flow.parser.get_parsed_content("train#dataset"):
        far = case["far_background"]
        assert set(far.unique().tolist()) <= {0, 255} and bool((far == 0).any())
        assert not bool(((far == 0) & (case["weak_label"] > 0) & (case["weak_label"] < 255)).any())
    run_bundle(*TRAIN, "evaluate.yaml", folder=six_patients, out=out, **settings)
    origin = "extent estimated (k=4)" if mode == "partial" else "estimated (k=4), extent estimated (k=4)"
    assert json.loads((out / "metrics_summary.json").read_text())["bounds_origin"] == origin
