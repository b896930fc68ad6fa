# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are whole or not there, and the way back from them."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from wss_monai.handlers.checkpoint_file import FORMAT, read_checkpoint, save_atomically
from wss_monai.handlers.load_weights import misfit
from wss_monai.handlers.random_state import random_state, set_random_state
from wss_monai.handlers.run_settings import differences
from wss_monai.handlers.run_start import Hold, remove_evaluation
from wss_monai.io.processes import first_process, of_all_processes, process_number

FREE_OPTIONS = ("params", "lr", "foreach", "fused", "capturable", "differentiable")
"""Options of an optimizer that a resumed run may have otherwise; ``lr`` is a schedule's business."""
logger = logging.getLogger(__name__)
__all__ = ["TrainingCheckpoint", "read_checkpoint", "save_atomically"]


class TrainingCheckpoint:
    """Save a run at the end of each epoch, and continue it.

    Writes ``model_best.pt`` whenever the evaluator's key metric is at its best, ``model.pt`` (the weights of the last
    epoch) and at last ``checkpoint.pt`` (everything that a run is: weights, optimiser, schedule, t of the log-barrier,
    best metric, random states), each to a temporary file that then takes the place of the former one. Saving comes
    after all other handlers of the epoch's end, so that a run that is killed at any moment has nothing of an epoch that
    its checkpoint lacks: the interrupted epoch is done again. Process 0 writes.

    Args:
        output_dir: the run's folder.
        objects: name -> anything with ``state_dict`` and ``load_state_dict``; must have "network". None: none
        evaluator: whose best metric belongs to the run.
        resume: continue ``checkpoint.pt`` of the folder; without one the run starts from the beginning.
        overwrite: start from the beginning where the folder holds a run; its weights, checkpoint, scores and
            predictions are removed then.
        interval: epochs between two checkpoints; the last epoch is always saved.
        weights: the network whose weights ``model.pt`` and ``model_best.pt`` hold; None = that of ``objects``.
        settings: what a resumed run must share with the one that it continues (mode, seed, patients ...); anything
            that JSON can hold.

    Raises:
        ValueError: a folder that cannot be written; a checkpoint that cannot be read or is none of this package, of
            another network or of other settings; a run in the folder that is neither resumed nor overwritten; both
            ``resume`` and ``overwrite``; a folder of a data set, or one that another process writes to.
        OSError: a file that cannot be written; the former one is whole.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        objects: Mapping[str, Any],
        evaluator: Engine | None = None,
        resume: bool = False,
        interval: int = 1,
        weights: nn.Module | None = None,
        settings: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.folder = Path(output_dir)
        self.objects = {name: value for name, value in objects.items() if value is not None}
        self.evaluator: Any = evaluator
        if resume and overwrite:
            raise ValueError("resume and overwrite exclude each other: continue the run, or start anew in its place.")
        self.resume = resume
        self.interval = max(1, interval)
        self.weights = self.objects["network"] if weights is None else weights
        self.overwrite = overwrite
        self.hold = Hold(output_dir, "training", self._way_on)
        self.settings = json.loads(json.dumps(dict(settings or {}), default=str))

    @property
    def path(self) -> Path:
        """The checkpoint's file."""
        return self.folder / "checkpoint.pt"

    def attach(self, engine: Engine) -> None:
        """Load when ``engine`` starts, save when its epochs end."""
        engine.add_event_handler(Events.STARTED, self.start)
        if first_process():
            self.hold.attach(engine)

    def start(self, engine: Engine) -> None:
        """Continue the run in the folder, or make sure that none is lost."""
        if engine.state.epoch == 0:  # else the engine goes on by itself, as in rounds of federated learning
            if first_process():
                self.hold.begin()
            done = self._load(engine) if self.resume and self.path.is_file() else 0
            _check_agreement(done, self.path)
            if not done and first_process():
                self._begin()
        if not engine.has_event_handler(self.save, Events.EPOCH_COMPLETED):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)  # now: after everybody else's

    def _begin(self) -> None:
        """Make room for a run from its beginning."""
        if not self.overwrite:
            self._refuse_former()
        if self.resume and not self.path.is_file():
            logger.warning("there is no checkpoint %s to continue: training starts from the beginning.", self.path)
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_evaluation(self.folder)  # of a run that this one replaces
        for path in (self.folder / "model_best.pt", self.folder / "model.pt", self.path):
            path.unlink(missing_ok=True)

    def _refuse_former(self) -> None:
        ways = "choose another --output_dir, or start anew in its place with --overwrite true"
        if self.path.is_file():
            state = read_checkpoint(self.path)
            if state["epoch"] < state["max_epochs"]:
                raise ValueError(
                    f"{self.folder} holds a run that stopped after epoch {state['epoch']} of {state['max_epochs']}: "
                    f"continue it with --resume true, {ways}."
                )
            raise ValueError(f"{self.folder} holds a run that has finished its {state['epoch']} epochs: {ways}.")
        weights = self.folder / "model.pt"
        if weights.is_file() and not self.resume:  # a run that stopped in its first epoch may have left them
            raise ValueError(f"{self.folder} holds the weights of a run, {weights}: {ways}.")

    def _way_on(self) -> str:
        """What to say where training is stopped from outside, read from the file: a signal may come at any time."""
        try:
            epoch = read_checkpoint(self.path)["epoch"]
        except (OSError, ValueError):  # none yet, or none that can be continued
            return f"{self.folder} holds no whole epoch yet; start the same command again."
        way = "--resume true instead of --overwrite true" if self.overwrite else "--resume true"
        return f"{self.path} holds epoch {epoch}; the same command with {way} goes on from there."

    def save(self, engine: Engine) -> None:
        """Write the files of the epoch that ended; every process has to call it."""
        state: Any = engine.state
        if first_process() and self.evaluator is not None and self.evaluator.state.best_metric_epoch == state.epoch:
            save_atomically(self._weights(), self.folder / "model_best.pt")
        going_on = state.epoch < state.max_epochs and not engine.should_terminate
        if going_on and state.epoch % self.interval:
            return
        states = of_all_processes(random_state(getattr(state, "device", None)))
        if not first_process():
            return
        scaler = getattr(engine, "scaler", None)
        content: dict[str, Any] = {
            "format": FORMAT,
            "epoch": state.epoch,
            "iteration": state.iteration,
            "max_epochs": state.max_epochs,
            "settings": self.settings,
            "samples": samples_of(engine),
            "kinds": {name: type(value).__name__ for name, value in self.objects.items()},
            "objects": {name: value.state_dict() for name, value in self.objects.items()},
            "random": states,
            "best": self._best(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        save_atomically(self._weights(), self.folder / "model.pt")
        save_atomically(content, self.path)

    def _weights(self) -> dict[str, Any]:
        """The network's weights on the CPU, so that a machine without a GPU reads them."""
        state = self.weights.state_dict()
        return {name: value.cpu() if isinstance(value, Tensor) else value for name, value in state.items()}

    def _best(self) -> dict[str, float]:
        if self.evaluator is None:
            return {}
        state = self.evaluator.state
        return {"metric": float(state.best_metric), "epoch": int(state.best_metric_epoch)}

    def _load(self, engine: Engine) -> int:
        """Set everything to the state of the checkpoint and give its epoch."""
        content = read_checkpoint(self.path)
        self._check(content)
        self._check_samples(content.get("samples"), samples_of(engine))
        state: Any = engine.state
        rates = {id(v): [g["lr"] for g in v.param_groups] for v in self.objects.values() if isinstance(v, Optimizer)}
        for name, value in self.objects.items():
            saved = content["objects"][name]
            if content["max_epochs"] != state.max_epochs and _is_schedule(value) and id(value.optimizer) in rates:
                _replay(value, rates[id(value.optimizer)], saved["last_epoch"])
                continue
            try:
                value.load_state_dict(saved)
            except (RuntimeError, ValueError, KeyError) as error:
                reason = " ".join(str(error).split())[:300]
                raise ValueError(self._misfit(name, reason)) from error
        if self.evaluator is not None and content["best"]:
            self.evaluator.state.best_metric = content["best"]["metric"]
            self.evaluator.state.best_metric_epoch = content["best"]["epoch"]
        scaler = getattr(engine, "scaler", None)
        if scaler is not None and content["scaler"]:
            scaler.load_state_dict(content["scaler"])
        state.epoch = content["epoch"]
        state.iteration = content["epoch"] * (state.epoch_length or 0)
        set_random_state(content["random"][process_number() % len(content["random"])], getattr(state, "device", None))
        self._tell_length(content, state.max_epochs or 0)
        return int(content["epoch"])

    def _check(self, content: Mapping[str, Any]) -> None:
        """Refuse the checkpoint of another run before anything is changed."""
        theirs, here = content["settings"], self.settings
        if each := differences(theirs, here):
            raise ValueError(
                f"{self.path} is the checkpoint of a run with other settings: {'; '.join(each)}. Resume with the "
                "command that started it and --resume true, or choose another --output_dir."
            )
        for name in dict.fromkeys([*self.objects, *content["objects"]]):
            if name not in content["objects"]:
                raise ValueError(self._misfit(name, "there is none in the file"))
            if name not in self.objects:
                raise ValueError(self._misfit(name, "there is none here"))
            value, saved = self.objects[name], content["objects"][name]
            kinds = content["kinds"].get(name), type(value).__name__
            reason = f"it is a {kinds[0]} in the file and a {kinds[1]} here" if kinds[0] != kinds[1] else None
            if reason is None and isinstance(value, nn.Module):
                reason = misfit(saved, value)
            elif reason is None and isinstance(value, Optimizer):
                reason = _other_options(saved, value)
            if reason:
                raise ValueError(self._misfit(name, reason))

    def _check_samples(self, theirs: Mapping[str, int] | None, here: Mapping[str, int] | None) -> None:
        """Refuse cases that have changed: order, augmentation and multipliers go by the numbers of their samples."""
        if theirs is None or here is None or theirs == here:  # the first: saved by a release before
            return
        name = next((name for name in [*theirs, *here] if theirs.get(name) != here.get(name)), next(iter(here)))
        raise ValueError(
            f"{self.path} is the checkpoint of a run on other data: case '{name}' had {theirs.get(name, 0)} slices or "
            f"patches in training there and has {here.get(name, 0)} here. Restore its files, or choose another "
            "--output_dir."
        )

    def _misfit(self, name: str, reason: str) -> str:
        return (
            f"{self.path} does not fit the '{name}' of this configuration: {reason}. Resume with the files and "
            "overrides that started the run and --resume true, or choose another --output_dir."
        )

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


def samples_of(engine: Engine) -> dict[str, int] | None:
    """Slices or patches of each training case, by its name; None where the loader does not say."""
    store = getattr(getattr(engine.state, "dataloader", None), "store", None)
    if store is None or not hasattr(store, "cases") or not hasattr(store, "volume"):
        return None
    numbers = torch.bincount(torch.as_tensor(store.volume), minlength=len(store.cases))
    return dict(zip(map(str, store.cases), numbers.tolist(), strict=True))


def _is_schedule(value: Any) -> bool:
    """Whether it is a function of the number of its steps."""
    return isinstance(value, LRScheduler) and not isinstance(value, ReduceLROnPlateau)


def _replay(scheduler: LRScheduler, rates: list[float], steps: int) -> None:
    """Put a schedule of another length where it is after so many steps."""
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer makes no steps here
        for _ in range(steps):
            scheduler.step()


def _other_options(saved: Mapping[str, Any], optimizer: Optimizer) -> str | None:
    """Options in which a saved optimizer differs, which loading would set back without a word."""
    for theirs, here in zip(saved["param_groups"], optimizer.param_groups, strict=False):
        for name in here:
            if name in theirs and name not in FREE_OPTIONS and theirs[name] != here[name]:
                rate = " (the learning rate)" if name == "initial_lr" else ""
                return f"{name}{rate} is {theirs[name]} in the file and {here[name]} here"
    return None


def _check_agreement(epoch: int, path: Path) -> None:
    """All processes continue after the same epoch."""
    epochs = of_all_processes(epoch)
    if len(set(epochs)) > 1:
        raise ValueError(
            f"the processes do not see the same {path}: they would continue after epochs {epochs}. Put --output_dir on "
            "a file system that all machines share."
        )
