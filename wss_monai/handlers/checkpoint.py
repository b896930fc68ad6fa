# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are whole or not there, and the way back from them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import Tensor

FORMAT = 1
logger = logging.getLogger(__name__)


class TrainingCheckpoint:
    """Save a run at the end of each epoch, and continue it.

    Writes ``checkpoint.pt`` (everything that a run is: weights, optimiser, schedule, t of the log-barrier, best metric,
    random states) and ``model.pt`` (the weights of the last epoch alone), each to a temporary file that then takes the
    place of the former one; ``model_best.pt`` whenever the evaluator's key metric is at its best. Process 0 writes.

    Args:
        output_dir: the run's folder.
        objects: name -> anything with ``state_dict`` and ``load_state_dict``; must have "network".
        evaluator: whose best metric belongs to the run.
        resume: continue ``checkpoint.pt`` of the folder.
        interval: epochs between two checkpoints; the last epoch is always saved.

    Raises:
        FileNotFoundError: ``resume`` without a checkpoint.
        ValueError: a checkpoint of another kind or network; an interrupted run in the folder that is not resumed.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        objects: Mapping[str, Any],
        evaluator: Engine | None = None,
        resume: bool = False,
        interval: int = 1,
    ) -> None:
        self.folder = Path(output_dir)
        self.objects = dict(objects)
        self.evaluator: Any = evaluator
        self.resume = resume
        self.interval = max(1, interval)

    @property
    def path(self) -> Path:
        """The checkpoint's file."""
        return self.folder / "checkpoint.pt"

    def attach(self, engine: Engine) -> None:
        """Load when ``engine`` starts, save when its epochs end."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def start(self, engine: Engine) -> None:
        """Continue the run in the folder, or make sure that none is lost."""
        if self.resume:
            self._load(engine)
            return
        if self.path.is_file():
            state = read_checkpoint(self.path)
            if state["epoch"] < state["max_epochs"]:
                raise ValueError(
                    f"{self.folder} holds a run that stopped after epoch {state['epoch']} of {state['max_epochs']}: "
                    "continue it with --resume true, choose another --output_dir, or remove the folder."
                )
        if _rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "model_best.pt").unlink(missing_ok=True)  # of a finished run that this one replaces

    def save(self, engine: Engine) -> None:
        """Write the files of the epoch that ended."""
        state: Any = engine.state
        if _rank():
            return
        if self.evaluator is not None and self.evaluator.state.best_metric_epoch == state.epoch:
            save_atomically(self._weights(), self.folder / "model_best.pt")
        if state.epoch < state.max_epochs and state.epoch % self.interval:
            return
        content: dict[str, Any] = {
            "format": FORMAT,
            "epoch": state.epoch,
            "iteration": state.iteration,
            "max_epochs": state.max_epochs,
            "objects": {name: value.state_dict() for name, value in self.objects.items()},
            "random": _random_state(),
            "best": self._best(),
        }
        save_atomically(content, self.path)
        save_atomically(self._weights(), self.folder / "model.pt")

    def _weights(self) -> dict[str, Any]:
        """The network's weights on the CPU, so that a machine without a GPU reads them."""
        state = self.objects["network"].state_dict()
        return {name: value.cpu() if isinstance(value, Tensor) else value for name, value in state.items()}

    def _best(self) -> dict[str, float]:
        if self.evaluator is None:
            return {}
        state = self.evaluator.state
        return {"metric": float(state.best_metric), "epoch": int(state.best_metric_epoch)}

    def _load(self, engine: Engine) -> None:
        content = read_checkpoint(self.path)
        for name, value in self.objects.items():
            if name not in content["objects"]:
                raise ValueError(f"{self.path} has no '{name}': it is a checkpoint of another configuration.")
            try:
                value.load_state_dict(content["objects"][name])
            except (RuntimeError, ValueError, KeyError) as error:
                reason = " ".join(str(error).split())[:300]
                raise ValueError(f"{self.path} does not fit the '{name}' of this configuration: {reason}") from error
        if self.evaluator is not None and content["best"]:
            self.evaluator.state.best_metric = content["best"]["metric"]
            self.evaluator.state.best_metric_epoch = content["best"]["epoch"]
        engine.state.epoch = content["epoch"]
        engine.state.iteration = content["epoch"] * (engine.state.epoch_length or 0)
        _set_random_state(content["random"])
        self._tell_length(content, engine.state.max_epochs or 0)

    def _tell_length(self, content: Mapping[str, Any], max_epochs: int) -> None:
        done, planned = content["epoch"], content["max_epochs"]
        if done >= max_epochs:
            logger.warning("%s has finished its %d epochs: there is nothing to continue.", self.path, done)
        elif planned != max_epochs:
            logger.warning(
                "%s was planned for %d epochs and is continued to %d: t and the learning rate follow the run's length, "
                "so the result differs from that of an uninterrupted run.",
                self.path, planned, max_epochs,
            )  # fmt: skip
        else:
            logger.info("continuing %s after epoch %d", self.path, done)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Content of a training checkpoint, on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unreadable file or not a training checkpoint of this package.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path} to resume; start without --resume.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"cannot read the checkpoint {path} ({reason}); choose another --output_dir, or remove the file."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a training checkpoint of this package (format {FORMAT}).")
    return content


def save_atomically(content: Any, path: Path) -> None:
    """Write to a temporary file beside ``path``, then put it in its place: a failure leaves the former file whole."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _random_state() -> dict[str, Any]:
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _set_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
