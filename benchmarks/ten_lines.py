# SPDX-License-Identifier: Apache-2.0
"""The ten lines of the README on seven real patients, and the Dice of the masks that they never see.

    python benchmarks/ten_lines.py --data data/ACDC

Seven of the ACDC patients (every sixth of 40), end of diastole, the left ventricle alone: expert scribbles stored as
ITK-SNAP stores them (0 nothing, 1 background, 2 organ), no dense mask. `after` runs `check`, `plan --device cpu`,
training and evaluation with what `plan` wrote; `before` the former ten lines (bundle acdc_logbarrier with cpu.yaml, 20
epochs of one pass through the patients). Both train on the same patients and are scored on the same two. One thread.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from grid import ROOT

NAMES = ["background", "left ventricle"]
COLUMNS = ("lines", "seed", "patient", "dice", "ml", "reference_ml", "iterations", "training", "minutes")
PATIENTS = 7
LV = 3


def make_data(source: Path, out: Path) -> dict[str, Path]:
    """Write the data set once; gives patient -> dense mask, which is no part of it."""
    raw = json.loads((source / "dataset.json").read_text())
    first = {case["patient"]: case for case in reversed(raw["training"]) if case.get("phase") == "ED"}
    people = sorted(first)[:: max(1, len(first) // PATIENTS)][:PATIENTS]
    masks = {person: source / first[person]["label"] for person in people}
    if (out / "dataset.json").is_file():
        return masks
    out.mkdir(parents=True, exist_ok=True)
    cases = []
    for person in people:
        case = first[person]
        shutil.copy(source / case["image"], out / f"{person}.nii.gz")
        drawn = nib.load(source / case["weak_label"])
        values = np.asarray(drawn.dataobj)
        mine = np.zeros(values.shape, np.uint8)
        mine[values != 255] = 1
        mine[values == LV] = 2
        nib.save(nib.Nifti1Image(mine, drawn.affine), out / f"{person}_scribble.nii.gz")
        cases.append({"patient": person, "image": f"{person}.nii.gz", "weak_label": f"{person}_scribble.nii.gz"})
    values = {"0": "unlabelled", "1": NAMES[0], "2": NAMES[1]}
    content = {
        "name": "seven patients",
        "labels": {"0": NAMES[0], "1": NAMES[1]},
        "weak_label": {"kind": "scribble", "values": values},
        "training": cases,
    }
    (out / "dataset.json").write_text(json.dumps(content, indent=1))
    return masks


def call(words: Sequence[object], log: Path) -> float:
    """Run a command of the package in one thread; gives its CPU seconds."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with log.open("a") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "wss_monai", *map(str, words)], cwd=ROOT, env=environment, stdout=file, stderr=file
        )
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{words[0]} failed, see {log}")
    return used.ru_utime + used.ru_stime


def bundle(run_id: str, name: str, files: Sequence[str], more: Sequence[object]) -> list[object]:
    """A command of a bundle."""
    configs = [file if "/" in file else f"bundles/{name}/configs/{file}" for file in files]
    return ["run", run_id, "--config_file", str(configs), *more]


def before(data: Path, run: Path, seed: int, log: Path) -> float:
    """The former ten lines."""
    bounds = str({NAMES[1]: [20, 4000]})
    own = ["--dataset_dir", data, "--output_dir", run, "--class_names", str(NAMES), "--size_bounds", bounds]
    own += ["--epoch_iterations", "null", "--seed", seed]
    seconds = call(bundle("training", "acdc_logbarrier", ["train.yaml", "cpu.yaml"], own), log)
    scored = ["train.yaml", "cpu.yaml", "evaluate.yaml"]
    call(bundle("evaluating", "acdc_logbarrier", scored, [*own, "--keep_largest", "True"]), log)
    return seconds


def after(data: Path, run: Path, seed: int, log: Path) -> float:
    """The ten lines."""
    file = run.with_name(f"{run.name}.yaml")
    call(["check", data], log)
    call(["plan", data, "--device", "cpu", "--run", run, "--out", file, "--overwrite"], log)
    seconds = call(bundle("training", "weak_2d", ["train.yaml", str(file)], ["--seed", seed]), log)
    call(bundle("evaluating", "weak_2d", ["train.yaml", "evaluate.yaml", str(file)], ["--seed", seed]), log)
    return seconds


ARMS = {"before": before, "after": after}


def rows_of(arm: str, seed: int, run: Path, masks: Mapping[str, Path], seconds: float) -> list[dict[str, object]]:
    """A row a test patient."""
    record = json.loads((run / "run.json").read_text())
    rows = []
    for person in record["patients"]["test"]:
        (file,) = (run / "evaluation" / "predictions").glob(f"{person}*.nii.gz")
        found, mask = np.asarray(nib.load(file).dataobj) == 1, np.asarray(nib.load(masks[person]).dataobj) == LV
        ml = abs(float(np.linalg.det(nib.load(file).affine[:3, :3]))) / 1000
        dice = 2 * (found & mask).sum() / max(1, found.sum() + mask.sum())
        iterations = record["max_epochs"] * record["iterations_per_epoch"]
        row = dict.fromkeys(COLUMNS, "") | {"lines": arm, "seed": seed, "patient": person, "dice": f"{dice:.4f}"}
        row |= {"ml": f"{found.sum() * ml:.1f}", "reference_ml": f"{mask.sum() * ml:.1f}", "iterations": iterations}
        rows.append(row | {"training": len(record["patients"]["training"]), "minutes": f"{seconds / 60:.1f}"})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/ACDC"))
    parser.add_argument("--out", type=Path, default=Path("runs/ten_lines"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--csv", type=Path, default=None)
    options = parser.parse_args()
    out = options.out.resolve()
    masks = make_data(options.data.resolve(), out / "data")
    rows = []
    for seed in options.seeds:
        for arm in options.arms:
            run = out / f"{arm}_s{seed}"
            told = run.with_name(f"{run.name}.seconds")
            if not told.is_file():
                shutil.rmtree(run, ignore_errors=True)
                told.write_text(str(ARMS[arm](out / "data", run, seed, out / f"{arm}_s{seed}.log")))
            rows += rows_of(arm, seed, run, masks, float(told.read_text()))
    file = options.csv or out / "results.csv"
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(file.read_text(), end="")


if __name__ == "__main__":
    main()
