# SPDX-License-Identifier: Apache-2.0
"""What happened in each epoch: a line of the console table, a row of ``metrics.csv``, scalars for TensorBoard."""

from __future__ import annotations

import csv
import os
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from wss_monai.handlers.batch_output import batch_output
from wss_monai.io.atomic_files import naming
from wss_monai.io.processes import first_process, rank_and_size
from wss_monai.io.run_folder import EPOCHS
from wss_monai.losses import WeightedSumLoss

NOT_SHOWN = ("iteration", "lr")
"""Columns of the file that the console leaves out, so that a line fits into a terminal."""

WIDTH = 100
"""Of a terminal; what does not fit is in the file."""
ROOM = len(f"  (+99 in {EPOCHS.file})")
INDENT: Any = {"initial_indent": " " * 9, "subsequent_indent": " " * 9, "break_on_hyphens": False}


class EpochLog:
    """Mean losses and violations of the epoch, rate of its last step, t, seconds, and the evaluator's metrics.

    Sums stay on the device, so that no iteration waits for it. A resumed run keeps the rows of the epochs before.
    With several processes the losses and violations are means over all of them; process 0 alone writes. Means and t
    are ``engine.state.metrics`` as well, for MONAI's handlers behind this one, such as ``MLFlowHandler``.

    Args:
        output_dir: the run's folder.
        loss: whose ``parts``, ``violations`` and ``t`` are logged.
        optimizer: whose learning rate is logged.
        evaluator: whose metrics of the epoch are logged.
        tensorboard: write ``tensorboard/`` too.
        also: objects with ``logged`` (name -> scalar tensor of the iteration), whose means are logged too; those that
            have ``attach`` are attached first.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        loss: WeightedSumLoss,
        optimizer: torch.optim.Optimizer,
        evaluator: Engine | None = None,
        tensorboard: bool = True,
        also: Sequence[Any] = (),
    ) -> None:
        self.folder = Path(output_dir)
        self.loss = loss
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.tensorboard = tensorboard
        self.also = list(also)
        self.writer: SummaryWriter | None = None
        self.rows: list[dict[str, Any]] = []
        self.sums: dict[str, Tensor] = {}
        self.started = 0.0
        self.seconds_before = 0.0
        self.header: list[str] = []
        self.known: set[str] = set()
        self.rate = 0.0

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``; attach after the handlers of validation and checkpoint."""
        if first_process():
            engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self.sums.clear())
        for source in self.also:
            if hasattr(source, "attach"):
                source.attach(engine)
        engine.add_event_handler(Events.ITERATION_STARTED, self._note_rate)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)
        engine.add_event_handler(Events.COMPLETED, self._close)

    def _start(self, engine: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / EPOCHS.file
        self.rows = []
        if engine.state.epoch > 0 and path.is_file():
            with path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= engine.state.epoch]
        self.seconds_before = float(self.rows[-1]["seconds"]) if self.rows else 0.0
        self.started = time.perf_counter()
        if self.tensorboard:
            with naming(self.folder / "tensorboard"):
                self.writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=engine.state.epoch + 1)

    def _note_rate(self, engine: Engine) -> None:
        """The rate that the step is made with: schedules step before the row of the epoch is written."""
        self.rate = self.optimizer.param_groups[0]["lr"]

    def _add(self, engine: Engine) -> None:
        values: dict[str, Tensor] = {"loss": batch_output(engine)["loss"]}
        values |= {f"loss_{name}": value for name, value in self.loss.parts.items()}
        values |= {f"violation_{name}": value for name, value in self.loss.violations.items()}
        values |= {name: value for source in self.also for name, value in source.logged.items()}
        for name, value in values.items():
            value = value.detach()
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()

    def _means(self, iterations: int) -> dict[str, float]:
        """Means of the epoch, over all processes: every process has to call it."""
        names = sorted(self.sums)
        total = torch.stack([self.sums[name].float() for name in names])
        _, processes = rank_and_size()
        if processes > 1:
            dist.all_reduce(total)
        means = dict(zip(names, (total / (iterations * processes)).tolist(), strict=True))
        return {name: means[name] for name in self.sums}

    def _write(self, engine: Engine) -> None:
        state: Any = engine.state
        means = self._means(state.epoch_length)
        state.metrics.update(means if self.loss.t is None else {**means, "t": self.loss.t})
        if not first_process():
            return
        row: dict[str, Any] = {
            "epoch": state.epoch,
            "iteration": state.iteration,
            "seconds": round(self.seconds_before + time.perf_counter() - self.started, 2),
            "lr": self.rate,
            "t": "" if self.loss.t is None else self.loss.t,
            **means,
        }
        if self.evaluator is not None and self.evaluator.state.epoch == state.epoch:
            row |= {f"val_{name}": value for name, value in self.evaluator.state.metrics.items()}
        self.rows.append(row)
        self._save()
        if self.writer is not None:
            with naming(self.folder / "tensorboard"):
                for name, value in row.items():
                    if name not in ("epoch", "iteration") and isinstance(value, (int, float)):
                        self.writer.add_scalar(name.replace("_", "/", 1), value, state.epoch)
                self.writer.flush()
        tqdm.write(self._line(row, state.max_epochs))

    def _save(self) -> None:
        EPOCHS.write(self.folder, self.rows, wait=False)

    def _line(self, row: dict[str, Any], max_epochs: int) -> str:
        """The row as text, under the names of its columns where they are new or 20 epochs old; then the validation."""
        shown = {"epoch": f"{row['epoch']}/{max_epochs}", "seconds": f"{row['seconds']:.{int(row['seconds'] < 100)}f}"}
        numbers = {name: f"{value:.4g}" for name, value in row.items() if isinstance(value, float)}
        validation = {name: numbers.pop(name) for name in row if name.startswith("val_") and name in numbers}
        shown |= {name: text for name, text in numbers.items() if name not in (*shown, *NOT_SHOWN)}
        new = not set(shown) <= self.known
        if new:
            self.known = set(shown)
            self.header = _fitting(shown)
        line = "  ".join(shown.get(name, "").rjust(len(_short(name))) for name in self.header)
        if new or row["epoch"] % 20 == 1:
            left = len(self.known) - len(self.header)
            names = "  ".join(map(_short, self.header)) + (f"  (+{left} in {EPOCHS.file})" if left else "")
            line = names + "\n" + line
        pairs = [f"{name}={text}" for name, text in validation.items() if not name.startswith("val_dice_")]
        return "\n".join([line.rstrip(), *textwrap.wrap("  ".join(pairs), WIDTH, **INDENT)])

    def _close(self, engine: Engine) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def _short(name: str) -> str:
    """A column's name, aligned to the right of at least seven letters."""
    return name.rjust(7)


def _fitting(shown: Mapping[str, str]) -> list[str]:
    """The columns that fit beside each other, those of single layers of a network last."""
    order = sorted(shown, key=lambda name: "." in name)
    kept: list[str] = []
    for name in order:
        if len("  ".join(map(_short, [*kept, name]))) <= WIDTH - ROOM or not kept:
            kept.append(name)
    return [name for name in shown if name in kept]
