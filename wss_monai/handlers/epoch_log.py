# SPDX-License-Identifier: Apache-2.0
"""What happened in each epoch: a line of the console table, a row of ``metrics.csv``, scalars for TensorBoard."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from wss_monai.losses import WeightedSumLoss


class EpochLog:
    """Mean losses and violations of the epoch, learning rate, t, seconds, and the evaluator's metrics.

    Sums stay on the device, so that no iteration waits for it. A resumed run keeps the rows of the epochs before.
    Process 0 alone writes.

    Args:
        output_dir: the run's folder.
        loss: whose ``parts``, ``violations`` and ``t`` are logged.
        optimizer: whose learning rate is logged.
        evaluator: whose metrics of the epoch are logged.
        tensorboard: write ``tensorboard/`` too.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        loss: WeightedSumLoss,
        optimizer: torch.optim.Optimizer,
        evaluator: Engine | None = None,
        tensorboard: bool = True,
    ) -> None:
        self.folder = Path(output_dir)
        self.loss = loss
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.tensorboard = tensorboard
        self.writer: SummaryWriter | None = None
        self.rows: list[dict[str, Any]] = []
        self.sums: dict[str, Tensor] = {}
        self.started = 0.0
        self.seconds_before = 0.0

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``; attach after the handlers of validation and checkpoint."""
        if dist.is_available() and dist.is_initialized() and dist.get_rank() > 0:
            return
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self.sums.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)
        engine.add_event_handler(Events.COMPLETED, self._close)

    def _start(self, engine: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "metrics.csv"
        self.rows = []
        if engine.state.epoch > 0 and path.is_file():
            with path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= engine.state.epoch]
        self.seconds_before = float(self.rows[-1]["seconds"]) if self.rows else 0.0
        self.started = time.perf_counter()
        if self.tensorboard:
            self.writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=engine.state.epoch + 1)

    def _add(self, engine: Engine) -> None:
        output: Any = engine.state.output
        values: dict[str, Tensor] = {"loss": output["loss"]}
        values |= {f"loss_{name}": value for name, value in self.loss.parts.items()}
        values |= {f"violation_{name}": value for name, value in self.loss.violations.items()}
        for name, value in values.items():
            value = value.detach()
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()

    def _write(self, engine: Engine) -> None:
        state: Any = engine.state
        row: dict[str, Any] = {
            "epoch": state.epoch,
            "iteration": state.iteration,
            "seconds": round(self.seconds_before + time.perf_counter() - self.started, 2),
            "lr": self.optimizer.param_groups[0]["lr"],
            "t": "" if self.loss.t is None else self.loss.t,
        }
        row |= {name: float(total) / state.epoch_length for name, total in self.sums.items()}
        if self.evaluator is not None and self.evaluator.state.epoch == state.epoch:
            row |= {f"val_{name}": value for name, value in self.evaluator.state.metrics.items()}
        self.rows.append(row)
        self._save()
        if self.writer is not None:
            for name, value in row.items():
                if name not in ("epoch", "iteration") and isinstance(value, (int, float)):
                    self.writer.add_scalar(name.replace("_", "/", 1), value, state.epoch)
            self.writer.flush()
        tqdm.write(self._line(row, state.max_epochs, header=len(self.rows) == 1 or state.epoch % 20 == 1))

    def _save(self) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        temporary = self.folder / ".metrics.csv"
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(temporary, self.folder / "metrics.csv")

    def _line(self, row: dict[str, Any], max_epochs: int, header: bool) -> str:
        shown = {"epoch": f"{row['epoch']}/{max_epochs}", "seconds": f"{float(row['seconds']):.0f}"}
        for name, value in row.items():
            if name not in (*shown, "iteration") and isinstance(value, float) and not name.startswith("val_dice_"):
                shown[name.removeprefix("val_") if name.startswith("val_") else name] = f"{value:.4g}"
        widths = {name: max(len(name), 9) for name in shown}
        line = "  ".join(value.rjust(widths[name]) for name, value in shown.items())
        return "  ".join(name.rjust(widths[name]) for name in shown) + "\n" + line if header else line

    def _close(self, engine: Engine) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None
