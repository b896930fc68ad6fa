# SPDX-License-Identifier: Apache-2.0
"""The report in a browser: it fits the window and the sheet of paper, its table sorts, its script makes no error."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess

import pytest
from headless import in_browser, needs_browser, printed

from wss_monai.report import write_report

pytestmark = needs_browser
SHEET = 703
"""Pixels (1/96 inch) between the margins of 12 mm of a sheet of A4."""
BEFORE = """const errors = []; addEventListener("error", (event) => errors.push(event.message));
addEventListener("securitypolicyviolation", (event) => errors.push(event.violatedDirective));"""
SIZES = """
const wide = (part) => part.scrollWidth - part.clientWidth;
log.page = wide(document.documentElement);
log.scrolled = [...document.querySelectorAll(".scroll, .sources, .settings")].map(wide);
const cells = [...document.querySelectorAll("td, th")];
log.beyond = cells.filter((cell) => cell.getBoundingClientRect().right > innerWidth).length;
"""
SORT = """
const table = document.getElementById("case-table");
const rows = () => [...table.tBodies[0].rows].filter((row) => !row.hidden);
const column = (name) => [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.trim() === name);
const texts = (name) => rows().map((row) => row.cells[column(name)].textContent.trim());
const click = (name) => table.tHead.rows[0].cells[column(name)].querySelector("[role=button]").click();
log.first = texts("Dice");
click("Volume, ml"); log.up = texts("Volume, ml"); log.state = table.tHead.rows[0].cells[column("Volume, ml")].ariaSort;
click("Volume, ml"); log.down = texts("Volume, ml");
click("Case"); log.cases = texts("Case");
const filter = document.querySelector("input[type=search]");
filter.value = "p2 lv"; filter.dispatchEvent(new Event("input")); log.filtered = texts("Case").length;
"""


def scripted(page, script, change=lambda text: text):
    """A copy of a page with scripts around its own that its policy allows; their log stands at its end."""
    after = f'const log = {{}};\n{script}\nconst shown = document.createElement("pre");\nshown.id = "log";\n'
    after += "shown.textContent = JSON.stringify({ ...log, errors });\ndocument.body.append(shown);"
    names = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (BEFORE, after)]
    text = change(page.read_text("utf-8"))
    text = text.replace("script-src ", "script-src " + " ".join(f"'sha256-{name}'" for name in names) + " ", 1)
    text = text.replace("<body>", f"<body><script>{BEFORE}</script>", 1)
    copy = page.with_name("scripted.html")
    copy.write_text(text.replace("</body>", f"<script>{after}</script></body>"), encoding="utf-8")
    return copy


def logged(dom):
    found = json.loads(html.unescape(re.search(r'<pre id="log">(.*?)</pre>', dom, re.S)[1]))
    assert found.pop("errors") == []
    return found


@pytest.fixture
def page(make_run, tmp_path):
    """Two runs, one of them with a long name, with masks, strokes and recorded settings."""
    runs = [make_run("a", mode="partial", strokes=True), make_run("b", mode="logbarrier_of_a_long_name", strokes=True)]
    for run in runs:
        settings = {"pixdim": [1.25, 1.25, -1.0], "a#long": "word_" * 60, "network_def#_target_": "BasicUNet"}
        (run / "configuration.json").write_text(json.dumps(settings))
    return write_report(runs, tmp_path / "r.html", cases=1)


@pytest.mark.parametrize("width", [1280, 1920])
def test_nothing_is_cut_on_a_screen(page, tmp_path, width):
    seen = logged(in_browser(scripted(page, SIZES), tmp_path, width))
    assert seen["page"] <= 0 and seen["beyond"] == 0
    assert max(seen["scrolled"]) <= 0


def test_a_small_screen_scrolls_its_tables_and_not_the_page(page, tmp_path):
    assert logged(in_browser(scripted(page, SIZES), tmp_path, 500))["page"] <= 0


def test_nothing_is_cut_on_paper(page, tmp_path):
    on_screen = scripted(page, SIZES, lambda text: text.replace("@media print", "@media all"))
    seen = logged(in_browser(on_screen, tmp_path, SHEET))
    assert seen["page"] <= 0 and seen["beyond"] == 0
    assert max(seen["scrolled"]) <= 0


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext is not installed")
def test_the_pdf_has_every_column_and_every_page_of_the_table_its_headings(page, tmp_path):
    command = ["pdftotext", "-layout", str(printed(page, tmp_path)), "-"]
    text = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout
    words = " ".join(text.split())
    for word in ("HD95", "ASD", "Strokes that are right", "Inside the bounds", "Training", "1 min 15 s", "Outside"):
        assert word in words, word
    for number in ("p2_ED", "Limits of agreement", "not recorded"):
        assert number in words, number


def test_the_table_of_cases_sorts_and_filters(page, tmp_path):
    seen = logged(in_browser(scripted(page, SORT), tmp_path))
    dice = [float(text) for text in seen["first"]]
    assert dice == sorted(dice) and len(dice) == 12
    up = [float(text) for text in seen["up"]]
    assert up == sorted(up) and seen["state"] == "ascending"
    assert [float(text) for text in seen["down"]] == up[::-1]
    assert seen["cases"] == sorted(seen["cases"])
    assert seen["filtered"] == 2  # p2_ED has an LV in each of two runs


def test_a_script_of_another_page_does_not_run(page, tmp_path):
    text = page.read_text("utf-8").replace("</body>", "<script>document.title = 'struck'</script></body>")
    page.write_text(text, encoding="utf-8")
    assert "<title>Tiny" in in_browser(page, tmp_path)
