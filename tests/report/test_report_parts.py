# SPDX-License-Identifier: Apache-2.0
"""Words of curves, provenance and the links between the two pages."""

from __future__ import annotations

import json
import re

import pytest

from wss_monai.commands import report as report_command
from wss_monai.report import write_report
from wss_monai.report.browse import write_browser
from wss_monai.report.curve_panels import curve_groups
from wss_monai.report.curve_words import curve_axis, curve_note, curve_title
from wss_monai.report.provenance import configuration_table, provenance
from wss_monai.report.run_folder import read_run

NAMES = ["background", "RV", "LV"]


@pytest.mark.parametrize(
    ("column", "title"),
    [
        ("loss_size", "Cost of the size constraint, before its weight"),
        ("val_dice_LV", "Dice, LV"),
        ("violation_centroid", "Violation of the bounds on centroid"),
        ("loss_mutual_information", "Loss term: mutual information"),
        ("val_something_new", "something new"),
    ],
)
def test_columns_have_titles_in_words(column, title):
    assert curve_title(column, NAMES) == title


def test_a_cost_that_rises_with_t_is_explained_and_one_that_does_not_is_not():
    assert "no divergence" in curve_note("loss_size", barrier=True)
    assert curve_note("loss_size") == "Cost of the constraint before its weight; it should fall."
    assert curve_axis("val_dice_LV") == (0.0, 1.0) and curve_axis("size_difference") == (None, None)


def test_curves_can_be_pointed_at_and_shares_go_from_0_to_1(make_run):
    run = make_run(evaluated=False)
    (run / "metrics.csv").write_text("epoch,t,loss,loss_size,val_dice\n1,5,4,1,\n2,9,2,8,0.86\n3,12,1,9,0.87\n")
    groups = {group.heading: group for group in curve_groups([read_run(run)])}
    assert list(groups) == ["Loss", "Validation", "Schedule"]
    assert f"<title>{run.name}, epoch 3: 0.87</title>" in groups["Validation"].svg
    assert re.findall(r">(0\.0|1\.0)</text>", groups["Validation"].svg) == ["0.0", "1.0"]
    assert any("no divergence" in text for _, text in groups["Loss"].notes)


def test_provenance_says_what_is_recorded_and_what_is_not(make_run):
    bare, full = (
        make_run("bare"),
        make_run(
            "full",
            command=[
                "/x/lib/monai/bundle/__main__.py",
                "run",
                "--mode",
                "a b",
                "--config_file",
                "['t.yaml']",
                "--a#b",
                "1",
            ],
        ),
    )
    settings = {f"pixdim#{axis}": size for axis, size in enumerate((1, 1, -1))}
    settings |= {"network_def#_target_": "monai.networks.nets.UNet", "network_def#act": "relu"}
    settings |= {"network_def#channels#0": 8, "network_def#channels#1": 16, "_meta_#version": "1"}
    (full / "configuration.json").write_text(json.dumps(settings))
    table = dict(provenance([read_run(bare), read_run(full)]))
    assert table["Command"] == [
        "not recorded",
        "python -m monai.bundle run --mode 'a b' --config_file \"['t.yaml']\" --a#b 1",
    ]
    assert table["Network"] == ["not recorded", "UNet, act relu, channels [8, 16]"]
    assert table["Voxel size (pixdim), mm"] == ["not recorded", "[1, 1, -1]"]
    assert "(date of run.json)" in table["Training started"][0]
    assert table["Bounds of the scored cases"][0] == "size of RV: 0.100 to 1.50 ml; size of LV: at most 1 ml"
    assert dict(configuration_table([read_run(full), read_run(full)]))["pixdim#2"] == ["-1"]
    both = dict(configuration_table([read_run(bare), read_run(full)]))
    assert both["pixdim#2"] == ["–", "-1"] and "_meta_#version" not in both
    assert configuration_table([read_run(bare)]) == []


def test_a_tree_of_settings_is_shown_by_ids(make_run):
    run = make_run()
    (run / "configuration.json").write_text(json.dumps({"train": {"trainer": {"max_epochs": 3}, "steps": []}}))
    assert configuration_table([read_run(run)]) == [("train#trainer#max_epochs", ["3"]), ("train#steps", ["[]"])]


def test_the_two_pages_lead_to_each_other_where_they_show_a_run_in_common(make_run, tmp_path):
    run, other = make_run("a"), make_run("b")
    page, browser = tmp_path / "report.html", tmp_path / "browse.html"
    write_report([run], page, cases=0)
    assert 'href="browse.html' not in page.read_text("utf-8")
    write_browser([run], browser)
    assert 'href="report.html"' in browser.read_text("utf-8")
    write_report([run, other], page, cases=0)
    assert 'href="browse.html#case=p2_ED"' in page.read_text("utf-8")
    write_report([other], page, cases=0)
    assert 'href="browse.html' not in page.read_text("utf-8")


def test_the_command_writes_both_pages(make_run, tmp_path, capsys):
    import argparse

    def command(*words):
        parser = argparse.ArgumentParser()
        report_command.add_parser(parser.add_subparsers())
        args = parser.parse_args(["report", "html", "--runs", str(run), *words])
        return args.run(args)

    run = make_run()
    out = tmp_path / "pages" / "report.html"
    assert command("--out", str(out), "--browse") == 0
    said = capsys.readouterr().out
    assert "browse.html" in said and "open it in a browser" in said
    assert 'href="report.html"' in out.with_name("browse.html").read_text("utf-8")
    assert 'href="browse.html' in out.read_text("utf-8")
    with pytest.raises(ValueError, match="--browse names the page of --out"):
        command("--out", str(out), "--browse", str(out))
    (tmp_path / "mine.html").write_text("my own page")
    with pytest.raises(ValueError, match="--browse"):
        command("--out", str(out), "--browse", str(tmp_path / "mine.html"))


def test_strokes_and_bounds_on_the_page(make_run, tmp_path):
    text = write_report([make_run(strokes=True, dense=False)], tmp_path / "r.html").read_text("utf-8")
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text))
    assert "the share of drawn voxels that are predicted right" in words
    assert "Strokes that are right" in words and "cross-entropy" not in words.split("What the numbers mean")[0]
    assert "Inside the bounds is no measure of quality" in words
    assert "0.100 to 1.50 ml" in words
    assert "best, tied with 1 other" in words or "one of 3 that tie" in words
