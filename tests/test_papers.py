# SPDX-License-Identifier: Apache-2.0
"""The table of the five papers: complete, and what it names is there. Links, commands and names: test_docs.py."""

from __future__ import annotations

import re
import runpy

import pytest
from tiny import ROOT

from wss_monai.functional.weak.strategies import STRATEGIES, strategy_options

PAGE = ROOT / "docs" / "reference" / "papers.md"
STATEMENTS = {"0": 15, "1": 41, "2": 27, "3": 26, "4": 34}
"""How many statements each paper makes."""
METHODS = ("toy_size", "toy_logbarrier", "acdc_size", "acdc_sec", "acdc_mutual_information")
METHODS += ("prostate_cross_modality", "brats_cross_modality")


def tables() -> dict[str, list[list[str]]]:
    """Number of the paper -> the cells of its rows."""
    found = {}
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]:
        rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
        found[section[0]] = rows[1:]
    return {number: rows for number, rows in found.items() if number in STATEMENTS}


def test_every_statement_has_its_row_and_no_cell_is_empty():
    assert {number: len(rows) for number, rows in tables().items()} == STATEMENTS
    for number, rows in tables().items():
        assert len({row[0] for row in rows}) == len(rows), f"a statement of {number} comes twice"
        assert all(len(row) == 4 and all(cell.strip() for cell in row) for row in rows)


@pytest.mark.parametrize("number", STATEMENTS)
def test_overlays_files_and_pages_exist(number):
    for row in tables()[number]:
        for code in re.findall(r"`([^`]+)`", " ".join(row)):
            if match := re.fullmatch(r"(\w+)/(\w+\.yaml)", code):
                assert (ROOT / "bundles" / match[1] / "configs" / match[2]).is_file(), code
            elif re.fullmatch(r"[\w.-]+(/[\w.-]+)+", code):
                assert (ROOT / code).exists(), code
        for strategy in re.findall(r"strateg(?:y|ies) `(\w+)`", row[1]):
            assert strategy in STRATEGIES or strategy == "random_walker"
        for option in re.findall(r"option `(\w+)=", row[1]):
            assert option in strategy_options(re.findall(r"`(\w+)`", row[1])[0])


def test_what_is_not_here_says_so():
    for rows in tables().values():
        for statement, here, _, difference in rows:
            assert here != "none" or difference.startswith(("not here", "not yet")), statement


@pytest.mark.parametrize("bundle", METHODS)
def test_every_method_has_its_published_form_which_its_page_describes(bundle):
    folder = ROOT / "bundles" / bundle
    assert (folder / "configs" / "published.yaml").is_file()
    page = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert f"bundles/{bundle}/configs/published.yaml" in page and "## Published form" in page
    assert "docs/reference/papers.md" in page
    assert f"`{bundle}/published.yaml`" in PAGE.read_text(encoding="utf-8")


def test_the_shrinking_teacher(capsys):
    runpy.run_path(str(ROOT / "benchmarks" / "published_forms.py"))["shrinking_teacher"]()
    assert "0.970" in capsys.readouterr().out
    assert "| .970 of a weight is left" in PAGE.read_text(encoding="utf-8")
