# SPDX-License-Identifier: Apache-2.0
"""Intervals of statements on anatomy, on measures that are given."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wss_monai.estimation.anatomy import AnatomyMeasures, audit_anatomy, fit_anatomy, split_terms, statements

NAMES = ["background", "RV", "LV"]


def measured(name, *of_patients):
    """Measures of class RV of a slice each, patients p0, p1, ...; the LV has none."""
    cases = []
    for number, values in enumerate(of_patients):
        table = np.full((len(values), 3), np.nan)
        table[:, 1] = values
        cases.append(AnatomyMeasures(f"p{number}", {name: table}, np.array([False, True, True]), {name: 2}))
    return cases


def test_words_are_told_apart():
    words = ["size", "ratio:LV", "volume", "volume_ratio:LV", "pieces", "volume_centroid", "volume_border"]
    assert split_terms(words) == (
        ["size", "volume", "volume_centroid"],
        ["ratio:LV", "volume_ratio:LV", "pieces", "volume_border"],
    )
    first, second = statements(["ratio:LV", "volume_pieces"], NAMES)
    assert (first.name, first.kind, first.other, first.volumes) == ("ratio", "ratio", "LV", False)
    assert (second.name, second.kind, second.other, second.volumes) == ("volume_pieces", "pieces", None, True)


def test_what_is_never_nothing_has_both_sides():
    """Of e^0, e^0.1 ... e^0.4, a patient each, the mean of the others leaves residuals of 1.25 times the distance."""
    terms = statements(["ratio:LV"], NAMES)
    fitted = fit_anatomy(measured("ratio", *[[math.exp(0.1 * i)] for i in range(5)]), NAMES, terms, 0.9)
    lower, upper = fitted["ratio"]["classes"]["RV"]["interval"]
    assert (math.log(lower), math.log(upper)) == (pytest.approx(0.2 - 0.25), pytest.approx(0.2 + 0.25))
    (row,) = fitted["ratio"]["check"]
    assert (row["patients"], row["n"], row["unit"]) == (5, 5, "1")
    assert row["coverage"] == pytest.approx(0.6)  # the least and the most lie outside of what the others say


def test_what_may_be_nothing_has_an_upper_side():
    """The 90 % quantile of 20 values is the 19th, of 21 (n + 1) x 0.9."""
    values = [[0.0, 0.0, 0.0, 10.0, 11.0], [0.0, 0.0, 0.0, 12.0, 13.0], [0.0, 0.0, 0.0, 14.0, 15.0], [0, 0, 0, 16, 17]]
    terms = statements(["contact:LV"], NAMES)
    cases = measured("contact", *values)
    fitted = fit_anatomy(cases, NAMES, terms, 0.9)
    assert fitted["contact"]["classes"] == {"RV": {"interval": [None, 16.0]}}
    others = measured("contact", [5.0, 100.0, 0.0, 16.0])
    (row,) = audit_anatomy(fitted, others, NAMES, terms)["contact"]
    assert (row["coverage"], row["patients"], row["n"]) == (0.75, 1, 4)


def test_no_upper_side_is_less_than_can_be_told():
    cases = measured("contact", [0.0], [0.0], [0.0])
    fitted = fit_anatomy(cases, NAMES, statements(["contact:LV"], NAMES))
    assert fitted["contact"]["classes"]["RV"]["interval"] == [None, 5.0]
    assert fitted["contact"]["check"][0]["coverage"] == 1.0


def test_an_upper_side_of_a_whole_says_nothing():
    cases = measured("enclosure", [0.9, 1.0], [0.95, 1.0], [0.92, 1.0])
    lower, upper = fit_anatomy(cases, NAMES, statements(["enclosure:LV"], NAMES))["enclosure"]["classes"]["RV"][
        "interval"
    ]
    assert upper is None and 0.8 < lower < 0.95


@pytest.mark.parametrize(
    ("shown", "message"),
    [(False, "class 'RV': 0 of the dense patients show it \\(none\\)"),
     (True, "class 'RV': 2 of the dense patients show it beside 'LV' in a slice \\(p0, p1\\)")],
)  # fmt: skip
def test_too_few_patients(shown, message):
    cases = measured("ratio", [1.0], [1.0], [math.nan], [math.nan])
    if not shown:
        cases = [AnatomyMeasures(c.patient, {"ratio": c.values["ratio"] * math.nan}, c.shown & False, c.dimensions)
                 for c in cases]  # fmt: skip
    with pytest.raises(ValueError, match=message):
        fit_anatomy(cases, NAMES, statements(["ratio:LV"], NAMES))
