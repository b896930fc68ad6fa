# SPDX-License-Identifier: Apache-2.0
"""How often volumes are equal in two cases of a patient, and areas smooth, in dense masks of real ACDC volumes.

    python benchmarks/across_coverage.py --data data/ACDC --split benchmarks/splits/acdc40.json

Measured on the patients in folds 3 to 5; the folds that results are scored on (1) and chosen by (2) are left out.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from wss_monai.data import load_cases
from wss_monai.functional.area_change import AreaChange
from wss_monai.functional.descriptors import Size
from wss_monai.io.grids import spacing_of
from wss_monai.transforms import LoadCased

TOLERANCES = (0.1, 0.15, 0.2, 0.3)
LIMITS = (50, 75, 100, 150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/ACDC"))
    parser.add_argument("--split", type=Path, default=Path("benchmarks/splits/acdc40.json"))
    options = parser.parse_args()
    split = load_cases(options.data, split=options.split, fold="fold1", validation="fold2")
    names, read = split.class_names, LoadCased(["image", "label"])
    volumes: dict[str, list[np.ndarray]] = defaultdict(list)
    steps: list[np.ndarray] = []
    for case in split.training:
        label = read(case)["label"]
        one_hot = torch.stack([label[0] == k for k in range(len(names))])[None].float().as_tensor()
        spacing = torch.tensor([spacing_of(label)])
        volumes[case["patient"]].append((Size()(one_hot)[0, :, 0] * spacing.prod() / 1000).numpy())
        steps.append(AreaChange(split.dataset.slice_axis)(one_hot, spacing=spacing)[0].numpy())
    pairs = np.array([np.log(second / first) for first, second in (v for v in volumes.values() if len(v) == 2)])
    changes = np.concatenate(steps, 1)
    print(f"{len(pairs)} patients, {len(split.training)} volumes")
    print("| class | second / first, median | " + " | ".join(f"within {t:.0%}" for t in TOLERANCES), end=" | ")
    print(" | ".join(f"up to {limit} mm2 per mm" for limit in LIMITS) + " |")
    print("|---" * (2 + len(TOLERANCES) + len(LIMITS)) + "|")
    for k, name in enumerate(names[1:], 1):
        known = changes[k][~np.isnan(changes[k])]
        shares = [float((np.abs(pairs[:, k]) <= np.log(1 + t)).mean()) for t in TOLERANCES]
        shares += [float((known <= limit).mean()) for limit in LIMITS]
        print(f"| {name} | {np.exp(np.median(pairs[:, k])):.2f} | " + " | ".join(f"{s:.2f}" for s in shares) + " |")


if __name__ == "__main__":
    main()
