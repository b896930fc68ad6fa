# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import re

import numpy as np
import pytest
from PIL import Image

from wss_monai.report import curves
from wss_monai.report.curves import write_curves


@pytest.fixture
def runs(make_run):
    """Two trained runs; the second has a size loss, and size differences at every second epoch."""
    found = [make_run(mode, evaluated=False, mode=mode) for mode in ("partial", "quadratic")]
    (found[0] / "metrics.csv").write_text("epoch,seconds,loss,val_dice,val_dice_LV\n1,1,4,,\n2,2,2,0.5,0.4\n3,3,9,,\n")
    (found[1] / "metrics.csv").write_text(
        "epoch,seconds,loss,loss_size,size_difference,val_size_difference\n1,1,3,1,,\n2,2,2,0.5,-40,-30\n3,3,1,0.25,,\n"
    )
    return found


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_default_panels_are_those_that_are_there(runs, tmp_path):
    assert write_curves(runs, tmp_path / "c.png") == ["loss", "val_size_difference", "loss_size"]
    assert write_curves(runs[:1], tmp_path / "c.png") == ["loss"]
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_table_holds_what_is_drawn(runs, tmp_path):
    table = tmp_path / "made" / "c.csv"
    write_curves(runs, tmp_path / "c.png", columns=["loss", "val_size_difference"], smooth=2, table=table)
    assert read(table) == [
        {"run": "partial", "epoch": "1", "loss": "4.0", "val_size_difference": ""},
        {"run": "partial", "epoch": "2", "loss": "3.0", "val_size_difference": ""},
        {"run": "partial", "epoch": "3", "loss": "5.5", "val_size_difference": ""},
        {"run": "quadratic", "epoch": "1", "loss": "3.0", "val_size_difference": ""},
        {"run": "quadratic", "epoch": "2", "loss": "2.5", "val_size_difference": "-30.0"},
        {"run": "quadratic", "epoch": "3", "loss": "1.5", "val_size_difference": ""},
    ]


def test_means_of_the_points_up_to_each():
    assert curves.smoothed(np.array([3.0, 6.0, 0.0, 9.0]), 3).tolist() == [3.0, 4.5, 3.0, 5.0]
    assert curves.smoothed(np.array([]), 3).tolist() == []


def test_classes_stand_below_their_mean(runs, tmp_path):
    drawn = write_curves(runs, tmp_path / "c.png", columns=["val_dice", "loss"], by_class=True)
    assert drawn == ["val_dice", "val_dice_LV", "loss"]


def test_every_line_is_in_the_figure(runs, monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, out: made.append(figure))
    limits = {"loss": (0.0, 5.0)}
    write_curves(runs, tmp_path / "c.png", columns=["loss", "loss_size"], labels=["A", "B"], title="T", limits=limits)
    panels = made[0].axes
    assert [len(axis.get_lines()) for axis in panels] == [2, 1]
    assert panels[0].get_lines()[0].get_xydata().tolist() == [[1, 4], [2, 2], [3, 9]]
    assert panels[0].get_ylim() == (0.0, 5.0)
    same = [panels[0].get_lines()[1].get_color(), panels[1].get_lines()[0].get_color()]
    assert same[0] == same[1] != panels[0].get_lines()[0].get_color()
    assert [text.get_text() for text in made[0].legends[0].get_texts()] == ["A", "B"]


def test_zero_is_marked_where_the_values_change_sign(make_run, monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, out: made.append(figure))
    run = make_run(evaluated=False)
    (run / "metrics.csv").write_text("epoch,loss,size_difference\n1,1,-5\n2,0.001,5\n")
    write_curves([run], tmp_path / "c.png")
    loss, difference = made[0].axes
    assert (loss.get_yscale(), difference.get_yscale()) == ("log", "linear")
    assert len(loss.get_lines()) == 1
    assert list(difference.get_lines()[1].get_ydata()) == [0, 0]


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_other_formats_and_the_same_file_twice(runs, tmp_path, suffix):
    out = tmp_path / "new" / f"c.{suffix}"
    write_curves(runs, out)
    first = out.read_bytes()
    write_curves(runs, out)
    assert out.read_bytes() == first
    if suffix == "svg":
        assert {"partial", "quadratic", "loss"} <= set(re.findall(r">([^<>\n]+)</text>", first.decode()))


def test_words_lie_within_the_picture(runs, tmp_path):
    names = ["a rather long name of a run that somebody gave, with details", "another one that is about as long"]
    write_curves(runs, tmp_path / "c.png", labels=names, title="A title")
    picture = np.asarray(Image.open(tmp_path / "c.png").convert("L"))
    for edge in (picture[:, :2], picture[:, -2:], picture[:2], picture[-2:]):
        assert edge.min() > 200


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"columns": ["loss", "lose"]},
            r"no run has the column 'lose' .*there are loss, val_dice, val_dice_LV, loss_size",
        ),
        ({"out": "c.jpg"}, r"out must be a file that ends in \.png, \.svg, \.pdf, got c\.jpg"),
        ({"smooth": 0}, "smooth must be 1 or more, got 0"),
        ({"labels": ["one"]}, "labels must be one a run: 2 runs and 1 labels"),
        ({"limits": {"val_dice": (0.0, 1.0)}}, r"ylim names \['val_dice'\], which are not drawn; drawn are \['loss'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(runs, tmp_path, change, match):
    with pytest.raises(ValueError, match=match):
        write_curves(runs, **{"out": tmp_path / "c.png", **change})
    assert not (tmp_path / "c.png").exists()


def test_a_run_without_loss_names_what_there_is(make_run, tmp_path):
    run = make_run(evaluated=False)
    (run / "metrics.csv").write_text("epoch,val_dice\n1,0.5\n")
    with pytest.raises(ValueError, match=r"no run has a column 'loss' .*name others: val_dice"):
        write_curves([run], tmp_path / "c.png")
