# SPDX-License-Identifier: Apache-2.0
"""Statements on anatomy fitted on k dense patients: an interval a class, for the overlay anatomy.yaml."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from wss_monai.estimation.conformal import coverage_by_patient, fit_interval, quantile
from wss_monai.functional import UNLABELLED
from wss_monai.functional.descriptors import Descriptor, completed
from wss_monai.io.grids import spacing_of
from wss_monai.transforms import LoadCased
from wss_monai.transforms.bounds.anatomy import MEASURES
from wss_monai.transforms.bounds.file import ANATOMY, OF_VOLUMES, RELATED
from wss_monai.transforms.bounds.intervals import as_slices

__all__ = [
    "AnatomyMeasures", "Statement", "audit_anatomy", "fit_anatomy", "measure_anatomy", "split_terms",
    "statements",
]  # fmt: skip

LEAST_PATIENTS = 3
"""Whose measures, each left out in turn, calibrate an interval."""
LEAST_UPPER = {"contact": 5.0, "pieces": 0.02, "enclosure": 0.05}
"""No upper side is less: mm (mm2) of contact, a few faces of voxels, and parts of a class or of its border."""
SHARES = ("enclosure", "pieces")
"""Statements on a part of something, of which an upper side of 1 says nothing."""


@dataclass(frozen=True)
class Statement:
    """One of ``ANATOMY``, as a word of ``--terms`` names it.

    Attributes:
        name: its name in the file.
        kind: the statement.
        other: the class that others are related to; None where there is none.
        volumes: of whole volumes, not of slices.
        descriptor: what is measured.
    """

    name: str
    kind: str
    other: str | None
    volumes: bool
    descriptor: Descriptor


@dataclass(frozen=True)
class AnatomyMeasures:
    """What the dense label of one case measures.

    Attributes:
        patient: whose.
        values: name of a statement -> (U, K) of U slices, or of the whole volume; NaN where the class, or the one that
            it is related to, is not there.
        shown: (K,) whether the case shows the class at all.
        dimensions: of what is measured, by name.
    """

    patient: str
    values: dict[str, np.ndarray]
    shown: np.ndarray
    dimensions: dict[str, int]


def statements(words: Sequence[str], class_names: Sequence[str]) -> list[Statement]:
    """The statements that words such as ``ratio:LV``, ``pieces`` or ``volume_distance:Anterior`` name.

    Raises:
        ValueError: a statement that lacks the class that it needs, names one that it does not take, or an unknown one.
    """
    out = []
    for word in words:
        name, _, other = word.partition(":")
        kind = name.removeprefix(OF_VOLUMES)
        classes = list(class_names[1:])
        if kind in RELATED and other not in classes:
            raise ValueError(
                f"--terms {word}: '{name}' relates each class to another one, so write '{name}:CLASS' with one of "
                f"{classes}."
            )
        if kind not in RELATED and ":" in word:
            raise ValueError(f"--terms {word}: '{name}' measures each class by itself; leave out ':{other}'.")
        settings = {"other": other, "class_names": list(class_names)} if other else {}
        descriptor = cast(Any, MEASURES[kind])(**settings)
        out.append(Statement(name, kind, other or None, name != kind, descriptor))
    return out


def measure_anatomy(
    cases: Sequence[dict[str, Any]], terms: Sequence[Statement], class_names: Sequence[str], slice_axis: int
) -> list[AnatomyMeasures]:
    """Read the dense labels and measure them on their own grid; voxels without a label belong to no class.

    Args:
        cases: case dictionaries of the data list, each with a dense label.
        terms: what to measure.
        class_names: names of all K classes, background first.
        slice_axis: spatial axis of the slices.

    Raises:
        FileNotFoundError, ValueError: as ``LoadCased``; a case without a dense label.
    """
    load, out = LoadCased(keys=["image", "label"]), []
    for case in cases:
        if case.get("label") is None:
            raise ValueError(f"case '{case['case']}' has no dense label to fit bounds on.")
        label = load(cast(dict[Hashable, Any], case))["label"]
        index = label[0].as_tensor()
        shown = np.array([bool((index == k).any()) for k in range(len(class_names))])
        values, dimensions = {}, {}
        for term in terms:
            if term.volumes or index.dim() == 2:
                maps, spacing = index[None], torch.tensor([spacing_of(label)])
            else:
                maps, spacing = as_slices(label, slice_axis)
            one_hot = torch.stack([maps == k for k in range(len(class_names))], 1).float()
            one_hot = torch.where((maps == UNLABELLED)[:, None], 0.0, one_hot)
            there = one_hot.flatten(2).any(-1)
            for other in completed(term.descriptor).others():
                there = there & there[:, other, None]
                there[:, other] = False
            there[:, 0] = False
            measure = term.descriptor(one_hot, spacing=spacing.float())[..., 0]
            values[term.name] = torch.where(there, measure, torch.nan).double().numpy()
            dimensions[term.name] = maps.dim() - 1
        out.append(AnatomyMeasures(case["patient"], values, shown, dimensions))
    return out


class _Rows:
    """What one class measures in all slices or volumes where it, and what it is related to, is there."""

    def __init__(self, cases: Sequence[AnatomyMeasures], term: Statement, k: int) -> None:
        each = [case.values[term.name][:, k] for case in cases]
        known = [values[np.isfinite(values)] for values in each]
        self.values = np.concatenate(known) if known else np.zeros(0)
        self.patients = np.array([case.patient for case, v in zip(cases, known, strict=True) for _ in v])

    def fit(self, term: Statement, level: float, rows: np.ndarray | None = None) -> list[float | None]:
        """(lower, upper) of all rows, or of some; None = no bound on that side."""
        values, patients = (part if rows is None else part[rows] for part in (self.values, self.patients))
        lower: float | None
        if values.min() > 0 and len(np.unique(patients)) > 1:
            lower, upper = fit_interval(np.ones((len(values), 1)), values, patients, level)(np.ones((1, 1)))[0].tolist()
        else:  # what may be 0 has no logarithm, and mostly no lower side
            tail = (1 - level) / 2
            lower = -quantile(-values, 1 - tail)
            upper = quantile(values, 1 - tail if lower > 0 else level)
        upper = max(upper, LEAST_UPPER.get(term.kind, 0.0))
        return [lower if lower > 0 else None, None if term.kind in SHARES and upper >= 1 else upper]


def fit_anatomy(
    cases: Sequence[AnatomyMeasures], class_names: Sequence[str], terms: Sequence[Statement], level: float = 0.9
) -> dict[str, Any]:
    """Fit an interval of every statement and class, and say how well they hold by leave-patient-out.

    What is never 0 gets the interval of ``fit_interval`` without cues, on a logarithmic scale and calibrated on
    patients left out; what may be 0 the conformal quantiles of its values, an upper one alone where the lower one is 0.

    Args:
        cases: the measured cases of the k dense patients.
        class_names: names of all K classes, background first.
        terms: what was measured.
        level: nominal coverage of the intervals.

    Returns:
        name -> {"unit", "other", "classes": {class: {"interval"}}, "check": rows}, a row a class: ``class, cues,
        patients, n, coverage, interval, unit``.

    Raises:
        ValueError: fewer than 3 patients show a class, or show it beside the one that it is related to; names it.
    """
    out: dict[str, Any] = {}
    for term in terms:
        classes, check = {}, []
        dimensions = next((case.dimensions[term.name] for case in cases), 2)
        unit = completed(term.descriptor).units(dimensions)[0]
        for k, name in enumerate(class_names):
            if k == 0 or name == term.other:
                continue
            rows = _Rows(cases, term, k)
            _enough(cases, rows, term, name, k)
            interval = rows.fit(term, level)
            classes[name] = {"interval": interval}

            def fit(
                others: np.ndarray, rows: _Rows = rows, term: Statement = term
            ) -> Callable[[np.ndarray], np.ndarray]:
                without = rows.fit(term, level, others)
                return lambda left: _inside(rows.values[left], without)

            covered = coverage_by_patient(rows.patients, fit)
            check.append(_row(name, rows, covered, interval, unit))
        out[term.name] = {"unit": unit, "other": term.other, "classes": classes, "check": check}
    return out


def audit_anatomy(
    fitted: Mapping[str, Any],
    cases: Sequence[AnatomyMeasures],
    class_names: Sequence[str],
    terms: Sequence[Statement],
) -> dict[str, list[dict[str, Any]]]:
    """Coverage of fitted statements on other patients, as rows of ``fit_anatomy``; a class that none shows has none."""
    out: dict[str, list[dict[str, Any]]] = {}
    for term in terms:
        out[term.name] = []
        for k, name in enumerate(class_names):
            rows, models = _Rows(cases, term, k), fitted[term.name]["classes"].get(name)
            if models is not None and len(rows.values):
                covered = _inside(rows.values, models["interval"])
                out[term.name].append(_row(name, rows, covered, models["interval"], fitted[term.name]["unit"]))
    return out


def _enough(cases: Sequence[AnatomyMeasures], rows: _Rows, term: Statement, name: str, k: int) -> None:
    showing = np.unique([case.patient for case in cases if case.shown[k]])
    both = np.unique(rows.patients)
    if len(both) >= LEAST_PATIENTS:
        return
    where = "" if len(showing) < LEAST_PATIENTS else f" beside '{term.other}'" + " in a slice" * (not term.volumes)
    found = showing if not where else both
    raise ValueError(
        f"--terms {term.name}, class '{name}': {len(found)} of the dense patients show it{where} "
        f"({', '.join(found) or 'none'}), and an interval needs at least {LEAST_PATIENTS}; take more dense patients "
        "(--dense or --labelled) or other ones (--seed, --split-seed, --patients), or leave "
        f"'{term.name}' out of --terms."
    )


def _inside(values: np.ndarray, interval: Sequence[float | None]) -> np.ndarray:
    lower, upper = (side if side is not None else free for side, free in zip(interval, (-np.inf, np.inf), strict=True))
    inside: np.ndarray = (values >= lower) & (values <= upper)
    return inside


def _row(name: str, rows: _Rows, covered: np.ndarray, interval: Sequence[float | None], unit: str) -> dict[str, Any]:
    return {
        "class": name,
        "cues": "none",
        "patients": len(np.unique(rows.patients)),
        "n": len(rows.values),
        "coverage": float(covered.mean()),
        "interval": list(interval),
        "unit": unit,
    }


def split_terms(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words of ``--terms``: those of sizes and places, and those of anatomy."""
    of_anatomy = [*ANATOMY, *(OF_VOLUMES + term for term in ANATOMY)]
    anatomy = [word for word in words if word.partition(":")[0] in of_anatomy]
    return [word for word in words if word not in anatomy], anatomy
