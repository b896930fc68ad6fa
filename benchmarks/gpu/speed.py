# SPDX-License-Identifier: Apache-2.0
"""Iterations a second of the bundle against bare loops, what makes the host wait, and the costly pieces.

- trainer: MONAI's trainer with all handlers of acdc_logbarrier, mode logbarrier, without its validation.
- our batches, bare: the same loader, augmentation and loss in a plain loop.
- floor: a plain loop over batches that lie on the device already, cross-entropy alone.

All in bfloat16 (float32 on a CPU), taking turns. Waits are counted by torch.cuda.set_sync_debug_mode in one iteration
after a warm-up; a wait is a copy to or from the host that blocks, or a value that Python asks for.
"""

from __future__ import annotations

import itertools
import statistics
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import ROOT, SPEED, UNET, Rows, part_parser, peak_mb, torch_device, wait, workflow
from ignite.engine import Events
from phantoms import phantom
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from wss_monai.functional.crf import dense_crf
from wss_monai.losses import LocalIICLoss

SMALL = {"pixdim": [6.0, 6.0, -1.0], "crop": [32, 32, -1]}
TINY_UNET = {"network_def#features": [4, 4, 4, 4, 4, 4]}
NETWORKS: dict[str, dict[str, Any]] = {
    "U-Net 16-256": {"network_def": UNET},
    "the bundle's own": {},
}
WAIT = "called a synchronizing"
"""How torch's warning of a wait begins."""


