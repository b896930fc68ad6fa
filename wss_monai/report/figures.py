# SPDX-License-Identifier: Apache-2.0
"""Figures of a report as SVG: scores of the cases, satisfaction of the constraints; and what figures have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from wss_monai.report.inline_svg import inline_svg
from wss_monai.report.palette import STATE_STYLES, run_colour
from wss_monai.report.run_folder import Run

__all__ = ["STYLE", "WIDTH", "grid", "legend_below", "log_where_wide", "satisfaction", "scores"]

STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": "#9CA3AF",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E7EB",
    "grid.linewidth": 0.7,
    "text.color": "#1F2937",
    "axes.labelcolor": "#4B5563",
    "xtick.color": "#4B5563",
    "ytick.color": "#4B5563",
}
WIDTH = 11.7


def scores(runs: Sequence[Run], metrics: Sequence[tuple[str, str]]) -> str:
    """Draw each case's score as a dot, by class, beside the runs' means.

    Args:
        runs: evaluated runs.
        metrics: columns of cases.csv and their headings.
    """
    names = list(dict.fromkeys(row["class"] for run in runs for row in run.cases))
    tips: dict[str, list[str]] = {}
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(len(metrics), len(names), WIDTH / max(len(names), 3), 2.3)
        for i, (metric, heading) in enumerate(metrics):
            top = max((row[metric] for run in runs for row in run.cases if metric in row), default=1.0)
            shares = metric in ("dice", "stroke_recall", "box_iou", "tags_right")
            for j, name in enumerate(names):
                axis = axes[i][j]
                axis.set_title(f"{heading}, {name}")
                axis.set_xticks([])
                axis.set_xlim(-0.6, len(runs) - 0.4)
                axis.set_ylim(-0.02, 1.02) if shares else axis.set_ylim(0, 1.05 * (top or 1))
                axis.grid(axis="x", visible=False)
                for r, run in enumerate(runs):
                    found = [row for row in run.cases if row["class"] == name and metric in row]
                    gid = f"tip-score-{i}-{j}-{r}"
                    _strip(axis, r, [row[metric] for row in found], gid)
                    tips[gid] = [f"{row['case']}, {name}, {run.name}: {row[metric]:.3f}" for row in found]
        return inline_svg(
            figure, f"{', '.join(heading for _, heading in metrics)} of each volume, by class and run", tips
        )


def satisfaction(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Draw the measures of each constraint as dots against their bounds: runs down, classes across.

    Returns:
        (heading, SVG) of each term and component.
    """
    keys = list(dict.fromkeys((row["term"], row["component"], row["unit"]) for run in runs for row in run.constraints))
    parts = {term: len({c for t, c, _ in keys if t == term}) for term, _, _ in keys}
    figures = []
    for term, component, unit in keys:
        heading = f"{term} ({unit})" + (f", component {int(component) + 1} of {parts[term]}" if parts[term] > 1 else "")
        held = [run for run in runs if any(row["term"] == term for row in run.constraints)]
        rows = [
            [row for row in run.constraints if (row["term"], row["component"], row["unit"]) == (term, component, unit)]
            for run in held
        ]
        figures.append((heading, _satisfaction_grid(held, rows, unit, heading)))
    return figures


def log_where_wide(axis: Axes, values: Sequence[float]) -> None:
    """Make an axis logarithmic where its values are positive and span more than two powers of ten."""
    if values and min(values) > 0 and max(values) > 100 * min(values):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())


