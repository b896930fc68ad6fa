# SPDX-License-Identifier: Apache-2.0
"""Toy 1 of the tutorials, from scratch: full, unconstrained and constrained on 10 + 10 generated discs.

    python benchmarks/toy_size.py              # 3 modes x 3 seeds, 150 epochs: Dice and size differences
    python benchmarks/toy_size.py --speed      # an iteration against a plain torch loop, in one process

The network, optimiser, loss, divisor and weight of the tutorial (bundle toy_size as it stands) and its noise levels;
Dice of the validation images with the last weights. ``--edition 2019`` runs the two modes of MICCAI 2019.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from grid import ROOT, run_grid
from torch import Tensor, nn

NOISE = [44, 69, 28, 90, 99, 89, 69, 58, 81, 94, 6, 75, 47, 93, 67, 38, 50, 38, 12, 20]
"""Standard deviations that the tutorial's generator draws with seed 0: training, then validation images."""
MODES = ("full", "unconstrained", "constrained")
EPOCHS = (10, 50, 100, 150, 200)


def make_data(out: Path, edition: int) -> Path:
    """The generator's images, made once."""
    folder = out / "data"
    if not (folder / "dataset.json").exists():
        words = ["synthesize", "toy", "--out", str(folder), "--edition", str(edition), "--noise", *map(str, NOISE)]
        subprocess.run([sys.executable, "-m", "wss_monai", *words], check=True, cwd=ROOT)
    return folder


def mean_and_seeds(values: Sequence[float], digits: int) -> str:
    each = " / ".join(f"{value:.{digits}f}" for value in values)
    return f"**{statistics.fmean(values):.{digits}f}** ({each})"


def row_of(epoch: int, rows: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
    return next((row for row in rows if int(row["epoch"]) == epoch), {})


def table(results: Mapping[str, Sequence[Mapping]], out: Path, seeds: Sequence[int]) -> str:
    """Markdown: validation Dice over the epochs; at the end size differences of training and validation images."""
    logs = {
        name: [list(csv.DictReader((out / f"{name}_s{seed}" / "metrics.csv").open())) for seed in seeds]
        for name in results
    }
    last = max(int(rows[-1]["epoch"]) for runs in logs.values() for rows in runs)
    epochs = [epoch for epoch in EPOCHS if epoch < last]
    head = ["mode", "bounds", *(f"Dice at {epoch}" for epoch in epochs), f"Dice at {last} (by seed)"]
    head += ["abs. size difference px, validation", "signed, training", "absolute, training"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, runs in results.items():
        cells = [name, runs[0]["bounds_origin"]]
        for epoch in epochs:
            values = [float(row_of(epoch, rows)["val_dice"]) for rows in logs[name]]
            cells.append(f"{statistics.fmean(values):.3f}")
        cells.append(mean_and_seeds([run["dice"]["mean"] for run in runs], 3))
        cells.append(mean_and_seeds([run["size_difference_abs"]["mean"] for run in runs], 0))
        for column in ("size_difference", "size_difference_abs"):
            cells.append(mean_and_seeds([float(rows[-1][column]) for rows in logs[name]], 0))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


class Plain:
    """The tutorial's loop as one writes it by hand: no engine, no handlers, images in memory."""

    def __init__(self, images: Tensor, weak: Tensor, sizes: Tensor, network: nn.Module) -> None:
        self.images, self.weak, self.sizes, self.network = images, weak, sizes, network
        self.optimizer = torch.optim.Adam(network.parameters(), lr=5e-4)

    def epoch(self) -> None:
        """One pass over the images, batch 1."""
        for number in torch.randperm(len(self.images)).tolist():
            image, drawn = self.images[number : number + 1], self.weak[number : number + 1]
            self.optimizer.zero_grad()
            probs = torch.softmax(5 * self.network(image), 1)[:, 1:]
            entropy = -(drawn * (probs + 1e-10).log()).sum() / (drawn.sum() + 1e-10)
            size = probs.sum((2, 3))
            violation = (size - 1.1 * self.sizes[number]).relu() ** 2 + (0.9 * self.sizes[number] - size).relu() ** 2
            (entropy + 0.01 * violation.sum() / image[0, 0].numel()).backward()
            self.optimizer.step()


def speed(data: Path, out: Path, epochs: int) -> str:
    """An epoch of the bundle's trainer, all handlers but the validation, and one of the plain loop, in turn."""
    from ignite.engine import Events
    from monai.bundle import ConfigWorkflow

    configs = ROOT / "bundles" / "toy_size" / "configs"
    flow = ConfigWorkflow(
        config_file=str(configs / "train.yaml"),
        meta_file=str(configs / "metadata.json"),
        logging_file=False,
        workflow_type="train",
        dataset_dir=str(data),
        output_dir=str(out),
        device="$torch.device('cpu')",
        val_interval=epochs + 1,
        **{"train#trainer#max_epochs": epochs},
    )
    flow.initialize()
    trainer = flow.parser.get_parsed_content("train#trainer")
    store = flow.parser.get_parsed_content("train#dataloader").store.tensors
    network = type(flow.parser.get_parsed_content("network_def"))(2, 1, 2).train()
    weak, sizes = (store["weak_label"] == 1).float(), (store["label"] == 1).flatten(1).sum(1).float()
    plain = Plain(store["image"], weak, sizes, network)
    times: dict[str, list[float]] = {"bundle": [], "plain loop": []}
    mark = time.perf_counter()

    def turn(_: object) -> None:
        nonlocal mark
        times["bundle"].append(time.perf_counter() - mark)
        started = time.perf_counter()
        plain.epoch()
        mark = time.perf_counter()
        times["plain loop"].append(mark - started)

    trainer.add_event_handler(
        Events.EPOCH_STARTED(once=1), lambda _: trainer.add_event_handler(Events.EPOCH_COMPLETED, turn)
    )
    flow.run()
    pairs = [(a, b) for a, b in zip(times["bundle"], times["plain loop"], strict=True)][3:]  # the first ones warm up
    lines = [f"{torch.get_num_threads()} thread, {len(pairs)} epochs of {len(weak)} iterations each way, in turn"]
    for name, values in zip(times, zip(*pairs, strict=True), strict=True):
        lines.append(f"{name}: {1000 * statistics.median(values) / len(weak):.2f} ms an iteration")
    return "\n".join([*lines, f"ratio (median of the pairs): {statistics.median(a / b for a, b in pairs):.3f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--modes", nargs="+", default=None)
    parser.add_argument("--epochs", type=int, default=None, help="instead of the bundle's")
    parser.add_argument("--edition", type=int, choices=(2019, 2022), default=2022)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--speed", action="store_true", help="time an iteration instead")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    old = options.edition == 2019
    out = (options.out or Path("runs") / ("toy_size_2019" if old else "toy_size")).resolve()
    data = make_data(out, options.edition)
    if options.speed:
        os.chdir(ROOT)
        torch.set_num_threads(1)
        print(speed(data, out / "speed", options.epochs or 30))
        return
    overlays = ("edition_2019.yaml",) if old else ()
    modes = options.modes or (MODES[1:] if old else MODES)
    common: dict[str, object] = {"dataset_dir": data}
    if options.epochs:
        common["train#trainer#max_epochs"] = options.epochs
    arms = {mode: (overlays, {"mode": mode}) for mode in modes}
    results = run_grid(arms, options.seeds, common, out, options.jobs, bundle="toy_size")
    print(table(results, out, options.seeds))


if __name__ == "__main__":
    main()
