# SPDX-License-Identifier: Apache-2.0
"""Where bounds come from on real ACDC volumes: constant, estimated from k dense patients, oracle; scribbles, points.

    python benchmarks/acdc_bounds.py --data data/ACDC --split benchmarks/splits/acdc40.json

Trains on folds 2 to 5 and scores fold 1 (last weights) with the network and budget of the overlay cpu.yaml. Points are
one disc of radius 2 voxels in each class of each slice, background included, drawn once (seed 0). The k dense patients
are drawn out of the training patients by the run's seed; the ``+k`` arms train on their dense labels too. The ``far``
arms learn from the background beyond the estimated extent of the classes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from grid import ROOT, fold_settings, grid_parser, out_folder, run_grid, show

CPU = ("cpu.yaml",)
FAR = ("cpu.yaml", "far_background.yaml")
PSEUDO = ("cpu.yaml", "pseudo_labels.yaml")
LARGE = {
    "network_def": {
        "_target_": "UNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 4,
        "channels": [16, 32, 64, 128, 256],
        "strides": [2, 2, 2, 2],
        "num_res_units": 2,
    }
}
CONSTANT = {name: [10, 6000] for name in ("RV", "Myo", "LV")}  # mm2, as in train.yaml
LABELS = ("scribbles", "points")


def arms(k: int, data: dict[str, Path], bounds: Path) -> dict[str, tuple[tuple[str, ...], dict[str, object]]]:
    """All arms by name."""
    out: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {"full": (CPU, {"mode": "full"})}
    for labels in LABELS:
        common: dict[str, object] = {"dataset_dir": data[labels]}
        estimated = {"bounds_from": "estimated", "bounds_file": str(bounds / f"{labels}_k{k}_s{{seed}}.json")}
        out[f"{labels}_partial"] = (CPU, {**common, "mode": "partial"})
        out[f"{labels}_partial+{k}"] = (CPU, {**common, "mode": "partial", "dense": k})
        for mode in ("logbarrier", "quadratic"):
            out[f"{labels}_{mode}"] = (CPU, {**common, "mode": mode})
            out[f"{labels}_{mode}_estimated"] = (CPU, {**common, "mode": mode, **estimated})
            out[f"{labels}_{mode}_oracle"] = (CPU, {**common, "mode": mode, "bounds_from": "oracle"})
        out[f"{labels}_partial_far"] = (FAR, {**common, "mode": "partial", **estimated})
        out[f"{labels}_logbarrier_far"] = (FAR, {**common, "mode": "logbarrier", **estimated})
        out[f"{labels}_logbarrier_estimated+{k}"] = (CPU, {**common, "mode": "logbarrier", **estimated, "dense": k})
    for name in ("full", "scribbles_partial", "scribbles_logbarrier_estimated"):
        out[f"{name}_large"] = (CPU, {**out[name][1], **LARGE})
    return out


def tuning(k: int, data: dict[str, Path], bounds: Path) -> dict[str, tuple[tuple[str, ...], dict[str, object]]]:
    """What was tried on the validation fold, from scribbles."""
    every = arms(k, data, bounds)
    names = ("full", "scribbles_partial", "scribbles_partial_far", "scribbles_logbarrier_far")
    out = {name: every[name] for name in names}
    estimated = every["scribbles_logbarrier_estimated"][1]
    for weight in (0.001, 0.003, 0.01):
        out[f"scribbles_logbarrier_estimated_w{weight}"] = (CPU, {**estimated, "size_weight#logbarrier": weight})
    out["full_average"] = (PSEUDO, {"mode": "full"})
    out["scribbles_partial_pseudo"] = (PSEUDO, every["scribbles_partial"][1])
    out["scribbles_logbarrier_estimated_pseudo"] = (PSEUDO, estimated)
    out[f"scribbles_logbarrier_estimated_pseudo+{k}"] = (PSEUDO, {**estimated, "dense": k})
    return out


def make_points(data: Path, out: Path) -> None:
    """One disc of radius 2 a class and slice, background included."""
    if not (out / "dataset.json").exists():
        weaken = [sys.executable, "-m", "wss_monai", "weaken", "--strategy", "points", "--option", "radius=2"]
        subprocess.run([*weaken, "--background", "--data", str(data), "--out", str(out)], check=True, cwd=ROOT)


def fit_bounds(data: Path, split: Path, k: int, seed: int, out: Path, validation: str = "0") -> None:
    """Bounds from k dense patients out of the training patients."""
    if not out.exists():
        fit = [sys.executable, "-m", "wss_monai", "bounds", "--fit", str(data), "--dense", str(k), "--seed", str(seed)]
        fit += ["--terms", "size", "extent"]
        where = ["--split", str(split), "--fold", "fold1", "--validation", validation, "--out", str(out)]
        subprocess.run([*fit, *where, "--constant", json.dumps({"size": CONSTANT})], check=True, cwd=ROOT)


def main() -> None:
    parser = grid_parser(__doc__)
    parser.add_argument("--dense", type=int, default=5, metavar="K", help="dense patients that bounds are fitted on")
    options = parser.parse_args()
    out, common = out_folder(options, "acdc_bounds"), fold_settings(options)
    split, validation = options.split.resolve(), "fold2" if options.tune else "0"
    data = {"scribbles": options.data.resolve(), "points": out / "points"}
    if not options.tune:
        make_points(data["scribbles"], data["points"])
    every = (tuning if options.tune else arms)(options.dense, data, out / "bounds")
    chosen = {name: every[name] for name in options.arms or every}
    for labels in LABELS:
        if any(
            "bounds_file" in settings and settings["dataset_dir"] == data[labels] for _, settings in chosen.values()
        ):
            for seed in options.seeds:
                file = out / "bounds" / f"{labels}_k{options.dense}_s{seed}.json"
                fit_bounds(data[labels], split, options.dense, seed, file, validation)
    show(run_grid(chosen, options.seeds, common, out, options.jobs), options.csv or out / "results.csv")


if __name__ == "__main__":
    main()
