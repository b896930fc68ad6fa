# SPDX-License-Identifier: Apache-2.0
"""What the losses of Seed, Expand and Constrain add to a training step of the bundle acdc_sec, on one CPU thread.

    python benchmarks/sec_step.py

Generated inputs on the grid of the overlay cpu.yaml (128 x 128, batch 8, four classes, its U-Net); the steps take
turns, medians of the CPU time are printed. "network" is forward, cross-entropy on the cues and backward.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from monai.networks.nets import UNet

from wss_monai.losses import (
    ConstrainToBoundaryLoss,
    ExpansionLoss,
    PartialCrossEntropyLoss,
    SeedingLoss,
    WeightedSumLoss,
)
from wss_monai.networks import DenseCRF


def losses() -> dict[str, WeightedSumLoss]:
    """The arms, with the settings of the bundle."""
    seed, expand = (SeedingLoss(), 1.0), (ExpansionLoss(present=0.9), 0.1)
    arms = {
        "network": {"cues": (PartialCrossEntropyLoss(), 1.0)},
        "S": {"seed": seed},
        "S+E": {"seed": seed, "expand": expand},
    }
    for stride in (4, 2, 1):
        crf = DenseCRF(w_bilateral=3.0, theta_alpha=10.0, theta_gamma=1.0, method="lattice")
        boundary = ConstrainToBoundaryLoss(crf, stride=stride, mm=True)
        arms[f"S+E+C, CRF on {128 // stride} x {128 // stride}"] = {**arms["S+E"], "constrain": (boundary, 1.0)}
    return {name: WeightedSumLoss(terms) for name, terms in arms.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = UNet(2, 1, 4, channels=[8, 16, 32, 64], strides=[2, 2, 2], num_res_units=1)
    coarse = torch.rand(8, 4, 8, 8)
    truth = torch.nn.functional.interpolate(coarse, 128, mode="bilinear").argmax(1, keepdim=True)
    image = (truth / 4 + 0.05 * torch.randn(8, 1, 128, 128)).clamp(0, 1)
    cues = torch.where(torch.rand(8, 1, 128, 128) < 0.01, truth, 255).to(torch.uint8)
    tags = torch.stack([torch.bincount(t.flatten(), minlength=4) > 0 for t in truth]).long()
    target = {"weak_label": cues, "slice_tags": tags, "image": image, "spacing": torch.full((8, 2), 1.5)}
    arms = losses()
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for repeat in range(options.repeats + 2):
        for name, loss in arms.items():
            network.zero_grad()
            started = time.process_time()
            loss(network(image), target).backward()
            if repeat >= 2:
                seconds[name].append(time.process_time() - started)
    base = statistics.median(seconds["network"])
    print("| step | ms | of the network's |\n|---|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {1000 * statistics.median(values):.0f} | {statistics.median(values) / base:.2f} |")


if __name__ == "__main__":
    main()
