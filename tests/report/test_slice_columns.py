# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from wss_monai.report.run_folder import read_runs
from wss_monai.report.tables import results


def test_dice_of_slices_has_columns_where_a_run_has_it(make_run):
    old, new = make_run("old"), make_run("new", mode="quadratic")
    assert "all" not in results(read_runs([old]))["columns"]
    file = new / "metrics_summary.json"
    summary = json.loads(file.read_text()) | {"slice_dice": {"mean": 0.9}, "slice_dice_shown": {"mean": 0.8}}
    file.write_text(json.dumps(summary))
    table = results(read_runs([old, new]))
    assert ("Dice of slices", 2) in table["groups"]
    at = table["columns"].index("all")
    assert table["columns"][at + 1] == "showing the class"
    assert [[cell.text for cell in row[at : at + 2]] for row in table["rows"]] == [["–", "–"], ["0.900", "0.800"]]
