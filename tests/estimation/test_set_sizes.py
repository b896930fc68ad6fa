# SPDX-License-Identifier: Apache-2.0
"""Factors on sums of sizes, worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wss_monai.__main__ import main
from wss_monai.estimation.set_sizes import expected_sum, sum_ratio

ONES = np.ones((4, 1))


def test_the_factor_makes_the_sum_of_patients_predicted_by_the_others_right():
    # a constant model: each patient is predicted by the geometric mean of the other's slices
    values, patients = np.array([1.0, 4.0, 9.0, 9.0]), np.array(["a", "a", "b", "b"])
    # a: 2 x 9, b: 2 x sqrt(1 x 4) = 4; the truth is 5 + 18
    found = expected_sum(ONES, values, patients)
    assert found["factor"] == pytest.approx(23 / 22)
    # drawn again: a a (5 / 18) and b b (18 / 4) with a quarter each, a b with a half
    ratios = np.log([5 / 18, 18 / 4, 23 / 22, 23 / 22])
    assert found["log_sd"] == pytest.approx(ratios.std(), rel=0.05)


def test_one_patient_predicts_itself_and_has_no_deviation():
    found = expected_sum(ONES, np.array([1.0, 4.0, 1.0, 4.0]), np.array(["a"] * 4))
    assert found == {"factor": pytest.approx(10 / 8), "log_sd": None}


def test_the_deviation_is_that_of_sums_of_as_many_patients():
    R = np.random.RandomState(0)
    patients = np.repeat(np.arange(10), 8)
    spread = 0.3
    values = np.exp(5 + spread * R.randn(10)[patients] + 0.5 * R.randn(80))
    found = expected_sum(np.ones((80, 1)), values, patients)
    # the sum of ten patients, each of whom deviates by .3 and by the mean of eight slices
    assert found["log_sd"] == pytest.approx(np.hypot(spread, 0.5 / np.sqrt(8)) / np.sqrt(10), rel=0.5)
    # a mean of logarithms says too little: by half of the variance of what it does not explain
    assert found["factor"] == pytest.approx(np.exp((spread**2 + 0.5**2) / 2), rel=0.15)


def test_the_ratio_on_other_patients():
    model = {"coefficients": [np.log(3.0)], "expected": {"factor": 2.0}}
    assert sum_ratio(model, np.ones((2, 1)), np.array([4.0, 4.0])) == pytest.approx(12 / 8)


def test_the_command_fits_and_prints_them(tmp_path, capsys):
    from tiny import make_dataset

    data = make_dataset(tmp_path / "data", patients=7)
    words = ["--dense", "4", "--terms", "size", "volume", "--audit", "training", "--out", str(tmp_path / "b.json")]
    assert main(["bounds", "--fit", str(data), *words]) == 0
    text = capsys.readouterr().out
    assert "sums over a set, for set_size" in text and text.count("expected / true sum") >= 6
    classes = json.loads((tmp_path / "b.json").read_text())["terms"]["size"]["classes"]
    assert 0.5 < classes["LV"]["scribble"]["expected"]["factor"] < 2 and "expected" in classes["LV"]["position"]
