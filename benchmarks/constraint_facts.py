# SPDX-License-Identifier: Apache-2.0
"""How soon and how well the constraints of a run were met, from its metrics.csv.

A row of metrics.csv is an epoch; its columns ``violation_TERM`` are means over the epoch's training batches of
max(z, 0), z being the distance of a finite side of a bound relative to the bound.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

HOLDS = 0.05
"""A mean violation that counts as satisfied: sides are missed by 5 % of their bounds in the mean. It never
comes to 0 in augmented batches; on the scribbles of ACDC runs end at 0.02 to 0.1."""
NEVER = "never"


def violations(folder: Path) -> list[tuple[int, float]]:
    """Iteration at the end of each epoch, and the largest of the terms' mean violations; empty without constraints."""
    file = folder / "metrics.csv"
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    out = []
    for row in rows:
        each = [float(value) for name, value in row.items() if name.startswith("violation_") and value]
        if each:
            out.append((int(row["iteration"]), max(each)))
    return out


def steps_to_hold(curve: Iterable[tuple[int, float]], threshold: float = HOLDS) -> int | None:
    """Iterations at the end of the first epoch from which on no violation is above the threshold; None: never."""
    held = None
    for iteration, violation in curve:
        held = None if not violation <= threshold else (iteration if held is None else held)
    return held


def constraint_facts(folder: Path) -> dict[str, object]:
    """``steps_to_satisfy`` ("never" where that is so) and ``final_violation`` of a run; None without constraints."""
    curve = violations(folder)
    steps = steps_to_hold(curve)
    return {
        "steps_to_satisfy": None if not curve else NEVER if steps is None else steps,
        "final_violation": f"{curve[-1][1]:.4g}" if curve else None,
    }


def write_curves(out: Path, arms: Iterable[str], seeds: Iterable[int], file: Path) -> None:
    """Write a row an arm, seed and epoch: the violations of all runs of a grid."""
    seeds = list(seeds)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["arm", "seed", "iteration", "violation"])
        for arm in arms:
            for seed in seeds:
                for iteration, violation in violations(out / f"{arm}_s{seed}"):
                    writer.writerow([arm, seed, iteration, f"{violation:.4g}"])
