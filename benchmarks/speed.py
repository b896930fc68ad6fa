# SPDX-License-Identifier: Apache-2.0
"""Speed, side by side in one process, as ratios: the bundle's trainer, its data side, its constraints.

make bench
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import copy
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.data import MetaTensor
from monai.networks.nets import UNet

from wss_monai.data import SliceStore
from wss_monai.data.phantoms.cardiac import synthesize_cardiac
from wss_monai.functional.descriptors import Centroid, Size
from wss_monai.losses import ConstraintLoss, LogBarrierExtension, PartialCrossEntropyLoss, WeightedSumLoss
from wss_monai.transforms import BatchAugment

CONFIGS = Path(__file__).resolve().parents[1] / "bundles" / "acdc_logbarrier" / "configs"


def seconds(function: Callable[[], object], repeats: int) -> list[float]:
    out = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        out.append(time.process_time() - start)
    return out


def interleaved(functions: dict[str, Callable[[], object]], rounds: int, repeats: int = 1) -> dict[str, float]:
    """Median CPU seconds a call, the functions taking turns, so that a noisy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            times[name] += seconds(function, repeats)
    return {name: statistics.median(values) for name, values in times.items()}


def trainer(iterations: int) -> None:
    """The bundle's trainer with all its handlers against a bare loop over the same batches and network."""
    with tempfile.TemporaryDirectory() as folder:
        data = synthesize_cardiac(Path(folder) / "phantom", 6, 0).parent
        flow = ConfigWorkflow(
            config_file=[str(CONFIGS / name) for name in ("train.yaml", "cpu.yaml")],
            meta_file=str(CONFIGS / "metadata.json"),
            logging_file=False,
            workflow_type="train",
            **{
                "dataset_dir": str(data),
                "output_dir": str(Path(folder) / "run"),
                "overwrite": True,
                "network_def": {
                    "_target_": "UNet",
                    "spatial_dims": 2,
                    "in_channels": 1,
                    "out_channels": 4,
                    "channels": [16, 32, 64, 128],
                    "strides": [2, 2, 2],
                    "num_res_units": 2,
                },
                "batch_size": 4,
                "epoch_iterations": None,
                "validation": 1,
                "val_interval": 1,
                "device": "$torch.device('cpu')",
            },
        )
        flow.initialize()
        engine = flow.parser.get_parsed_content("train#trainer")
        network, loss, optimizer = engine.network, engine.loss_function, engine.optimizer
        loader, prepare = engine.data_loader, engine.prepare_batch
        epochs = -(-iterations // len(loader))
        engine.state.max_epochs = 2 * epochs

        ours: list[float] = []
        bare: list[float] = []
        saving: list[float] = []
        clock = {"iteration": 0.0, "epoch": 0.0}

        def bare_epoch() -> None:
            begun = time.process_time()
            for batch in loader:
                image, target = prepare(batch, torch.device("cpu"))
                optimizer.zero_grad(set_to_none=True)
                loss(network(image), target).backward()
                optimizer.step()
                bare.append(time.process_time() - begun)
                begun = time.process_time()

        def timed(e) -> None:
            if e.state.iteration % e.state.epoch_length != 1:
                ours.append(time.process_time() - clock["iteration"])
            clock["iteration"] = time.process_time()

        def last(e) -> None:
            if e.state.iteration % e.state.epoch_length == 0:
                clock["epoch"] = time.process_time()

        def alternate(e) -> None:
            """Between two of the trainer's epochs, an epoch of the bare loop; then the state of before."""
            saving.append(time.process_time() - clock["epoch"])
            if e.state.epoch == epochs:
                e.terminate()
            state = {name: value.clone() for name, value in network.state_dict().items()}
            kept = copy.deepcopy(optimizer.state_dict())
            bare_epoch()
            network.load_state_dict(state)
            optimizer.load_state_dict(kept)

        engine.add_event_handler(Events.ITERATION_COMPLETED, last)
        engine.add_event_handler(Events.ITERATION_STARTED, timed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, alternate)
        engine.run()
    ours_ms, bare_ms = 1e3 * statistics.median(ours), 1e3 * statistics.median(bare)
    print(f"| trainer, U-Net 16-32-64-128, batch 4, 128 x 128, {len(ours)} iterations | {ours_ms:.1f} ms |", end="")
    print(f" bare loop {bare_ms:.1f} ms | ratio {ours_ms / bare_ms:.3f} | at most 1.10 |")
    print(f"| validation, checkpoint, log and snapshot of an epoch | {1e3 * statistics.median(saving):.0f} ms | | | |")


def volumes(size: int, count: int) -> list[dict]:
    R = np.random.RandomState(0)
    affine = torch.diag(torch.tensor([1.5, 1.5, 8.0, 1.0]))
    out = []
    for number in range(count):
        weak = np.full((1, size, size, 8), 255, np.uint8)
        drawn = R.rand(*weak.shape) < 0.01
        weak[drawn] = R.randint(0, 4, drawn.sum())
        image = torch.from_numpy(R.rand(1, size, size, 8).astype(np.float32))
        bounds = torch.tensor([-np.inf, 2000.0]).repeat(8, 4, 1, 1)
        weak_label = torch.from_numpy(weak)
        case = {"case": str(number), "image": MetaTensor(image, affine=affine), "weak_label": weak_label}
        out.append({**case, "bounds_size": bounds})
    return out


def step(size: int, batch: int, channels: tuple[int, ...] = (16, 32, 64, 128)) -> Callable[[], None]:
    torch.manual_seed(0)
    network = UNet(2, 1, 4, channels, (2,) * (len(channels) - 1), num_res_units=2)
    optimizer = torch.optim.Adam(network.parameters())
    image = torch.rand(batch, 1, size, size)
    index = torch.randint(0, 4, (batch, 1, size, size), dtype=torch.uint8)
    loss = PartialCrossEntropyLoss()

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(network(image), index).backward()
        optimizer.step()

    return run


def data_side(rounds: int) -> None:
    """Store, batch and all augmentations, against the network's step."""
    for size in (128, 256):
        store = SliceStore(volumes(size, 6))
        augment = BatchAugment(4)
        R = np.random.RandomState(0)
        counter = iter(range(10**9))

        def load(store=store, augment=augment, R=R, counter=counter) -> None:
            batch = augment(store.batch(R.randint(0, len(store), 8).tolist(), 0), next(counter))
            Size().move(batch["bounds_size"], batch["matrix"], batch["cut"])

        times = interleaved({"data": load, "step": step(size, 8)}, rounds)
        slice_ms, share = 1e3 * times["data"] / 8, times["data"] / times["step"]
        target = "at most 1 ms and 10 %" if size == 128 else "reported"
        print(f"| data side, {size} x {size}, batch 8, one thread | {slice_ms:.2f} ms a slice |", end="")
        print(f" step {1e3 * times['step']:.0f} ms | {100 * share:.1f} % of the step | {target} |")


def constraints(rounds: int) -> None:
    """Size and centroid terms against the step; 1024 constraints against one."""
    size, batch = 128, 4
    bounds = {"bounds_size": torch.tensor([100.0, 2000.0]).repeat(batch, 4, 1, 1)}
    bounds["bounds_centroid"] = torch.tensor([30.0, 90.0]).repeat(batch, 4, 2, 1)
    target = {**bounds, "weak_label": torch.randint(0, 4, (batch, 1, size, size), dtype=torch.uint8)}
    partial = {"partial": (PartialCrossEntropyLoss(), 1.0)}
    terms = {
        "size": (ConstraintLoss(Size(), LogBarrierExtension()), 0.01),
        "centroid": (ConstraintLoss(Centroid(), LogBarrierExtension()), 0.01),
    }
    without, with_terms = WeightedSumLoss(partial), WeightedSumLoss({**partial, **terms})
    logits = torch.randn(batch, 4, size, size, requires_grad=True)
    times = interleaved(
        {
            "without": lambda: without(logits, target).backward(),
            "with": lambda: with_terms(logits, target).backward(),
            "step": step(size, batch),
        },
        rounds,
    )
    extra = times["with"] - times["without"]
    print(f"| size + centroid terms, batch 4, 128 x 128 | {1e3 * extra:.2f} ms |", end="")
    print(f" step {1e3 * times['step']:.1f} ms | {100 * extra / times['step']:.1f} % | under 5 % |")
    barrier = LogBarrierExtension()
    one, many = (torch.randn(n, requires_grad=True) for n in (1, 1024))
    times = interleaved(
        {"one": lambda: barrier(one).sum().backward(), "many": lambda: barrier(many).sum().backward()}, rounds, 20
    )
    ratio = times["many"] / times["one"]
    print(f"| log-barrier on 1024 constraints | {1e6 * times['many']:.0f} us |", end="")
    print(f" one: {1e6 * times['one']:.0f} us | ratio {ratio:.2f} | within 2 |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    print(f"{torch.get_num_threads()} thread, torch {torch.__version__}; CPU time, medians, taking turns\n")
    print("| what | ours | against | ratio | target |\n|---|---|---|---|---|")
    trainer(options.iterations)
    data_side(options.rounds)
    constraints(options.rounds)


if __name__ == "__main__":
    main()
