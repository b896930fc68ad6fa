# SPDX-License-Identifier: Apache-2.0
"""The overlay of docs/how-to/choose-bounds.md that lets a term start late."""

from __future__ import annotations

import csv
import re

import pytest
from tiny import ROOT


def test_the_term_of_the_page_starts_after_three_epochs(run_bundle, tmp_path):
    text = (ROOT / "docs" / "how-to" / "choose-bounds.md").read_text()
    overlay = tmp_path / "start_term.yaml"
    overlay.write_text(
        re.search(r"```yaml\n(\+train#handlers:\n- _target_: wss_monai.handlers.StartTerm.*?)```", text, re.S)[1]
    )
    settings = {"mode": "quadratic", "train#trainer#max_epochs": 4, "size_bounds": {"LV": [10, 12]}}
    _, out = run_bundle("train.yaml", str(overlay), **settings)
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    loss, partial, size = ([float(row[c]) for row in rows] for c in ("loss", "loss_partial", "loss_size"))
    assert min(size) > 0
    assert loss[:3] == pytest.approx(partial[:3])
    assert loss[3] == pytest.approx(partial[3] + 0.3 * size[3])
