# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from wss_monai.report.ranking import chosen_cases, severities, worst_violations
from wss_monai.report.run_folder import Run
from wss_monai.report.tables import violation_table


def row(case, violation, lower=None, upper=None, **more):
    sides = {name: value for name, value in (("lower", lower), ("upper", upper)) if value is not None}
    state = "violated" if violation else "slack"
    return {"case": case, "term": "size", "class": "LV", "violation": violation, "state": state, **sides, **more}


def a_run(name="a", dice=None, constraints=()):
    cases = [{"case": case, "class": "LV", "dice": value} for case, value in (dice or {}).items()]
    files = [{"case": case} for case in (dice or {r["case"]: 0 for r in constraints})]
    return Run(
        Path(name), name, {"class_names": ["background", "LV"]}, cases=cases, constraints=list(constraints), files=files
    )


def test_severity_by_width_bound_or_what_is_typical():
    rows = [
        row("a", 10.0, 20, 40),  # over the width
        row("b", 10.0, upper=40),  # over the bound
        row("c", 10.0, upper=0),  # over a quarter of the median of 20, 40, 10
        row("d", 10.0, 1, 2, violation_scaled=0.7),
    ]
    assert severities(rows[:3]) == pytest.approx([0.5, 0.25, 2.0])
    assert severities(rows)[3] == 0.7
    assert severities([row("a", 8.0, upper=0), row("b", 0.0, upper=0)]) == pytest.approx([4.0, 0.0])
    assert severities([]) == []


def test_worst_come_first_over_all_runs():
    runs = [
        a_run("a", constraints=[row("x", 1.0, upper=10)]),
        a_run("b", constraints=[row("x", 5.0, upper=10), row("y", 0.0, upper=10)]),
    ]
    assert [(run.name, found["violation"]) for run, found, _ in worst_violations(runs, 5)] == [("b", 5.0), ("a", 1.0)]
    assert len(worst_violations(runs, 1)) == 1


def test_a_violation_of_a_pair_names_both_cases():
    about = {"measure": 23.0, "component": "0", "unit": "ml", "other": "a_ED"}
    (line,) = violation_table([a_run(constraints=[row("a_ES", 3.0, 10, 20, **about)])], 5)
    assert (line["case"], line["other"], line["slice"], line["component"]) == ("a_ES", "a_ED", "whole", "")


def test_cases_by_dice_are_the_best_median_and_worst_of_all_runs():
    runs = [
        a_run("a", {"v": 0.9, "w": 0.1, "x": 0.5, "y": 0.6, "z": 0.7}),
        a_run("b", {"v": 0.9, "w": 0.9, "x": 0.1, "y": 0.6, "z": 0.7}),
    ]
    by, cases = chosen_cases(runs, 3)
    assert by == "dice"
    assert cases == [("best", "v", 0.9), ("median", "y", pytest.approx(0.6)), ("worst", "x", pytest.approx(0.3))]
    assert [rank for rank, _, _ in chosen_cases(runs, 5)[1]] == [
        "best",
        "rank 2 of 5",
        "median",
        "rank 4 of 5",
        "worst",
    ]


def test_without_masks_cases_go_by_their_strokes_and_ties_are_said():
    shares = {"v": 0.5, "w": 0.9, "x": 0.9, "y": 0.9, "z": 0.9}
    rows = [{"case": case, "class": "LV", "strokes_right": share} for case, share in shares.items()]
    run = Run(Path("a"), "a", {}, cases=rows, files=[{"case": case} for case in shares], constraints=[row("v", 0.0)])
    by, cases = chosen_cases([run], 3)
    assert by == "strokes_right"
    assert cases == [
        ("best, tied with 3 others", "w", 0.9),
        ("median, tied with 3 others", "y", 0.9),
        ("worst", "v", 0.5),
    ]


def test_where_all_cases_tie_none_is_the_best():
    run = a_run(constraints=[row("x", 0.0, upper=10), row("y", 0.0, upper=10)])
    assert [rank for rank, _, _ in chosen_cases([run], 2)[1]] == ["one of 2 that tie"] * 2


def test_cases_by_violation_where_nothing_is_dense():
    constraints = [row("x", 3.0, upper=10), row("y", 0.0, upper=10), row("z", 9.0, upper=10)]
    by, cases = chosen_cases([a_run(constraints=constraints)], 3)
    assert (by, [case for _, case, _ in cases]) == ("violation", ["y", "x", "z"])


def test_cases_by_name_where_there_is_nothing_to_rank_by():
    run = Run(Path("a"), "a", {}, files=[{"case": "q"}, {"case": "b"}])
    assert chosen_cases([run], 1) == ("", [("case 1", "b", None)])
