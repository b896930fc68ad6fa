# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from wss_monai.report.agreement import agreement_figure, agreements
from wss_monai.report.case_table import case_columns, case_rows
from wss_monai.report.run_folder import Run
from wss_monai.report.tables import bounds_text


def a_run(cases, constraints=(), name="a"):
    return Run(Path(name), name, {"class_names": ["background", "LV"]}, cases=cases, constraints=list(constraints))


def volume(case, predicted, reference, **more):
    found = {"case": case, "class": "LV", "volume_ml": predicted, "reference_ml": reference}
    return {**found, "volume_error_ml": predicted - reference, **more}


def test_rows_are_worst_first_with_text_and_what_to_sort_by():
    outside = [{"case": "b", "class": "LV", "state": state} for state in ("violated", "slack")]
    rows = [volume("a", 10.0, 12.5, dice=0.9, hd95_mm=2.0), volume("b", 1.0, 1.0, dice=0.25, group="NOR", phase="ED")]
    run = a_run(rows, outside)
    assert [column.key for column in case_columns([run])] == [
        "volume_ml", "reference_ml", "volume_error_ml", "dice", "hd95_mm", "outside",
    ]  # fmt: skip
    worst, best = case_rows([run], {"b": "#case-1"})
    assert (worst["case"], worst["about"], worst["link"], best["link"]) == ("b", "NOR ED", "#case-1", "")
    assert [text for text, _ in worst["cells"]] == ["1.00", "1.00", "+0", "0.250", "–", "1 of 2"]
    assert best["cells"][2] == ("−2.50", "-2.5")
    assert best["cells"][-1] == ("–", "")


def test_without_masks_the_share_of_strokes_decides():
    rows = [
        {"case": "a", "class": "LV", "volume_ml": 3.0, "stroke_recall": 1.0, "strokes_right": 0.9},
        {"case": "b", "class": "LV", "volume_ml": 2.0, "stroke_recall": 0.5, "strokes_right": 0.95},
        {"case": "c", "class": "LV", "volume_ml": 1.0},
    ]
    found = case_rows([a_run(rows)], {})
    assert [row["case"] for row in found] == ["b", "a", "c"]
    assert found[0]["cells"] == [("2.00", "2.0"), ("50.0 %", "0.5"), ("95.0 %", "0.95")]


def test_limits_of_agreement_by_hand():
    rows = [volume("a", 11.0, 10.0), volume("b", 23.0, 20.0), volume("c", 32.0, 30.0)]  # differences 1, 3, 2
    (found,) = agreements([a_run(rows)])
    assert (found.n, found.bias) == (3, pytest.approx(2.0))
    assert (found.lower, found.upper) == (pytest.approx(2 - 1.96), pytest.approx(2 + 1.96))
    assert found.correlation == pytest.approx(210 / (222 * 200) ** 0.5)  # (-11, 1, 10) with (-10, 0, 10)


def test_a_single_volume_has_no_limits_and_no_masks_no_figure():
    (found,) = agreements([a_run([volume("a", 11.0, 10.0)])])
    assert (found.lower, found.upper, found.correlation) == (None, None, None)
    alone = a_run([{"case": "a", "class": "LV", "volume_ml": 3.0}])
    assert agreements([alone]) == [] and agreement_figure([alone]) == ""


def test_each_dot_says_which_volume_it_is():
    svg = agreement_figure([a_run([volume("<a>", 11.0, 10.0), volume("b", 23.0, 20.0)])])
    assert svg.count("<title>&lt;a&gt;, LV, a: predicted 11.0 ml, reference 10.0 ml</title>") == 2  # in both plots
    assert "<a>" not in svg and 'role="img"' in svg


@pytest.mark.parametrize(
    ("sides", "text"),
    [
        ([(10.0, 6000.0)], "10 to 6000 ml"),
        ([(None, 0.0), (10.0, 6000.0)], "10 to 6000 ml; 0 where the class is absent"),
        ([(2.5, None)], "at least 2.50 ml"),
        ([(float(i), 10.0 * i) for i in range(1, 6)], "at least 1 to 5, at most 10 to 50 ml, by case or slice"),
    ],
)
def test_bounds_as_numbers(sides, text):
    rows = [
        {"unit": "ml", **{key: v for key, v in zip(("lower", "upper"), pair, strict=True) if v is not None}}
        for pair in sides
    ]
    assert bounds_text(rows) == text
