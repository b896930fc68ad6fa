# SPDX-License-Identifier: Apache-2.0
"""What a run was, for whoever looks at its folder later."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from wss_monai import __version__
from wss_monai.io.processes import first_process
from wss_monai.io.run_folder import CONFIGURATION, PREDICTION, RECORD
from wss_monai.io.tables import write_json

PACKAGES = ("monai", "torch", "pytorch-ignite", "numpy")


class RunRecord:
    """Write ``run.json``, ``configuration.json`` and ``prediction.json`` when training starts; process 0 alone does.

    Args:
        output_dir: the run's folder.
        network: whose weights are counted.
        patients: part -> patients.
        class_names: background first.
        settings: anything else that says what the run was: bundle, mode, seed, bounds_origin, dataset ...
        recorded: of ``wss_monai.bundle.recorded_settings``: the command, the data, the whole configuration, and what a
            prediction needs; None: the last two files are not written.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        network: nn.Module,
        patients: Mapping[str, Sequence[str]],
        class_names: Sequence[str],
        settings: Mapping[str, Any],
        recorded: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(output_dir)
        self.network = network
        self.patients = {part: list(ids) for part, ids in patients.items()}
        self.class_names = list(class_names)
        self.settings = dict(settings)
        self.recorded = dict(recorded or {})

    def attach(self, engine: Engine) -> None:
        """Act when ``engine`` starts."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the file, in process 0 alone."""
        if not first_process():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        state: Any = engine.state
        device = state.device
        cuda = device is not None and device.type == "cuda"
        record: dict[str, Any] = {
            **self.settings,
            "class_names": self.class_names,
            "max_epochs": state.max_epochs,
            "iterations_per_epoch": state.epoch_length,
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "device": torch.cuda.get_device_name(device) if cuda else f"CPU, {torch.get_num_threads()} thread(s)",
            "machine": platform.machine(),
            "versions": {"wss_monai": __version__, **{name: version(name) for name in PACKAGES}},
            "patients": self.patients,
            **{key: self.recorded[key] for key in ("command", "data") if key in self.recorded},
        }
        write_json(self.folder / RECORD, record)
        for file, key in ((CONFIGURATION, "configuration"), (PREDICTION, "prediction")):
            if key in self.recorded:
                write_json(self.folder / file, self.recorded[key])
