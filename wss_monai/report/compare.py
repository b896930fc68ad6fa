# SPDX-License-Identifier: Apache-2.0
"""How the scores of the cases, or of their slices, spread in several runs: histograms above box plots."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wss_monai.io.score_words import score_word
from wss_monai.io.tables import write_csv
from wss_monai.report.case_scores import class_scores, measured_classes, scored_runs, unit_of
from wss_monai.report.figure_file import check_figure_name, save_figure
from wss_monai.report.figures import STYLE
from wss_monai.report.palette import run_colour
from wss_monai.report.run_folder import Run, read_runs

__all__ = ["spread", "spread_table", "write_comparison"]

BINS = 20


def write_comparison(
    runs: Sequence[Path | str],
    out: Path | str,
    *,
    metric: str = "dice",
    by_class: bool = False,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    table: Path | str | None = None,
) -> list[dict[str, Any]]:
    """Draw a metric of the cases of each run.

    Args:
        runs: folders of evaluated runs, scored on the same cases.
        out: the file to write: .png, .svg or .pdf.
        metric: of the cases or of their slices, as ``class_scores`` takes it.
        by_class: the mean of the classes alone, or each class too.
        labels: one a run; by default mode, seed or folder, whatever tells them apart.
        title: heading of the figure.
        table: CSV file for the numbers of the boxes.

    Returns:
        The numbers of the boxes: what ``spread`` gives, for each run and class.

    Raises:
        FileNotFoundError: if a run folder or a file in it is missing.
        ValueError: if an argument does not fit, a run is not evaluated, or has no such metric.
    """
    out = check_figure_name(out)
    read = read_runs([Path(run) for run in runs])
    if labels is not None and len(labels) != len(read):
        raise ValueError(f"labels must be one a run: {len(read)} runs and {len(labels)} labels.")
    scored_runs(read, [metric])
    names = list(labels) if labels is not None else [run.name for run in read]
    measured = measured_classes(read)
    classes = measured if len(measured) == 1 else [*(measured if by_class else []), "mean"]
    scores = [class_scores(run, metric) for run in read]
    rows = [
        {"run": name, "class": of, **spread(found[of])}
        for of in classes
        for name, found in zip(names, scores, strict=True)
    ]
    if table is not None:
        write_csv(table, rows)
    values = [[found[of] for found in scores] for of in classes]
    save_figure(_figure(values, names, classes, metric, title, _weights(read, names)), out)
    return rows


def spread(values: np.ndarray) -> dict[str, Any]:
    """Give the numbers of a box (N,): how many, mean, sample standard deviation, and percentiles."""
    if not len(values):
        return {"n": 0}
    names = {"p5": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95}
    return {
        "n": len(values),
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)) if len(values) > 1 else "",
        **{name: float(np.percentile(values, q)) for name, q in names.items()},
    }


def spread_table(rows: Sequence[dict[str, Any]]) -> str:
    """Write the numbers of the boxes as a table of text."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [columns] + [[_text(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    sides = [str.ljust if i < 2 else str.rjust for i in range(len(columns))]
    lines = [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join(lines)


def _text(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _weights(runs: Sequence[Run], names: Sequence[str]) -> str:
    """Say which weights were scored: those that the evaluation recorded, else what is known of the last epoch."""
    texts = []
    for run in runs:
        recorded = (run.summary or {}).get("checkpoint") or run.info.get("checkpoint")
        epoch, planned = run.last("epoch"), run.info.get("max_epochs")
        last = f"epoch {epoch:.0f}" + (f" of {planned}" if planned is not None else "") if epoch else "epoch unknown"
        texts.append(str(recorded) if recorded else f"the last ones (model.pt), {last}")
    if len(set(texts)) == 1:
        return f"Weights scored: {texts[0]}"
    return "Weights scored: " + "; ".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))


def _figure(
    values: Sequence[Sequence[np.ndarray]],
    names: Sequence[str],
    classes: Sequence[str],
    metric: str,
    title: str | None,
    note: str,
) -> Figure:
    with matplotlib.rc_context(STYLE):
        across, down = len(classes), len(names)
        heights = [0.75] * down + [0.5 + 0.36 * down]
        size = (max(6.0, 3.2 * across), 1.4 + sum(heights))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down + 1, across, squeeze=False, sharex="all", height_ratios=heights)
        edges = _edges(values, metric)
        for j, (name, of_class) in enumerate(zip(classes, values, strict=True)):
            _histograms([line[j] for line in grid[:-1]], of_class, edges)
            grid[0][j].set_title("mean of the classes" if name == "mean" else name)
            _boxes(grid[-1][j], of_class, names if j == 0 else [""] * down)
            grid[-1][j].set_xlabel(score_word(metric))
        for axis, name in zip(grid[:-1, 0], names, strict=True):
            axis.set_ylabel(f"{name}\n({unit_of(metric)})", rotation=0, ha="right", va="center")
        box = "Above: histograms. Below: quartiles and median (box), 5 and 95 % (whiskers), mean (diamond)."
        figure.supxlabel("\n".join([box, *textwrap.wrap(note, round(14 * size[0]))]), fontsize=8, color="#4B5563")
        if title:
            figure.suptitle(title, fontsize=11, fontweight="bold")
        return figure


def _edges(values: Sequence[Sequence[np.ndarray]], metric: str) -> np.ndarray:
    """Give the ends of the bins, the same for all classes and runs."""
    known = np.concatenate([of_run for of_class in values for of_run in of_class])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if "dice" in metric or "iou" in metric:
        low, high = 0.0 if low < 0.5 else 0.5 if low < 0.9 else 0.9, 1.0
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def _histograms(axes: Sequence[Axes], values: Sequence[np.ndarray], edges: np.ndarray) -> None:
    counts = [np.histogram(of_run, edges)[0] for of_run in values]
    for i, (axis, of_run) in enumerate(zip(axes, counts, strict=True)):
        axis.stairs(of_run, edges, facecolor=(run_colour(i), 0.3), edgecolor=run_colour(i), linewidth=1.2, fill=True)
        axis.set_ylim(0, 1.1 * max(1, *(of_other.max() for of_other in counts)))
        axis.yaxis.set_major_locator(MaxNLocator(2, integer=True, min_n_ticks=1))


def _boxes(axis: Axes, values: Sequence[np.ndarray], names: Sequence[str]) -> None:
    """Draw the boxes from the numbers of the table; points beyond the whiskers are rings."""
    for i, of_run in enumerate(values):
        if not len(of_run):
            continue
        box, colour = spread(of_run), run_colour(i)
        axis.hlines([i, i], [box["p5"], box["p75"]], [box["p25"], box["p95"]], color=colour, linewidth=1.2)
        axis.vlines([box["p5"], box["p95"]], i - 0.16, i + 0.16, color=colour, linewidth=1.2)
        axis.barh(i, box["p75"] - box["p25"], 0.56, box["p25"], facecolor=(colour, 0.3), edgecolor=colour)
        axis.vlines(box["median"], i - 0.28, i + 0.28, color=colour, linewidth=2.4)
        axis.scatter(box["mean"], i, s=22, marker="D", facecolor="white", edgecolor=colour, zorder=4)
        beyond = of_run[(of_run < box["p5"]) | (of_run > box["p95"])]
        axis.scatter(beyond, [i] * len(beyond), s=12, facecolor="none", edgecolor=colour, linewidth=0.8)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
