# SPDX-License-Identifier: Apache-2.0
"""The numbers of a report, laid out as tables of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wss_monai.io.run_folder import CASES
from wss_monai.report.ranking import worst_violations
from wss_monai.report.run_folder import Run

__all__ = [
    "Cell",
    "Column",
    "blocks",
    "bounds_text",
    "duration",
    "number",
    "results",
    "satisfaction_table",
    "violation_table",
]

MOST = 3
"""Intervals that are named one by one."""
ACROSS = 5
"""Runs beside each other in a table that fits a printed page."""


@dataclass
class Cell:
    """One cell: its text, a second, smaller text, and whether it is the best of its row."""

    text: str = "–"
    small: str = ""
    best: bool = False


@dataclass(frozen=True)
class Column:
    """One score of the table of runs.

    Attributes:
        group: heading above its name; neighbours with the same one share it.
        name: its own heading.
        value: gives the number of a run, or None.
        text: writes the number.
        better: +1 where more is better, -1 where less is, 0 where no run is marked.
        small: gives a second text of a run.
    """

    group: str
    name: str
    value: Callable[[Run], float | None]
    text: Callable[[float], str]
    better: int = 0
    small: Callable[[Run], str] = lambda run: ""

    def cells(self, runs: Sequence[Run]) -> list[Cell]:
        """Write it for each run; the best is marked where two runs or more differ in what is written."""
        values = [self.value(run) for run in runs]
        known = [v for v in values if v is not None]
        best = self.text(max(known, key=lambda v: self.better * v)) if known else ""
        marked = self.better != 0 and len(set(map(self.text, known))) > 1
        return [
            Cell() if v is None else Cell(self.text(v), self.small(run), marked and self.text(v) == best)
            for v, run in zip(values, runs, strict=True)
        ]


def number(value: float, signed: bool = False) -> str:
    """Write a number with about three digits that count."""
    size = abs(value)
    digits = 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 1 else 3
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text.replace("-", "−")


def duration(seconds: float) -> str:
    """Write a time span."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def results(runs: Sequence[Run]) -> dict[str, Any]:
    """Lay out the scores of the runs, a row a score and a column a run, so that any number of scores fits a page.

    Returns:
        ``groups``: pairs of heading and rows, a row being its name and a cell for each run; ``blocks``: the indices of
        the runs that stand beside each other.
    """
    columns = [*_dense_columns(runs), *_weak_columns(runs), *_volume_columns(runs), *_constraint_columns(runs)]
    columns.append(
        Column("Training", "time", lambda run: run.last("seconds"), duration, small=lambda run: _epochs_of(run))
    )
    groups: dict[str, list[tuple[str, list[Cell]]]] = {}
    for column in columns:
        groups.setdefault(column.group, []).append((column.name, column.cells(runs)))
    return {"groups": list(groups.items()), "blocks": blocks(len(runs))}


def blocks(number_of_runs: int, across: int = ACROSS) -> list[list[int]]:
    """Deal runs out to tables of at most ``across`` columns."""
    return [list(range(start, min(start + across, number_of_runs))) for start in range(0, number_of_runs, across)]


def satisfaction_table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Give the fraction inside the bounds, and these as numbers: a row for each term and class, a cell for each run."""
    tables = [_satisfaction(run) for run in runs]
    keys = list(dict.fromkeys((term, name) for table in tables for term, of in table.items() for name in of))
    rows = []
    for term, name in sorted(keys, key=lambda key: ([k[0] for k in keys].index(key[0]), key[1] == "mean")):
        origins = sorted({str(r.get("origin", "")) for run in runs for r in run.constraints if r["term"] == term})
        of = [r for run in runs for r in run.constraints if r["term"] == term and name in ("mean", r["class"])]
        cells = [_percent(table[term][name]) if name in table.get(term, {}) else "–" for table in tables]
        rows.append(
            {
                "term": term,
                "class": name,
                "origins": [o for o in origins if o and o != "none"],
                "cells": cells,
                "bounds": "" if name == "mean" else bounds_text(of),
            }
        )
    return rows


def bounds_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write the bounds of a class as numbers: up to three intervals, else between which values their sides lie.

    Args:
        rows: rows of evaluation/constraints.csv of one term and class.
    """
    pairs = list(dict.fromkeys((_side(row, "lower"), _side(row, "upper"), str(row.get("unit", ""))) for row in rows))
    pairs.sort(key=lambda pair: (pair[0] is None, pair[1] == 0))
    if len(pairs) <= MOST:
        return "; ".join(_interval(*pair) for pair in pairs)
    unit, texts = pairs[0][2], []
    for words, side in (("at least", 0), ("at most", 1)):
        known = [value for pair in pairs if isinstance(value := pair[side], float)]
        if known:
            ends = list(dict.fromkeys(_plain(value) for value in (min(known), max(known))))
            texts.append(f"{words} {' to '.join(ends)}")
    return f"{', '.join(texts)} {unit}, by {'pair' if rows[0].get('other') else 'case or slice'}".replace("  ", " ")


def _side(row: Mapping[str, Any], side: str) -> float | None:
    return float(f"{row[side]:.4g}") if side in row else None


