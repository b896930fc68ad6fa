# SPDX-License-Identifier: Apache-2.0
"""What nnU-Net's augmentation does to bounds on sizes: discs and balls, drawn many times.

python benchmarks/nnunet_bounds.py [--draws 1000] [--seed 0]    (needs nnU-Net: pip install wss_monai[nnunet])
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from wss_monai.nnunet.constrained_loss import whole_classes

SLACK = 0.02
"""Relative, for resampling."""
THIRTY = math.pi / 6
CASES = {
    # name: patch, rotation, axes to mirror, dummy 2D, radius of the organ, its centre as a fraction of the patch
    "2D, in the middle": ((128, 128), math.pi, (0, 1), False, 24, 0.5),
    "2D, nearer to a face": ((128, 128), math.pi, (0, 1), False, 24, 0.3),
    "3D, in the middle": ((64, 64, 64), THIRTY, (0, 1, 2), False, 12, 0.5),
    "3D, thick slices": ((16, 96, 96), math.pi, (0, 1, 2), True, 4, 0.5),
}


def ratios(patch, rotation, mirror, dummy, radius, place, draws):
    """Size after augmentation over size before, and where the lower side is kept, for each draw."""
    transforms = nnUNetTrainer.get_training_transforms(patch, (-rotation, rotation), None, mirror, dummy)
    zoom = next(each for each in transforms.transforms if hasattr(each, "p_scaling"))
    larger = [side if dummy and axis == 0 else int(1.5 * side) for axis, side in enumerate(patch)]  # as nnU-Net loads
    grids = torch.meshgrid(*[torch.arange(side) for side in larger], indexing="ij")
    centre = [side / 2 + (place - 0.5) * inner for side, inner in zip(larger, patch, strict=True)]
    label = (sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True)) < radius**2).to(torch.int16)[None]
    before = int(label.sum())
    found, kept = [], []
    for _ in range(draws):
        after = transforms(image=label.float(), segmentation=label.clone())["segmentation"] == 1
        found.append(float(after.sum()) / before)
        kept.append(bool(whole_classes(after[None].to(torch.uint8), 2)[0, 1]))
    dimensions = len(zoom.patch_size)
    least, most = zoom.scaling
    return np.array(found), np.array(kept), most**-dimensions, least**-dimensions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    heads = (
        "organ",
        "size changed",
        "factors seen",
        "bounds widened by",
        "upper side holds",
        "lower side kept",
        "holds",
    )
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name, case in CASES.items():
        np.random.seed(args.seed)
        torch.manual_seed(args.seed)
        found, kept, low, high = ratios(*case, args.draws)
        changed, above = (abs(found - 1) > SLACK).mean(), (found <= high * (1 + SLACK)).mean()
        below = f"{(found[kept] >= low * (1 - SLACK)).mean():.1%}" if kept.any() else "-"
        numbers = (f"{found.min():.2f} to {found.max():.2f}", f"{low:.2f} to {high:.2f}", f"{above:.1%}")
        print(f"| {name} | {changed:.1%} | {' | '.join(numbers)} | {kept.mean():.1%} | {below} |")


if __name__ == "__main__":
    main()
