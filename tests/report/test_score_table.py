# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import io
import json

import pytest
from report.conftest import write_csv

from wss_monai.report.run_folder import read_runs
from wss_monai.report.score_table import score_table, seed_groups, table_text


@pytest.fixture
def scored(make_run):
    """Make an evaluated run from (RV, LV) Dice of its cases."""

    def make(folder, dice, **info):
        run = make_run(folder, **info)
        rows = [
            {"case": f"c{i}", "class": name, "dice": value, "hd95_mm": 100 * (1 - value)}
            for i, values in enumerate(dice)
            for name, value in zip(("RV", "LV"), values, strict=True)
        ]
        write_csv(run / "evaluation" / "cases.csv", rows)
        (run / "evaluation" / "cases.json").write_text(json.dumps([{"case": f"c{i}"} for i in range(len(dice))]))
        return run

    return make


def test_of_one_run_over_its_cases(scored):
    run = scored("a", [(0.2, 0.6), (0.4, 0.9), (0.9, 0.9)], bounds_origin="constant")
    text = table_text(score_table([run], ["dice", "hd95_mm"]))
    # cases' means over classes: 0.4, 0.65, 0.9; deviation of n - 1
    assert text.splitlines() == [
        "| run | bounds | over | Dice, RV | Dice, LV | Dice, mean | HD95 (mm), RV | HD95 (mm), LV | HD95 (mm), mean |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| partial | constant | 3 cases | 0.500 (0.361) | 0.800 (0.173) | 0.650 (0.250) "
        "| 50.0 (36.1) | 20.0 (17.3) | 35.0 (25.0) |",
        "",
        "Mean (sample standard deviation) over what the column “over” says.",
    ]


def test_runs_that_differ_by_their_seed_are_one_row_over_seeds(scored):
    runs = [
        scored("a", [(0.2, 0.4), (0.4, 0.6)], seed=0),  # means RV 0.3, LV 0.5
        scored("b", [(0.6, 0.6), (0.6, 0.8)], seed=1, device="another"),  # RV 0.6, LV 0.7
        scored("c", [(0.5, 0.5), (0.7, 0.7)], seed=0, mode="full", bounds_origin="none"),
    ]
    rows = score_table(runs)
    assert [(group.name, len(group.runs)) for group, _ in rows] == [("partial", 2), ("full", 1)]
    table = list(csv.DictReader(io.StringIO(table_text(rows, "csv"))))
    assert [row["over"] for row in table] == ["seeds"] * 3 + ["cases"] * 3
    assert {key: table[0][key] for key in ("run", "bounds", "metric", "class", "n")} == {
        "run": "partial", "bounds": "constant", "metric": "dice", "class": "RV", "n": "2",
    }  # fmt: skip
    numbers = [(float(row["mean"]), float(row["std"])) for row in table]
    half = 0.5**0.5
    assert numbers[0] == pytest.approx((0.45, 0.3 * half))
    assert numbers[1] == pytest.approx((0.6, 0.2 * half))
    assert numbers[2] == pytest.approx((0.525, 0.25 * half))
    assert numbers[5] == pytest.approx((0.6, 0.2 * half))
    assert table[5]["bounds"] == "none"


