# SPDX-License-Identifier: Apache-2.0
"""Intervals with conformal calibration on residuals left out by patient.

The residuals of all slices (or volumes) are pooled, although those of one patient resemble each other, so that the
coverage is approximate: exchangeable are patients, and k of them can guarantee no more than k / (k + 1). Split and
cross conformal prediction: Vovk et al., Algorithmic Learning in a Random World (2005); leaving out groups: Barber et
al., Annals of Statistics 49 (2021), jackknife+.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from wss_monai.functional.interval_models import IntervalModel

__all__ = ["coverage_by_patient", "fit_few", "fit_interval", "fit_reach", "quantile", "ridge", "widening"]

LEAST_REACH = 1.0
"""mm; no centroid is known better."""
RIDGE = 5.0
"""Penalty on the standardised coefficients of the measure."""
SPREAD_RIDGE = 10.0
"""The same for the spread of the residuals, which few patients say little about."""
SPREAD_FEATURES = 3
"""The spread depends on the first features only: constant, position and its square."""


def quantile(values: np.ndarray, q: float) -> float:
    """The conformal quantile: at least (n + 1) q of the values lie at or below it; the largest where n is too small."""
    n = len(values)
    return float(np.sort(values)[min(max(math.ceil((n + 1) * q), 1), n) - 1])


def fit_interval(features: np.ndarray, values: np.ndarray, patients: np.ndarray, level: float) -> IntervalModel:
    """Fit an interval of a positive measure.

    Args:
        features: (N, F), the first one constant.
        values: (N,) > 0.
        patients: (N,) whose each row is; at least 2 different ones.
        level: nominal coverage.
    """
    target = np.log(values)
    residuals = np.empty(len(values))
    for patient in np.unique(patients):
        out = patients == patient
        residuals[out] = target[out] - features[out] @ ridge(features[~out], target[~out], RIDGE)
    model = IntervalModel(ridge(features, target, RIDGE).tolist(), _spread(features, residuals), (0.0, 0.0))
    scaled = residuals / model.scale(features)
    tail = (1 - level) / 2
    quantiles = (-quantile(-scaled, 1 - tail), quantile(scaled, 1 - tail))
    return IntervalModel(model.coefficients, model.spread, quantiles)


def fit_few(features: np.ndarray, values: np.ndarray, patients: np.ndarray) -> IntervalModel:
    """Fit an interval of a positive measure on one or two patients, whose residuals cannot be calibrated.

    The interval reaches from the smallest to the largest residual of the patients themselves, scaled by position, and
    beyond on either side, on average by the factor of `widening`.

    Args:
        features: (N, F), the first one constant.
        values: (N,) > 0.
        patients: (N,) whose each row is.
    """
    target = np.log(values)
    coefficients = ridge(features, target, RIDGE)
    residuals = target - features @ coefficients
    model = IntervalModel(coefficients.tolist(), _spread(features, residuals), (0.0, 0.0))
    scale = model.scale(features)
    scaled = residuals / scale
    more = math.log(widening(len(np.unique(patients)))) / float(scale.mean())
    quantiles = (float(scaled.min()) - more, float(scaled.max()) + more)
    return IntervalModel(model.coefficients, model.spread, quantiles)


def widening(patients: int) -> float:
    """How far beyond what k labelled patients show an interval reaches, as a factor: 1 + 1.5 / k.

    2.5 for one patient, 1.75 for two, 1.3 for five: organs of two patients easily differ by a factor of two. The rule
    was chosen on cardiac MRI (ACDC), so that of areas in slices without tags about 0.9 lie inside for k = 1 to 5.
    """
    return 1 + 1.5 / patients


def fit_reach(distances: np.ndarray, level: float) -> float:
    """How far in mm along any axis a measured centroid lies from the weak label's; ``distances`` (N,) are the largest
    over the axes."""
    return max(quantile(distances, level), LEAST_REACH)


def coverage_by_patient(
    patients: np.ndarray, fit: Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]]
) -> np.ndarray:
    """Whether each row is covered (N,) by what ``fit(rows of the other patients)`` says of it."""
    covered = np.zeros(len(patients), dtype=bool)
    for patient in np.unique(patients):
        out = np.flatnonzero(patients == patient)
        covered[out] = fit(np.flatnonzero(patients != patient))(out)
    return covered


def _spread(features: np.ndarray, residuals: np.ndarray) -> list[float]:
    """Coefficients of the log of the residuals' size by position."""
    position = features[:, : min(SPREAD_FEATURES, features.shape[1])]
    return [float(value) for value in ridge(position, np.log(np.abs(residuals) + 0.05), SPREAD_RIDGE)]


def ridge(features: np.ndarray, target: np.ndarray, penalty: float) -> np.ndarray:
    """Coefficients (F,) of a ridge regression on standardised features; the first feature, 1, is not penalised."""
    mean, scale = features.mean(0), features.std(0)
    mean[0], scale[0] = 0.0, 1.0
    scale[scale < 1e-9] = 1.0
    standard = (features - mean) / scale
    weight = np.diag([0.0] + [penalty] * (features.shape[1] - 1))
    coefficients = np.linalg.solve(standard.T @ standard + weight, standard.T @ target) / scale
    coefficients[0] -= coefficients[1:] @ mean[1:]
    result: np.ndarray = coefficients
    return result
