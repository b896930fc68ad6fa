# SPDX-License-Identifier: Apache-2.0
"""Mean (standard deviation) of the scores of runs as Markdown, CSV or LaTeX, over cases or over seeds."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wss_monai.io.score_words import score_word
from wss_monai.io.tables import in_cell
from wss_monai.report.case_scores import (
    class_scores,
    default_metrics,
    mean_score,
    measured_classes,
    of_case,
    scored_runs,
    unit_of,
)
from wss_monai.report.run_folder import Run, read_runs

__all__ = ["FORMATS", "Group", "Score", "score_table", "seed_groups", "table_text"]

FORMATS = ("markdown", "csv", "latex")
OWN = {"seed", "device", "machine", "versions", "patients", "commit", "checkpoint"}
"""What run.json says that runs which differ by their seed alone may not share."""

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "“": "``",
    "”": "''",
    "²": r"$^2$",
    "³": r"$^3$",
}


@dataclass(frozen=True)
class Group:
    """One row: a run, or runs that share all settings but the seed.

    Attributes:
        name: in words.
        runs: its runs.
    """

    name: str
    runs: list[Run]


@dataclass(frozen=True)
class Score:
    """Mean and sample standard deviation of a metric.

    Attributes:
        metric: its name.
        of: class, or "mean" of the classes.
        n: of how many cases, slices or seeds; those without a dense label do not count.
        mean: None where n is 0.
        std: None where n is below 2.
    """

    metric: str
    of: str
    n: int
    mean: float | None
    std: float | None


def score_table(
    runs: Sequence[Path | str], metrics: Sequence[str] | None = None, *, labels: Sequence[str] | None = None
) -> list[tuple[Group, list[Score]]]:
    """Average scores over the cases of each run, or over runs that differ by their seed alone.

    Of a single run, mean and deviation are over its cases (slices, for metrics of slices); of several seeds over the
    runs' means. Under "mean" is the mean of the classes' means, and the deviation of the cases' means over classes.

    Args:
        runs: folders of evaluated runs, scored on the same cases.
        metrics: of the cases or of their slices, as ``class_scores`` takes them; None: Dice, and without dense labels
            the shares of the strokes that are right.
        labels: one a row; by default mode or folder.

    Returns:
        Each row with its scores, classes and "mean" for each metric; of one class there is no "mean", and of metrics of
        whole cases nothing else.

    Raises:
        FileNotFoundError: if a run folder or a file in it is missing.
        ValueError: if a run is not evaluated or has no such metric.
    """
    read = read_runs([Path(run) for run in runs])
    if metrics is None:
        metrics = default_metrics([run for run in read if run.summary is not None] or read)
    scored_runs(read, metrics)
    groups = seed_groups(read)
    if labels is not None:
        if len(labels) != len(groups):
            rows = "; ".join(group.name for group in groups)
            raise ValueError(f"labels must be one a row: {len(groups)} rows ({rows}) and {len(labels)} labels.")
        groups = [Group(label, group.runs) for label, group in zip(labels, groups, strict=True)]
    classes = measured_classes(read)
    columns = [*classes, "mean"] if len(classes) > 1 else classes
    shown = [(metric, of) for metric in metrics for of in (["mean"] if of_case(metric) else columns)]
    return [(group, [_score(group, metric, of) for metric, of in shown]) for group in groups]


def seed_groups(runs: Sequence[Run]) -> list[Group]:
    """Put runs together that share all of run.json but the seed; runs with the same seed stay apart."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        shared = {key: value for key, value in run.info.items() if key not in OWN}
        found.setdefault(json.dumps(shared, sort_keys=True, default=str), []).append(run)
    parts: list[list[Run]] = []
    for members in found.values():
        seeds = [str(run.info.get("seed")) for run in members]
        parts += [members] if len(set(seeds)) == len(seeds) else [[run] for run in members]
    modes = [str(part[0].info.get("mode") or part[0].name) for part in parts]
    if len(set(modes)) < len(modes):
        modes = [part[0].name if len(part) == 1 else f"{part[0].name} and others" for part in parts]
    return [Group(mode, part) for mode, part in zip(modes, parts, strict=True)]


