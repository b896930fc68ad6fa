# SPDX-License-Identifier: Apache-2.0
"""What the areas of a few dense patients say of slices without tags, by position in the stack alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wss_monai.estimation.conformal import widening
from wss_monai.estimation.measures import CaseMeasures
from wss_monai.functional.interval_models import AreaProfile, positions_in_stack
from wss_monai.transforms.bounds.estimated import unknown_intervals

__all__ = ["audit_profiles", "check_profiles", "fit_profile"]

REACH = 0.1
"""Parts of the stack by which volumes may be shifted against each other."""
SAFETY = 0.1
"""Distance of sure presence from the nearest position where a labelled volume lacks the class, in parts of the stack.
The ends of the stack count as such: other stacks may begin earlier."""
DIRECTED = 0.3
"""Correlation of area and position from which on a profile clearly rises or falls."""


def fit_profile(cases: Sequence[CaseMeasures], k: int) -> AreaProfile:
    """Gather the profile of class `k` from the dense labels of all volumes.

    Positions of sure presence are the longest range that every volume shows, without `SAFETY` at either end. Where
    some profiles clearly rise along the stack and others fall, or a volume is a single slice, positions say nothing:
    then there are no such positions, and the largest area holds everywhere.

    Args:
        cases: measured cases of the labelled patients.
        k: index of the class.

    Raises:
        ValueError: no case shows the class.
    """
    areas = [case.area[:, k] for case in cases]
    shown = [(positions_in_stack(len(area))[area > 0], area[area > 0]) for area in areas if (area > 0).any()]
    if not shown:
        raise ValueError(f"no labelled volume shows class {k}; label other patients.")
    slopes = [_slope(area) for area in areas]
    directed = min(len(area) for area in areas) > 1 and not (min(slopes) < -DIRECTED and max(slopes) > DIRECTED)
    return AreaProfile(
        [positions.tolist() for positions, _ in shown],
        [values.tolist() for _, values in shown],
        widening(len({case.patient for case in cases})),
        REACH,
        _sure([area > 0 for area in areas]) if directed else None,
        directed,
    )


def audit_profiles(
    fitted: Mapping[str, Any], cases: Sequence[CaseMeasures], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Coverage and width of the bounds that slices without tags get, on other patients, whatever their tags are.

    Args:
        fitted: the classes of the term "size" of what `fit_bounds` returned.
        cases: measured cases of patients that it was not fitted on.
        class_names: names of all K classes, background first.

    Returns:
        A row for each class: `patients`, slices `n`, share of them with the true area inside (`coverage`; 0 where the
        class is absent), below the upper side (`upper`), with a lower side (`lower_share`), of these above it
        (`lower`; None if there are none) and medians of `upper_over_true` and `true_over_lower` where the class is
        shown (None where it never is).
    """
    return [
        {"class": name, "patients": len({case.patient for case in cases}), **_facts(fitted[name], cases, k)}
        for k, name in enumerate(class_names)
        if name in fitted and cases
    ]


def check_profiles(
    fitted: Mapping[str, Any], cases: Sequence[CaseMeasures], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Do as `audit_profiles` on the labelled patients themselves, each by what the others say, and take the mean.

    Classes that some patient alone shows are left out, and all of them where there is one patient.

    Args:
        fitted: as in `audit_profiles`; its constant bounds count.
        cases: measured cases of the labelled patients.
        class_names: names of all K classes, background first.
    """
    out = []
    patients = sorted({case.patient for case in cases})
    for k, name in enumerate(class_names):
        folds = [[case for case in cases if case.patient != patient] for patient in patients]
        if name not in fitted or any(not any((case.area[:, k] > 0).any() for case in others) for others in folds):
            continue
        rows = [
            _facts({**fitted[name], "unknown": fit_profile(others, k).to_dict()}, own, k)
            for others, own in zip(folds, ([c for c in cases if c.patient == p] for p in patients), strict=True)
        ]
        means: dict[str, Any] = {}
        for key in rows[0]:
            values = [row[key] for row in rows if row[key] is not None]
            means[key] = float(np.mean(values)) if values else None
        out.append({"class": name, "patients": len(patients), **means, "n": sum(row["n"] for row in rows)})
    return out


def _facts(models: Mapping[str, Any], cases: Sequence[CaseMeasures], k: int) -> dict[str, Any]:
    """Numbers of one line of the table."""
    true = np.concatenate([case.area[:, k] for case in cases])
    lower, upper = np.concatenate([unknown_intervals(models, len(case.area)) for case in cases]).T
    bounded = np.isfinite(lower)
    shown = true > 0
    both = shown & bounded
    return {
        "n": len(true),
        "coverage": float(((true >= lower) & (true <= upper)).mean()),
        "upper": float((true <= upper).mean()),
        "lower_share": float(bounded.mean()),
        "lower": float((true >= lower)[bounded].mean()) if bounded.any() else None,
        "upper_over_true": float(np.median(upper[shown] / true[shown])) if shown.any() else None,
        "true_over_lower": float(np.median(true[both] / lower[both])) if both.any() else None,
    }


def _slope(area: np.ndarray) -> float:
    """Correlation of area and position in one stack; 0 where either does not vary."""
    if len(area) < 2 or area.std() == 0:
        return 0.0
    return float(np.corrcoef(positions_in_stack(len(area)), area)[0, 1])


def _sure(present: Sequence[np.ndarray]) -> tuple[float, float] | None:
    """The longest range of positions that every volume shows, less the safety; None where nothing is left."""
    absent = [(1.0, 1.0)]
    for shown in present:
        absent += [(i / len(shown), (i + 1) / len(shown)) for i in np.flatnonzero(~shown).tolist()]
    longest, end = (0.0, 0.0), 0.0
    for first, last in sorted(absent):
        if first - end > longest[1] - longest[0]:
            longest = (end, first)
        end = max(end, last)
    lower, upper = longest[0] + SAFETY, longest[1] - SAFETY
    return (lower, upper) if lower < upper else None
