# SPDX-License-Identifier: Apache-2.0
"""The picture of the enforcers in docs: Dice against the weight over two decades, and violation over iterations.

    python benchmarks/run.py enforcers --tune --seeds 0 --csv docs/results/enforcers/scribbles_tried.csv
    python benchmarks/picture_enforcers.py

Both panels are means over the seeds that the files hold. Weights are relative to the middle of those that were tried;
the right panel shows the chosen ones (volumes: the middle).
"""

from __future__ import annotations

import argparse
import csv
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import matplotlib
from constraint_facts import HOLDS
from enforcer_arms import FACTORS, MIDDLE, MIDDLE_3D, MIDDLE_OF_SET, WEIGHTS
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter

from wss_monai.report.figure_file import save_figure
from wss_monai.report.figures import STYLE
from wss_monai.report.palette import run_colour

DATA = Path("docs/results/enforcers")
NAMES = {
    "quadratic": "quadratic penalty",
    "relu": "ReLU penalty",
    "logbarrier": "log-barrier extension",
    "augmented_lagrangian": "augmented Lagrangian",
    "primal_dual": "primal-dual",
    "augmented_lagrangian_set": "augmented Lagrangian, of the set",
    "primal_dual_set": "primal-dual, of the set",
}
"""Enforcer -> its label; colours are in this order."""
DASHED = (0, (4, 2))
SHOWN = 0.15
"""Dice below the best that the left panel shows."""
Points = Mapping[str, list[tuple[float, float]]]


def split_arm(arm: str, bounds: str, middle: Mapping[str, float]) -> tuple[str, float] | None:
    """Enforcer of an arm ``<enforcer>_<bounds>_w<weight>`` and its weight relative to the middle; None: another arm."""
    found = re.fullmatch(rf"(\w+)_{bounds}_w([\d.e-]+)", arm)
    if found is None or found[1] not in middle:
        return None
    return found[1], float(f"{float(found[2]) / middle[found[1]]:.3g}")


def read(file: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def by_weight(rows: Iterable[Mapping[str, str]], bounds: str, middle: Mapping[str, float]) -> Points:
    """Enforcer -> relative weights and mean Dice."""
    found: dict[tuple[str, float], list[float]] = defaultdict(list)
    for row in rows:
        if (of := split_arm(row["arm"], bounds, middle)) is not None:
            found[of].append(float(row["dice"]))
    return grouped(found)


def by_iteration(rows: Iterable[Mapping[str, str]], bounds: str, weights: Mapping[str, float]) -> Points:
    """Enforcer -> iterations and mean violations, with those weights."""
    found: dict[tuple[str, float], list[float]] = defaultdict(list)
    for row in rows:
        of = split_arm(row["arm"], bounds, weights)
        if of is not None and of[1] == 1:
            found[of[0], float(row["iteration"])].append(float(row["violation"]))
    return grouped(found)


def grouped(found: Mapping[tuple[str, float], list[float]]) -> Points:
    """Name -> sorted points, means of what was found for a name and place."""
    out: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for (name, place), values in sorted(found.items(), key=lambda item: item[0]):
        out[name].append((place, statistics.fmean(values)))
    return out


def draw(axis: Axes, points: Points, marker: str = "") -> None:
    """A line an enforcer; those with multipliers of the set are dashed."""
    for index, (name, label) in enumerate(NAMES.items()):
        if name in points:
            places, values = zip(*points[name], strict=True)
            partner = [*NAMES].index(name.removesuffix("_set")) if name in MIDDLE_OF_SET else index
            dashes = DASHED if name in MIDDLE_OF_SET else "solid"
            axis.plot(
                places, values, color=run_colour(partner), linestyle=dashes, marker=marker, ms=4, lw=1.6, label=label
            )


def cut_off(axis: Axes) -> None:
    """Show the upper ``SHOWN`` of the values; those below are written at the edge, where their lines leave."""
    values = [value for line in axis.lines for value in line.get_ydata()]
    floor = max(values) - SHOWN
    if min(values) >= floor:
        return
    axis.set_ylim(floor, max(values) + 0.05 * SHOWN)
    for line in axis.lines:
        for place, value in zip(line.get_xdata(), line.get_ydata(), strict=True):
            if value < floor:
                edge = ((place, 0), (-2, 3), axis.get_xaxis_transform(), "offset points")
                axis.annotate(f"{value:.2f}", *edge, ha="right", color=line.get_color(), fontsize=8)


def picture(
    tried: list[dict[str, str]],
    curves: list[dict[str, str]],
    bounds: str,
    middle: Mapping[str, float],
    chosen: Mapping[str, float] | None = None,
) -> Figure:
    """Both panels.

    Args:
        tried: rows of arms ``<enforcer>_<bounds>_w<weight>``, and of ``partial`` if there is one.
        curves: rows arm, seed, iteration and violation.
        bounds: whose arms are drawn.
        middle: enforcer -> weight 1 of the left panel.
        chosen: enforcer -> the weight that the right panel shows; None: the middle.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw(left, by_weight(tried, bounds, middle), "o")
        if of_partial := [float(row["dice"]) for row in tried if row["arm"] == "partial"]:
            left.axhline(statistics.fmean(of_partial), color="#555555", ls=(0, (1, 1.5)), label="partial, no bounds")
        left.set_xscale("log")
        shown = sorted(
            {*FACTORS, *(place for line in left.lines[: len(NAMES)] for place in line.get_xdata() if place > 1)}
        )
        left.set_xticks(shown, [f"x {factor:g}" for factor in shown])
        left.minorticks_off()
        cut_off(left)
        left.set(title="Dice on the validation fold", xlabel="weight, relative to the middle of those tried")
        draw(right, by_iteration(curves, bounds, chosen or middle))
        right.axhline(HOLDS, color="#555555", lw=0.8)
        right.annotate("counts as satisfied", (1, HOLDS), (0, 3), ("axes fraction", "data"), "offset points",
                       ha="right", color="#555555", fontsize=8)  # fmt: skip
        right.set_yscale("log")
        right.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        right.set(title="Mean violation in training, relative to the bounds", xlabel="iteration")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tried", type=Path, default=DATA / "scribbles_tried.csv", help="a row a run, of --tune")
    parser.add_argument("--curves", type=Path, default=DATA / "scribbles_tried_curves.csv")
    parser.add_argument("--bounds", default="estimated", help="whose arms are drawn")
    parser.add_argument("--out", type=Path, default=Path("docs/images/enforcers.png"))
    parser.add_argument("--volumes", action="store_true", help="the weights are those of enforcers_hippocampus")
    options = parser.parse_args()
    middle = {**(MIDDLE_3D if options.volumes else MIDDLE), **MIDDLE_OF_SET}
    chosen = middle if options.volumes else {**middle, **WEIGHTS}
    figure = picture(read(options.tried), read(options.curves), options.bounds, middle, chosen)
    save_figure(figure, options.out)
    print(f"{options.out}: {options.out.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
