# SPDX-License-Identifier: Apache-2.0
"""The floor without a network, on volumes whose discs the random walker finds."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
from tiny import ROOT, make_dataset


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import random_walker

    return random_walker


def test_both_rules_are_scored_on_the_test_cases(benchmark, tmp_path):
    data = make_dataset(tmp_path, patients=2)
    options = argparse.Namespace(data=data, split=None, fold=None, mode="given", seed=0, beta=100.0, solver="cg_j")
    drawn, background = (runs[0] for runs in benchmark.score(options).values())
    assert drawn["dice"]["mean"] > 0.75
    assert background["dice"]["LV"] < drawn["dice"]["LV"]  # the first slice has no RV: this rule leaves it empty
    options.mode = "points"
    assert all(runs[0]["n_volumes"] == 1 for runs in benchmark.score(options).values())


def test_slices_with_less_than_two_classes_drawn(benchmark):
    image, weak = np.zeros((4, 4)), np.full((4, 4), 255, np.uint8)
    assert not benchmark.segment(image, weak).any()
    weak[1, 1] = 3
    assert (benchmark.segment(image, weak) == 3).all()
    image[:2], weak[3, 3] = 1, 0
    assert benchmark.segment(image, weak).tolist() == [[3] * 4] * 2 + [[0] * 4] * 2  # 3 and 0, with a gap between


def test_intensities_are_scaled_as_wsl4mis_does(benchmark):
    image = np.arange(101.0)  # the 99th percentile is 99
    found = benchmark.scaled(image)
    assert found[0] == pytest.approx(-1 + 2 * 0.35 / 1.7)
    assert found[99] == found[100] == pytest.approx(-1 + 2 * 1.35 / 1.7)