def table_text(rows: Sequence[tuple[Group, list[Score]]], kind: str = "markdown") -> str:
    """Write the table.

    Args:
        rows: what ``score_table`` gives.
        kind: one of ``FORMATS``. CSV has a line for each row, metric and class, with all digits.

    Raises:
        ValueError: if kind is none of them.
    """
    if kind not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {kind!r}.")
    if kind == "csv":
        return _csv(rows)
    scores = rows[0][1]
    alone = len({score.of for score in scores if not of_case(score.metric)}) <= 1
    head = ["run", "bounds", "over"]
    head += [score_word(s.metric) + ("" if alone or of_case(s.metric) else f", {s.of}") for s in scores]
    lines = [[group.name, _origin(group), _over(group, found), *map(_cell, found)] for group, found in rows]
    note = "Mean (sample standard deviation) over what the column “over” says."
    return _markdown(head, lines, note) if kind == "markdown" else _latex(head, lines, note)


def _score(group: Group, metric: str, of: str) -> Score:
    scores = [class_scores(run, metric) for run in group.runs]
    means = [mean for found in scores if (mean := mean_score(found, of)) is not None]
    spread = np.array(means) if len(group.runs) > 1 else scores[0][of]
    deviation = float(spread.std(ddof=1)) if len(spread) > 1 else None
    return Score(metric, of, len(spread), float(np.mean(means)) if means else None, deviation)


def _origin(group: Group) -> str:
    return group.runs[0].bounds_origin or "none"


def _over(group: Group, scores: Sequence[Score]) -> str:
    """Say what mean and deviation are taken over: "3 seeds", "16 cases", "158 slices", or "16 cases, 158 slices"."""
    if len(group.runs) > 1:
        return f"{len(group.runs)} seeds"
    numbers: dict[str, int] = {}
    for score in scores:
        unit = unit_of(score.metric)
        numbers[unit] = max(score.n, numbers.get(unit, 0))
    return ", ".join(f"{n} {unit if n != 1 else unit[:-1]}" for unit, n in numbers.items())


def _cell(score: Score) -> str:
    if score.mean is None:
        return "–"
    share = any(word in score.metric for word in ("dice", "iou", "right", "recall", "partial_ce"))
    digits = 3 if share else 1
    deviation = "" if score.std is None else f" ({score.std:.{digits}f})"
    return f"{score.mean:.{digits}f}{deviation}".replace("-", "−")


def _csv(rows: Sequence[tuple[Group, list[Score]]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["run", "bounds", "over", "metric", "class", "n", "mean", "std"])
    for group, scores in rows:
        for s in scores:
            over = "seeds" if len(group.runs) > 1 else unit_of(s.metric)
            numbers: list[Any] = ["" if value is None else value for value in (s.mean, s.std)]
            row = [group.name, _origin(group), over, s.metric, s.of, s.n, *numbers]
            writer.writerow([in_cell(value) for value in row])
    return buffer.getvalue()


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]], note: str) -> str:
    cells = [[text.replace("|", "\\|") for text in line] for line in [head, *lines]]
    rule = [*["---"] * 3, *["---:"] * (len(head) - 3)]
    text = "\n".join("| " + " | ".join(line) + " |" for line in [cells[0], rule, *cells[1:]])
    return f"{text}\n\n{note}\n"


def _latex(head: Sequence[str], lines: Sequence[Sequence[str]], note: str) -> str:
    cells = [" & ".join("".join(LATEX.get(letter, letter) for letter in text) for text in line) for line in lines]
    top = " & ".join("".join(LATEX.get(letter, letter) for letter in text) for text in head)
    rows = "".join(f"  {line} \\\\\n" for line in cells)
    columns = "lll" + "r" * (len(head) - 3)
    return (
        f"% {note}\n\\begin{{tabular}}{{{columns}}}\n  \\hline\n  {top} \\\\\n  \\hline\n{rows}  \\hline\n"
        "\\end{tabular}\n"
    )
