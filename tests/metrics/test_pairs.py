# SPDX-License-Identifier: Apache-2.0
"""Volumes that are to be equal in the cases of a patient."""

from __future__ import annotations

import math

import pytest

from wss_monai.metrics import summarize_constraints
from wss_monai.metrics.pairs import PairVolume, pair_rows


def volume(case, patient, ml, tolerance=0.21, name="Myo"):
    return PairVolume(case, patient, "equal_volume", "equal volume stated", name, ml, math.sqrt(1 + tolerance))


def test_the_later_case_is_set_against_the_earlier():
    rows = pair_rows([volume("a_ED", "a", 100.0), volume("a_ES", "a", 130.0)])
    assert [(r["case"], r["other"], r["patient"], r["class"], r["unit"], r["slice"]) for r in rows] == [
        ("a_ES", "a_ED", "a", "Myo", "ml", "")
    ]
    (row,) = rows
    assert (row["lower"], row["upper"]) == (pytest.approx(100 / 1.21), pytest.approx(121))
    assert (row["measure"], row["violation"], row["state"]) == (130, pytest.approx(9), "violated")


def test_each_two_of_three_cases_and_none_across_patients():
    volumes = [volume("a1", "a", 100), volume("b1", "b", 1), volume("a2", "a", 110), volume("a3", "a", 130)]
    rows = pair_rows(volumes)
    assert [(r["case"], r["other"], r["state"]) for r in rows] == [
        ("a2", "a1", "slack"),
        ("a3", "a1", "violated"),
        ("a3", "a2", "slack"),
    ]
    assert summarize_constraints(rows) == {"equal_volume": {"mean": pytest.approx(2 / 3), "Myo": pytest.approx(2 / 3)}}


@pytest.mark.parametrize(("second", "state"), [(0.0, "active"), (5.0, "violated")])
def test_nothing_is_equal_to_nothing_alone(second, state):
    (row,) = pair_rows([volume("a1", "a", 0.0), volume("a2", "a", second)])
    assert row["state"] == state


def test_cases_without_a_patient_are_no_pair():
    assert pair_rows([volume("a1", "", 1.0), volume("a2", "", 2.0)]) == []
