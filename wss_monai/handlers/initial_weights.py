# SPDX-License-Identifier: Apache-2.0
"""Weights of a file as the start of a training, layer by layer, whatever network they come from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from wss_monai.handlers.finite_loss import first_not_finite
from wss_monai.handlers.load_weights import contents, read_file
from wss_monai.io.processes import first_process

__all__ = ["InitialWeights", "Taken", "take_weights"]

INSIDE = ("state_dict", "model_state_dict", "model", "network", "net", "network_weights", "weights")
"""Where the weights are in files that hold more than those."""
ADVICE = "give a file of weights by --initialize_from"
SHOWN = 6
"""Layers that a message names."""


@dataclass
class Taken:
    """What came of a file: names of the network's tensors, those of the file, and why."""

    path: Path
    taken: list[str] = field(default_factory=list)
    summed: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    weights: int = 0
    total: int = 0

    def __str__(self) -> str:
        """One paragraph for the log."""
        here = len(self.taken) + len(self.other_shape) + len(self.missing)
        said = [f"initialize_from: {self.path} gives {len(self.taken)} of {here} tensors, {self.weights:,} of "]
        said[0] += f"{self.total:,} weights"
        for names, what in (
            (self.summed, "summed over the three input channels of the file"),
            (self.other_shape, "of another shape in the file, start anew"),
            (self.missing, "not in the file, start anew"),
            (self.unused, "of the file, not in this network"),
        ):
            if names:
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                said.append(f"{what}: {', '.join(names[:SHOWN])}{more}")
        return "; ".join(said)


def take_weights(network: nn.Module, path: str | os.PathLike[str], part: str = "") -> Taken:
    """Load what fits of a file into a network: tensors of the same name and shape.

    A file may hold the weights alone, or under a name such as ``state_dict``, with ``module.`` before each name or
    without; the ``model.pt`` of a run, the weights of torchvision. A network with a method ``own_names`` (``LargeFOV``)
    says what the tensors of other files are called in it. A first convolution of three input channels in the file and
    one here is summed over them: on a grey image it then gives what the file's gives on three equal channels.

    Args:
        network: what gets the weights, in place.
        path: the file.
        part: name of the module of the network that gets them, such as ``encoder`` or ``networks.0``; empty: all of it.

    Returns:
        What was loaded and what was not.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such module, an unreadable file, one without weights, of which nothing fits, or with NaN.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        of_run = f", such as {path / 'model.pt'}" if (path / "model.pt").is_file() else ""
        raise FileNotFoundError(f"there is no file {path}: {ADVICE}{of_run}.")
    try:
        module = network.get_submodule(part)
    except AttributeError as error:
        known = ", ".join(name for name, _ in network.named_children())
        raise ValueError(
            f"initialize_from names the part '{part}', which the network does not have: {known}."
        ) from error
    found = _weights_of(read_file(path, ADVICE), path)
    if name := first_not_finite(found.items()):
        raise ValueError(f"{path} holds weights that are not finite ('{name}'): {ADVICE}.")
    if (rename := getattr(module, "own_names", None)) is not None:
        names = rename(list(found))
        found = {names.get(name, name): value for name, value in found.items()}
    own, result = module.state_dict(), Taken(path)
    chosen = {}
    for name, value in own.items():
        result.total += value.numel()
        if name not in found:
            result.missing.append(name)
        elif (fitting := _fitted(found[name], value)) is None:
            result.other_shape.append(name)
        else:
            chosen[name] = fitting
            result.taken.append(name)
            result.weights += value.numel()
            result.summed += [name] if fitting.shape != found[name].shape else []
    result.unused = [name for name in found if name not in own]
    if not any(own[name].is_floating_point() for name in chosen):
        raise ValueError(
            f"{path} holds nothing that fits {type(module).__name__}{f' ({part})' if part else ''}: the file has "
            f"{contents(found)}, the network {contents(own)}. {ADVICE[0].upper()}{ADVICE[1:]}, or name a part of the "
            "network: {part: file}."
        )
    module.load_state_dict(chosen, strict=False)
    return result


class InitialWeights:
    """Start a training from weights of files; a run that is resumed goes on from its checkpoint instead.

    Layers that do not fit keep the weights that they have, and are named in the log.

    Args:
        network: what gets the weights.
        source: a file, or part of the network -> file, see ``take_weights``.
        copies: networks of the same layers that start as this one does, such as a teacher.

    Raises:
        ValueError: a source that is neither a path nor a dictionary of paths.
    """

    def __init__(
        self,
        network: nn.Module,
        source: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]],
        copies: Sequence[nn.Module] = (),
    ) -> None:
        files: Any = source if isinstance(source, Mapping) else {"": source}
        if not files or not all(isinstance(file, str | os.PathLike) for file in files.values()):
            raise ValueError(f"initialize_from must be a file, or {{part of the network: file}}, got {source!r}.")
        self.network = network
        self.files = dict(files)
        self.copies = list(copies)

    def attach(self, engine: Engine) -> None:
        """Act when ``engine`` starts; attach it behind the handler that resumes."""
        engine.add_event_handler(Events.STARTED, self.start)

    @torch.no_grad()
    def start(self, engine: Engine) -> None:
        """Load, unless the engine goes on with a run."""
        if engine.state.epoch:
            return
        for part, file in self.files.items():
            taken = take_weights(self.network, file, part)
            if first_process():
                print(f"{taken}{f' (part {part})' if part else ''}")
        for copy in self.copies:
            copy.load_state_dict(self.network.state_dict())


def _weights_of(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without what parallel training puts before each."""
    if isinstance(content, Mapping) and not any(isinstance(value, Tensor) for value in content.values()):
        if isinstance(objects := content.get("objects"), Mapping):  # the checkpoint of a run
            content = objects
        inner = next((content[name] for name in INSIDE if isinstance(content.get(name), Mapping)), None)
        content = content if inner is None else inner
    found = {str(name): value for name, value in content.items()} if isinstance(content, Mapping) else {}
    found = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if not found:
        raise ValueError(f"{path} holds no network's weights but {contents(content)}: {ADVICE}.")
    if all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): value for name, value in found.items()}
    return found


def _fitted(value: Tensor, own: Tensor) -> Tensor | None:
    """The tensor of the file in the shape of the network's; None where it has another."""
    if value.shape == own.shape:
        return value
    grey = own.dim() > 2 and value.dim() == own.dim() and (value.shape[1], own.shape[1]) == (3, 1)
    if grey and value.shape[:1] + value.shape[2:] == own.shape[:1] + own.shape[2:]:
        return value.sum(1, keepdim=True)
    return None
