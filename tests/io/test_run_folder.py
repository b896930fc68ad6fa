# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest

from wss_monai.io import run_folder
from wss_monai.io.run_folder import CASES, CONSTRAINTS, EPOCHS, SLICES, TABLES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "configuration.md"


def files_of_the_page() -> str:
    return PAGE.read_text(encoding="utf-8").split("## The files of a run")[1].split("\n## ")[0]


def test_every_file_is_on_the_page():
    others = (run_folder.RECORD, run_folder.SUMMARY, run_folder.SCORED, run_folder.TAGS)
    others += (run_folder.CONFIGURATION, run_folder.PREDICTION)
    for file in (*others, *(table.file for table in TABLES)):
        assert f"`{file}`" in files_of_the_page(), file
    declared = {*others, *(table.file for table in TABLES)}
    written = re.findall(r"`([\w/]+\.(?:csv|json))`", files_of_the_page())
    assert set(written) == declared


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.file)
def test_every_column_is_on_the_page(table):
    page = PAGE.read_text(encoding="utf-8")
    heading = f"### {table.file}\n"
    part = page.split(heading)[1].split("\n### ")[0] if heading in page else files_of_the_page()
    missing = [column.name for column in table.columns if f"`{column.name}`" not in part]
    assert not missing, f"{PAGE.name}, {table.file}: say what {missing} are"


@pytest.mark.parametrize("table", [CASES, SLICES, CONSTRAINTS], ids=lambda table: table.file)
def test_what_is_written_is_read(table, tmp_path):
    row = {column.name: "7" if column.text else 0.5 for column in table.columns}
    least = {name: row[name] for name in table.needed}
    table.write(tmp_path, [row, least])
    assert table.read(tmp_path) == [row, least]
    assert table.measures([row]) == [column.name for column in table.columns if not column.text]


def test_a_column_that_nobody_declared_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"cases\.csv has no columns \['dize'\]"):
        CASES.write(tmp_path, [{"case": "a", "dize": 1}])
    EPOCHS.write(tmp_path, [{"epoch": 1, "loss_size": 0.25}])  # a term has a name of its own
    assert EPOCHS.read(tmp_path) == [{"epoch": 1.0, "loss_size": 0.25}]


def test_a_table_that_is_missing_or_spoilt_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cases\.csv is missing"):
        CASES.read(tmp_path)
    (tmp_path / EPOCHS.file).write_text("epoch,loss\n1,often\n")
    with pytest.raises(ValueError, match=r"metrics\.csv, line 2, column loss: 'often'"):
        EPOCHS.read(tmp_path)
