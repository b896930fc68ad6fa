# SPDX-License-Identifier: Apache-2.0
"""The random walker on real ACDC volumes: what the weak labels of the test patients say by themselves, no network.

    python benchmarks/random_walker.py --data data/ACDC --split benchmarks/splits/acdc40.json --fold fold1

Each slice is segmented from its own weak label (``skimage.segmentation.random_walker``, Grady, PAMI 28(11), 2006; beta
100) on the image's own grid, and scored like a network's prediction. It reads the weak labels of the very patients that
it is scored on, which no network may: it is a floor for what annotating them is worth, not a prediction.

Two rules for a slice that lacks a class: segment the classes that are drawn, or, as WSL4MIS does, call the slice
background. Intensities as WSL4MIS scales them: clipped at the volume's 99th percentile, to 0..1, then -0.35..1.35 to
-1..1.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from grid import table
from skimage.exposure import rescale_intensity
from tqdm import tqdm

from wss_monai.data import load_cases
from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.random_walker import walked
from wss_monai.io.grids import spacing_of
from wss_monai.metrics import summarize_volumes, volume_metrics
from wss_monai.transforms import LoadCased
from wss_monai.transforms.weak_labels import RandWeakLabel, case_seed

RULES = {"drawn": "drawn classes alone", "background": "a class lacks: background (WSL4MIS)"}


def scaled(image: np.ndarray) -> np.ndarray:
    """Intensities of a volume as WSL4MIS hands them to the random walker."""
    image = np.clip(image.astype(np.float64), None, np.percentile(image, 99))
    low, high = image.min(), image.max()
    image = (image - low) / max(high - low, 1e-12)
    return rescale_intensity(image, in_range=(-0.35, 1.35), out_range=(-1, 1))


def segment(image: np.ndarray, weak: np.ndarray, beta: float = 100.0, solver: str = "cg_j") -> np.ndarray:
    """Class indices (X, Y) of a slice (X, Y) of scaled intensities from its weak label, 255 = unlabelled."""
    found = walked(image, weak, beta, solver)
    return np.where(found == UNLABELLED, 0, found).astype(np.uint8)


def score(options: argparse.Namespace) -> dict[str, list[dict]]:
    """Rule -> one summary, as ``grid.table`` takes it."""
    data = load_cases(options.data, split=options.split or None, fold=options.fold or None, validation=0)
    names, axis = data.class_names, data.dataset.slice_axis
    load = LoadCased(["image", "weak_label", "label"])
    points = RandWeakLabel("points", axis, radius=2, background=True)
    rows: dict[str, list[dict]] = {rule: [] for rule in RULES}
    for case in tqdm(data.test, desc="random walker", unit="case"):
        loaded = load(case)
        spacing = spacing_of(loaded["image"])
        image, weak, label = (np.asarray(loaded[key][0]) for key in ("image", "weak_label", "label"))
        if options.mode == "points":
            weak = points.paint(label[None], np.random.RandomState(case_seed(options.seed, case["case"])))[0]
        slices = zip(np.moveaxis(scaled(image), axis, 0), np.moveaxis(weak, axis, 0), strict=True)
        found = np.stack([segment(i, w, options.beta, options.solver) for i, w in slices], axis)
        for rule in RULES:
            kept = found.copy()
            if rule == "background":
                for place in np.ndindex(found.shape[axis]):
                    where = (slice(None),) * axis + place
                    if not set(range(1, len(names))) <= set(np.unique(weak[where])):
                        kept[where] = 0
            rows[rule] += volume_metrics(kept, label, spacing, names)
    summaries = {}
    for rule, found_rows in rows.items():
        summary = {**summarize_volumes(found_rows, names), "constraint_satisfaction": {}, "bounds_origin": "none"}
        summaries[f"random walker, {RULES[rule]}"] = [summary]
    return summaries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data/ACDC")
    parser.add_argument("--split", default="benchmarks/splits/acdc40.json", help="empty: the data's own test cases")
    parser.add_argument("--fold", default="fold1")
    parser.add_argument(
        "--mode", choices=("given", "points"), default="given", help="weak labels of the data, or discs"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the points")
    parser.add_argument("--beta", type=float, default=100.0)
    parser.add_argument("--solver", choices=("cg_j", "bf"), default="cg_j")
    parser.add_argument("--out", type=Path, default=None, help="a JSON file for the summaries")
    options = parser.parse_args()
    summaries = score(options)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(summaries, indent=2, allow_nan=False) + "\n")
    print("\nFloor for annotating, not a prediction: the weak labels of the test patients are read.\n")
    print(table(summaries))


if __name__ == "__main__":
    main()
