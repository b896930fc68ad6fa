# SPDX-License-Identifier: Apache-2.0
"""Prostate from the tags of slices: activation maps in three modes, networks trained on them, and full supervision.

    python -m wss_monai synthesize prostate --zones data/PROSTATE_ZONES --size 160 --out data/PROSTATE_PAIRS
    python benchmarks/prostate_cross_modality.py

Synthetic T2 and ADC on expert zone masks. Trains on folds 3 to 5 of the split file, chooses the threshold of the maps
on the dense labels of fold 2, scores fold 1 with the last weights, with the networks and budgets of cpu.yaml. Beside
the fused maps each modality's own, at its own threshold, and the fused ones at a threshold of 0.5, which needs no dense
label. ``--tune`` scores fold 2 in place of fold 1: what was tried there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from grid import ROOT, fold_settings, grid_parser, out_folder, run_bundle, run_grid, scored_fold, show

CPU = ("cpu.yaml",)
NAME = "prostate_cross_modality"
MODES = ("cam", "equivariant", "cross_modality")
Arms = dict[str, tuple[tuple[str, ...], dict[str, object]]]
MAPS: Arms = {mode: (CPU, {"mode": mode}) for mode in MODES}
CROSS = {"mode": "cross_modality"}
TUNE: Arms = {
    **{f"cross_w{w}": (CPU, {**CROSS, "cross_weight": w}) for w in (0.03, 0.3, 1.0)},
    **{f"exchange_w{w}": (CPU, {**CROSS, "exchange_weight": w}) for w in (0.0, 0.5)},
    "within_w3": (CPU, {"mode": "equivariant", "within_weight": 3.0}),
    "mean_pooling": (CPU, {"mode": "cam", "network_def#share": 0.5}),
    "mean_pooling_cross": (CPU, {**CROSS, "network_def#share": 0.5}),
    "share0.15": (CPU, {**CROSS, "network_def#share": 0.15}),
    "published_sums": (
        CPU,
        {
            **CROSS,
            "within_loss#batch_reduction": "all",
            "cross_loss#batch_reduction": "all",
            "cross_loss#spatial_reduction": "mean",
        },
    ),
}
READINGS = {
    "fused": {"fuse": "mean", "threshold": "chosen"},
    "T2": {"fuse": "T2", "threshold": "chosen"},
    "ADC": {"fuse": "ADC", "threshold": "chosen"},
    "fused, evidence": {"fuse": "mean", "threshold": "chosen", "normalize": "evidence"},
    "fused at 0.5": {"fuse": "mean", "threshold": 0.5},
}
NETWORK = {
    "class_names": ["background", "prostate"],
    "pixdim": [2.0, 2.0, -1.0],
    "crop": [64, 64, -1],
    "field": [64, 64, -1],
    "window": [64, 64],
    "network_def": {
        "_target_": "UNet",
        "spatial_dims": 2,
        "in_channels": 2,
        "out_channels": 2,
        "channels": [8, 16, 32, 64],
        "strides": [2, 2, 2],
        "num_res_units": 1,
    },
    "train#trainer#max_epochs": 30,
}
SEGMENTATION: Arms = {
    "pseudo-labels": ((), {**NETWORK, "mode": "partial"}),
    "pseudo-labels + bounds": ((), {**NETWORK, "mode": "logbarrier"}),
}
TUNE_SEGMENTATION: Arms = {"pseudo-labels + bounds, quadratic": ((), {**NETWORK, "mode": "quadratic"})}
FULL: Arms = {"full": ((), {**NETWORK, "mode": "full"})}


def read_maps(
    arms: Mapping[str, tuple[Sequence[str], Mapping[str, object]]],
    seeds: Sequence[int],
    common: Mapping[str, object],
    out: Path,
    jobs: int,
    readings: Mapping[str, Mapping[str, object]],
) -> dict[str, list[dict]]:
    """Score the maps of each run in each reading; its folder is ``<run>_<reading>``."""

    def score(name: str, overlays: Sequence[str], overrides: Mapping[str, object], seed: int, reading: str) -> dict:
        run = (out / f"{name}_s{seed}").resolve()
        folder = run.with_name(f"{run.name}_{reading.replace(' ', '_').replace(',', '')}")
        chosen = {**common, **overrides, "seed": seed, "output_dir": folder, "ckpt_path": run / "model.pt"}
        chosen |= readings[reading]
        if not (folder / "metrics_summary.json").is_file():
            if chosen["threshold"] == "chosen":
                run_bundle(name, "thresholding", overlays, {**chosen, "evaluate_on": "validation"}, 1, NAME)
            run_bundle(name, "evaluating", overlays, {**chosen, "maps": False}, 1, NAME)
        summary = json.loads((folder / "metrics_summary.json").read_text())
        tags = json.loads((folder / "evaluation" / "tags.json").read_text())
        key = f"auc_{reading}" if f"auc_{reading}" in tags else "auc"
        return summary | {"tag_auc": {"mean": tags[key]}, "run": {"fold": scored_fold(chosen)}}

    with ThreadPoolExecutor(jobs) as pool:
        tasks = {
            (name, reading): [pool.submit(score, name, *arm, seed, reading) for seed in seeds]
            for name, arm in arms.items()
            for reading in readings
        }
        return {f"{name}, {reading}": [task.result() for task in each] for (name, reading), each in tasks.items()}


def pseudo_labels(
    mode: str, seeds: Sequence[int], common: Mapping[str, object], out: Path, options: Mapping[str, object]
) -> None:
    """Write a data set of pseudo-labels from the maps of each seed's run, with the verb `pseudo-label`."""
    configs = ROOT / "bundles" / NAME / "configs"
    for seed in seeds:
        target = out / f"labels_{mode}_s{seed}"
        if (target / "dataset.json").is_file():
            continue
        settings = {k: v for k, v in common.items() if k not in ("dataset_dir", "evaluate_on")}
        settings |= {"mode": mode, "keep_largest": "volume"}
        words = [word for key, value in {**settings, "seed": seed}.items() for word in ("--set", f"{key}={value}")]
        line = [sys.executable, "-m", "wss_monai", "pseudo-label", "--data", str(common["dataset_dir"])]
        line += ["--config-file", str(configs / "train.yaml"), str(configs / "cpu.yaml")]
        line += ["--run", str((out / f"{mode}_s{seed}").resolve()), "--out", str(target), *words]
        line += [str(word) for key, value in options.items() for word in (f"--{key}", value)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        subprocess.run(line, cwd=ROOT, env=environment, check=True)


def main() -> None:
    parser = grid_parser(__doc__, "data/PROSTATE_PAIRS", "prostate22.json")
    parser.add_argument("--epochs", type=int, default=None, help="of the networks of maps, instead of cpu.yaml's")
    parser.add_argument("--readings", nargs="+", default=None, help=f"out of {list(READINGS)}")
    parser.add_argument("--labels-of", default="cross_modality", choices=MODES, help="whose maps become pseudo-labels")
    parser.add_argument("--foreground", type=float, default=0.5, help="pseudo-labels: organ from this score on")
    parser.add_argument("--background", type=float, default=0.15, help="and nothing up to this one")
    parser.add_argument("--no-networks", action="store_true", help="the maps alone")
    options = parser.parse_args()
    common, out = fold_settings(options), out_folder(options, NAME)
    common["validation"] = "fold2"
    every = {**MAPS, **(TUNE if options.tune else {})}
    arms = {name: arm for name, arm in every.items() if options.arms is None or name in options.arms}
    # the summary of training is that of the fused maps at 0.5
    run_grid(arms, options.seeds, common, out, options.jobs, bundle=NAME)
    readings = {name: READINGS[name] for name in options.readings or READINGS}
    results = read_maps(arms, options.seeds, common, out, options.jobs, readings)
    file = options.csv or out / "results.csv"
    show(results, file, ("slice_dice_positive", "asd_mm", "tag_auc"))
    if options.no_networks:
        return
    common.pop("train#trainer#max_epochs", None)
    pseudo_labels(
        options.labels_of,
        options.seeds,
        common,
        out,
        {"foreground": options.foreground, "background": options.background},
    )
    weak = {**common, "dataset_dir": str(out / f"labels_{options.labels_of}_s{{seed}}")}
    bundle = "promise12_logbarrier"
    segmentation = {**SEGMENTATION, **(TUNE_SEGMENTATION if options.tune else {})}
    results = run_grid(segmentation, options.seeds, weak, out, options.jobs, bundle=bundle)
    results |= run_grid(FULL, options.seeds, common, out, options.jobs, bundle=bundle)
    print()
    show(results, file.with_stem(f"{file.stem}_networks"), ("slice_dice_positive", "asd_mm"))


if __name__ == "__main__":
    main()
