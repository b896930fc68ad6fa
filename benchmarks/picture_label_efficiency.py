# SPDX-License-Identifier: Apache-2.0
"""The README's figure: Dice against minutes of drawing, from the results of `benchmarks/run.py label-efficiency`.

python benchmarks/picture_label_efficiency.py
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from label_arms import ARMS, DRAWINGS, METHODS, PHOTOGRAPHS
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullLocator
from PIL import Image

from wss_monai.report.figures import STYLE
from wss_monai.report.palette import run_colour

MARKERS = {"tags": "v", "points": "o", "scribble": "^", "box": "s", "dense": "D"}
WORDS = {"tags": "tags", "points": "points", "scribble": "scribbles", "box": "boxes", "dense": "dense masks"}
COLOURS = {method: run_colour(i) for i, method in enumerate(("partial", "pseudo", "pseudo_constraints", "constraints"))}
COLOURS["full"] = run_colour(6)
TICKS = (10, 20, 50, 100, 200, 500, 1000, 2000)
WIDTH, HEIGHT, DPI = 8.3, 4.3, 150
LOWEST = 0.48
"""Dice at the lower edge; what lies below is named there, so that the others stay apart."""


@dataclass(frozen=True)
class Mark:
    """An arm: mean minutes, by both assumptions, and mean, least and largest Dice over its seeds."""

    name: str
    minutes: float
    photographs: float
    dice: float
    least: float
    largest: float

    @property
    def kind(self) -> str:
        """What is drawn."""
        return DRAWINGS[ARMS[self.name].drawing].kind

    @property
    def method(self) -> str:
        """What is trained."""
        return ARMS[self.name].method

    @property
    def thinned(self) -> bool:
        """Whether only every third slice is drawn in."""
        return self.drawing.endswith("_third")

    @property
    def drawing(self) -> str:
        """Name of the drawing."""
        return ARMS[self.name].drawing

    @property
    def words(self) -> str:
        """What stands beside the mark."""
        patients = DRAWINGS[self.drawing].patients
        text = "1/3" if self.thinned else "" if patients is None else str(patients)
        return f"+ {ARMS[self.name].dense} dense" if ARMS[self.name].dense else text


def read_marks(file: Path, score: str) -> list[Mark]:
    """The arms of a CSV file, in the order of their minutes."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["arm"] in ARMS]
    marks = []
    for name in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == name]
        dice = [float(row[score]) for row in own]
        both = [statistics.fmean(float(row[key]) for row in own) for key in ("minutes", "minutes_photographs")]
        marks.append(Mark(name, *both, statistics.fmean(dice), min(dice), max(dice)))
    return sorted(marks, key=lambda mark: mark.minutes)


def draw(marks: Sequence[Mark]) -> Figure:
    """The figure."""
    with matplotlib.rc_context(STYLE):
        figure = Figure((WIDTH, HEIGHT), layout="constrained")
        axis = figure.add_subplot()
        for method, colour in COLOURS.items():
            for kind in MARKERS:
                own = [mark for mark in marks if mark.dice >= LOWEST and (mark.method, mark.kind) == (method, kind)]
                line = [mark for mark in own if not mark.thinned and not ARMS[mark.name].dense]
                axis.plot([m.minutes for m in line], [m.dice for m in line], color=colour, linewidth=1.4, zorder=2)
                for mark in own:
                    draw_mark(axis, mark, colour)
        dense = [mark for mark in marks if mark.kind == "dense"]
        dotted = {"color": COLOURS["full"], "linestyle": ":", "linewidth": 1.2}
        axis.plot([m.photographs for m in dense], [m.dice for m in dense], **dotted)
        if whole := [mark for mark in marks if mark.name == "dense_full"]:
            axis.axhline(whole[0].dice, color=COLOURS["full"], linestyle=(0, (5, 3)), linewidth=1, zorder=1)
            text = "dense masks of all patients"
            axis.annotate(text, (0.005, whole[0].dice), xycoords=("axes fraction", "data"), xytext=(0, 3),
                          textcoords="offset points", fontsize=8, color=COLOURS["full"])  # fmt: skip
        name_those_below(axis, [mark for mark in marks if mark.dice < LOWEST])
        axis.set_ylim(bottom=LOWEST)
        axis.set_xscale("log")
        axis.set_xticks(TICKS, [str(tick) for tick in TICKS])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel("minutes of drawing (assumed), log scale")
        axis.set_ylabel("Dice, 8 unseen patients")
        legends(figure, marks)
    return figure


