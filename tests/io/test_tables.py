# SPDX-License-Identifier: Apache-2.0
"""Tables: what a spreadsheet would compute is quoted, and comes back as it was."""

from __future__ import annotations

import csv

import pytest

from wss_monai.io.run_folder import CASES
from wss_monai.io.tables import in_cell, out_of_cell, write_csv


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("+1+1", "'+1+1"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("'=1+1", "''=1+1"),
        ("-7", "-7"),
        ("+1e3", "+1e3"),
        ("-inf", "-inf"),
        ("p1", "p1"),
        ("'p1", "'p1"),
        ("", ""),
    ],
)
def test_a_formula_is_quoted_and_a_number_is_not(text, cell):
    assert in_cell(text) == cell
    assert out_of_cell(cell) == text


@pytest.mark.parametrize("value", [-7, -0.5, float("nan"), None, True])
def test_numbers_stay(value):
    assert in_cell(value) is value


def test_a_table_of_a_run_gives_back_what_was_written(tmp_path):
    rows = [{"case": "=1+1", "patient": "@p", "class": "-LV", "dice": -0.5, "empty": 0}]
    CASES.write(tmp_path, rows)
    with (tmp_path / CASES.file).open(newline="") as file:
        assert list(csv.reader(file))[1] == ["'=1+1", "'@p", "'-LV", "-0.5", "0"]
    assert CASES.read(tmp_path) == rows


def test_a_heading_is_quoted_too(tmp_path):
    write_csv(tmp_path / "a.csv", [{"=x": 1}])
    assert (tmp_path / "a.csv").read_text().splitlines() == ["'=x", "1"]
