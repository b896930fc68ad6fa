# SPDX-License-Identifier: Apache-2.0
"""The JSON files and tables of a run folder that came from elsewhere: whatever type an entry has, it is named."""

from __future__ import annotations

import json

import pytest

from wss_monai.io.run_content import read_record, read_scored, read_summary
from wss_monai.io.run_folder import CASES, CONSTRAINTS, EPOCHS

RECORD = {"class_names": ["background", "LV"], "mode": "full", "seed": 0, "max_epochs": 3, "patients": {"test": ["p"]}}
SUMMARY = {"dice": {"mean": 0.5, "LV": 0.5}, "constraint_satisfaction": {"size": {"mean": 1.0}}, "evaluated_on": "test"}
ENTRY = {"case": "a", "image": "a.nii", "prediction": "p.nii", "slice_axis": 2, "label_values": {"0": 0, "1.0": 1}}


def folder_of(tmp_path, file, content):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return tmp_path


def test_what_a_run_writes_is_read(tmp_path):
    assert read_record(folder_of(tmp_path, "run.json", RECORD)) == RECORD
    assert read_summary(folder_of(tmp_path, "metrics_summary.json", SUMMARY)) == SUMMARY
    assert read_scored(folder_of(tmp_path, "evaluation/cases.json", [ENTRY])) == [ENTRY]


@pytest.mark.parametrize("value", [5, "x", [5], {"a": 5}, [[]], True, float("nan")])
@pytest.mark.parametrize("key", ["class_names", "patients", "versions", "bounds_origin", "max_epochs", "mode"])
def test_every_type_in_the_record_is_read_or_named(tmp_path, key, value):
    folder = folder_of(tmp_path, "run.json", {**RECORD, key: value})
    try:
        assert read_record(folder)["class_names"] == RECORD["class_names"]
    except ValueError as error:
        assert "run.json" in str(error) and f"'{key}' must be" in str(error)


@pytest.mark.parametrize(
    ("read", "file", "content", "match"),
    [
        (read_record, "run.json", 5, "run.json: must hold an object, got 5"),
        (read_record, "run.json", "[" * 100_000, "run.json: not a JSON file: it is nested too deeply"),
        (read_record, "run.json", {**RECORD, "class_names": "LV"}, "'class_names' must be a list of names, got 'LV'"),
        (read_record, "run.json", {**RECORD, "patients": ["p"]}, "'patients' must be an object of lists"),
        (read_record, "run.json", {**RECORD, "versions": 5}, "'versions' must be an object of words"),
        (read_record, "run.json", {**RECORD, "max_epochs": "x"}, "'max_epochs' must be a whole number"),
        (read_summary, "metrics_summary.json", [], "must hold an object"),
        (read_summary, "metrics_summary.json", {"dice": 5}, "'dice' must be an object of numbers"),
        (read_summary, "metrics_summary.json", {"dice": {"mean": "x"}}, "'dice' must be an object of numbers"),
        (read_summary, "metrics_summary.json", {"constraint_satisfaction": {"size": 1}}, "an object of terms"),
        (read_scored, "evaluation/cases.json", {"case": "a"}, "must hold a list"),
        (read_scored, "evaluation/cases.json", [ENTRY, 5], "'entry 1' must be an object"),
        (read_scored, "evaluation/cases.json", [{**ENTRY, "case": 5}], "entry 0: 'case' must be the name"),
        (read_scored, "evaluation/cases.json", [{**ENTRY, "image": []}], "'image' must be a path"),
        (read_scored, "evaluation/cases.json", [{**ENTRY, "slice_axis": 2.0}], "'slice_axis' must be 0, 1 or 2"),
        (read_scored, "evaluation/cases.json", [{**ENTRY, "label_values": {"x": 1}}], "whose keys are numbers"),
    ],
)
def test_what_no_run_writes_is_named(tmp_path, read, file, content, match):
    with pytest.raises(ValueError, match=match):
        read(folder_of(tmp_path, file, content))


@pytest.mark.parametrize(
    ("table", "text", "match"),
    [
        (EPOCHS, "epoch,loss\nnan,1\n", "line 2, column epoch: nan counts nothing"),
        (EPOCHS, "epoch,seconds\n1,inf\n", "line 2, column seconds: inf counts nothing"),
        (EPOCHS, "epoch,loss\n1e300,1\n", "line 2, column epoch: 1e[+]300 counts nothing"),
        (EPOCHS, "epoch,loss\n1," + "9" * 200_000 + "\n", r"metrics\.csv is no table: field larger than"),
        (CASES, "case,dice\na,1\n", "line 2: column class is empty or missing"),
        (CONSTRAINTS, "case,term,class\na,size,LV\n", "column component is empty or missing"),
    ],
)
def test_tables_that_no_run_writes_are_named(tmp_path, table, text, match):
    with pytest.raises(ValueError, match=match):
        table.read(folder_of(tmp_path, table.file, text))


def test_a_table_that_is_no_text_is_named(tmp_path):
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"metrics\.csv: not UTF-8 text"):
        EPOCHS.read(tmp_path)
