# SPDX-License-Identifier: Apache-2.0
"""Do predicted and reference volumes agree: scatter plots and Bland-Altman plots of each class, with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wss_monai.report.figures import STYLE, WIDTH
from wss_monai.report.inline_svg import inline_svg
from wss_monai.report.palette import run_colour
from wss_monai.report.run_folder import Run

__all__ = ["Agreement", "agreement_figure", "agreements"]

LIMIT = 1.96


@dataclass(frozen=True)
class Agreement:
    """How the volumes of a class agree in a run (Bland and Altman, Lancet 1986).

    Attributes:
        run, name: run and class.
        n: volumes.
        bias: mean of predicted - reference, ml.
        lower, upper: limits of agreement, bias -+ 1.96 sample standard deviations, ml; None for a single volume.
        correlation: Pearson's; None where a side does not vary.
    """

    run: str
    name: str
    n: int
    bias: float
    lower: float | None
    upper: float | None
    correlation: float | None


def agreements(runs: Sequence[Run]) -> list[Agreement]:
    """Give the numbers of each class and run that has references; volumes of one patient are taken as independent."""
    found = []
    for name in _classes(runs):
        for run in runs:
            rows = _rows(run, name)
            if not rows:
                continue
            predicted, reference = (np.array([row[key] for row in rows]) for key in ("volume_ml", "reference_ml"))
            difference, bias = predicted - reference, float((predicted - reference).mean())
            spread = LIMIT * float(difference.std(ddof=1)) if len(rows) > 1 else None
            varies = len(rows) > 2 and predicted.std() > 0 and reference.std() > 0
            lower, upper = (None if spread is None else bias + sign * spread for sign in (-1, 1))
            correlation = float(np.corrcoef(predicted, reference)[0, 1]) if varies else None
            found.append(Agreement(run.name, name, len(rows), bias, lower, upper, correlation))
    return found


def agreement_figure(runs: Sequence[Run]) -> str:
    """Draw reference against predicted volume above difference against mean, a column a class; empty without masks."""
    names, numbers = _classes(runs), agreements(runs)
    if not names:
        return ""
    across = min(len(names), 4)
    blocks = [names[start : start + across] for start in range(0, len(names), across)]
    width = WIDTH / max(across, 3)
    tips: dict[str, list[str]] = {}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * across, 5.0 * len(blocks)), layout="constrained")
        axes = figure.subplots(2 * len(blocks), across, squeeze=False)
        for b, block in enumerate(blocks):
            for j in range(across):
                above, below = axes[2 * b][j], axes[2 * b + 1][j]
                if j >= len(block):
                    above.set_visible(False)
                    below.set_visible(False)
                    continue
                _scatter(above, runs, block[j], tips, f"{b}-{j}")
                of_class = [found for found in numbers if found.name == block[j]]
                _bland_altman(below, runs, block[j], of_class, tips, f"{b}-{j}")
            axes[2 * b][0].set_ylabel("predicted (ml)")
            axes[2 * b + 1][0].set_ylabel("predicted − reference (ml)")
        return inline_svg(figure, "predicted and reference volumes of each class: scatter and Bland-Altman plots", tips)


def _classes(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(row["class"] for run in runs for row in run.cases if "reference_ml" in row))


def _rows(run: Run, name: str) -> list[dict[str, Any]]:
    return [row for row in run.cases if row["class"] == name and "reference_ml" in row and "volume_ml" in row]


def _scatter(axis: Axes, runs: Sequence[Run], name: str, tips: dict[str, list[str]], place: str) -> None:
    highest = 0.0
    for i, run in enumerate(runs):
        rows = _rows(run, name)
        gid = f"tip-scatter-{place}-{i}"
        x, y = [row["reference_ml"] for row in rows], [row["volume_ml"] for row in rows]
        axis.scatter(x, y, s=18, color=run_colour(i), alpha=0.7, linewidths=0, gid=gid, zorder=3)
        tips[gid] = [_tip(run, row) for row in rows]
        highest = max([highest, *x, *y])
    end = 1.05 * highest or 1.0
    axis.plot([0, end], [0, end], color="#6B7280", linewidth=0.9, zorder=2)
    axis.set(xlim=(0, end), ylim=(0, end), xlabel="reference (ml)", title=f"{name}: predicted against reference")
    axis.set_aspect("equal", adjustable="box")
    for ticks in (axis.xaxis, axis.yaxis):
        ticks.set_major_locator(MaxNLocator(5))


def _bland_altman(
    axis: Axes, runs: Sequence[Run], name: str, found: Sequence[Agreement], tips: dict[str, list[str]], place: str
) -> None:
    axis.axhline(0, color="#6B7280", linewidth=0.9, zorder=1)
    for i, run in enumerate(runs):
        rows, gid = _rows(run, name), f"tip-difference-{place}-{i}"
        x = [(row["reference_ml"] + row["volume_ml"]) / 2 for row in rows]
        y = [row["volume_ml"] - row["reference_ml"] for row in rows]
        axis.scatter(x, y, s=18, color=run_colour(i), alpha=0.7, linewidths=0, gid=gid, zorder=3)
        tips[gid] = [_tip(run, row) for row in rows]
        for numbers in found:
            if numbers.run == run.name:
                axis.axhline(numbers.bias, color=run_colour(i), linewidth=1.6, zorder=2)
                for end in (numbers.lower, numbers.upper):
                    if end is not None:
                        axis.axhline(end, color=run_colour(i), linewidth=1.1, linestyle=(0, (4, 3)), zorder=2)
    axis.set(xlabel="mean of both (ml)", title=f"{name}: difference")
    axis.yaxis.set_major_locator(MaxNLocator(6))


def _tip(run: Run, row: dict[str, Any]) -> str:
    return (
        f"{row['case']}, {row['class']}, {run.name}: predicted {row['volume_ml']:.1f} ml, "
        f"reference {row['reference_ml']:.1f} ml"
    )
