# SPDX-License-Identifier: Apache-2.0
"""The course of training of several runs in one figure: stacked panels, one line a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wss_monai.io.tables import write_csv
from wss_monai.report.figure_file import check_figure_name, save_figure
from wss_monai.report.figures import STYLE, legend_below, log_where_wide
from wss_monai.report.palette import run_colour
from wss_monai.report.run_folder import Run, read_runs

__all__ = ["DEFAULT", "chosen_columns", "curve_points", "smoothed", "write_curves"]

DEFAULT = (("loss",), ("val_size_difference", "size_difference"), ("loss_size",))
"""The panels, from top to bottom; of several names the first one that is there."""

WORDS = {
    "size_difference": "predicted − true size (voxels)",
    "val_size_difference": "predicted − true size (voxels), validation",
    "loss_size": "loss_size: cost of the size constraint, before its weight",
}


def write_curves(
    runs: Sequence[Path | str],
    out: Path | str,
    *,
    columns: Sequence[str] = (),
    by_class: bool = False,
    smooth: int = 1,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
    table: Path | str | None = None,
) -> list[str]:
    """Draw columns of metrics.csv over the epochs.

    Args:
        runs: run folders.
        out: the file to write: .png, .svg or .pdf.
        columns: a panel each; by default those of ``DEFAULT`` that are there.
        by_class: below a column its classes, such as ``val_dice_LV`` below ``val_dice``, where there are any.
        smooth: each point is the mean of so many epochs up to its own.
        labels: one a run; by default mode, seed or folder, whatever tells them apart.
        title: heading of the figure.
        limits: column -> lower and upper end of its axis.
        table: CSV file for what is drawn.

    Returns:
        The columns drawn, from top to bottom.

    Raises:
        FileNotFoundError: if a run folder or a file in it is missing.
        ValueError: if an argument does not fit, or no run has a column.
    """
    out = check_figure_name(out)
    if smooth < 1:
        raise ValueError(f"smooth must be 1 or more, got {smooth}.")
    read = read_runs([Path(run) for run in runs], scores=False)
    if labels is not None and len(labels) != len(read):
        raise ValueError(f"labels must be one a run: {len(read)} runs and {len(labels)} labels.")
    names = list(labels) if labels is not None else [run.name for run in read]
    drawn = chosen_columns(read, columns, by_class)
    ends = dict(limits or {})
    if unknown := sorted(set(ends) - set(drawn)):
        raise ValueError(f"ylim names {unknown}, which are not drawn; drawn are {drawn}.")
    points = curve_points(read, drawn, smooth)
    if table is not None:
        write_csv(table, _rows(points, names, drawn))
    save_figure(_figure(points, names, drawn, title, ends, smooth), out)
    return drawn


def chosen_columns(runs: Sequence[Run], columns: Sequence[str] = (), by_class: bool = False) -> list[str]:
    """Give the columns to draw.

    Raises:
        ValueError: if no run has a column that is asked for, or none of the default ones.
    """
    there = _columns(runs)
    if columns:
        if missing := [column for column in columns if column not in there]:
            raise ValueError(f"no run has the column {missing[0]!r} in its metrics.csv; there are {', '.join(there)}.")
        chosen = list(dict.fromkeys(columns))
    else:
        chosen = [found for group in DEFAULT if (found := next((c for c in group if c in there), None))]
    if not chosen:
        raise ValueError(f"no run has a column 'loss' in its metrics.csv; name others: {', '.join(there) or 'none'}.")
    if not by_class:
        return chosen
    classes = runs[0].class_names
    below = [[column, *(f"{column}_{name}" for name in classes)] for column in chosen]
    return list(dict.fromkeys(column for group in below for column in group if column in there))


def curve_points(runs: Sequence[Run], columns: Sequence[str], smooth: int = 1) -> list[dict[str, np.ndarray]]:
    """Give each run's points: column -> (N, 2) of epoch and value."""
    found = []
    for run in runs:
        of_run = {}
        for column in columns:
            pairs = [(row["epoch"], row[column]) for row in run.epochs if column in row and "epoch" in row]
            points = np.array(pairs, dtype=float).reshape(-1, 2)
            points[:, 1] = smoothed(points[:, 1], smooth)
            of_run[column] = points
        found.append(of_run)
    return found


def smoothed(values: np.ndarray, number: int) -> np.ndarray:
    """Give the mean of each value (N,) and the ``number`` - 1 before it, or of as many as there are."""
    return np.array([values[max(0, i + 1 - number) : i + 1].mean() for i in range(len(values))])


def _columns(runs: Sequence[Run]) -> list[str]:
    """Columns of metrics.csv that hold numbers, without those that count time."""
    clocks = ("epoch", "iteration", "seconds")
    return [c for c in dict.fromkeys(c for run in runs for row in run.epochs for c in row) if c not in clocks]


def _rows(
    points: Sequence[dict[str, np.ndarray]], names: Sequence[str], columns: Sequence[str]
) -> list[dict[str, Any]]:
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for name, of_run in zip(names, points, strict=True):
        for epoch in sorted({int(epoch) for column in columns for epoch in of_run[column][:, 0]}):
            rows[name, epoch] = {"run": name, "epoch": epoch} | dict.fromkeys(columns, "")
        for column in columns:
            for epoch, value in of_run[column]:
                rows[name, int(epoch)][column] = value
    return list(rows.values())


def _figure(
    points: Sequence[dict[str, np.ndarray]],
    names: Sequence[str],
    columns: Sequence[str],
    title: str | None,
    limits: Mapping[str, tuple[float, float]],
    smooth: int,
) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 0.9 + 2.1 * len(columns)), layout="constrained")
        panels: list[Axes] = list(figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0])
        for axis, column in zip(panels, columns, strict=True):
            _panel(axis, [of_run[column] for of_run in points])
            axis.set_title(WORDS.get(column, column))
            if column in limits:
                axis.set_ylim(*limits[column])
        panels[-1].set_xlabel("epoch" if smooth == 1 else f"epoch (means of {smooth} points)")
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        legend_below(figure, names)
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
        return figure


def _panel(axis: Axes, series: Sequence[np.ndarray]) -> None:
    values: list[float] = []
    for i, points in enumerate(series):
        if len(points):
            marker = "o" if len(points) <= 25 else ""
            axis.plot(*points.T, color=run_colour(i), linewidth=1.6, marker=marker, markersize=3.5)
            values += points[np.isfinite(points[:, 1]), 1].tolist()
    log_where_wide(axis, values)
    if values and min(values) < 0 < max(values):
        axis.axhline(0, color="#6B7280", linewidth=0.8)
