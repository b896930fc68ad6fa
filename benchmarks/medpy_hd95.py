# SPDX-License-Identifier: Apache-2.0
"""HD95 as the package medpy defines it, beside ours, on the predictions that runs have written.

    python benchmarks/medpy_hd95.py runs/wsl4mis/fold1/*_s?

WSL4MIS, SSL4MIS and their followers report ``medpy.metric.binary.hd95``: the 95th percentile of the distances of both
surfaces to each other thrown together. Ours and MONAI's is the larger one of the two directed 95th percentiles, and so
never smaller by much and often larger. medpy raises an error where a mask is empty; here it is as in our other
distances (both empty: 0, one empty: the image's diagonal), so that a missed organ counts.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt
from scores import scored_volumes

from wss_monai.metrics.volumes import mean_of

COLUMN = "hd95_medpy"
"""In summaries and CSV files; in mm, or in voxels where a data set has no spacing."""


def hd95_medpy(predicted: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """95th percentile of the distances from each surface to the other, in the unit of the spacing.

    A surface voxel is one of the mask with a face neighbour outside it; what lies beyond the image is outside.

    Args:
        predicted, reference: masks (X, Y[, Z]).
        spacing: size of a voxel, a number an axis.
    """
    if not predicted.any() and not reference.any():
        return 0.0
    if not predicted.any() or not reference.any():
        return math.dist((0.0,) * len(spacing), [n * s for n, s in zip(predicted.shape, spacing, strict=True)])
    box = tuple(slice(low, high + 1) for low, high in ends(predicted | reference))
    surfaces = [mask[box] & ~binary_erosion(mask[box]) for mask in (predicted.astype(bool), reference.astype(bool))]
    there, back = (
        distance_transform_edt(~other, sampling=spacing)[surface]
        for surface, other in zip(surfaces, reversed(surfaces), strict=True)
    )
    return float(np.percentile(np.concatenate([there, back]), 95))


def ends(mask: np.ndarray) -> Iterator[tuple[int, int]]:
    """First and last index of a mask along each axis; what lies beyond them is outside of both masks."""
    where = np.argwhere(mask)
    yield from zip(where.min(0).tolist(), where.max(0).tolist(), strict=True)


def score_medpy(run: Path) -> dict[str, float]:
    """Mean over the volumes of a run by class, and the mean of these."""
    names = json.loads((run / "run.json").read_text())["class_names"]
    found: dict[str, list[float]] = {name: [] for name in names[1:]}
    for prediction, label, spacing in scored_volumes(run):
        for k, name in enumerate(names[1:], 1):
            found[name].append(hd95_medpy(prediction == k, label == k, spacing))
    return mean_of(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders that were evaluated")
    for run in parser.parse_args().runs:
        ours, theirs = json.loads((run / "metrics_summary.json").read_text())["hd95_mm"], score_medpy(run)
        print(f"{run}: ours / medpy " + ", ".join(f"{name} {ours[name]:.2f} / {theirs[name]:.2f}" for name in theirs))


if __name__ == "__main__":
    main()
