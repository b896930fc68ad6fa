# SPDX-License-Identifier: Apache-2.0
"""The overlay that supervises background far from what is drawn."""

from __future__ import annotations

import csv
import json

import pytest
from tiny import make_dataset

from wss_monai.__main__ import main

TRAIN = ("train.yaml", "far_background.yaml")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("far") / "data", patients=6)


@pytest.fixture(scope="module")
def bounds_file(data, tmp_path_factory):
    file = tmp_path_factory.mktemp("bounds") / "bounds.json"
    words = ["--dense", "4", "--terms", "size", "extent", "--validation", "1", "--out", str(file)]
    assert main(["bounds", "--fit", str(data), *words]) == 0
    return file


@pytest.mark.parametrize("mode", ["partial", "logbarrier"])
def test_far_background_is_learnt_from(run_bundle, data, bounds_file, mode):
    settings = {"mode": mode, "bounds_from": "estimated", "bounds_file": str(bounds_file)}
    flow, out = run_bundle(*TRAIN, folder=data, **settings)
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert all(float(row["loss_far"]) > 0 for row in rows)
    for case in flow.parser.get_parsed_content("train#dataset"):
        far = case["far_background"]
        assert set(far.unique().tolist()) <= {0, 255} and bool((far == 0).any())
        assert not bool(((far == 0) & (case["weak_label"] > 0) & (case["weak_label"] < 255)).any())
    run_bundle(*TRAIN, "evaluate.yaml", folder=data, out=out, **settings)
    origin = "extent estimated (k=4)" if mode == "partial" else "estimated (k=4), extent estimated (k=4)"
    assert json.loads((out / "metrics_summary.json").read_text())["bounds_origin"] == origin