def _interval(lower: float | None, upper: float | None, unit: str) -> str:
    if lower is None or upper is None:
        word, value = ("at most", upper) if lower is None else ("at least", lower)
        absent = lower is None and upper == 0
        return "0 where the class is absent" if absent else f"{word} {_plain(value or 0.0)} {unit}".strip()
    return f"{_plain(lower)} to {_plain(upper)} {unit}".strip()


def _plain(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else number(value)


def violation_table(runs: Sequence[Run], number_of_rows: int) -> list[dict[str, Any]]:
    """Give the worst violations of all runs, worst first, as text; slices and components are counted from 1."""
    parts = Counter(term for term, _ in {(row["term"], row["component"]) for run in runs for row in run.constraints})
    rows = []
    for run, row, severity in worst_violations(runs, number_of_rows):
        place = str(row.get("slice", ""))
        rows.append(
            {
                **{key: row.get(key, "") for key in ("case", "term", "class", "unit")},
                "run": run.name,
                "other": row.get("other", ""),
                "slice": str(int(place) + 1) if place.isdigit() else place or "whole",
                "component": str(int(row["component"]) + 1) if parts[row["term"]] > 1 else "",
                "measure": number(row["measure"]),
                "lower": number(row["lower"]) if "lower" in row else "",
                "upper": number(row["upper"]) if "upper" in row else "",
                "violation": number(row["violation"]),
                "severity": f"{severity:.2f}",
            }
        )
    return rows


def _dense_columns(runs: Sequence[Run]) -> list[Column]:
    if not any(run.has_dense_labels for run in runs):
        return []
    names = runs[0].class_names[1:]
    columns = [Column("Dice", name, _of("dice", name), lambda v: f"{v:.3f}", +1) for name in ["mean", *names]]
    of_slices = {"slice_dice": "all", "slice_dice_shown": "showing the class"}
    for metric, name in of_slices.items():
        if any(_of(metric)(run) is not None for run in runs):  # evaluations of older versions lack it
            columns.append(Column("Dice of slices", name, _of(metric), lambda v: f"{v:.3f}", +1))
    for column in CASES.columns:
        if column.heading and any(_of(column.name)(run) is not None for run in runs):
            columns.append(Column(*column.heading, _of(column.name), number, column.better))
    columns.append(Column("Volume error, ml", "abs. (signed)", _of("volume_error_ml_abs"), number, -1, small=_signed))
    columns.append(Column("Missed", "volumes", _missed, lambda v: f"{v:.0f}", -1))
    return columns


def _weak_columns(runs: Sequence[Run]) -> list[Column]:
    """What was drawn and is predicted so. The share of a class alone has no best: predicted everywhere, it is 100 %."""
    names = runs[0].class_names[1:]
    shown = [("stroke_recall", name, name, 0) for name in names]
    shown += [("background_recall", "mean", "background", 0), ("strokes_right", "mean", "all strokes", +1)]
    columns = [Column("Strokes that are right", name, _of(key, of), _percent_1, sign) for key, of, name, sign in shown]
    columns.append(Column("Strokes that are right", "cross-entropy", _of("partial_ce"), lambda v: f"{v:.3f}", -1))
    for metric, heading in (("box_iou", "IoU of boxes"), ("tags_right", "Tags that are right")):
        text = _percent_1 if metric == "tags_right" else (lambda v: f"{v:.3f}")
        columns += [Column(heading, name, _of(metric, name), text, +1) for name in ["mean", *names]]
    return [column for column in columns if any(column.value(run) is not None for run in runs)]


def _volume_columns(runs: Sequence[Run]) -> list[Column]:
    """Without any dense label the predicted volumes are all that can be said of volume."""
    if any(run.has_dense_labels for run in runs) or not any(run.cases for run in runs):
        return []
    names = list(dict.fromkeys(row["class"] for run in runs for row in run.cases))
    return [Column("Mean predicted volume, ml", name, _mean_volume(name), number) for name in names]


def _constraint_columns(runs: Sequence[Run]) -> list[Column]:
    terms = dict.fromkeys(term for run in runs for term in _satisfaction(run))

    def fraction(term: str) -> Callable[[Run], float | None]:
        return lambda run: _satisfaction(run).get(term, {}).get("mean")

    return [Column("Inside the bounds", term, fraction(term), _percent) for term in terms]


def _satisfaction(run: Run) -> dict[str, dict[str, float]]:
    return (run.summary or {}).get("constraint_satisfaction") or {}


def _of(metric: str, name: str = "mean") -> Callable[[Run], float | None]:
    return lambda run: ((run.summary or {}).get(metric) or {}).get(name)


def _mean_volume(name: str) -> Callable[[Run], float | None]:
    def mean(run: Run) -> float | None:
        values = [row["volume_ml"] for row in run.cases if row["class"] == name and "volume_ml" in row]
        return float(np.mean(values)) if values else None

    return mean


def _signed(run: Run) -> str:
    value = _of("volume_error_ml")(run)
    return "" if value is None else f"({number(value, signed=True)})"


def _missed(run: Run) -> float | None:
    missed = (run.summary or {}).get("n_missed")
    return None if missed is None else float(sum(missed.values()))


def _epochs_of(run: Run) -> str:
    epoch, planned = run.last("epoch"), run.info.get("max_epochs")
    if epoch is None or planned is None or epoch == planned:
        return ""
    return f"({epoch:.0f} of {planned} epochs)"


def _percent_1(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"