def legend_below(figure: Figure, names: Sequence[str]) -> None:
    """Name the runs by their colours below a figure, in as many rows as its width takes."""
    across = max(1, int(10.5 * figure.get_figwidth() / (max(map(len, names)) + 8)))
    rows = -(-len(names) // across)
    lines = [Line2D([], [], color=run_colour(i), linewidth=2.5) for i in range(len(names))]
    figure.legend(lines, names, loc="outside lower center", ncols=-(-len(names) // rows), frameon=False)


def _strip(axis: Axes, place: int, values: Sequence[float], gid: str) -> None:
    if not values:
        return
    spread = np.random.RandomState(place).uniform(-0.24, 0.24, len(values))
    axis.scatter(place + spread, values, s=12, color=run_colour(place), alpha=0.55, linewidths=0, gid=gid)
    axis.hlines(float(np.mean(values)), place - 0.34, place + 0.34, color=run_colour(place), linewidth=2.4)


def _satisfaction_grid(runs: Sequence[Run], rows: Sequence[Sequence[dict[str, Any]]], unit: str, heading: str) -> str:
    names = list(dict.fromkeys(row["class"] for of_run in rows for row in of_run))
    tips: dict[str, list[str]] = {}
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(len(runs), len(names), WIDTH / max(len(names), 3), 1.7)
        for j, name in enumerate(names):
            column = [[row for row in of_run if row["class"] == name] for of_run in rows]
            limits = _limits([row for of_run in column for row in of_run])
            for i, run in enumerate(runs):
                axes[i][j].set_title(f"{run.name}: {name}")
                _measures(axes[i][j], column[i], *limits, tips, f"tip-bound-{i}-{j}")
        every = [row for of_run in rows for row in of_run]
        slices, pairs = (any(str(row.get(key, "")) for row in every) for key in ("slice", "other"))
        for line in axes:
            line[0].set_ylabel(unit)
        for axis in axes[-1]:
            axis.set_xlabel(
                f"{'slices' if slices else 'pairs of cases' if pairs else 'cases'}, those with small bounds first"
            )
        return inline_svg(figure, f"measures of {heading} against their bounds", tips)


def _limits(rows: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Give the y range that holds all measures and finite bounds; not below 0 where none is negative."""
    values = [row[key] for row in rows for key in ("measure", "lower", "upper") if key in row]
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 1.0
    return (low - pad if low < 0 or low > pad else -0.5 * pad), high + pad


def _measures(
    axis: Axes, rows: Sequence[dict[str, Any]], low: float, high: float, tips: dict[str, list[str]], gid: str
) -> None:
    """Draw dots over the band of their intervals, in the order of the intervals' middles; an empty one is a line."""
    axis.set_xticks([])
    axis.set_ylim(low, high)
    axis.grid(axis="x", visible=False)
    if not rows:
        return
    lower, upper = (np.array([row.get(side, np.nan) for row in rows]) for side in ("lower", "upper"))
    measure, states = np.array([row["measure"] for row in rows]), np.array([row["state"] for row in rows])
    middle = np.nanmean([lower, upper], axis=0) / (high - low)
    order = np.lexsort((measure, middle.round(3)))  # bounds that differ by rounding alone are one
    floor, ceiling = np.nan_to_num(lower, nan=low)[order], np.nan_to_num(upper, nan=high)[order]
    edges = np.arange(len(rows) + 1) - 0.5
    axis.stairs(ceiling, edges, baseline=floor, fill=True, color="#DCE6EE", zorder=1, linewidth=0)
    point = np.flatnonzero(ceiling - floor < 0.004 * (high - low))
    axis.hlines(floor[point], point - 0.5, point + 0.5, color="#9DB6CA", linewidth=2, zorder=2)
    for state, (colour, marker) in STATE_STYLES.items():
        place = np.flatnonzero(states[order] == state)
        axis.scatter(
            place,
            measure[order][place],
            s=16,
            color=colour,
            marker=marker,
            linewidths=0,
            zorder=3,
            gid=f"{gid}-{state}",
        )
        tips[f"{gid}-{state}"] = [_measure_tip(rows[order[at]]) for at in place]
    axis.set_xlim(-0.5, len(rows) - 0.5)


def _measure_tip(row: dict[str, Any]) -> str:
    place = f", slice {int(float(row['slice'])) + 1}" if str(row.get("slice", "")) else ""
    sides = [f"{side} {row[key]:.4g}" for side, key in (("at least", "lower"), ("at most", "upper")) if key in row]
    place += f" beside {row['other']}" if row.get("other") else ""
    return f"{row['case']}{place}: {row['measure']:.4g} {row['unit']}, bound: {' and '.join(sides)}"


def grid(down: int, across: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """Make a figure of `down` x `across` panels, width and height of each in inches."""
    figure = Figure(figsize=(width * across, height * down), layout="constrained")
    return figure, [list(line) for line in figure.subplots(down, across, squeeze=False)]
