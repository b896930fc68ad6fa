# SPDX-License-Identifier: Apache-2.0
"""The overlays with constraints across cases and across slices, on generated hearts in ED and ES."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from tiny import interrupt, user_error

from wss_monai.__main__ import main

OVERLAYS = {"equal_volume": "equal_volume.yaml", "smooth_areas": "smooth_areas.yaml"}
HEART = {"pixdim": [6.0, 6.0, -1.0], "train#trainer#max_epochs": 2, "epoch_iterations": 2}


@pytest.fixture(scope="module")
def hearts(tmp_path_factory) -> Path:
    """Four patients, each in ED and ES, with scribbles."""
    folder = tmp_path_factory.mktemp("hearts") / "data"
    assert main(["synthesize", "cardiac", "--patients", "4", "--out", str(folder)]) == 0
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").open()))


@pytest.mark.parametrize("mode", ["quadratic", "logbarrier", "constrained", "pseudo"])
@pytest.mark.parametrize("term", OVERLAYS)
def test_each_mode_has_the_term(run_bundle, hearts, term, mode):
    flow, out = run_bundle("train.yaml", OVERLAYS[term], folder=hearts, mode=mode, **HEART)
    rows = rows_of(out)
    assert all(float(row[f"violation_{term}"]) >= 0 for row in rows)
    assert len(rows) == 2 and f"loss_{term}" in rows[0]


