# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image
from report.conftest import write_csv

from wss_monai.report import compare
from wss_monai.report.compare import spread, spread_table, write_comparison


def rescore(run, dice, about=None):
    """Write scores into an evaluated run: case -> (RV, LV)."""
    rows = [
        {"case": case, "patient": case, "class": name, "dice": value, "volume_error_ml": 10 * (value - 0.5)}
        for case, values in dice.items()
        for name, value in zip(("RV", "LV"), values, strict=True)
    ]
    write_csv(run / "evaluation" / "cases.csv", rows)
    (run / "evaluation" / "cases.json").write_text(json.dumps([{"case": case} for case in dice]))
    summary = json.loads((run / "metrics_summary.json").read_text())
    (run / "metrics_summary.json").write_text(json.dumps(summary | (about or {})))
    return run


@pytest.fixture
def runs(make_run):
    found = [make_run(mode, mode=mode) for mode in ("partial", "full")]
    rescore(found[0], {f"c{i}": (i / 20, 0.5) for i in range(21)})
    rescore(found[1], {f"c{i}": (1.0, 0.5) for i in range(21)})
    return found


@pytest.fixture
def drawn(monkeypatch):
    made = []
    monkeypatch.setattr(compare, "save_figure", lambda figure, out: made.append(figure))
    return made


def test_numbers_of_the_boxes(runs, drawn, tmp_path):
    rows = write_comparison(runs, tmp_path / "c.png", by_class=True, table=tmp_path / "c.csv")
    assert [(row["run"], row["class"]) for row in rows] == [
        (run, name) for name in ("RV", "LV", "mean") for run in ("partial", "full")
    ]
    # 21 values 0, 0.05 ... 1: percentile q is q / 100; the variance of 0 ... 20 is 21 * 22 / 12 = 38.5
    want = {
        "n": 21,
        "mean": 0.5,
        "std": 38.5**0.5 / 20,
        "p5": 0.05,
        "p25": 0.25,
        "median": 0.5,
        "p75": 0.75,
        "p95": 0.95,
    }
    assert {key: rows[0][key] for key in want} == pytest.approx(want)
    assert (rows[1]["mean"], rows[1]["std"], rows[1]["p5"]) == (1.0, 0.0, 1.0)
    assert (rows[4]["mean"], rows[5]["mean"], rows[4]["p95"]) == pytest.approx((0.5, 0.75, 0.725))  # (0.95 + 0.5) / 2
    with (tmp_path / "c.csv").open(newline="") as file:
        assert float(next(csv.DictReader(file))["p95"]) == pytest.approx(0.95)


def test_whiskers_end_at_5_and_95_percent(runs, drawn, tmp_path):
    write_comparison(runs, tmp_path / "c.png", by_class=True, labels=["A", "B"])
    histogram, boxes = drawn[0].axes[3], drawn[0].axes[6]
    whiskers, ends, median = boxes.collections[0], boxes.collections[1], boxes.collections[2]
    assert [path[:, 0].tolist() for path in whiskers.get_segments()] == [
        pytest.approx([0.05, 0.25]),
        pytest.approx([0.75, 0.95]),
    ]
    assert [path[0, 0] for path in ends.get_segments()] == pytest.approx([0.05, 0.95])
    assert median.get_segments()[0][0, 0] == pytest.approx(0.5)
    box = boxes.patches[0]
    assert (box.get_x(), box.get_width()) == pytest.approx((0.25, 0.5))
    beyond = boxes.collections[4].get_offsets()
    assert np.sort(beyond[:, 0]).tolist() == [0.0, 1.0]
    assert [label.get_text() for label in boxes.get_yticklabels()] == ["A", "B"]
    assert histogram.patches[0].get_data().values.tolist() == [0] * 19 + [21]


def test_mean_of_the_classes_alone_unless_asked(runs, drawn, tmp_path):
    rows = write_comparison(runs, tmp_path / "c.png")
    assert [row["class"] for row in rows] == ["mean", "mean"]
    assert drawn[0].axes[0].get_title("left") == "mean of the classes"


def test_one_class_is_called_by_its_name(runs, drawn, tmp_path):
    for run in runs:
        rows = [{"case": "a", "class": "LV", "dice": 0.5}, {"case": "b", "class": "LV", "dice": 0.7}]
        write_csv(run / "evaluation" / "cases.csv", rows)
    rows = write_comparison(runs, tmp_path / "c.png")
    assert [(row["class"], row["mean"]) for row in rows] == [("LV", pytest.approx(0.6))] * 2


