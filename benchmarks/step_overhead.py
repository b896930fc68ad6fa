# SPDX-License-Identifier: Apache-2.0
"""What a step asks of the host beside its arithmetic: operators of a prepared batch, and what torch.compile takes away.

python benchmarks/step_overhead.py --against 39622d4   # a commit to compare with, in the same process
python benchmarks/step_overhead.py --compile           # minutes: a compiler in C++ is run
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import importlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from monai.networks.nets import BasicUNet
from speed import interleaved, seconds
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parents[1]
MODES = ("full", "partial", "quadratic", "logbarrier")
AUGMENT: dict[str, Any] = {"flips": [], "turns": None}
"""That of acdc_logbarrier."""

CONTIGUOUS = {"layout_optimization": False}
"""Without it torch 2.13 stops on a CPU: its replicate padding of BasicUNet says another order of memory than it has."""


class Calls(TorchDispatchMode):
    """Counts operators of torch, views included."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def package(commit: str, folder: Path) -> None:
    """The package as it was at a commit, as ``wss_before``, for this process."""
    archive = subprocess.run(["git", "archive", commit, "wss_monai"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    (folder / "wss_monai").rename(folder / "wss_before")
    for file in folder.rglob("*.py"):
        file.write_text(file.read_text().replace("wss_monai", "wss_before"))
    sys.path.insert(0, str(folder))


def parts(name: str) -> ModuleType:
    """Losses, descriptors, engines and transforms of a package, in one namespace."""
    found = ModuleType(name)
    for room in ("losses", "functional.descriptors", "engines", "transforms"):
        found.__dict__.update(vars(importlib.import_module(f"{name}.{room}")))
    return found


def loss_of(here: Any, mode: str) -> nn.Module:
    """What acdc_logbarrier makes of a mode, after its training check."""
    terms: dict[str, Any] = {"partial": (here.PartialCrossEntropyLoss(per_sample=True), 1.0)}
    if mode == "full":
        terms = {"dense": (here.PartialDiceCELoss(target_key="label"), 1.0)}
    if mode in ("quadratic", "logbarrier"):
        penalty = here.QuadraticPenalty() if mode == "quadratic" else here.LogBarrierExtension()
        terms["size"] = (here.ConstraintLoss(here.Size(), penalty), 0.1)
    loss: nn.Module = here.WeightedSumLoss(terms)
    for module in loss.modules():
        if hasattr(module, "checked_classes"):
            module.checked_classes = 4
    return loss


def batch_of(size: int, draw: int = 0) -> dict[str, Tensor]:
    """Eight slices with nested squares of three classes, the last of them in half of the slices, drawn at 1 %."""
    generator = torch.Generator().manual_seed(0)
    label = torch.zeros(8, 1, size, size, dtype=torch.uint8)
    label[:, :, size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 1
    label[:, :, size // 3 : size // 2, size // 3 : size // 2] = 2
    label[:4, :, size // 3 : size // 2, size // 2 : 2 * size // 3] = 3
    drawn = torch.rand(label.shape, generator=generator) < 0.01
    return {
        "image": torch.rand(label.shape, generator=generator),
        "label": label,
        "weak_label": torch.where(drawn, label, 255).to(torch.uint8),
        "spacing": torch.full((8, 2), 1.25),
        "bounds_size": torch.tensor([10.0, 6000.0]).repeat(8, 4, 1, 1),
        "draw": torch.tensor(draw),
    }


def prepare(rounds: int, against: str | None) -> None:
    """Operators and CPU time of a prepared batch."""
    names = {"now": "wss_monai"} | ({against: "wss_before"} if against else {})
    sides = {side: parts(name) for side, name in names.items()}
    for mode in MODES:
        counts = {}
        for side, here in sides.items():
            made = here.PrepareTargets(loss_of(here, mode), here.BatchAugment(4, **AUGMENT))
            counts[side] = []
            for draw in range(20):
                content = batch_of(32, draw)
                with Calls() as calls:
                    made(content, "cpu")
                counts[side].append(calls.count)
        row(f"operator calls of a prepared batch, mode {mode}", {side: f"{max(n)}" for side, n in counts.items()})
    for size in (32, 256):
        steps: dict[str, Callable[[], object]] = {}
        for side, here in sides.items():
            made = here.PrepareTargets(loss_of(here, "logbarrier"), here.BatchAugment(4, **AUGMENT))
            draws = iter(range(10**9))
            content = batch_of(size)
            steps[side] = lambda made=made, draws=draws, content=content: made(
                content | {"draw": torch.tensor(next(draws))}, "cpu"
            )
        times = interleaved(steps, rounds)
        said = {side: f"{1e3 * value:.2f} ms" for side, value in times.items()}
        ratio = f"{times['now'] / times[against]:.2f}" if against else ""
        row(f"preparing 8 slices of {size} x {size}, mode logbarrier", said, ratio)


def compiled(rounds: int, size: int) -> None:
    """A step of the bundle's network and loss with and without torch.compile."""
    here = parts("wss_monai")
    content = batch_of(size)
    targets = {key: content[key] for key in ("weak_label", "bounds_size", "spacing")}
    logits = torch.randn(8, 4, size, size, requires_grad=True)
    loss = loss_of(here, "logbarrier")
    quick = torch.compile(loss)
    begun = time.process_time()
    quick(logits, targets).backward()
    first = time.process_time() - begun
    sides: dict[str, Callable[[], object]] = {
        "plain": lambda: loss(logits, targets).backward(),
        "compiled": lambda: quick(logits, targets).backward(),
    }
    times = interleaved(sides, rounds)
    report(f"loss of mode logbarrier, 8 slices of {size} x {size}", times, first)
    torch.manual_seed(0)
    network = BasicUNet(2, 1, 4, (32, 32, 64, 128, 256, 32), act="relu", norm="batch", upsample="nontrainable")
    optimizer = torch.optim.Adam(network.parameters())

    def step(network: Any, loss: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(network(content["image"]), targets).backward()
        optimizer.step()

    fast = torch.compile(network, options=CONTIGUOUS)
    (first,) = seconds(lambda: step(fast, quick), 1)
    times = interleaved({"plain": lambda: step(network, loss), "compiled": lambda: step(fast, quick)}, rounds)
    report(f"step of network and loss, 8 slices of {size} x {size}", times, first)


def report(what: str, times: dict[str, float], first: float) -> None:
    """A row of the two sides, and of the first call."""
    said = {side: f"{1e3 * value:.1f} ms" for side, value in times.items()}
    row(f"{what}, compiled (first call {first:.0f} s) against plain", dict(reversed(said.items())),
        f"{times['compiled'] / times['plain']:.2f}")  # fmt: skip


def row(what: str, values: dict[str, str], ratio: str = "") -> None:
    """A line of the table."""
    now, *others = values.values()
    print(f"| {what} | {now} | {', '.join(others)} | {ratio} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", help="a commit; without it only today's numbers are shown")
    parser.add_argument("--compile", action="store_true", help="torch.compile instead")
    parser.add_argument("--size", type=int, default=256, help="of the slices that torch.compile is timed on")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{torch.get_num_threads()} thread, torch {torch.__version__}; CPU time, medians, taking turns\n")
    print("| what | ours | against | ratio |\n|---|---|---|---|")
    if options.compile:
        compiled(options.rounds, options.size)
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.against:
            package(options.against, Path(folder))
        prepare(options.rounds, options.against)


if __name__ == "__main__":
    main()
