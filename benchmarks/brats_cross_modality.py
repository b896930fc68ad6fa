# SPDX-License-Identifier: Apache-2.0
"""Tumours or lesions from the tags of slices on real brain MRI of any number of modalities, leaving one patient out.

    python benchmarks/brats_cross_modality.py --data data/BRATS2013 --modalities FLAIR T1c

The data set has dense labels, of which the tags of slices are read; all its classes but the background become one,
whatever it calls them. Each patient is the test patient once, the others train (an only one trains and is scored: how
the formats fit, not how well it segments). No patient is left to choose a threshold on: 0.5 and Otsu's.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from grid import run_bundle, run_one, show

from wss_monai.data.derived_dataset import leads_outside, moved_case
from wss_monai.data.schema import read_dataset, write_dataset
from wss_monai.data.simulated_tags import TAGGED, merged_labels, slice_tags
from wss_monai.io.volumes import read_volume

NAME = "brats_cross_modality"
MODES = ("cam", "equivariant", "cross_modality")
READINGS: dict[str, dict[str, object]] = {
    "fused at 0.5": {"threshold": 0.5},
    "fused, Otsu": {"threshold": "otsu"},
    "fused, evidence at 0.5": {"threshold": 0.5, "normalize": "evidence"},
}


def one_class(source: Path, out: Path, name: str) -> list[str]:
    """Write the data set of tags beside its files, all classes but the background one; return the patients."""
    given = read_dataset(source)
    labels = merged_labels(given.raw["labels"], name)
    cases = []
    for case in given.training + given.test:
        moved = moved_case(given, case, out)
        label = read_volume(str(given.file_of(case, "label"))).numpy().astype(np.uint8)
        tags = slice_tags(label, labels, given.slice_axis)
        kept = {key: moved[key] for key in ("case", "patient", "image", "label")}
        cases.append({**kept, "slice_tags": tags, "weak_labels": TAGGED})
    modality = {key: str(value).removeprefix("MRI ") for key, value in given.raw["modality"].items()}
    content = {"name": f"{given.name}, tags of slices", "modality": modality, "labels": labels, "training": cases}
    content |= {"slice_axis": given.slice_axis, "files_outside": leads_outside(cases)}
    write_dataset(out, content)
    return sorted({case["patient"] for case in cases})


def score(run: Path, settings: Mapping[str, object], reading: str) -> dict:
    """Scores of a run in another reading of its maps."""
    folder = run.with_name(f"{run.name}_{reading.replace(' ', '_').replace(',', '')}")
    if not (folder / "metrics_summary.json").is_file():
        chosen = {**settings, "output_dir": folder, "ckpt_path": run / "model.pt", **READINGS[reading], "maps": False}
        run_bundle(run.name, "evaluating", ("cpu.yaml",), chosen, 1, NAME)
    summary = json.loads((folder / "metrics_summary.json").read_text())
    tags = json.loads((folder / "evaluation" / "tags.json").read_text())
    return summary | {"tag_auc": {"mean": tags.get("auc", float("nan"))}}


def mean_of(runs: Sequence[dict]) -> dict:
    """The mean of the patients, each scored by the network that had not seen it, as one summary."""
    first = runs[0]
    out = dict(first)
    for key, value in first.items():
        if isinstance(value, dict) and "mean" in value:
            out[key] = {k: statistics.fmean(run[key][k] for run in runs) for k in value}
    out["n_missed"] = {k: sum(run["n_missed"][k] for run in runs) for k in first["n_missed"]}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--modalities", nargs="+", required=True)
    parser.add_argument("--name", default="whole tumour", help="of the one class")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=None, help="instead of cpu.yaml's")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument(
        "--csv", type=Path, default=None, help="a row a seed; default: results.csv in the folder of runs"
    )
    options = parser.parse_args()
    out = (options.out or Path("runs") / NAME / options.data.name).resolve()
    patients = one_class(options.data.resolve(), out / "data", options.name)
    common: dict[str, object] = {"dataset_dir": out / "data", "validation": 0, "modalities": options.modalities}
    common |= {"class_names": ["background", options.name], "split": out / "split.json"}
    if options.epochs:
        common["train#trainer#max_epochs"] = options.epochs
    if len(patients) > 1:
        (out / "split.json").write_text(json.dumps({"test": {name: [name] for name in patients}}))
    else:
        (out / "split.json").write_text(json.dumps({"training": patients, "test": []}))
        common["evaluate_on"] = "training"

    def one(mode: str, seed: int, patient: str) -> dict[str, dict]:
        fold = {"fold": patient} if len(patients) > 1 else {}
        run = out / f"{mode}_{patient}_s{seed}"
        settings = {**common, **fold, "mode": mode, "seed": seed}
        run_one(run.name, ("cpu.yaml",), {**settings, "output_dir": run}, 1, NAME)
        return {reading: score(run, settings, reading) for reading in READINGS}

    with ThreadPoolExecutor(options.jobs) as pool:
        tasks = {
            (mode, seed): [pool.submit(one, mode, seed, patient) for patient in patients]
            for mode in options.modes
            for seed in options.seeds
        }
        done = {key: [task.result() for task in each] for key, each in tasks.items()}
    results = {
        f"{mode}, {reading}": [mean_of([one[reading] for one in done[mode, seed]]) for seed in options.seeds]
        for mode in options.modes
        for reading in READINGS
    }
    show(results, options.csv or out / "results.csv", ("slice_dice_positive", "asd_mm", "tag_auc"))


if __name__ == "__main__":
    main()
