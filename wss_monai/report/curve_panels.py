# SPDX-License-Identifier: Apache-2.0
"""The course of training in a report: a panel for each column of metrics.csv, under a title in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from wss_monai.report.curve_words import curve_axis, curve_note, curve_title
from wss_monai.report.figures import STYLE, WIDTH, grid, log_where_wide
from wss_monai.report.inline_svg import inline_svg
from wss_monai.report.palette import run_colour
from wss_monai.report.run_folder import Run

__all__ = ["CurveGroup", "curve_groups"]

DOTS = 25
"""As many epochs at most have dots; beyond they are not drawn, but can be pointed at."""


@dataclass(frozen=True)
class CurveGroup:
    """Curves that belong together.

    Attributes:
        heading: of the group.
        svg: its panels.
        notes: (title, sentence) of the panels that need one.
    """

    heading: str
    svg: str
    notes: list[tuple[str, str]]


def curve_groups(runs: Sequence[Run]) -> list[CurveGroup]:
    """Draw each column of metrics.csv over the epochs, all runs in one panel.

    Returns:
        Losses, violations, validation and schedule, as far as there are numbers.
    """
    columns = list(dict.fromkeys(column for run in runs for row in run.epochs for column in row))
    known = ("epoch", "iteration", "seconds", "lr", "t")
    validation = [c for c in columns if c.startswith("val_")]
    violations = [c for c in columns if c.startswith("violation_")]
    losses = [c for c in columns if c == "loss"] + [c for c in columns if c.startswith("loss_")]
    groups: dict[str, list[str]] = {
        "Loss": losses,
        "Constraint violation in training": violations,
        "Validation": validation,
        "Training batches": [c for c in columns if c not in {*known, *losses, *violations, *validation}],
        "Schedule": [c for c in ("lr", "t") if c in columns],
    }
    barrier = any(len({row["t"] for row in run.epochs if "t" in row}) > 1 for run in runs)
    names = runs[0].class_names
    return [
        CurveGroup(
            heading,
            _panels(runs, found, names),
            [(curve_title(c, names), note) for c in found if (note := curve_note(c, barrier))],
        )
        for heading, found in groups.items()
        if found
    ]


def _panels(runs: Sequence[Run], columns: Sequence[str], names: Sequence[str]) -> str:
    across = 3
    tips: dict[str, list[str]] = {}
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(math.ceil(len(columns) / across), across, WIDTH / across, 2.2)
        places = [axis for line in axes for axis in line]
        for number, (axis, column) in enumerate(zip(places, columns, strict=False)):
            drawn = _lines(axis, runs, column, tips, number)
            axis.set_title(_wrapped(curve_title(column, names)))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            _set_ends(axis, column, drawn)
        for axis in places[len(columns) :]:
            axis.set_visible(False)
        for axis in axes[-1]:
            axis.set_xlabel("epoch")
        return inline_svg(figure, ", ".join(curve_title(c, names) for c in columns) + ", over the epochs", tips)


def _lines(axis: Axes, runs: Sequence[Run], column: str, tips: dict[str, list[str]], number: int) -> list[float]:
    drawn: list[float] = []
    for i, run in enumerate(runs):
        points = [(row["epoch"], row[column]) for row in run.epochs if column in row and "epoch" in row]
        points = [(epoch, value) for epoch, value in points if math.isfinite(value)]
        if not points:
            continue
        x, y = np.array(points).T
        axis.plot(x, y, color=run_colour(i), linewidth=1.5, zorder=2)
        gid, seen = f"tip-curve-{number}-{i}", len(x) <= DOTS
        axis.scatter(x, y, s=9 if seen else 30, color=run_colour(i), alpha=1 if seen else 0, linewidths=0, gid=gid)
        tips[gid] = [f"{run.name}, epoch {epoch:.0f}: {value:.4g}" for epoch, value in points]
        drawn += y.tolist()
    return drawn


def _set_ends(axis: Axes, column: str, drawn: Sequence[float]) -> None:
    """Let shares go from 0 to 1, and what cannot be negative from 0, unless it spans powers of ten."""
    log_where_wide(axis, drawn)
    if not drawn or axis.get_yscale() == "log":
        return
    low, high = curve_axis(column)
    if low is not None and min(drawn) >= low:
        axis.set_ylim(bottom=low - (0.02 if high is not None else 0))
        if high is None and max(drawn) > 0:
            axis.set_ylim(top=1.08 * max(drawn))
    if high is not None and max(drawn) <= high:
        axis.set_ylim(top=high + 0.02)


def _wrapped(title: str) -> str:
    return title if len(title) <= 46 else title[:45] + "…"
