# SPDX-License-Identifier: Apache-2.0
"""The tutorials' size loss on real ACDC volumes: full, unconstrained and constrained, oracle and constant bounds.

    python benchmarks/acdc_size.py --data data/ACDC --split benchmarks/splits/acdc40.json

Weak labels are those of the summer school: one blob of at most 21 pixels of each class in each slice, no background,
drawn once (seed 0). Trains on folds 2 to 5 and scores fold 1 (last weights) with the network and budget of the overlay
cpu.yaml.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from grid import ROOT, run_grid, table

CPU = ("cpu.yaml",)
ORACLE, CONSTANT = {"bounds_from": "oracle"}, {"bounds_from": "constant"}


def arms() -> dict[str, tuple[tuple[str, ...], dict[str, object]]]:
    """All arms by name."""
    return {
        "full": (CPU, {"mode": "full"}),
        "unconstrained": (CPU, {"mode": "unconstrained"}),
        "constrained_oracle": (CPU, {"mode": "constrained", **ORACLE}),
        "constrained_constant": (CPU, {"mode": "constrained", **CONSTANT}),
    }


def tuning() -> dict[str, tuple[tuple[str, ...], dict[str, object]]]:
    """What was tried on the validation fold."""
    out = arms()
    for origin in (ORACLE, CONSTANT):
        name = f"constrained_{origin['bounds_from']}"
        for weight in (0.001, 0.1):
            out[f"{name}_w{weight}"] = (CPU, {"mode": "constrained", **origin, "size_weight": weight})
        for weight in (0.1, 1.0):
            relative = {"mode": "constrained", **origin, "published": False, "size_weight": weight}
            out[f"{name}_relative_w{weight}"] = (CPU, relative)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/ACDC"))
    parser.add_argument("--split", type=Path, default=Path("benchmarks/splits/acdc40.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=None)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--tune", action="store_true", help="train on folds 3 to 5, score fold 2: what was tried there")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    out = (options.out or Path("runs") / ("acdc_size_tune" if options.tune else "acdc_size")).resolve()
    blobs = out / "blobs"
    if not (blobs / "dataset.json").exists():
        weaken = [sys.executable, "-m", "wss_monai", "weaken", "--strategy", "random_blob", "--option", "width=5"]
        subprocess.run([*weaken, "--data", str(options.data), "--out", str(blobs)], check=True, cwd=ROOT)
    every = (tuning if options.tune else arms)()
    chosen = {name: every[name] for name in options.arms or every}
    common: dict[str, object] = {"dataset_dir": blobs, "split": options.split.resolve(), "fold": "fold1"}
    common |= {"validation": "fold2" if options.tune else "0"}
    common |= {"evaluate_on": "validation" if options.tune else "test"}
    results = run_grid(chosen, options.seeds, common, out, options.jobs, bundle="acdc_size")
    print(table(results, also=("slice_dice", "slice_dice_shown")))


if __name__ == "__main__":
    main()
