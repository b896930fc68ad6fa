# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from wss_monai.metrics import constraint_rows, summarize_constraints

INF = np.inf
ABOUT = {
    "term": "size", "origin": "constant", "unit": "ml", "class_names": ["background", "LV"],
    "case": "p1_ED", "patient": "p1",
}  # fmt: skip


def rows_of(values, limits, units=("",), **changes):
    """Measures and bounds of class LV alone: values (U, M), limits (U, M, 2)."""
    values, limits = np.atleast_2d(values).astype(float), np.asarray(limits, float).reshape(len(units), -1, 2)
    measure = np.stack([np.zeros_like(values), values], 1)
    bounds = np.stack([np.broadcast_to([-INF, INF], limits.shape), limits], 1)
    return constraint_rows(measure, bounds, units=list(units), **{**ABOUT, **changes})


@pytest.mark.parametrize(
    ("value", "lower", "upper", "violation", "state"),
    [
        (500, 20, 400, 100, "violated"),
        (5, 20, 400, 15, "violated"),
        (400, 20, 400, 0, "active"),
        (381, 20, 400, 0, "active"),
        (379, 20, 400, 0, "slack"),
        (20.9, 20, 400, 0, "active"),
        (100, -INF, 400, 0, "slack"),
        (100, 98, INF, 0, "active"),
        (1, -INF, 0, 1, "violated"),
        (-99, -100, 50, 0, "active"),
        (120, 114, 126, 0, "slack"),  # a coordinate: 5 % of the width of 12, not of 126
        (125.5, 114, 126, 0, "active"),
    ],
)
def test_state_and_violation(value, lower, upper, violation, state):
    (row,) = rows_of([value], [[lower, upper]])
    assert (row["violation"], row["state"]) == (pytest.approx(violation), state)
    assert row["lower"] == (None if lower == -INF else lower)
    assert row["upper"] == (None if upper == INF else upper)


def test_one_row_for_each_bounded_entry():
    limits = [[[1, 2], [-INF, INF]], [[-INF, 9], [3, INF]]]
    rows = rows_of([[1.5, 7], [10, 5]], limits, units=(3, 4))
    assert [(r["slice"], r["component"], r["state"]) for r in rows] == [
        (3, 0, "slack"),
        (4, 0, "violated"),
        (4, 1, "slack"),
    ]
    assert {(r["case"], r["patient"], r["term"], r["origin"], r["class"], r["unit"]) for r in rows} == {
        ("p1_ED", "p1", "size", "constant", "LV", "ml")
    }
    assert "violation_scaled" not in rows[0]


def test_scale_divides_each_side_by_its_own():
    (row,) = rows_of([500], [[20, 400]], scale=np.array([20.0, 400.0]))
    assert row["violation_scaled"] == pytest.approx(0.25)
    (row,) = rows_of([10], [[20, 400]], scale=np.array([20.0, 400.0]))
    assert row["violation_scaled"] == pytest.approx(0.5)


def test_fraction_counts_units_not_components():
    rows = rows_of([[0, 0], [0, 9], [9, 9], [0, 0]], np.full((4, 2, 2), [-1, 1]), units=range(4))
    rows += rows_of([[0, 0]], np.full((1, 2, 2), [-1, 1]), units=(0,), case="p2_ED")
    other = rows_of([[5.0]], [[0, 9]], term="spread")
    assert summarize_constraints(rows + other) == {
        "size": {"mean": pytest.approx(3 / 5), "LV": pytest.approx(3 / 5)},
        "spread": {"mean": 1.0, "LV": 1.0},
    }
    assert summarize_constraints([]) == {}


def test_mean_is_over_classes_that_have_bounds():
    values = np.array([[[1.0], [5.0]], [[5.0], [5.0]]])
    bounds = np.array([[[[0.0, 9]], [[0, 4]]], [[[-INF, INF]], [[0, 9]]]])
    rows = constraint_rows(values, bounds, units=[0, 1], **ABOUT)
    assert summarize_constraints(rows)["size"] == {"mean": 0.75, "background": 1.0, "LV": 0.5}


@pytest.mark.parametrize(
    ("values", "limits", "match"),
    [
        ([[1.0]], [[5, 2]], "size.*p1_ED.*LV.*lower 5.0 > upper 2.0"),
        ([[1.0]], [[np.nan, 2]], "NaN"),
        ([[np.nan]], [[1, 2]], "measure of term 'size', class 'LV', case 'p1_ED' is nan"),
        ([[1.0, 2.0]], [[1, 2]], r"shape \(1, 2, 2, 2\)"),
    ],
)
def test_misfits_are_refused(values, limits, match):
    with pytest.raises(ValueError, match=match):
        rows_of(values, limits)


def test_units_and_classes_must_fit():
    with pytest.raises(ValueError, match="units 2, classes 3"):
        rows_of([[1.0], [2.0]], [[0, 1], [0, 1]], units=(0, 1), class_names=["background", "LV", "RV"])
    assert rows_of([[np.nan]], [[-INF, INF]]) == []
