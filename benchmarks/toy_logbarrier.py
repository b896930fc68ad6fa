# SPDX-License-Identifier: Apache-2.0
"""Toy 2 of the tutorials: two circles, bounds on size and centroid, no pixel labelled; Dice against iterations.

    python benchmarks/toy_logbarrier.py

``--enforcers`` runs mode constrained instead, by each of them, with ``--weights`` of both terms
(docs/results/enforcers.md).
200 generated images (100 for validation), batch 1, so that an epoch is 200 iterations and t grows by 10 % with each.
Dice of the validation images, of the network at that iteration; in the CSV file a row a run.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from constraint_facts import write_curves
from enforcer_arms import MIDDLE_OF_SET, WEIGHTS, settings_of
from grid import ROOT, run_grid, write_csv

MODES = ("full", "quadratic", "logbarrier")
IMAGES = 200
ITERATIONS = (1000, 2000, 3000, 4000, 5000)


FACTS = ("weights", "iterations", "cpu_seconds", "steps_to_satisfy", "final_violation")


def dice_at(folder: Path) -> dict[int, float]:
    """Validation Dice of a run at the shown numbers of iterations that it has come to."""
    with (folder / "metrics.csv").open() as file:
        rows = {int(row["iteration"]): row.get("val_dice") for row in csv.DictReader(file)}
    return {count: float(rows[count]) for count in ITERATIONS if rows.get(count)}


def table(results: Mapping[str, Sequence[Mapping]], out: Path, seeds: Sequence[int]) -> str:
    """Markdown: mean Dice at each number of iterations, by seed at the published checkpoints."""
    head = ["mode", "bounds", *(f"{count}" for count in ITERATIONS)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, runs in results.items():
        cells = [name, runs[0]["bounds_origin"]]
        found = [dice_at(out / f"{name}_s{seed}") for seed in seeds]
        for count in ITERATIONS:
            values = [dice[count] for dice in found if count in dice]
            each = " / ".join(f"{value:.3f}" for value in values)
            cells.append(f"**{statistics.fmean(values):.3f}** ({each})" if values else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def arms_of(options: argparse.Namespace) -> dict[str, tuple[tuple[str, ...], dict[str, object]]]:
    """The modes, or mode constrained by each enforcer and weight."""
    if not options.enforcers:
        return {mode: ((), {"mode": mode}) for mode in options.modes}
    return {
        name + ("" if weight == 1 else f"_w{weight:g}"): ((), {**settings_of(name), "enforcer_weight": weight})
        for name in options.enforcers
        for weight in options.weights
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--modes", nargs="+", default=list(MODES))
    enforcers = [*WEIGHTS, *MIDDLE_OF_SET]
    parser.add_argument(
        "--enforcers", nargs="+", default=[], choices=enforcers, metavar="NAME", help=", ".join(enforcers)
    )
    parser.add_argument("--weights", type=float, nargs="+", default=[1.0], help="of both terms, with --enforcers")
    parser.add_argument("--epochs", type=int, default=25, help="of 200 iterations")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/toy_logbarrier"))
    parser.add_argument("--csv", type=Path, default=None, help="default: results.csv in the folder of runs")
    options = parser.parse_args()
    out = options.out.resolve()
    data = out / "data"
    if not (data / "dataset.json").exists():
        words = ["synthesize", "two-circles", "--out", str(data), "--images", str(IMAGES), "100"]
        subprocess.run([sys.executable, "-m", "wss_monai", *words], check=True, cwd=ROOT)
    common: dict[str, object] = {"dataset_dir": data, "train#trainer#max_epochs": options.epochs}
    common["val_interval"] = 5
    arms = arms_of(options)
    results = run_grid(arms, options.seeds, common, out, options.jobs, bundle="toy_logbarrier")
    print(table(results, out, options.seeds))
    for name, runs in results.items():
        for seed, run in zip(options.seeds, runs, strict=True):
            found = dice_at(out / f"{name}_s{seed}")
            run["run"] |= {f"dice_at_{count}": f"{dice:.4f}" for count, dice in found.items()}
    file = options.csv or out / "results.csv"
    write_csv(results, file, facts_too=(*(f"dice_at_{count}" for count in ITERATIONS), *FACTS))
    write_curves(out, arms, options.seeds, file.with_name(f"{file.stem}_curves.csv"))
    print(f"a row a run: {file}", file=sys.stderr)


if __name__ == "__main__":
    main()
