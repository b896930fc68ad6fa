# SPDX-License-Identifier: Apache-2.0
"""What equivariance costs: a step of all losses against plain classification steps of the same networks, on the CPU.

    OMP_NUM_THREADS=1 python benchmarks/cross_modality_step.py

All sides see the same two views of the same batch: a classification step of each of M networks by itself, one after
the other; the joint network with its classification alone; the joint network with all losses. They take turns in one
process; a ratio is the median over the rounds. Peak memory is that of a process of its own for each side: separate
steps hold the activations of one network at a time, the joint network those of all.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from wss_monai.functional.cams.channels import split_channels, tag_logits
from wss_monai.inferers import TwoViews
from wss_monai.losses import (
    ClassDistributionExchangeLoss,
    ClassificationLoss,
    CrossModalityEquivarianceLoss,
    EquivariantCAMLoss,
    WithinModalityEquivarianceLoss,
)
from wss_monai.networks import MultiModalCAM
from wss_monai.transforms import RandEquivariantTransform

SIZES = {"small": ((8, 16, 32, 32), 16, 64), "a quarter of the paper's": ((16, 32, 64, 64), 4, 128)}
MODALITIES = (2, 4)
FAMILY = "all"
TERMS = {
    "classification": (ClassificationLoss(), 1.0),
    "exchange": (ClassDistributionExchangeLoss(), 0.05),
    "within": (WithinModalityEquivarianceLoss("mean"), 1.0),
    "cross": (CrossModalityEquivarianceLoss(), 0.1),
}
PARTS = tuple(TERMS)


def batch(modalities: int, size: int, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, M, size, size) and tags (B, 2)."""
    generator = torch.Generator().manual_seed(seed)
    tags = torch.ones(count, 2, dtype=torch.long)
    tags[1::2, 1] = 0
    return torch.rand(count, modalities, size, size, generator=generator), tags


def separate(name: str, modalities: int, share: float) -> Callable[[int], None]:
    """A step of classification of each network by itself, on both views."""
    channels, count, size = SIZES[name]
    networks = [MultiModalCAM(1, 2, channels, share=share) for _ in range(modalities)]
    optimizers = [torch.optim.AdamW(network.parameters(), 1e-3) for network in networks]
    draw = RandEquivariantTransform(FAMILY)

    def step(seed: int) -> None:
        image, tags = batch(modalities, size, count, seed)
        moved = draw(count, (size, size), seed)(image)
        for m, (network, optimizer) in enumerate(zip(networks, optimizers, strict=True)):
            optimizer.zero_grad()
            costs = []
            for view in (image, moved):
                maps, _ = split_channels(network(view[:, m : m + 1]), 1)
                costs.append(F.cross_entropy(tag_logits(maps)[0], tags[:, 1]))
            ((costs[0] + costs[1]) / 2).backward()
            optimizer.step()

    return step


def joint(name: str, modalities: int, share: float, parts: Sequence[str] = PARTS) -> Callable[[int], None]:
    """A step of the joint network with some of the losses."""
    channels, count, size = SIZES[name]
    network = MultiModalCAM(modalities, 2, channels, share=share)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    draw, views = RandEquivariantTransform(FAMILY), TwoViews()
    loss = EquivariantCAMLoss(modalities, {part: TERMS[part] for part in parts})

    def step(seed: int) -> None:
        image, tags = batch(modalities, size, count, seed)
        view = draw(count, (size, size), seed)
        optimizer.zero_grad()
        loss(views(image, network, view=view), {"slice_tags": tags, "view": view}).backward()
        optimizer.step()

    return step


SIDES: dict[str, Callable[[str, int, float], Callable[[int], None]]] = {
    "separate": separate,
    "classification": partial(joint, parts=("classification",)),
    "all": joint,
}


def seconds(step: Callable[[int], None], seed: int) -> float:
    """Wall time of a step."""
    started = time.perf_counter()
    step(seed)
    return time.perf_counter() - started


def memory(field: str) -> float:
    """MiB of this process, from Linux's /proc."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status does not say {field}")


def peak(side: str, name: str, modalities: int, share: float) -> float:
    """MiB that a process of its own takes at most beyond what it takes before the first step."""
    code = (
        "import sys; sys.path.insert(0, 'benchmarks'); import cross_modality_step as c, torch;"
        f"torch.set_num_threads(1); step = c.SIDES[{side!r}]({name!r}, {modalities}, {share});"
        "open('/proc/self/clear_refs', 'w').write('5'); before = c.memory('VmRSS'); [step(i) for i in range(4)];"
        "print(c.memory('VmHWM') - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--share", type=float, default=0.05, help="of the pooling; 0.5: the mean")
    options = parser.parse_args()
    torch.set_num_threads(1)
    heads = ["separate s", "all s", "all / separate", "all / classification"]
    heads += [f"{side} MiB" for side in SIDES] + ["all / classification"]
    print("| network | M | " + " | ".join(heads) + " |")
    print("|" + "---|" * (2 + len(heads)))
    for name in SIZES:
        for modalities in MODALITIES:
            sides = {side: make(name, modalities, options.share) for side, make in SIDES.items()}
            for step in sides.values():
                step(0)
            times: dict[str, list[float]] = {side: [] for side in sides}
            for number in range(options.rounds):
                for side in list(sides)[:: 1 if number % 2 else -1]:
                    times[side].append(seconds(sides[side], number))
            ratios = [
                statistics.median(b / a for a, b in zip(times[side], times["all"], strict=True))
                for side in ("separate", "classification")
            ]
            cells = [f"{statistics.median(times[side]):.3f}" for side in ("separate", "all")]
            cells += [f"{ratio:.2f}" for ratio in ratios]
            taken = {side: peak(side, name, modalities, options.share) for side in SIDES}
            cells += [f"{value:.0f}" for value in taken.values()] + [f"{taken['all'] / taken['classification']:.2f}"]
            channels, count, size = SIZES[name]
            what = f"{name}: {'-'.join(map(str, channels))}, {count} x {size} x {size}"
            print(f"| {what} | {modalities} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
