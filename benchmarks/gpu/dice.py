# SPDX-License-Identifier: Apache-2.0
"""Dice of acdc_logbarrier on test fold 1 with the network, the sizes and the settings of the bundle as it is shipped.

Trained on folds 2 to 5, last weights, all arms and seeds side by side on one device for the same number of epochs: as
many as fit into the time, by what an epoch takes while all arms train a few of them. The bounds of the far background
are fitted on 5 densely labelled training patients, drawn by the seed; the arm "5 dense" trains on 5 dense masks of
patients drawn in the same way instead.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import ROOT, UNET, Rows, part_parser, torch_device

CONSTANT = {name: [10, 6000] for name in ("RV", "Myo", "LV")}  # mm2, as in train.yaml
ARMS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "full": ((), {"mode": "full"}),
    "partial": ((), {"mode": "partial"}),
    "logbarrier": ((), {"mode": "logbarrier"}),
    "partial, far background": (("far_background.yaml",), {"mode": "partial", "bounds_from": "estimated"}),
    "partial, 5 dense": ((), {"mode": "partial", "dense": 5}),
    "full, U-Net": ((), {"mode": "full", "network_def": UNET}),
    "partial, U-Net": ((), {"mode": "partial", "network_def": UNET}),
}
DEFAULT = ("full", "partial", "logbarrier", "partial, far background", "partial, 5 dense")
CALIBRATION = 3
"""Epochs of all arms at once, of which the last is timed."""
SMALL = {
    "pixdim": [6.0, 6.0, -1.0],
    "crop": [32, 32, -1],
    "window": [32, 32],
    "network_def#features": [4, 4, 4, 4, 4, 4],
}
COLUMNS = (
    "arm", "seed", "fold", "bounds_origin", "RV", "Myo", "LV", "dice", "hd95_mm", "dice_largest", "hd95_mm_largest",
    "epochs", "iterations", "seconds", "device",
)  # fmt: skip


def settings_of(task: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Overlays and settings of a run."""
    overlays, own = ARMS[task["arm"]]
    settings = {**task["common"], **own, "seed": task["seed"], "output_dir": task["out"]}
    if own.get("bounds_from") == "estimated":
        settings["bounds_file"] = f"{task['bounds']}_{task['seed']}.json"
    return ["train.yaml", *overlays], settings


def train_and_score(task: dict[str, Any]) -> dict[str, Any] | None:
    """One run in this process; its row, or None where it only times epochs."""
    from common import run, workflow

    files, settings = settings_of(task)
    run(workflow("acdc_logbarrier", files, settings))
    if task["epochs_only"]:
        return None
    out = Path(task["out"])
    scores = []
    for largest in (False, True):
        run(workflow("acdc_logbarrier", [*files, "evaluate.yaml"], {**settings, "keep_largest": largest}))
        scores.append(json.loads((out / "metrics_summary.json").read_text()))
    record = json.loads((out / "run.json").read_text())
    raw, kept = scores
    values = [task["arm"], task["seed"], record["fold"], raw["bounds_origin"]]
    values += [round(raw["dice"][name], 4) for name in ("RV", "Myo", "LV", "mean")] + [raw["hd95_mm"]["mean"]]
    values += [round(kept["dice"]["mean"], 4), kept["hd95_mm"]["mean"], record["max_epochs"]]
    values += [record["max_epochs"] * record["iterations_per_epoch"], last_row(out)["seconds"], record["device"]]
    return dict(zip(COLUMNS, values, strict=True))


def last_row(run: Path) -> dict[str, str]:
    """Of a run's metrics.csv."""
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))[-1]


def epoch_seconds(run: Path) -> float:
    """What the last epoch took."""
    with (run / "metrics.csv").open(newline="") as file:
        times = [float(row["seconds"]) for row in csv.DictReader(file)]
    return times[-1] - times[-2]