def test_the_figure_says_which_weights_were_scored(runs, drawn, tmp_path):
    def note():
        write_comparison(runs, tmp_path / "c.png")
        return " ".join(drawn[-1]._supxlabel.get_text().split("\n")[1:])

    assert note() == "Weights scored: the last ones (model.pt), epoch 3 of 3"
    summary = json.loads((runs[1] / "metrics_summary.json").read_text())
    (runs[1] / "metrics_summary.json").write_text(json.dumps(summary | {"checkpoint": "model_best.pt"}))
    assert note() == "Weights scored: partial: the last ones (model.pt), epoch 3 of 3; full: model_best.pt"


def test_metrics_of_slices(runs, drawn, tmp_path):
    slices = [
        {"case": "c0", "slice": s, "class": name, "dice": dice, "empty": empty, "size_difference": size}
        for s, name, dice, empty, size in [(0, "RV", 1, 1, 0), (0, "LV", 0.5, 0, -8), (1, "RV", 0.2, 0, 4)]
    ]
    for run in runs:
        write_csv(run / "evaluation" / "slices.csv", slices)
    wanted = {"slice_dice": (0.6, 0.5), "slice_dice_shown": (0.2, 0.5), "size_difference_abs": (2.0, 8.0)}
    for metric, values in wanted.items():
        rows = write_comparison(runs[:1], tmp_path / "c.png", metric=metric, by_class=True)
        assert [row["mean"] for row in rows[:2]] == pytest.approx(list(values)), metric
    # slice 0: (1 + 0.5) / 2; slice 1 has a row of one class alone
    assert write_comparison(runs[:1], tmp_path / "c.png", metric="slice_dice")[0]["mean"] == pytest.approx(0.475)


def test_absolute_volume_error(runs, drawn, tmp_path):
    rows = write_comparison(runs, tmp_path / "c.png", metric="volume_error_ml_abs", by_class=True)
    assert rows[0]["mean"] == pytest.approx(10 * 2 * sum(range(1, 11)) / 20 / 21)


def test_words_lie_within_the_picture(runs, tmp_path):
    names = ["a rather long name of a run that somebody gave", "another one that is about as long"]
    write_comparison(runs, tmp_path / "new" / "c.png", labels=names, title="A title")
    picture = np.asarray(Image.open(tmp_path / "new" / "c.png").convert("L"))
    for edge in (picture[:, :2], picture[:, -2:], picture[:2], picture[-2:]):
        assert edge.min() > 200


def test_one_case_has_no_deviation():
    assert spread(np.array([0.5]))["std"] == ""
    assert spread(np.array([])) == {"n": 0}


def test_table_of_text():
    rows = [{"run": "a", "class": "LV", **spread(np.array([0.25, 0.75]))}, {"run": "longer", "class": "LV", "n": 0}]
    lines = spread_table(rows).splitlines()
    assert lines[0].split() == ["run", "class", "n", "mean", "std", "p5", "p25", "median", "p75", "p95"]
    assert lines[1].split() == ["a", "LV", "2", "0.500", "0.354", "0.275", "0.375", "0.500", "0.625", "0.725"]
    assert lines[2].split() == ["longer", "LV", "0"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"metric": "dise"},
            r"partial/evaluation has no 'dise'; there are dice, volume_error_ml, volume_error_ml_abs\.",
        ),
        ({"labels": ["one"]}, "labels must be one a run: 2 runs and 1 labels"),
        ({"out": "c"}, "out must be a file that ends in"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(runs, tmp_path, change, match):
    with pytest.raises(ValueError, match=match):
        write_comparison(runs, **{"out": tmp_path / "c.png", **change})


def test_runs_without_scores_are_refused(make_run, tmp_path):
    with pytest.raises(ValueError, match=r"trained has no evaluation/: run the bundle's evaluation"):
        write_comparison([make_run("trained", evaluated=False)], tmp_path / "c.png")
    with pytest.raises(ValueError, match=r"has no 'dice'; .*no case has a dense label"):
        write_comparison([make_run("weak", dense=False)], tmp_path / "c.png")
