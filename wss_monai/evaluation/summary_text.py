# SPDX-License-Identifier: Apache-2.0
"""The summary of an evaluation as a table for a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wss_monai.io.score_words import score_word

__all__ = ["summary_text"]

WIDTH = 100
LABEL = 46
CELL = 9


def summary_text(summary: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """Write the means of a summary, a line a score; classes that do not fit beside each other follow below.

    Args:
        summary: content of metrics_summary.json.
        class_names: background first.
    """
    rows = [(score_word(name), value) for name, value in summary.items() if isinstance(value, dict) and "mean" in value]
    rows += [
        (f"share inside the bounds of '{term}'", value)
        for term, value in (summary.get("constraint_satisfaction") or {}).items()
    ]
    columns = ["mean", *class_names[1:]]
    across = (WIDTH - LABEL) // CELL
    blocks = [columns[start : start + across] for start in range(0, len(columns), across)]
    lines: list[str] = []
    for block in blocks:
        shown = [(name, value) for name, value in rows if any(column in value for column in block)]
        if shown:
            lines.append(" " * LABEL + "".join(_cut(name, CELL - 1).rjust(CELL) for name in block))
        lines += [_cut(name, LABEL - 1).ljust(LABEL) + _cells(value, block) for name, value in shown]
    if "dice" not in summary:
        lines.append("No case has a dense mask: Dice, distances and volume errors are left out.")
    if "n_drawn" in summary:
        lines.append(f"Shares of strokes: {summary['n_drawn']} of {summary['n_volumes']} cases have drawn voxels.")
    if summary.get("constraint_satisfaction"):
        lines.append("Inside its bounds is anything of about the right size: no measure of a good mask.")
    return "\n".join(line.rstrip() for line in lines)


def _cells(value: Mapping[str, float], columns: Sequence[str]) -> str:
    return "".join(f"{value[name]:{CELL}.3f}" if name in value else " " * CELL for name in columns)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."