def side_by_side(tasks: Sequence[dict[str, Any]], until: float) -> None:
    """Run each task in a process of its own; those that run at the time ``until`` are ended."""
    running = []
    for task in tasks:
        out = Path(task["out"])
        out.mkdir(parents=True, exist_ok=True)
        (out / "task.json").write_text(json.dumps(task))
        with (out / "log.txt").open("w") as log:
            words = [sys.executable, __file__, "--task", str(out / "task.json")]
            running.append((task, subprocess.Popen(words, stdout=log, stderr=log, cwd=ROOT)))
    for task, process in running:
        try:
            code = process.wait(max(1.0, until - time.time()))
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code:
            tail = (Path(task["out"]) / "log.txt").read_text().strip().splitlines()[-8:]
            print(f"{task['arm']}, seed {task['seed']}: ended with {code}\n" + "\n".join(tail), flush=True)


def fit_bounds(data: Path, file: Path, seed: int) -> None:
    """Extents and sizes from 5 densely labelled training patients."""
    words = ["bounds", "--fit", str(data), "--dense", "5", "--seed", str(seed), "--terms", "size", "extent"]
    words += ["--split", str(data / "split.json"), "--fold", "fold1", "--validation", "0", "--out", str(file)]
    words = [sys.executable, "-m", "wss_monai", *words, "--constant", json.dumps({"size": CONSTANT})]
    subprocess.run(words, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def main() -> None:
    if "--task" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--task", type=Path, required=True)
        task = json.loads(parser.parse_args().task.read_text())
        if (row := train_and_score(task)) is not None:
            Rows(Path(task["rows"])).add(COLUMNS, *row.values())
        return
    parser = part_parser(__doc__)
    parser.add_argument("--data", type=Path, help="ACDC of 40 patients with its split.json")
    parser.add_argument("--seconds", type=float, default=240, help="for all of it")
    parser.add_argument("--epochs", type=int, help="instead of as many as fit")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(DEFAULT))
    options = parser.parse_args()
    begun, rows, base = time.time(), Rows(options.rows), options.work / "dice"
    common: dict[str, Any] = {"device": torch_device(options.device), "val_interval": 1, "validation": 0}
    task = {"rows": str(options.rows), "bounds": str(base / "bounds"), "epochs_only": False}
    base.mkdir(parents=True, exist_ok=True)
    if options.smoke:
        from phantoms import phantom

        common |= {**SMALL, "dataset_dir": str(phantom("heart", options.phantoms)), "train#trainer#max_epochs": 1}
        row = train_and_score({**task, "arm": "partial", "seed": 0, "out": str(base / "run"), "common": common})
        rows.add(COLUMNS, *(row or {}).values())
        return
    common |= {"dataset_dir": str(options.data), "split": str(options.data / "split.json"), "fold": "fold1"}
    if any(ARMS[arm][1].get("bounds_from") == "estimated" for arm in options.arms):
        for seed in options.seeds:
            fit_bounds(options.data, Path(f"{task['bounds']}_{seed}.json"), seed)
    tasks = [{**task, "arm": arm, "seed": seed} for seed in options.seeds for arm in options.arms]
    epochs = options.epochs
    if epochs is None:
        settings = {**common, "train#trainer#max_epochs": CALIBRATION}
        trial = [
            {**one, "out": str(base / f"trial_{n}"), "common": settings, "epochs_only": True}
            for n, one in enumerate(tasks)
        ]
        started = time.time()
        side_by_side(trial, started + options.seconds / 3)
        found = [epoch_seconds(Path(one["out"])) for one in trial if (Path(one["out"]) / "metrics.csv").is_file()]
        if not found:
            raise RuntimeError("no arm could be trained; see the log.")
        each = max(found)
        start_up = max(0.0, time.time() - started - CALIBRATION * each)
        left = options.seconds - (time.time() - begun) - start_up - 2 * start_up  # scoring twice takes as long at most
        epochs = max(1, min(400, int(0.95 * left / each)))
        print(f"an epoch takes {each:.2f} s, starting {start_up:.0f} s; {epochs} epochs", flush=True)
    common["train#trainer#max_epochs"] = epochs
    common["val_interval"] = epochs
    final = [{**one, "out": str(base / f"run_{n}"), "common": common} for n, one in enumerate(tasks)]
    side_by_side(final, begun + options.seconds)
    for one in final:
        shutil.rmtree(Path(one["out"]) / "evaluation", ignore_errors=True)
    if not options.rows.is_file():
        raise RuntimeError("no arm came to its end; see the log.")


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
