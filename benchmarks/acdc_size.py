# SPDX-License-Identifier: Apache-2.0
"""The tutorials' size loss on real ACDC volumes: full, unconstrained and constrained, oracle and constant bounds.

    python benchmarks/acdc_size.py --data data/ACDC --split benchmarks/splits/acdc40.json

Weak labels are those of the summer school: one blob of at most 21 pixels of each class in each slice, no background,
drawn once (seed 0). Trains on folds 2 to 5 and scores fold 1 (last weights) with the network and budget of the overlay
cpu.yaml.
"""

from __future__ import annotations

import subprocess
import sys

from grid import ROOT, fold_settings, grid_parser, out_folder, run_grid, table

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
    parser = grid_parser(__doc__)
    options = parser.parse_args()
    out = out_folder(options, "acdc_size")
    blobs = out / "blobs"
    if not (blobs / "dataset.json").exists():
        weaken = [sys.executable, "-m", "wss_monai", "weaken", "--strategy", "random_blob", "--option", "width=5"]
        subprocess.run([*weaken, "--data", str(options.data), "--out", str(blobs)], check=True, cwd=ROOT)
    every = (tuning if options.tune else arms)()
    chosen = {name: every[name] for name in options.arms or every}
    common = {**fold_settings(options), "dataset_dir": blobs}
    results = run_grid(chosen, options.seeds, common, out, options.jobs, bundle="acdc_size")
    print(table(results, also=("slice_dice", "slice_dice_shown")))


if __name__ == "__main__":
    main()
