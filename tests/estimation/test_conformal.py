# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from wss_monai.estimation.conformal import coverage_by_patient, fit_interval, fit_reach, quantile


@pytest.mark.parametrize(("q", "expected"), [(0.9, 9.0), (0.5, 5.0), (0.95, 9.0), (0.05, 1.0)])
def test_conformal_quantile_of_nine_values(q, expected):
    # (n + 1) q = 9, 5, 9.5 -> the largest, 0.5 -> the smallest
    assert quantile(np.arange(1.0, 10.0), q) == expected


def draws(R, patients, slices=12, noise=0.2):
    """Areas that are 3 length^1.5, with an effect of the patient and noise; features 1, z, z^2, log length."""
    z = np.tile((np.arange(slices) + 0.5) / slices, patients)
    length = R.uniform(10, 60, patients * slices)
    who = np.repeat(np.arange(patients), slices)
    log_area = np.log(3) + 1.5 * np.log(length) + (R.randn(patients) * noise / 2)[who] + R.randn(len(z)) * noise
    return np.stack([np.ones_like(z), z, z**2, np.log(length)], 1), np.exp(log_area), who


def test_coverage_on_unseen_patients_and_a_known_law():
    R = np.random.RandomState(0)
    covered, widths = [], []
    for _ in range(40):
        features, areas, who = draws(R, 10)
        model = fit_interval(features, areas, who, 0.9)
        unseen, truth, _ = draws(R, 20)
        low, high = model(unseen).T
        covered.append(((low <= truth) & (truth <= high)).mean())
        widths.append(np.mean(np.log(high / low)))
    assert 0.85 < np.mean(covered) < 0.95
    # 90 % of a normal law with this spread lie in 3.29 standard deviations
    assert np.mean(widths) == pytest.approx(3.29 * np.hypot(0.2, 0.1), rel=0.2)


def test_a_larger_spread_at_one_end_gives_wider_intervals_there():
    R = np.random.RandomState(1)
    features, _, who = draws(R, 40)
    z = features[:, 1]
    areas = np.exp(5 + R.randn(len(z)) * (0.05 + z))
    low, high = fit_interval(features, areas, who, 0.9)(np.array([[1, 0.05, 0.0025, 3.5], [1, 0.95, 0.9, 3.5]])).T
    assert np.log(high / low)[1] > 3 * np.log(high / low)[0]


def test_a_law_without_noise_is_found():
    R = np.random.RandomState(2)
    features, areas, who = draws(R, 6, noise=0.0)
    unseen, truth, _ = draws(R, 5, noise=0.0)
    low, high = fit_interval(features, areas, who, 0.9)(unseen).T
    assert np.log(high / low).mean() < 0.2
    assert ((low <= truth) & (truth <= high)).mean() > 0.8


def test_reach_is_the_conformal_quantile_of_the_distances():
    assert fit_reach(np.array([3.0, 1, 2, 9, 5, 4, 8, 7, 6]), 0.8) == 8.0


def test_coverage_by_patient_never_asks_the_patient_itself():
    patients = np.array(["a", "a", "b", "c"])
    asked = []

    def fit(others):
        asked.append(set(patients[others]))
        return lambda out: np.array([patients[i] != "b" for i in out])

    assert coverage_by_patient(patients, fit).tolist() == [True, True, False, True]
    assert asked == [{"b", "c"}, {"a", "c"}, {"a", "b"}]
