# SPDX-License-Identifier: Apache-2.0
"""Which cases to show and which violations weigh most."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wss_monai.report.run_folder import Run

__all__ = ["RANKED_BY", "case_ranks", "chosen_cases", "severities", "worst_violations"]

RANKED_BY = ("dice", "strokes_right", "box_iou", "tags_right")
"""Columns of cases.csv by which cases are ranked: the first that any case has; more is better."""

SMALLEST = 0.25


def severities(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Give the size of each violation without unit, so that terms can be compared.

    It is ``violation_scaled`` where a row has it. Else the violation is divided by the width of its interval, or by its
    only bound where one side is open; by a quarter of what is typical (the median) for its term and class where that is
    more, since a bound of 0 or of a few voxels is no measure.

    Args:
        rows: rows of evaluation/constraints.csv, of all runs to compare.
    """
    own = [_own_scale(row) for row in rows]
    of_class: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row, scale in zip(rows, own, strict=True):
        of_class[row["term"], row["class"]].append(scale or float(row["violation"]))
    typical = {key: float(np.median([v for v in values if v > 0] or [1.0])) for key, values in of_class.items()}
    return [
        float(row["violation_scaled"])
        if "violation_scaled" in row
        else float(row["violation"]) / max(scale, SMALLEST * typical[row["term"], row["class"]])
        for row, scale in zip(rows, own, strict=True)
    ]


def worst_violations(runs: Sequence[Run], number: int) -> list[tuple[Run, dict[str, Any], float]]:
    """Give the most severe violations of all runs, worst first, each with its run and its severity."""
    pairs = [(run, row) for run in runs for row in run.constraints]
    scored = zip(pairs, severities([row for _, row in pairs]), strict=True)
    found = [(run, row, size) for (run, row), size in scored if row["state"] == "violated"]
    return sorted(found, key=lambda entry: -entry[2])[:number]


def chosen_cases(runs: Sequence[Run], number: int) -> tuple[str, list[tuple[str, str, float | None]]]:
    """Choose cases evenly from best to worst: three are the best, the median and the worst.

    Args:
        runs: evaluated runs, all scored on the same cases.
        number: how many cases to choose.

    Returns:
        By what the cases are ranked (one of ``RANKED_BY``, "violation", or "" where there is nothing of it), and the
        cases as (rank in words, case, its score), best first; the words say a tie. The score is the mean of the column
        over classes and runs, or the mean severity over all constraints of the case.
    """
    by, scores = case_ranks(runs)
    if not scores:
        cases = sorted(runs[0].case_ids)[:number]
        return "", [(f"case {i + 1}", case, None) for i, case in enumerate(cases)]
    order = sorted(scores, key=lambda case: (scores[case] if by == "violation" else -scores[case], case))
    shared = Counter(round(score, 9) for score in scores.values())
    picks = sorted({round(float(i)) for i in np.linspace(0, len(order) - 1, max(number, 1))}) if number else []
    return by, [(_rank(i, len(order), shared[round(scores[order[i]], 9)]), order[i], scores[order[i]]) for i in picks]


def case_ranks(runs: Sequence[Run]) -> tuple[str, dict[str, float]]:
    """Give by what cases are ranked, as ``chosen_cases`` names it, and the score of each; less violation is better."""
    by = next((key for key in RANKED_BY if any(key in row for run in runs for row in run.cases)), "")
    score: dict[str, list[float]] = defaultdict(list)
    violation: dict[str, list[float]] = defaultdict(list)
    rows = [row for run in runs for row in run.constraints]
    for row in [row for run in runs for row in run.cases if by in row]:
        score[row["case"]].append(row[by])
    for row, size in zip(rows, severities(rows), strict=True):
        violation[row["case"]].append(size)
    by, found = (by, score) if score else ("violation", violation)
    return by, {case: float(np.mean(values)) for case, values in found.items()}


def _own_scale(row: Mapping[str, Any]) -> float:
    sides = [float(row[side]) for side in ("lower", "upper") if row.get(side) is not None]
    return sides[1] - sides[0] if len(sides) == 2 else abs(sides[0]) if sides else 0.0


def _rank(i: int, n: int, alike: int) -> str:
    """Name a place from best to worst, and with how many it is shared: there "best" and "worst" mean little."""
    if n == 1:
        return "only case"
    if alike == n:
        return f"one of {n} that tie"
    names = {0: "best", n - 1: "worst", (n - 1) // 2: "median", n // 2: "median"}
    name = {**names, 0: "best", n - 1: "worst"}.get(i, f"rank {i + 1} of {n}")
    return name + (f", tied with {alike - 1} other{'s' * (alike > 2)}" if alike > 1 else "")