def test_runs_with_the_same_seed_stay_apart(scored):
    runs = [scored(name, [(0.5, 0.5)], seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    groups = seed_groups(read_runs(runs))
    assert [len(group.runs) for group in groups] == [1, 1, 1]
    assert len({group.name for group in groups}) == 3


@pytest.mark.parametrize(
    "change", [{"bounds_origin": "oracle"}, {"dataset": "Other"}, {"max_epochs": 9}, {"fold": "2"}]
)
def test_runs_with_other_settings_stay_apart(scored, change):
    runs = [scored("a", [(0.5, 0.5)], seed=0), scored("b", [(0.5, 0.5)], seed=1, **change)]
    assert len(seed_groups(read_runs(runs))) == 2


def test_rows_can_be_named(scored):
    runs = [scored("a", [(0.5, 0.5)], seed=0), scored("b", [(0.5, 0.5)], seed=1)]
    assert "| ours |" in table_text(score_table(runs, labels=["ours"]))
    with pytest.raises(ValueError, match=r"labels must be one a row: 1 rows \(partial\) and 2 labels"):
        score_table(runs, labels=["a", "b"])


def test_latex_is_escaped(scored):
    run = scored("a", [(0.25, 0.5), (0.75, 0.5)], bounds_origin="constant")
    (group, scores) = score_table([run], labels=[r"A&B_1 50% {#} ~ ^ $ \x"])[0]
    assert table_text([(group, scores)], "latex").splitlines() == [
        "% Mean (sample standard deviation) over what the column “over” says.",
        r"\begin{tabular}{lllrrr}",
        r"  \hline",
        r"  run & bounds & over & Dice, RV & Dice, LV & Dice, mean \\",
        r"  \hline",
        r"  A\&B\_1 50\% \{\#\} \textasciitilde{} \textasciicircum{} \$ \textbackslash{}x & constant & 2 cases "
        r"& 0.500 (0.354) & 0.500 (0.000) & 0.500 (0.177) \\",
        r"  \hline",
        r"\end{tabular}",
    ]


def test_markdown_keeps_its_columns(scored):
    run = scored("a", [(0.5, 0.5)])
    assert r"| a\|b |" in table_text(score_table([run], labels=["a|b"]))


def test_one_case_has_no_deviation_and_a_class_without_cases_no_number(scored):
    run = scored("a", [(0.5, 0.75)])
    assert "1 case | 0.500 | 0.750 | 0.625 |" in table_text(score_table([run]))


def test_mean_is_that_of_the_summary_where_classes_lack_slices(scored):
    run = scored("a", [(0.5, 0.75)])
    slices = [("RV", 0, 0.2, 0), ("LV", 0, 0.4, 0), ("LV", 1, 0.8, 0), ("RV", 1, 1.0, 1)]
    rows = [{"case": "c0", "class": c, "slice": s, "dice": dice, "empty": empty} for c, s, dice, empty in slices]
    write_csv(run / "evaluation" / "slices.csv", rows)
    scores = score_table([run], ["slice_dice_shown", "dice"])
    assert [score.mean for score in scores[0][1][:3]] == pytest.approx([0.2, 0.6, 0.4])  # mean of 0.2 and 0.6
    assert "2 slices, 1 case" in table_text(scores)


def test_positive_slices_and_evaluations_that_do_not_tell_them(scored):
    run = scored("a", [(0.5, 0.75)])
    slices = [("RV", 0, 0.2, 1), ("LV", 0, 0.4, 1), ("LV", 1, 0.0, 0), ("RV", 1, 1.0, 0)]
    rows = [{"case": "c0", "class": c, "slice": s, "dice": dice, "positive": shown} for c, s, dice, shown in slices]
    write_csv(run / "evaluation" / "slices.csv", rows)
    scores = score_table([run], ["slice_dice_positive"])
    assert [score.mean for score in scores[0][1]] == pytest.approx([0.2, 0.4, 0.3])
    write_csv(run / "evaluation" / "slices.csv", [{k: v for k, v in row.items() if k != "positive"} for row in rows])
    with pytest.raises(ValueError, match=r"has no 'slice_dice_positive'; there are .*slice_dice_shown"):
        score_table([run], ["slice_dice_positive"])


def test_what_is_not_there_is_refused(scored, make_run):
    run = scored("a", [(0.5, 0.5)])
    with pytest.raises(ValueError, match=r"has no 'accuracy'; there are dice, hd95_mm\."):
        score_table([run], ["dice", "accuracy"])
    with pytest.raises(ValueError, match="format must be one of markdown, csv, latex, got 'html'"):
        table_text(score_table([run]), "html")
    with pytest.raises(ValueError, match=r"has no evaluation/"):
        score_table([make_run("b", evaluated=False)])
