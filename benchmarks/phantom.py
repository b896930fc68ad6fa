# SPDX-License-Identifier: Apache-2.0
"""Generated hearts: four modes x three seeds on the data set's own test patients, on the CPU.

make bench-phantom
"""

from __future__ import annotations

import argparse
from pathlib import Path

from grid import run_grid, table

MODES = ("full", "partial", "quadratic", "logbarrier")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data/PHANTOM")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/phantom"))
    options = parser.parse_args()
    common = {
        "dataset_dir": Path(options.data).resolve(),
        "train#trainer#max_epochs": options.epochs,
        "validation": 0,
    }
    arms = {mode: (("cpu.yaml",), {"mode": mode}) for mode in MODES}
    print(table(run_grid(arms, options.seeds, common, options.out, options.jobs)))


if __name__ == "__main__":
    main()