class Operators(TorchDispatchMode):
    """Counts operator calls."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


class Training:
    """The bundle's trainer and its parts, and what a step of each consists of."""

    def __init__(self, options: Any, network: dict[str, Any], batch_size: int, iterations: int) -> None:
        self.device = options.device
        data = phantom("heart", options.phantoms)
        settings = {
            "dataset_dir": str(data),
            "output_dir": str(options.work / "speed"),
            "mode": "logbarrier",
            "overwrite": True,
        }
        settings |= {"device": torch_device(self.device), "batch_size": batch_size, "validation": 0}
        settings |= {"train#trainer#max_epochs": 1, "train#trainer#epoch_length": iterations}
        settings |= {**SMALL, **TINY_UNET} if options.smoke else network
        self.flow = workflow("acdc_logbarrier", ["train.yaml"], settings)
        self.trainer = self.flow.parser.get_parsed_content("train#trainer")
        self.network, self.optimizer = self.trainer.network, self.trainer.optimizer
        self.loss, self.prepare = self.trainer.loss_function, self.trainer.prepare_batch
        self.store_of = self.trainer.data_loader
        self.batches = itertools.cycle(self.store_of)
        self.half = self.flow.parser.get_parsed_content("amp_dtype") if self.trainer.amp else torch.float32

    def autocast(self) -> torch.autocast:
        """As the trainer's."""
        return torch.autocast(self.device.split(":")[0], dtype=self.half, enabled=self.trainer.amp)

    def prepared(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The next batch as network and loss get it."""
        device = torch.device(self.device)
        return self.prepare(next(self.batches), device, self.trainer.non_blocking, **self.trainer.to_kwargs)

    def learn(self, value: Tensor) -> None:
        """Backward pass and optimiser."""
        value.backward()
        self.optimizer.step()

    def ours(self) -> None:
        """A step of a plain loop with our batches and loss."""
        image, target = self.prepared()
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            value = self.loss(self.network(image), target)
        self.learn(value)

    def floor(self, image: Tensor, index: Tensor) -> None:
        """A step with a batch that is there."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            value = F.cross_entropy(self.network(image).float(), index, ignore_index=255)
        self.learn(value)

    def run_trainer(self, warm: int) -> float:
        """Seconds an iteration of the trainer, after some to warm up."""
        clock = {}

        def begin(engine: Any) -> None:
            if engine.state.iteration == warm:
                wait(self.device)
                clock["begin"] = time.perf_counter()
            elif engine.state.iteration == engine.state.epoch_length:
                wait(self.device)
                clock["end"] = time.perf_counter()

        handle = self.trainer.add_event_handler(Events.ITERATION_COMPLETED, begin)
        self.flow.run()
        handle.remove()
        return (clock["end"] - clock["begin"]) / (self.trainer.state.epoch_length - warm)


def seconds(function: Callable[[], object], repeats: int, device: str, rounds: int = 3) -> float:
    """Seconds a call: the least of the rounds' means; the device is waited for once a round."""
    function()
    means = []
    for _ in range(rounds):
        wait(device)
        begun = time.perf_counter()
        for _ in range(repeats):
            function()
        wait(device)
        means.append((time.perf_counter() - begun) / repeats)
    return min(means)


@contextmanager
def waits(device: str) -> Iterator[Counter[str]]:
    """Count the waits of the block by the line of ours, or else of a library, that asked."""
    found: Counter[str] = Counter()
    if not device.startswith("cuda"):
        yield found
        return
    mode = torch.cuda.get_sync_debug_mode()
    show = warnings.showwarning

    def note(message: Any, category: Any, filename: str, lineno: int, *rest: Any) -> None:
        if WAIT in str(message):
            found[_place(filename, lineno)] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(mode)
            warnings.showwarning = show


def _place(filename: str, lineno: int) -> str:
    path = Path(filename)
    if path.is_relative_to(ROOT):
        return f"{path.relative_to(ROOT)}:{lineno}"
    return f"{'/'.join(path.parts[-2:])}:{lineno}"


def phases(training: Training, repeats: int) -> dict[str, float]:
    """Milliseconds of each part of a step, the device waited for after each; medians."""
    times: dict[str, list[float]] = {}

    def timed(name: str, function: Callable[[], Any]) -> Any:
        wait(training.device)
        begun = time.perf_counter()
        out = function()
        wait(training.device)
        times.setdefault(name, []).append(1e3 * (time.perf_counter() - begun))
        return out

    def forward(image: Tensor) -> Tensor:
        with training.autocast():
            return training.network(image)

    for _ in range(repeats):
        batch = timed("gather", lambda: next(training.batches))
        image, target = timed("prepare", lambda b=batch: training.prepare(b, torch.device(training.device)))
        training.optimizer.zero_grad(set_to_none=True)
        logits = timed("forward", lambda i=image: forward(i))
        value = timed("loss", lambda lo=logits, t=target: training.loss(lo, t))
        timed("backward", value.backward)
        timed("optimiser", training.optimizer.step)
    return {name: statistics.median(values[1:] or values) for name, values in times.items()}


def busy(training: Training, repeats: int) -> float | None:
    """Share of the time in which the device computes, in a plain loop with our batches; None on a CPU."""
    if not training.device.startswith("cuda"):
        return None
    from torch.profiler import ProfilerActivity, profile

    wait(training.device)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        begun = time.perf_counter()
        for _ in range(repeats):
            training.ours()
        wait(training.device)
        passed = time.perf_counter() - begun
    return sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6 / passed


def operators(training: Training) -> dict[str, int]:
    """Operator calls of preparing a batch and of the loss's forward pass."""
    batch = next(training.batches)
    out = {}
    with Operators() as counter:
        image, target = training.prepare(batch, torch.device(training.device))
        out["prepare"] = counter.count
    with training.autocast():
        logits = training.network(image)
    with Operators() as counter:
        training.loss(logits, target)
        out["loss"] = counter.count
    return out


def training_speed(options: Any, rows: Rows) -> None:
    device, iterations, warm = options.device, 12 if options.smoke else 110, 4 if options.smoke else 30
    known: dict[str, str] = {}
    for name, network in NETWORKS.items():
        if name not in options.networks:
            continue
        for batch_size in (4,) if options.smoke else (8, 32):
            training = Training(options, network, batch_size, iterations)
            size = training.prepared()[0].shape[-1]
            architecture = str(training.network)
            if known.setdefault(architecture, name) != name:
                rows.add(SPEED, "training", f"{name} is {known[architecture]}", "", "")
                break
            group = f"{name}, batch {batch_size}, {size} x {size}"
            peak_mb(device, reset=True)
            trainer = training.run_trainer(warm)
            peak = peak_mb(device)
            image, target = training.prepared()
            index = target["weak_label"][:, 0].long()
            repeats = 3 if options.smoke else 30
            ours = seconds(training.ours, repeats, device)
            floor = seconds(lambda t=training, i=image, j=index: t.floor(i, j), repeats, device)
            rows.add(SPEED, group, "trainer", round(1 / trainer, 1), "iterations/s")
            rows.add(SPEED, group, "our batches, bare loop", round(1 / ours, 1), "iterations/s")
            rows.add(SPEED, group, "floor: batch on the device, cross-entropy", round(1 / floor, 1), "iterations/s")
            rows.add(SPEED, group, "trainer against floor", round(trainer / floor, 2), "times as long")
            if device.startswith("cuda"):
                torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False
                fast = seconds(lambda t=training, i=image, j=index: t.floor(i, j), repeats, device)
                torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
                rows.add(SPEED, group, "floor with cudnn.benchmark", round(1 / fast, 1), "iterations/s")
                rows.add(SPEED, group, "peak memory of the trainer", round(peak or 0), "MB")
                rows.add(SPEED, group, "device busy, our batches", round(busy(training, 20) or 0, 3), "of the time")
            for part, value in phases(training, 3 if options.smoke else 15).items():
                rows.add(SPEED, group, f"{part}, device waited for", round(value, 3), "ms")
            for part, value in operators(training).items():
                rows.add(SPEED, group, f"operator calls, {part}", value, "calls")
            count_waits(training, group, rows)
            if options.smoke:
                return


def count_waits(training: Training, group: str, rows: Rows) -> None:
    """Waits in an iteration of the trainer itself, by place."""
    found: Counter[str] = Counter()
    state = {"context": nullcontext()}

    def begin(engine: Any) -> None:
        if engine.state.iteration == 5:
            state["context"] = waits(training.device)
            state["found"] = state["context"].__enter__()

    def end(engine: Any) -> None:
        if engine.state.iteration == 6:
            state["context"].__exit__(None, None, None)
            found.update(state["found"])
            engine.terminate()

    training.trainer.state.epoch = training.trainer.state.iteration = 0
    for event, handler in ((Events.ITERATION_COMPLETED, begin), (Events.ITERATION_COMPLETED, end)):
        training.trainer.add_event_handler(event, handler)
    training.flow.run()
    what = "waits of the host in an iteration of the trainer"
    if not training.device.startswith("cuda"):
        rows.add(SPEED, group, what, "", "counted on a GPU alone")
        return
    rows.add(SPEED, group, what, sum(found.values()), "waits")
    for place, count in found.most_common():
        rows.add(SPEED, group, f"waits at {place}", count, "waits")


def crf_speed(options: Any, rows: Rows) -> None:
    device = options.device
    grids = [((24, 20), 5), ((6, 10, 8), 4)] if options.smoke else [((256, 256), 21), ((64, 128, 128), 4)]
    for shape, classes in grids:
        generator = torch.Generator().manual_seed(0)
        image = F.avg_pool2d(255 * torch.rand(1, 1, *shape[-2:], generator=generator), 5, 1, 2)
        image = image if len(shape) == 2 else image[:, :, None].repeat(1, 1, shape[0], 1, 1)
        logits = torch.randn(1, classes, *shape, generator=generator).to(device)
        image = image.contiguous().to(device)
        peak_mb(device, reset=True)
        spent = seconds(lambda lo=logits, i=image: dense_crf(lo, i, method="lattice"), 1, device, 2)
        what = f"dense CRF (lattice), {' x '.join(map(str, shape))} x {classes}"
        rows.add(SPEED, "pieces", what, round(1e3 * spent, 1), "ms")
        if (peak := peak_mb(device)) is not None:
            rows.add(SPEED, "pieces", f"{what}, peak memory", round(peak), "MB")
        with waits(device) as found:
            dense_crf(logits, image, method="lattice")
        if device.startswith("cuda"):
            rows.add(SPEED, "pieces", f"{what}, waits of the host", sum(found.values()), "waits")


def information_speed(options: Any, rows: Rows) -> None:
    device = options.device
    shape = (2, 4, 24, 24) if options.smoke else (10, 20, 224, 224)
    for backend in ("shifted_views", "separable"):
        for padding in (1,) if options.smoke else (1, 3):
            maps = [torch.randn(shape, device=device).softmax(1).requires_grad_() for _ in range(2)]
            loss = LocalIICLoss(padding=padding, backend=backend)

            def step(loss: Any = loss, maps: list[Tensor] = maps) -> None:
                loss(*maps).backward()

            peak_mb(device, reset=True)
            spent = seconds(step, 2 if options.smoke else 5, device, 2)
            what = f"local mutual information, {backend}, padding {padding}, {shape}, forward and backward"
            rows.add(SPEED, "pieces", what, round(1e3 * spent, 1), "ms")
            if (peak := peak_mb(device)) is not None:
                rows.add(SPEED, "pieces", f"{what}, peak memory", round(peak), "MB")


PIECES = {"training": training_speed, "crf": crf_speed, "information": information_speed}


def main() -> None:
    parser = part_parser(__doc__)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--pieces", nargs="*", choices=list(PIECES), default=list(PIECES))
    options = parser.parse_args()
    rows = Rows(options.rows)
    failed = []
    for part in (PIECES[name] for name in options.pieces):
        try:
            part(options, rows)
        except Exception as error:  # the other pieces are measured all the same
            traceback.print_exc()
            failed.append(f"{part.__name__}: {type(error).__name__}: {error}")
    if failed:
        raise SystemExit("; ".join(failed))


if __name__ == "__main__":
    main()
