# SPDX-License-Identifier: Apache-2.0
"""Bounds fitted on k dense patients: models of size and place from what a weak label shows, for a JSON file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from wss_monai.estimation.area_profiles import fit_profile
from wss_monai.estimation.conformal import coverage_by_patient, fit_few, fit_interval, fit_reach
from wss_monai.estimation.measures import CaseMeasures
from wss_monai.estimation.set_sizes import expected_sum, sum_ratio
from wss_monai.functional.interval_models import IntervalModel, slice_features, volume_features
from wss_monai.transforms.bounds.estimated import within_constant
from wss_monai.transforms.bounds.file import ANATOMY, TERMS

__all__ = ["audit_bounds", "fit_bounds"]

LEAST_PATIENTS = 3
"""Whose residuals, each left out in turn, calibrate an interval."""
UNITS = {"size": "mm2", "volume": "ml", "centroid": "mm", "volume_centroid": "mm", "extent": "mm"}
SUMMED = ("size", "volume")
"""Terms whose sum over a set of images is expected, for ``EstimatedSizesd``."""
Constants = Mapping[str, Mapping[str, Sequence[float | None]]]


class Rows:
    """What one class shows in all slices (or volumes) that show it: features, measures and whose they are."""

    def __init__(self, cases: Sequence[CaseMeasures], term: str, k: int, kind: str) -> None:
        features, values, patients = [], [], []
        for case in cases:
            if not case.present[:, k].any():
                continue
            if TERMS[term][1] == "slice":
                rows = slice_features(kind, case.cues[:, k], case.present[:, k])
                measure = {"size": case.area, "centroid": case.offset, "extent": case.extent}[term][:, k]
                keep = case.present[:, k] & (case.area[:, k] > 0) & np.isfinite(measure)
            else:
                rows = volume_features(kind, case.cues[:, k], case.present[:, k], case.thickness)
                measure = case.volume[k : k + 1] if term == "volume" else case.volume_offset[k : k + 1]
                keep = (case.volume[k : k + 1] > 0) & np.isfinite(measure)
            features.append(rows[keep])
            values.append(measure[keep])
            patients += [case.patient] * int(keep.sum())
        self.features = np.concatenate(features) if features else np.zeros((0, 1))
        self.values = np.concatenate(values) if values else np.zeros(0)
        self.patients = np.array(patients)

    @property
    def few(self) -> bool:
        """Whether these are too few patients to calibrate on."""
        return len(np.unique(self.patients)) < LEAST_PATIENTS

    def fit(self, term: str, level: float, rows: np.ndarray | None = None) -> dict[str, Any]:
        """The model of all rows, or of some, as the JSON file holds it."""
        rows = np.arange(len(self.values)) if rows is None else rows
        if UNITS[term] == "mm":
            return {"reach": fit_reach(self.values[rows], level)}
        if self.few:
            return fit_few(self.features[rows], self.values[rows], self.patients[rows]).to_dict()
        return fit_interval(self.features[rows], self.values[rows], self.patients[rows], level).to_dict()

    def intervals(self, term: str, model: Mapping[str, Any], constant: Sequence[float | None] | None) -> np.ndarray:
        """(N, 2): what the model says of each row."""
        if "reach" in model:
            return np.repeat([[0.0, model["reach"]]], len(self.values), 0)
        predicted = IntervalModel.from_dict(model)(self.features)
        return np.stack([within_constant(row, constant) for row in predicted]) if len(predicted) else predicted


def fit_bounds(
    cases: Sequence[CaseMeasures],
    class_names: Sequence[str],
    terms: Sequence[str] = ("size",),
    level: float = 0.9,
    constant: Constants | None = None,
) -> dict[str, Any]:
    """Fit the models of every term and class, and say how well they hold by leave-patient-out.

    Args:
        cases: the measured cases of the k dense patients.
        class_names: names of all K classes, background first.
        terms: out of `wss_monai.transforms.bounds.file.TERMS`.
        level: nominal coverage of the intervals.
        constant: term -> class name -> (lower, upper) in the term's unit; replaces what would be wider.

    Returns:
        term -> {"unit", "classes": {name: {kind: model, "constant"}}, "check": rows as `audit_bounds` gives them}. The
        classes of "size" have their `AreaProfile` under "unknown" besides.

    Raises:
        ValueError: an unknown term or level, or fewer than 3 patients that show a class. Sizes from position alone can
            be fitted on one; below 3, they are wide by rule (`fit_few`), and the level says nothing.
    """
    if unknown := [term for term in terms if term not in TERMS]:
        raise ValueError(f"terms {unknown} are unknown; choose from {list(TERMS)}, or of anatomy {list(ANATOMY)}.")
    if not 0.5 <= level < 1:
        raise ValueError(f"level must be at least 0.5 and below 1, got {level}.")
    kinds = sorted({"position", *(case.kind for case in cases)})
    return {
        term: _fit_term(cases, list(class_names), term, kinds, level, (constant or {}).get(term, {})) for term in terms
    }


def _fit_term(
    cases: Sequence[CaseMeasures],
    names: list[str],
    term: str,
    kinds: Sequence[str],
    level: float,
    constant: Mapping[str, Sequence[float | None]],
) -> dict[str, Any]:
    classes: dict[str, Any] = {}
    check = []
    for k, name in enumerate(names):
        if k == 0:
            continue
        classes[name] = {"constant": list(constant[name])} if name in constant else {}
        for kind in kinds:
            rows = Rows([case for case in cases if kind in ("position", case.kind)], term, k, kind)
            showing = np.unique(rows.patients)
            least = 1 if term == "size" and kinds == ["position"] else LEAST_PATIENTS
            if len(showing) < least:
                raise ValueError(
                    f"class '{name}': {len(showing)} of the dense patients show it ({', '.join(showing) or 'none'}), "
                    f"and bounds need at least {least}; take more dense patients (--dense or --labelled), or "
                    "other ones (--seed, --split-seed)."
                    + (" Sizes from position alone (--cues position) need one." if least > 1 and len(showing) else "")
                )
            classes[name][kind] = {"kind": kind, **rows.fit(term, level)}
            if term in SUMMED:
                classes[name][kind]["expected"] = expected_sum(rows.features, rows.values, rows.patients)
            if len(showing) > 1:
                check.append(_check(rows, term, kind, name, level, classes[name]))
        if term == "size":
            classes[name]["unknown"] = fit_profile(cases, k).to_dict()
    return {"unit": UNITS[term], "classes": classes, "check": check}


def _check(rows: Rows, term: str, kind: str, name: str, level: float, models: Mapping[str, Any]) -> dict[str, Any]:
    """Coverage of each patient by what the others say, and the width of the intervals on all."""
    constant = models.get("constant")

    def fit(others: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        intervals = rows.intervals(term, rows.fit(term, level, others), constant)
        return lambda out: _inside(rows.values[out], intervals[out])

    covered = coverage_by_patient(rows.patients, fit)
    facts = _facts(rows, term, models[kind], constant, covered)
    if "expected" in models[kind]:
        facts |= {f"sum_{what}": value for what, value in models[kind]["expected"].items()}
    return {"class": name, "cues": kind, **facts}


def _inside(values: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    inside: np.ndarray = (values >= intervals[:, 0]) & (values <= intervals[:, 1])
    return inside


def _facts(
    rows: Rows, term: str, model: Mapping[str, Any], constant: Sequence[float | None] | None, covered: np.ndarray
) -> dict[str, Any]:
    """Numbers of one line of the table."""
    intervals = rows.intervals(term, model, constant)
    facts: dict[str, Any] = {
        "patients": len(np.unique(rows.patients)),
        "n": len(rows.values),
        "coverage": float(covered.mean()),
    }
    if "reach" in model:
        return {**facts, "width_mm": model["reach"] * (1 if term == "extent" else 2)}
    free = rows.intervals(term, model, None)
    lower, upper = np.maximum(intervals[:, 0], 1e-9), intervals[:, 1]
    return {
        **facts,
        "width_ratio": float(np.exp(np.log(upper / lower).mean())),
        "replaced_by_constant": float((free != intervals).mean()),
    }


def audit_bounds(
    fitted: Mapping[str, Any], cases: Sequence[CaseMeasures], class_names: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Coverage and width of fitted bounds on other patients, term by term; classes that they do not show are left out.

    Args:
        fitted: what `fit_bounds` returned.
        cases: measured cases of patients that it was not fitted on.
        class_names: names of all K classes, background first.
    """
    out: dict[str, list[dict[str, Any]]] = {}
    for term, content in fitted.items():
        out[term] = []
        for k, name in enumerate(class_names):
            models = content["classes"].get(name, {})
            for kind in sorted({case.kind for case in cases} if models else ()):
                used = kind if kind in models else "position"
                rows = Rows([case for case in cases if case.kind == kind], term, k, used)
                if len(rows.values):
                    constant = models.get("constant")
                    covered = _inside(rows.values, rows.intervals(term, models[used], constant))
                    facts = _facts(rows, term, models[used], constant, covered)
                    if "expected" in models[used]:
                        facts["sum_ratio"] = sum_ratio(models[used], rows.features, rows.values)
                    out[term].append({"class": name, "cues": used, **facts})
    return out
