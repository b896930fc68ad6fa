# SPDX-License-Identifier: Apache-2.0
"""The table of a report with a row for each case, class and run: volumes in ml, Dice, distances, strokes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wss_monai.report.ranking import RANKED_BY
from wss_monai.report.run_folder import Run
from wss_monai.report.tables import number

__all__ = ["CaseColumn", "case_columns", "case_rows"]


@dataclass(frozen=True)
class CaseColumn:
    """A column of numbers.

    Attributes:
        key: of a row of cases.csv, or "outside", how many measures are outside their bounds.
        name: above the column.
        kind: "ml", "signed", "share", "percent", "mm" or "count": how its numbers are written.
        about: what it says, in a sentence.
    """

    key: str
    name: str
    kind: str
    about: str


COLUMNS = (
    CaseColumn("volume_ml", "Volume, ml", "ml", "predicted volume"),
    CaseColumn("reference_ml", "Reference, ml", "ml", "volume of the dense mask"),
    CaseColumn("volume_error_ml", "Error, ml", "signed", "predicted minus reference volume"),
    CaseColumn("dice", "Dice", "share", "overlap with the dense mask, 0 to 1"),
    CaseColumn("hd95_mm", "HD95, mm", "mm", "95th percentile of the distance to the surface of the dense mask"),
    CaseColumn(
        "stroke_recall", "Strokes right", "percent", "share of the drawn voxels of this class that are predicted so"
    ),
    CaseColumn("strokes_right", "All strokes right", "percent", "share of all drawn voxels of the case that are right"),
    CaseColumn("box_iou", "Box IoU", "share", "overlap of the rectangles around prediction and boxes, slice by slice"),
    CaseColumn("tags_right", "Tags right", "percent", "share of the tags that the prediction agrees with"),
    CaseColumn(
        "outside", "Outside bounds", "count", "measures of this class outside their bounds, of those that have bounds"
    ),
)


def case_columns(runs: Sequence[Run]) -> list[CaseColumn]:
    """Give the columns that any row fills."""
    there = {key for run in runs for row in run.cases for key in row}
    if any(run.constraints for run in runs):
        there.add("outside")
    return [column for column in COLUMNS if column.key in there]


def case_rows(runs: Sequence[Run], links: Mapping[str, str]) -> list[dict[str, Any]]:
    """Give a row for each case, class and run, the worst first.

    Args:
        runs: evaluated runs.
        links: case -> address of its pictures.

    Returns:
        ``case``, ``about`` (group and phase), ``link``, ``class``, ``run`` and ``cells``, each the text and the number
        to sort by ("" where there is none).
    """
    columns = case_columns(runs)
    by = next((key for key in RANKED_BY if any(key in row for run in runs for row in run.cases)), "volume_ml")
    rows = []
    for run in runs:
        outside, bounded = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for row in run.constraints:
            bounded[row["case"], row["class"]] += 1
            outside[row["case"], row["class"]] += row["state"] == "violated"
        for row in run.cases:
            here = (row["case"], row["class"])
            of_bounds = {"outside": outside[here], "bounded": bounded[here]} if bounded[here] else {}
            values = {**row, **of_bounds}
            rows.append(
                {
                    "case": row["case"],
                    "about": " ".join(str(row[key]) for key in ("group", "phase") if row.get(key)),
                    "link": links.get(row["case"], ""),
                    "class": row["class"],
                    "run": run.name,
                    "cells": [_cell(values, column) for column in columns],
                    "rank": (_rank(row, by), row["case"]),
                }
            )
    return sorted(rows, key=lambda row: row["rank"])


def _rank(row: Mapping[str, Any], by: str) -> float:
    """Small for what is bad; rows that lack the class's own share go by that of their case, or last."""
    own = "stroke_recall" if by == "strokes_right" else by
    value = row.get(own, row.get(by))
    if value is None:
        return float("inf")
    return -float(value) if by == "volume_ml" else float(value)


def _cell(values: Mapping[str, Any], column: CaseColumn) -> tuple[str, str]:
    value = values.get(column.key)
    if value is None:
        return "–", ""
    if column.kind == "count":
        return f"{value} of {values['bounded']}", str(value)
    texts = {
        "share": lambda v: f"{v:.3f}",
        "percent": lambda v: f"{100 * v:.1f} %",
        "signed": lambda v: number(v, signed=True),
    }
    return texts.get(column.kind, number)(value), repr(float(value))
