# SPDX-License-Identifier: Apache-2.0
"""The regressor and the overlay of docs/how-to/choose-bounds.md, as they stand there: fit, train, evaluate."""

from __future__ import annotations

import csv
import json
import re

import pytest
import torch
from tiny import ROOT


@pytest.fixture(scope="module")
def page_files(dataset, tmp_path_factory):
    """Overlay and weights of the page, the weights fitted on the tiny data for two epochs."""
    folder = tmp_path_factory.mktemp("page")
    text = (ROOT / "docs" / "how-to" / "choose-bounds.md").read_text()
    text = text[text.index("## Bounds from a regression network") :]
    script, overlay = (re.search(rf"```{kind}\n(.*?)```", text, re.S)[1] for kind in ("python", "yaml"))
    script = script.replace('"data/ACDC", 100,', f'"{dataset}", 2,')
    script = script.replace('"regressor.pt"', f'"{folder / "regressor.pt"}"')
    assert str(dataset) in script
    exec(compile(script, "choose-bounds.md", "exec"), {})
    (folder / "predicted.yaml").write_text(overlay)
    return folder


def test_the_page_makes_bounds_that_train_and_are_scored(page_files, run_bundle):
    overlay, weights = str(page_files / "predicted.yaml"), str(page_files / "regressor.pt")
    settings = {"mode": "quadratic", "crop": [40, 40, -1], "bounds#choices#predicted#weights": weights}
    flow, out = run_bundle("train.yaml", overlay, **settings)
    (row, *_) = csv.DictReader((out / "metrics.csv").open())
    assert float(row["violation_size"]) >= 0
    assert json.loads((out / "run.json").read_text())["bounds_origin"] == "predicted"
    training = flow.parser.get_parsed_content("train#dataset")[0]["bounds_size"]

    flow, _ = run_bundle("train.yaml", overlay, "evaluate.yaml", evaluate_on="training", out=out, **settings)
    again = flow.parser.get_parsed_content("validate#dataset")[0]["bounds_size"]
    present = training[..., 0].isfinite() & again[..., 0].isfinite()
    assert present.any()
    torch.testing.assert_close(again[present], training[present], rtol=0.02, atol=0.0)
    assert json.loads((out / "metrics_summary.json").read_text())["constraint_satisfaction"]["size"]["mean"] >= 0
