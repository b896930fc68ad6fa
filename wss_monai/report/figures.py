# SPDX-License-Identifier: Apache-2.0
"""Figures of a report as SVG text: curves over epochs, scores of the cases, satisfaction of the constraints."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from wss_monai.report.palette import STATE_STYLES, run_colour
from wss_monai.report.run_folder import Run

__all__ = ["STYLE", "curves", "legend_below", "log_where_wide", "satisfaction", "scores"]

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
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def curves(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Draw each column of metrics.csv over the epochs, all runs in one plot.

    Returns:
        (heading, SVG) of each group of columns that holds any numbers: losses, violations, validation, schedule.
    """
    columns = list(dict.fromkeys(column for run in runs for row in run.epochs for column in row))
    groups: dict[str, list[str]] = {
        "Loss": [c for c in columns if c == "loss"] + [c for c in columns if c.startswith("loss_")],
        "Constraint violation in training": [c for c in columns if c.startswith("violation_")],
        "Validation": [c for c in columns if c.startswith("val_")],
        "Schedule": [c for c in ("lr", "t") if c in columns],
    }
    return [(heading, _curve_group(runs, found)) for heading, found in groups.items() if found]


def scores(runs: Sequence[Run], metrics: Sequence[tuple[str, str]]) -> str:
    """Draw each case's score as a dot, by class, beside the runs' means.

    Args:
        runs: evaluated runs.
        metrics: columns of cases.csv and their headings.
    """
    names = list(dict.fromkeys(row["class"] for run in runs for row in run.cases))
    with matplotlib.rc_context(STYLE):
        figure, axes = _grid(len(metrics), len(names), WIDTH / max(len(names), 3), 2.3)
        for i, (metric, heading) in enumerate(metrics):
            top = max((row[metric] for run in runs for row in run.cases if metric in row), default=1.0)
            for j, name in enumerate(names):
                axis = axes[i][j]
                axis.set_title(f"{heading}, {name}")
                axis.set_xticks([])
                axis.set_xlim(-0.6, len(runs) - 0.4)
                axis.set_ylim(0, 1.02 if metric == "dice" else 1.05 * (top or 1))
                axis.grid(axis="x", visible=False)
                for r, run in enumerate(runs):
                    _strip(axis, r, [row[metric] for row in run.cases if row["class"] == name and metric in row])
        return _svg(figure)


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
        figures.append((heading, _satisfaction_grid(held, rows, unit)))
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


def _curve_group(runs: Sequence[Run], columns: Sequence[str]) -> str:
    with matplotlib.rc_context(STYLE):
        figure, axes = _grid(math.ceil(len(columns) / 3), 3, WIDTH / 3, 2.2)
        for axis, column in zip([a for line in axes for a in line], columns, strict=False):
            drawn: list[float] = []
            for i, run in enumerate(runs):
                points = [(row["epoch"], row[column]) for row in run.epochs if column in row and "epoch" in row]
                if points:
                    x, y = np.array(points).T
                    dots = "o" if len(x) <= 25 else ""
                    axis.plot(x, y, color=run_colour(i), linewidth=1.5, marker=dots, markersize=3)
                    drawn += y[np.isfinite(y)].tolist()
            axis.set_title(column)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            log_where_wide(axis, drawn)
        for axis in [a for line in axes for a in line][len(columns) :]:
            axis.set_visible(False)
        for axis in axes[-1]:
            axis.set_xlabel("epoch")
        return _svg(figure)


def _strip(axis: Axes, place: int, values: Sequence[float]) -> None:
    if not values:
        return
    spread = np.random.RandomState(place).uniform(-0.24, 0.24, len(values))
    axis.scatter(place + spread, values, s=12, color=run_colour(place), alpha=0.55, linewidths=0)
    axis.hlines(float(np.mean(values)), place - 0.34, place + 0.34, color=run_colour(place), linewidth=2.4)


def _satisfaction_grid(runs: Sequence[Run], rows: Sequence[Sequence[dict[str, Any]]], unit: str) -> str:
    names = list(dict.fromkeys(row["class"] for of_run in rows for row in of_run))
    with matplotlib.rc_context(STYLE):
        figure, axes = _grid(len(runs), len(names), WIDTH / max(len(names), 3), 1.7)
        for j, name in enumerate(names):
            column = [[row for row in of_run if row["class"] == name] for of_run in rows]
            limits = _limits([row for of_run in column for row in of_run])
            for i, run in enumerate(runs):
                axes[i][j].set_title(f"{run.name}: {name}")
                _measures(axes[i][j], column[i], *limits)
        for line in axes:
            line[0].set_ylabel(unit)
        for axis in axes[-1]:
            axis.set_xlabel("cases or slices, by their bounds")
        return _svg(figure)


def _limits(rows: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Give the y range that holds all measures and finite bounds; not below 0 where none is negative."""
    values = [row[key] for row in rows for key in ("measure", "lower", "upper") if key in row]
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 1.0
    return (low - pad if low < 0 or low > pad else -0.5 * pad), high + pad


def _measures(axis: Axes, rows: Sequence[dict[str, Any]], low: float, high: float) -> None:
    """Draw dots over the band of their intervals, in the order of the intervals' middles."""
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
    for state, (colour, marker) in STATE_STYLES.items():
        place = np.flatnonzero(states[order] == state)
        axis.scatter(place, measure[order][place], s=16, color=colour, marker=marker, linewidths=0, zorder=3)
    axis.set_xlim(-0.5, len(rows) - 0.5)


def _grid(down: int, across: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    figure = Figure(figsize=(width * across, height * down), layout="constrained")
    return figure, [list(line) for line in figure.subplots(down, across, squeeze=False)]


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub(r"'DejaVu Sans', [^;\"]*?sans-serif", FONTS, buffer.getvalue())
    return text[text.index("<svg") :]
