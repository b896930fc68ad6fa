# SPDX-License-Identifier: Apache-2.0
"""Toy 2 of the tutorials: two circles, bounds on size and centroid, no pixel labelled; Dice against iterations.

    python benchmarks/toy_logbarrier.py

200 generated images (100 for validation), batch 1, so that an epoch is 200 iterations and t grows by 10 % with each.
Dice of the validation images, of the network at that iteration.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from grid import ROOT, run_grid

MODES = ("full", "quadratic", "logbarrier")
IMAGES = 200
ITERATIONS = (1000, 2000, 3000, 4000, 5000)


def table(results: Mapping[str, Sequence[Mapping]], out: Path, seeds: Sequence[int]) -> str:
    """Markdown: mean Dice at each number of iterations, by seed at the published checkpoints."""
    head = ["mode", "bounds", *(f"{count}" for count in ITERATIONS)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, runs in results.items():
        cells = [name, runs[0]["bounds_origin"]]
        for count in ITERATIONS:
            values = []
            for seed in seeds:
                with (out / f"{name}_s{seed}" / "metrics.csv").open() as file:
                    rows = {int(row["iteration"]): row["val_dice"] for row in csv.DictReader(file)}
                if rows.get(count):
                    values.append(float(rows[count]))
            each = " / ".join(f"{value:.3f}" for value in values)
            cells.append(f"**{statistics.fmean(values):.3f}** ({each})" if values else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--modes", nargs="+", default=list(MODES))
    parser.add_argument("--epochs", type=int, default=25, help="of 200 iterations")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/toy_logbarrier"))
    options = parser.parse_args()
    out = options.out.resolve()
    data = out / "data"
    if not (data / "dataset.json").exists():
        words = ["synthesize", "two-circles", "--out", str(data), "--images", str(IMAGES), "100"]
        subprocess.run([sys.executable, "-m", "wss_monai", *words], check=True, cwd=ROOT)
    common: dict[str, object] = {"dataset_dir": data, "train#trainer#max_epochs": options.epochs}
    common["val_interval"] = 5
    arms = {mode: ((), {"mode": mode}) for mode in options.modes}
    results = run_grid(arms, options.seeds, common, out, options.jobs, bundle="toy_logbarrier")
    print(table(results, out, options.seeds))


if __name__ == "__main__":
    main()
