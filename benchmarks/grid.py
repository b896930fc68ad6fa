# SPDX-License-Identifier: Apache-2.0
"""Train and evaluate a bundle once for each arm and seed, several at a time, and print one table."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
Overrides = Mapping[str, object]


def command(run_id: str, overlays: Sequence[str], overrides: Overrides, bundle: str = "acdc_logbarrier") -> list[str]:
    """The bundle's command line."""
    files = ["train.yaml", *overlays, *(["evaluate.yaml"] if run_id != "training" else [])]
    config = str([str(ROOT / "bundles" / bundle / "configs" / file) for file in files])
    if run_id == "training":  # the bundle refuses settings that have no effect
        overrides = {key: value for key, value in overrides.items() if key != "evaluate_on"}
    flags = [str(part) for key, value in overrides.items() for part in (f"--{key}", value)]
    return [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", config, *flags]


def grid_parser(description: str, data: str = "data/ACDC", split: str = "acdc40.json") -> argparse.ArgumentParser:
    """The options that grids on a split file share."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(data))
    parser.add_argument("--split", type=Path, default=Path("benchmarks/splits") / split)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=None)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--tune", action="store_true", help="train on folds 3 to 5, score fold 2: what was tried there")
    parser.add_argument("--out", type=Path, default=None)
    return parser


def out_folder(options: argparse.Namespace, name: str) -> Path:
    """Where the runs go: ``--out``, or runs/<name>, or runs/<name>_tune."""
    return (options.out or Path("runs") / (f"{name}_tune" if options.tune else name)).resolve()


def fold_settings(options: argparse.Namespace) -> dict[str, object]:
    """Train on folds 2 to 5 and score fold 1; to tune, train on folds 3 to 5 and score fold 2."""
    settings: dict[str, object] = {"dataset_dir": options.data.resolve(), "split": options.split.resolve()}
    settings |= {"fold": "fold1", "validation": "fold2" if options.tune else 0}
    settings |= {"evaluate_on": "validation" if options.tune else "test"}
    if getattr(options, "epochs", None):
        settings["train#trainer#max_epochs"] = options.epochs
    return settings


def run_bundle(
    name: str, run_id: str, overlays: Sequence[str], overrides: Overrides, threads: int, bundle: str
) -> None:
    """One command of a bundle, its output in a log in the run's folder."""
    folder = Path(str(overrides["output_dir"]))
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    line = command(run_id, overlays, overrides, bundle)
    with (folder / f"{run_id}.log").open("w") as log:
        done = subprocess.run(line, cwd=ROOT, env=environment, stdout=log, stderr=log)
    if done.returncode:
        raise RuntimeError(f"{name}: {run_id} failed, see {folder / f'{run_id}.log'}")


def run_one(
    name: str, overlays: Sequence[str], overrides: Overrides, threads: int, bundle: str = "acdc_logbarrier"
) -> dict:
    """Train and evaluate in the run's folder, unless its summary is there already; returns the summary."""
    folder = Path(str(overrides["output_dir"]))
    summary = folder / "metrics_summary.json"
    if not summary.is_file():
        (folder / "checkpoint.pt").unlink(missing_ok=True)
        started = time.perf_counter()
        for run_id in ("training", "evaluating"):
            run_bundle(name, run_id, overlays, overrides, threads, bundle)
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return json.loads(summary.read_text())


def run_grid(
    arms: Mapping[str, tuple[Sequence[str], Overrides]],
    seeds: Sequence[int],
    common: Overrides,
    out: Path,
    jobs: int = 2,
    threads: int = 1,
    bundle: str = "acdc_logbarrier",
) -> dict[str, list[dict]]:
    """Arm name -> summaries of its seeds; ``arms`` maps a name to (overlays, overrides).

    ``{seed}`` in the text of an override stands for the seed.
    """
    tasks = {}
    with ThreadPoolExecutor(jobs) as pool:
        for seed in seeds:
            for name, (overlays, overrides) in arms.items():
                settings = {**common, **overrides, "seed": seed, "output_dir": (out / f"{name}_s{seed}").resolve()}
                settings = {
                    key: v.replace("{seed}", str(seed)) if isinstance(v, str) else v for key, v in settings.items()
                }
                tasks[name, seed] = pool.submit(run_one, f"{name} seed {seed}", overlays, settings, threads, bundle)
        results = {key: task.result() for key, task in tasks.items()}
    return {name: [results[name, seed] for seed in seeds] for name in arms}


def table(results: Mapping[str, Sequence[Mapping]], also: Sequence[str] = ()) -> str:
    """Markdown: mean over seeds of volume Dice and HD95 by class, spread of the mean Dice over the seeds.

    ``also`` names further scores of the summary, whose means over classes make columns.
    """
    first = next(iter(results.values()))[0]
    classes = [name for name in first["dice"] if name != "mean"]
    head = [
        "arm",
        "bounds",
        "Dice",
        "by seed",
        *classes,
        "HD95 mm",
        "volume error ml (abs)",
        "satisfied",
        "missed",
        *also,
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, runs in results.items():
        mean = statistics.fmean(run["dice"]["mean"] for run in runs)
        seeds = " / ".join(f"{run['dice']['mean']:.3f}" for run in runs)
        each = [f"{statistics.fmean(run['dice'][c] for run in runs):.3f}" for c in classes]
        far = f"{statistics.fmean(run['hd95_mm']['mean'] for run in runs):.1f}"
        volume = f"{statistics.fmean(run['volume_error_ml_abs']['mean'] for run in runs):.1f}"
        held = [v["mean"] for run in runs for v in run["constraint_satisfaction"].values()]
        satisfied = f"{statistics.fmean(held):.3f}" if held else ""
        missed = f"{statistics.fmean(sum(run['n_missed'].values()) for run in runs):.1f}"
        cells = [name, runs[0]["bounds_origin"], f"**{mean:.3f}**", seeds, *each, far, volume, satisfied, missed]
        cells += [f"{statistics.fmean(run[score]['mean'] for run in runs):.3f}" for score in also]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
