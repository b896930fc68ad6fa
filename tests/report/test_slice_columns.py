# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from wss_monai.report.run_folder import read_runs
from wss_monai.report.tables import results


def test_dice_of_slices_has_rows_where_a_run_has_it(make_run):
    old, new = make_run("old"), make_run("new", mode="quadratic")
    assert "Dice of slices" not in dict(results(read_runs([old]))["groups"])
    file = new / "metrics_summary.json"
    summary = json.loads(file.read_text()) | {"slice_dice": {"mean": 0.9}, "slice_dice_shown": {"mean": 0.8}}
    file.write_text(json.dumps(summary))
    rows = dict(results(read_runs([old, new]))["groups"])["Dice of slices"]
    assert [(name, [cell.text for cell in cells]) for name, cells in rows] == [
        ("all", ["–", "0.900"]),
        ("showing the class", ["–", "0.800"]),
    ]
