# SPDX-License-Identifier: Apache-2.0
"""The table of finished runs, as predicted or with the largest connected component alone.

    python benchmarks/scores.py runs/acdc_bounds/*_s?
    python benchmarks/scores.py --keep_largest runs/acdc_bounds/*_s?

``--keep_largest`` scores the predictions that the runs have written again, as evaluating with ``--keep_largest True``
does (all classes together first, then each class). Runs of one arm differ in their ending _sSEED.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from grid import run_facts, table, write_csv
from monai.transforms import KeepLargestConnectedComponent, LoadImage
from tqdm import tqdm

from wss_monai.io.grids import spacing_of
from wss_monai.metrics import summarize_volumes, volume_metrics
from wss_monai.transforms import LoadCased

LARGEST = ("dice", "hd95_mm")
"""Scores of the largest piece of each organ that tables show."""


def score(run: Path) -> dict:
    """The summary of a run, its predictions reduced to the largest components."""
    summary = json.loads((run / "metrics_summary.json").read_text())
    names = json.loads((run / "run.json").read_text())["class_names"]
    foreground = list(range(1, len(names)))
    together = KeepLargestConnectedComponent(foreground, independent=False)
    each = KeepLargestConnectedComponent(foreground, independent=True)
    rows = []
    for prediction, label, spacing in scored_volumes(run):
        kept = each(together(torch.as_tensor(prediction[None])))
        rows += volume_metrics(np.asarray(kept)[0], label, spacing, names)
    kept = {name: summary[name] for name in ("bounds_origin", "seed") if name in summary}
    return {**summarize_volumes(rows, names), "constraint_satisfaction": {}, **kept}


def scored_volumes(run: Path) -> Iterator[tuple[np.ndarray, np.ndarray, Sequence[float]]]:
    """Prediction and dense label (X, Y, Z) of each scored case of a run, in class indices, and the spacing in mm."""
    load, read = LoadCased(["image", "label"]), LoadImage(image_only=True, ensure_channel_first=True, dtype=np.uint8)
    for case in json.loads((run / "evaluation" / "cases.json").read_text()):
        loaded = load({**case, "label_values": {int(k): v for k, v in case["label_values"].items()}})
        prediction = read(run / "evaluation" / "predictions" / f"{case['case']}.nii.gz")
        yield np.asarray(prediction)[0], np.asarray(loaded["label"])[0], spacing_of(loaded["image"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders that were evaluated")
    parser.add_argument("--keep_largest", action="store_true", help="keep the largest connected component alone")
    parser.add_argument("--csv", type=Path, default=None, help="a row a run")
    options = parser.parse_args()
    arms = defaultdict(list)
    for run in tqdm(options.runs, desc="runs", unit="run"):
        summary = score(run) if options.keep_largest else json.loads((run / "metrics_summary.json").read_text())
        arms[run.name.rpartition("_s")[0] or run.name].append(summary | {"run": run_facts(run)})
    print(table(arms))
    if options.csv:
        write_csv(arms, options.csv)


if __name__ == "__main__":
    main()
