# SPDX-License-Identifier: Apache-2.0
"""How far measures of a prediction lie inside or outside their bounds, as rows of a table."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["ACTIVE_MARGIN", "constraint_rows", "summarize_constraints"]

ACTIVE_MARGIN = 0.05
"""A satisfied measure is active when it is nearer to a bound than this fraction of the bound's own value, or of the
interval's width where that is less (the value of a coordinate says nothing)."""


def constraint_rows(
    measure: np.ndarray,
    bounds: np.ndarray,
    *,
    scale: np.ndarray | None = None,
    units: Sequence[str | int],
    term: str,
    origin: str,
    unit: str,
    class_names: Sequence[str],
    case: str,
    patient: str,
) -> list[dict[str, Any]]:
    """Set the measures of one case against their bounds.

    Args:
        measure: measures (U, K, M) of U units (whole volumes or slices), K classes and M components, in ``unit``.
        bounds: lower and upper bounds (U, K, M, 2) in the same unit; -inf / +inf where a side is unbounded.
        scale: what the violation of each side was divided by in training, broadcastable to (U, K, M, 2); adds a
            column ``violation_scaled`` that compares terms of different units.
        units: U names for the column ``slice``: slice indices, or "" for the whole volume.
        term: name of the constraint.
        origin: where the bounds come from (oracle, constant, tag, box, estimated).
        unit: unit of measures and bounds (voxels, mm, ml ...).
        class_names: names of the K classes.
        case: identifier of the case.
        patient: identifier of its patient.

    Returns:
        One row for each (unit, class, component) with a finite bound: ``case, patient, term, origin, class, slice,
        component, unit, measure, lower, upper, violation, state``; an unbounded side is None. ``violation`` is
        max(measure - upper, lower - measure, 0) in the unit; ``state`` is "violated", "active" (inside, no
        further from a bound than 5 % of its value or of the interval's width) or "slack".

    Raises:
        ValueError: if shapes do not fit, a lower bound exceeds its upper one, or a bounded measure is not finite.
    """
    values, limits = np.asarray(measure, dtype=np.float64), np.asarray(bounds, dtype=np.float64)
    _check(values, limits, units, class_names, term, case)
    scales = None if scale is None else np.broadcast_to(np.asarray(scale, dtype=np.float64), limits.shape)
    rows = []
    for u, k, m in np.argwhere(np.isfinite(limits).any(axis=-1)).tolist():
        value, (lower, upper) = float(values[u, k, m]), limits[u, k, m].tolist()
        if not math.isfinite(value):
            raise ValueError(
                f"measure of term {term!r}, class {class_names[k]!r}, case {case!r} is {value} although it is bounded: "
                "leave its bounds infinite where it is not defined."
            )
        sides = np.array([lower - value, value - upper])
        violation = max(float(sides.max()), 0.0)
        row = {
            "case": case,
            "patient": patient,
            "term": term,
            "origin": origin,
            "class": class_names[k],
            "slice": units[u],
            "component": m,
            "unit": unit,
            "measure": value,
            "lower": lower if math.isfinite(lower) else None,
            "upper": upper if math.isfinite(upper) else None,
            "violation": violation,
            "state": "violated" if violation > 0 else _inside_state(value, lower, upper),
        }
        if scales is not None:
            row["violation_scaled"] = max(float((sides / scales[u, k, m]).max()), 0.0)
        rows.append(row)
    return rows


def summarize_constraints(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Give the fraction of units inside their bounds, by term and class.

    A unit is a case, a slice of a case where the term is about slices, or two cases where it is about pairs; it is
    inside when none of its components (the coordinates of a centroid, say) is violated.

    Args:
        rows: rows of :func:`constraint_rows` of any number of cases and terms.

    Returns:
        ``{term: {"mean": mean over the classes, class: fraction}}``; a class without any bounded unit is left out.
    """
    inside: dict[tuple[str, str], dict[tuple[str, str, str], bool]] = defaultdict(dict)
    for row in rows:
        unit = (str(row["case"]), str(row["slice"]), str(row.get("other", "")))
        units = inside[row["term"], row["class"]]
        units[unit] = units.get(unit, True) and row["state"] != "violated"
    fractions: dict[str, dict[str, float]] = defaultdict(dict)
    for (term, name), units in inside.items():
        fractions[term][name] = sum(units.values()) / len(units)
    return {term: {"mean": math.fsum(of.values()) / len(of), **of} for term, of in fractions.items()}


def _inside_state(value: float, lower: float, upper: float) -> str:
    sides = [side for side in (lower, upper) if math.isfinite(side)]
    near = (abs(value - side) <= ACTIVE_MARGIN * min(abs(side), upper - lower) for side in sides)
    return "active" if any(near) else "slack"


def _check(
    measure: np.ndarray, bounds: np.ndarray, units: Sequence[Any], names: Sequence[str], term: str, case: str
) -> None:
    where = f"term {term!r}, case {case!r}"
    if measure.ndim != 3 or measure.shape[:2] != (len(units), len(names)):
        raise ValueError(
            f"measure of {where} must have shape (units {len(units)}, classes {len(names)}, M), got {measure.shape}."
        )
    if bounds.shape != (*measure.shape, 2):
        raise ValueError(f"bounds of {where} must have shape {(*measure.shape, 2)}, got {bounds.shape}.")
    if np.isnan(bounds).any():
        raise ValueError(f"bounds of {where} hold NaN; an unbounded side is -inf or +inf.")
    crossed = np.argwhere(bounds[..., 0] > bounds[..., 1])
    if len(crossed):
        u, k, m = crossed[0].tolist()
        raise ValueError(
            f"bounds of {where}, class {names[k]!r} have lower {bounds[u, k, m, 0]} > upper {bounds[u, k, m, 1]}."
        )
