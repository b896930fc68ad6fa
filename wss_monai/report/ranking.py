# SPDX-License-Identifier: Apache-2.0
"""Which cases to show and which violations weigh most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .reading import Run

__all__ = ["chosen_cases", "severity", "worst_violations"]


def severity(row: Mapping[str, Any]) -> float:
    """Give the size of a violation without unit, so that terms can be compared.

    It is ``violation_scaled`` where the row has it, else the violation over the width of the interval, else over the
    value of its only bound, else (that bound is 0) the violation itself.
    """
    if "violation_scaled" in row:
        return float(row["violation_scaled"])
    sides = [float(row[side]) for side in ("lower", "upper") if row.get(side) is not None]
    against = sides[1] - sides[0] if len(sides) == 2 else abs(sides[0]) if sides else 0.0
    return float(row["violation"]) / (against or 1.0)


def worst_violations(runs: Sequence[Run], number: int) -> list[tuple[Run, dict[str, Any]]]:
    """Give the most severe violations of all runs, worst first, each with its run."""
    found = [(run, row) for run in runs for row in run.constraints if row["state"] == "violated"]
    return sorted(found, key=lambda pair: -severity(pair[1]))[:number]


def chosen_cases(runs: Sequence[Run], number: int) -> tuple[str, list[tuple[str, str, float | None]]]:
    """Choose cases evenly from best to worst: three are the best, the median and the worst.

    Args:
        runs: evaluated runs, all scored on the same cases.
        number: how many cases to choose.

    Returns:
        By what the cases are ranked ("dice", "violation" or "", where there is neither), and the cases as
        (rank in words, case, its score), best first. The score is a mean over classes and runs.
    """
    by, scores = _case_scores(runs)
    if not scores:
        cases = sorted(runs[0].case_ids)[:number]
        return "", [(f"case {i + 1}", case, None) for i, case in enumerate(cases)]
    order = sorted(scores, key=lambda case: (scores[case] if by == "violation" else -scores[case], case))
    picks = sorted({round(float(i)) for i in np.linspace(0, len(order) - 1, max(number, 1))}) if number else []
    return by, [(_rank(i, len(order)), order[i], scores[order[i]]) for i in picks]


def _case_scores(runs: Sequence[Run]) -> tuple[str, dict[str, float]]:
    dice: dict[str, list[float]] = defaultdict(list)
    total: dict[str, float] = {}
    for run in runs:
        for row in run.cases:
            if "dice" in row:
                dice[row["case"]].append(row["dice"])
        for row in run.constraints:
            total[row["case"]] = total.get(row["case"], 0.0) + severity(row) / len(runs)
    if dice:
        return "dice", {case: float(np.mean(values)) for case, values in dice.items()}
    return "violation", total


def _rank(i: int, n: int) -> str:
    names = {0: "best", n - 1: "worst", (n - 1) // 2: "median", n // 2: "median"}
    return "only case" if n == 1 else {**names, 0: "best", n - 1: "worst"}.get(i, f"rank {i + 1} of {n}")
