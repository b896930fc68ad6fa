# SPDX-License-Identifier: Apache-2.0
"""Sizes summed over a set of images: what a model of single sizes says of the sum, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wss_monai.estimation.conformal import RIDGE, ridge

__all__ = ["expected_sum", "sum_ratio"]

RESAMPLES = 2000


def expected_sum(features: np.ndarray, values: np.ndarray, patients: np.ndarray) -> dict[str, Any]:
    """Factor on exp(model of the log-size) that makes sums right, and the standard deviation of its logarithm.

    Each patient is predicted by a model of the others; the factor is the sum of what was measured over the sum of what
    was predicted. How it would vary with other patients is told by the bootstrap: patients are drawn again with
    replacement, the predictions stay. With few patients that is too small rather than too large.

    Args:
        features: (N, F), the first one constant.
        values: (N,) > 0.
        patients: (N,) whose each row is.

    Returns:
        "factor", "log_sd" (None for one patient, whose model predicts itself).
    """
    names = np.unique(patients)
    predicted = np.empty(len(values))
    for patient in names:
        out = patients == patient
        rest = ~out if len(names) > 1 else out
        predicted[out] = np.exp(features[out] @ ridge(features[rest], np.log(values[rest]), RIDGE))
    if len(names) == 1:
        return {"factor": float(values.sum() / predicted.sum()), "log_sd": None}
    truth, guess = (np.array([part[patients == patient].sum() for patient in names]) for part in (values, predicted))
    chosen = np.random.RandomState(0).randint(len(names), size=(RESAMPLES, len(names)))
    ratios = truth[chosen].sum(1) / guess[chosen].sum(1)
    return {"factor": float(truth.sum() / guess.sum()), "log_sd": float(np.log(ratios).std())}


def sum_ratio(model: Mapping[str, Any], features: np.ndarray, values: np.ndarray) -> float:
    """Expected sum over the measured one, of rows (N, F) that a model with its expected sum was not fitted on."""
    predicted = np.exp(features @ np.asarray(model["coefficients"])) * float(model["expected"]["factor"])
    return float(predicted.sum() / values.sum())


def sum_lines(parts: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> list[str]:
    """A table of factors, deviations and ratios, out of the checks and audits of `fit_bounds`."""
    lines = []
    for part, tables in parts.items():
        for term, rows in tables.items():
            for row in rows:
                if "sum_factor" in row:
                    deviation = "-" if row["sum_log_sd"] is None else f"{row['sum_log_sd']:.2f}"
                    head = f"{term:<16}{row['class']:<14}{row['cues']:<10}"
                    lines.append(f"{head}factor {row['sum_factor']:.2f}, standard deviation of the log sum {deviation}")
                if "sum_ratio" in row:
                    head = f"{term:<16}{row['class']:<14}{row['cues']:<10}"
                    lines.append(f"{head}expected / true sum {row['sum_ratio']:.2f} of {part} patients")
    return lines
