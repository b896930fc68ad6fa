# SPDX-License-Identifier: Apache-2.0
"""Weights of a file into a network, with an error that names both where they do not belong together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from wss_monai.handlers.finite_loss import first_not_finite

SHOWN = 3
"""Differing weights that a message names."""


class StrictCheckpointLoader:
    """Load ``model.pt`` (the weights alone) when an engine starts; MONAI's ``CheckpointLoader`` with clear errors.

    Its name says so to MONAI's federated client, which switches checkpoint loaders off by their name.

    Args:
        path: the file.
        network: what gets the weights.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unreadable file, one without weights, weights of another network, or weights that are NaN or
            infinite.
    """

    def __init__(self, path: str | os.PathLike[str], network: nn.Module) -> None:
        self.path = Path(path)
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Act when ``engine`` starts."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load."""
        if not self.path.is_file():
            raise FileNotFoundError(
                f"there are no weights {self.path}: train first, or set --output_dir or --ckpt_path to where they are."
            )
        weights = read_file(self.path, "choose another --ckpt_path")
        if isinstance(weights, dict) and "objects" in weights and "format" in weights:
            raise ValueError(
                f"{self.path} is the checkpoint of a training run, from which it is resumed; the weights are in the "
                "file model.pt beside it: set --ckpt_path to that."
            )
        if not _are_weights(weights):
            raise ValueError(f"{self.path} holds no network's weights but {contents(weights)}; set --ckpt_path.")
        reason = misfit(weights, self.network)
        if reason:
            raise ValueError(
                f"{self.path} has the weights of another network: {reason}. Give the same files and overrides "
                "(network_def, class_names) as in training, or set --ckpt_path."
            )
        if name := first_not_finite(weights.items()):
            raise ValueError(
                f"{self.path} holds weights that are not finite ('{name}'): whatever they predict means nothing. Train "
                "again with a lower --learning_rate, or set --ckpt_path to other weights."
            )
        self.network.load_state_dict(weights)


def read_file(path: Path, advice: str) -> Any:
    """What ``torch.save`` wrote to ``path``, on the CPU; code in it is not run.

    Raises:
        ValueError: an unreadable file.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[0].split(". This file can still be loaded")[0]
        if reason.startswith("Weights only load failed"):  # advises to run the code that is in the file
            reason = "torch.save did not write it, or it holds more than tensors and plain values"
        if path.stat().st_size == 0:
            reason = "it is empty"
        raise ValueError(f"cannot read {path} ({reason}): {advice}.") from error


def misfit(weights: Mapping[str, Any], network: nn.Module) -> str | None:
    """How ``weights`` differ in names and shapes from those of ``network``; None where they fit."""
    own = network.state_dict()
    found = []
    for name in dict.fromkeys([*own, *weights]):
        if name not in weights:
            found.append(f"{name} {_shape(own[name])} is not in the file")
        elif name not in own:
            found.append(f"{name} {_shape(weights[name])} of the file is not here")
        elif _shape(weights[name]) != _shape(own[name]):
            found.append(f"{name} is {_shape(weights[name])} in the file and {_shape(own[name])} here")
    if not found:
        return None
    rest = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        f"{_size(weights)} in the file, {_size(own)} in this {type(network).__name__}; {'; '.join(found[:SHOWN])}{rest}"
    )


def contents(content: Any) -> str:
    """A few words about a file's content."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    names = [str(name) for name in content]
    return f"{names[:5]}{' and more' if len(names) > 5 else ''}" if names else "nothing"


def _are_weights(content: Any) -> bool:
    return isinstance(content, Mapping) and any(isinstance(value, Tensor) for value in content.values())


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _size(weights: Mapping[str, Any]) -> str:
    tensors = [value for value in weights.values() if isinstance(value, Tensor)]
    return f"{sum(value.numel() for value in tensors):,} weights in {len(tensors)} tensors"
