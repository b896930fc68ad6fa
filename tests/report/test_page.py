# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from wss_monai.report import write_report


class Page(HTMLParser):
    """The parts of a page that the tests ask for."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.sources, self.rows, self.words, self.best, self.badges = set(), [], [], [], [], []
        self.cell, self.kind, self.scripts, self.figures, self.tips = None, "", 0, 0, []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.add(tag)
        self.sources += [found[key] for key in ("src", "href", "srcset", "data") if key in found]
        self.scripts += tag == "script"
        self.figures += tag == "svg"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell, self.kind = [], found.get("class") or ""
        if "badge" in (found.get("class") or ""):
            self.badges.append(found["class"].split())

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            text = re.sub(r"\s+", " ", " ".join(self.cell)).strip()
            self.rows[-1].append(text)
            self.best += [text] if "best" in self.kind.split() else []
            self.cell = None

    def handle_data(self, data):
        if self.lasttag == "title":
            self.tips.append(data)
        if self.lasttag not in ("style", "script"):
            self.words.append(data)
            if self.cell is not None:
                self.cell.append(data)

    def row(self, first, second=None):
        """The row that starts with a cell, and has the second beside it where that is given."""
        return next(row for row in self.rows if row and row[0] == first and second in (None, *row[1:2]))

    def below(self, first, number):
        """So many rows of a group of the table of results: that with its name, and those that follow."""
        at = next(i for i, row in enumerate(self.rows) if row and row[0] == first)
        return [self.rows[at][1:], *self.rows[at + 1 : at + number]]


def panels(page):
    prefix = "data:image/png;base64,"
    return [Image.open(io.BytesIO(base64.b64decode(s[len(prefix) :]))) for s in page.sources if s.startswith(prefix)]


def test_page_loads_nothing_from_elsewhere(make_run, tmp_path):
    out = write_report([make_run()], tmp_path / "made" / "report.html")
    page = Page(out)
    assert {source.split(":")[0] if not source.startswith("#") else "#" for source in page.sources} == {"data", "#"}
    assert not page.tags & {"link", "iframe", "object", "embed"}
    text = out.read_text(encoding="utf-8")
    assert page.figures >= 5 and not re.search(r"(href|src)=.http|url\(http|@import", text)


def test_the_only_script_is_the_one_that_the_policy_names(make_run, tmp_path):
    text = write_report([make_run(mode="<script>alert(1)</script>")], tmp_path / "r.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text


def test_table_repeats_the_summary(make_run, tmp_path):
    good, bad = make_run("a", mode="full", shift=0), make_run("b", mode="partial", shift=2)
    page = Page(write_report([good, bad], tmp_path / "r.html", cases=0))
    for run, name in ((good, "full"), (bad, "partial")):
        dice = json.loads((run / "metrics_summary.json").read_text())["dice"]
        at = page.row("Run").index(name)
        assert [row[at] for row in page.below("Dice", 3)] == [f"{dice[key]:.3f}" for key in ("mean", "RV", "LV")]
        assert "1 min 15 s" in page.below("Training", 1)[0][at]
    assert page.best[:3] == ["1.000"] * 3
    assert "Tiny: full, partial" in page.text
    assert "2 training, 1 test patients; 3 volumes scored" in page.text
    assert "3 epochs, 30 iterations" in page.text
    assert "CPU, 1 thread " in page.text and "thread(s)" not in page.text


def test_one_run_has_no_best(make_run, tmp_path):
    assert Page(write_report([make_run()], tmp_path / "r.html")).best == []


def test_without_dense_labels_dice_is_left_out(make_run, tmp_path):
    runs = [make_run("a", mode="partial", dense=False), make_run("b", mode="logbarrier", dense=False, shift=2)]
    page = Page(write_report(runs, tmp_path / "r.html"))
    assert [row[0] for row in page.below("Mean predicted volume, ml", 2)] == ["RV", "LV"]
    assert not any(row[0] == "Dice" for row in page.rows if row)
    assert "no dense label among the scored cases, so Dice is left out" in page.text
    assert "Mean predicted volume, ml" in page.text
    assert page.best == []
    assert "mean relative violation" in page.text
    assert len(panels(page)) == 3


@pytest.mark.parametrize(("origin", "flagged"), [("oracle", True), ("size: oracle, tag", True), ("constant", False)])
def test_oracle_bounds_are_flagged(make_run, tmp_path, origin, flagged):
    page = Page(write_report([make_run(bounds_origin=origin)], tmp_path / "r.html", cases=0))
    assert ("Oracle bounds: partial took bounds off the dense labels" in page.text) is flagged
    assert (["badge", "oracle"] in page.badges) is flagged


def test_names_are_escaped(make_run, tmp_path):
    nasty = "<script>alert('$x_1$')</script>"
    run = make_run(mode=nasty, dataset="<b>data</b>", names=["background", "<u>RV</u>", "$LV"])
    page = Page(write_report([run], tmp_path / "r.html", title='"><img src=http://x>'))
    assert page.scripts == 1 and "u" not in page.tags
    assert nasty in page.text and '"><img src=http://x>' in page.text
    assert not any("http" in source for source in page.sources if not source.startswith("data"))


def test_training_only_shows_curves_and_says_so(make_run, tmp_path):
    page = Page(write_report([make_run(evaluated=False)], tmp_path / "r.html"))
    assert "Evaluation has not run for partial" in page.text
    assert page.figures == 3  # losses, validation, schedule
    assert panels(page) == []


def test_runs_with_and_without_evaluation_stand_side_by_side(make_run, tmp_path):
    runs = [make_run("a", mode="full"), make_run("b", mode="partial", evaluated=False)]
    page = Page(write_report(runs, tmp_path / "r.html", cases=0))
    for row in page.below("Dice", 3):
        assert row[1] != "–" and row[2] == "–"


def test_missing_pictures_are_named(make_run, tmp_path):
    run = make_run()
    (tmp_path / "data" / "p1_ED_image.nii.gz").unlink()
    page = Page(write_report([run], tmp_path / "r.html"))
    assert "p1_ED_image.nii.gz" in page.text and "left out" in page.text
    assert len(panels(page)) == 2


@pytest.mark.parametrize("number", [0, 1, 3, 9])
def test_number_of_cases(make_run, tmp_path, number):
    assert len(panels(Page(write_report([make_run()], tmp_path / "r.html", cases=number)))) == min(number, 3)


def test_scoring_training_patients_is_a_warning(make_run, tmp_path):
    run = make_run(patients={"training": ["p1", "p9"], "test": ["p2"]})
    text = Page(write_report([run], tmp_path / "r.html", cases=0)).text
    assert "partial was scored on patients it was trained on: p1." in text


def test_loss_that_is_not_finite_is_a_warning(make_run, tmp_path):
    run = make_run(evaluated=False)
    (run / "metrics.csv").write_text("epoch,loss\n1,0.5\n2,nan\n3,inf\n")
    assert "the loss was not finite in 2 epochs" in Page(write_report([run], tmp_path / "r.html", cases=0)).text


def test_violations_are_listed_worst_first(make_run, tmp_path):
    page = Page(write_report([make_run()], tmp_path / "r.html"))
    at = next(i for i, row in enumerate(page.rows) if "Violation" in row)
    worst = [row for row in page.rows[at + 1 :] if len(row) == len(page.rows[at])]
    assert [row[:4] for row in worst] == [["partial", "p2_ED", "size", "LV"], ["partial", "p1_ES", "size", "LV"]]
    assert worst[0][6:11] == ["1.26", "", "1.00", "0.260", "ml"]  # 5 x 7 x 3 voxels of 0.012 ml, at most 1 ml


@pytest.mark.parametrize(("argument", "match"), [({"cases": -1}, "cases must be 0 or more"), ({"folder": 1}, "folder")])
def test_bad_arguments(make_run, tmp_path, argument, match):
    out = tmp_path if argument.pop("folder", 0) else tmp_path / "r.html"
    with pytest.raises(ValueError, match=match):
        write_report([make_run()], out, **argument)