def draw_mark(axis: Axes, mark: Mark, colour: str) -> None:
    """A mark with the range of its seeds, and what it is."""
    axis.plot([mark.minutes] * 2, [mark.least, mark.largest], color=colour, linewidth=1, alpha=0.6, zorder=2)
    axis.plot(
        mark.minutes, mark.dice, MARKERS[mark.kind], color=colour, markersize=7,
        markerfacecolor="white" if mark.thinned else colour, markeredgewidth=1.3, zorder=3,
    )  # fmt: skip
    place, side = ((-6, 6), "right") if mark.method == "pseudo" else ((6, -10), "left")
    if ARMS[mark.name].dense:
        place, side = (7, -3), "left"
    axis.annotate(
        mark.words, (mark.minutes, mark.dice), xytext=place, textcoords="offset points", ha=side, fontsize=7.5,
        color=colour, zorder=4, path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )  # fmt: skip


def name_those_below(axis: Axes, marks: Sequence[Mark]) -> None:
    """A line a kind of drawing, at the lower edge: how far below it is."""
    for kind in dict.fromkeys(mark.kind for mark in marks):
        own = [mark for mark in marks if mark.kind == kind]
        ends = dict.fromkeys(f"{dice:.2f}" for dice in (min(m.dice for m in own), max(m.dice for m in own)))
        axis.plot(own[0].minutes, LOWEST + 0.01, MARKERS[kind], color="#4B5563", markersize=7, zorder=3)
        axis.annotate(
            f"{WORDS[kind]}: {' to '.join(ends)}", (own[0].minutes, LOWEST + 0.01), xytext=(8, -3),
            textcoords="offset points", fontsize=7.5, color="#4B5563", zorder=4,
        )  # fmt: skip


def legends(figure: Figure, marks: Sequence[Mark]) -> None:
    """What the marks and the colours mean, to the right."""
    kinds = [kind for kind in MARKERS if any(mark.kind == kind for mark in marks)]
    methods = [method for method in COLOURS if any(mark.method == method for mark in marks)]
    entries = [Line2D([], [], linestyle="none", label="drawn")]
    entries += [Line2D([], [], marker=MARKERS[k], linestyle="none", color="#4B5563", label=WORDS[k]) for k in kinds]
    hollow = {"marker": "o", "markerfacecolor": "white", "color": "#4B5563", "linestyle": "none"}
    entries += [Line2D([], [], label="hollow: every third slice", **hollow)] if any(m.thinned for m in marks) else []
    entries += [Line2D([], [], linestyle="none", label=""), Line2D([], [], linestyle="none", label="trained on it")]
    entries += [Line2D([], [], color=COLOURS[method], linewidth=2, label=METHODS[method]) for method in methods]
    dotted = Line2D([], [], color=COLOURS["full"], linestyle=":", label=f"the same at {PHOTOGRAPHS:.0f} s a mask")
    entries += [dotted] if "full" in methods else []
    entries += [Line2D([], [], linestyle="none", label=""), Line2D([], [], linestyle="none", label="number: patients;")]
    entries += [Line2D([], [], linestyle="none", label="without one: all 32")]
    figure.legend(handles=entries, loc="outside right center", frameon=False, fontsize=8, handlelength=1.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    results = Path(__file__).resolve().parents[1] / "docs" / "results" / "label-efficiency" / "fold1.csv"
    parser.add_argument("--csv", type=Path, default=results)
    parser.add_argument("--score", default="dice", help="column of the CSV file, such as dice_largest")
    parser.add_argument("--out", type=Path, default=Path("docs/images/label-efficiency.png"))
    options = parser.parse_args()
    figure = draw(read_marks(options.csv, options.score))
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(64, dither=Image.Dither.NONE).save(options.out, optimize=True)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
