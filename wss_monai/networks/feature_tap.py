# SPDX-License-Identifier: Apache-2.0
"""Features of any network, taken out by the names of its modules."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.hooks import RemovableHandle

__all__ = ["FeatureTap"]

PUBLISHED = {"Conv1": "conv_0"}
PUBLISHED |= {f"Conv{level + 1}": f"down_{level}" for level in range(1, 5)}
PUBLISHED |= {f"Up_conv{level + 1}": f"upcat_{level}" for level in range(1, 5)}
PUBLISHED |= {module: name for name, module in PUBLISHED.items()}
"""The published names of features to the modules of MONAI's BasicUNet that give what they mean, and back."""

NEAREST = 5
"""How many similar names a refusal gives."""

SHOWN = 16
"""How many names more a refusal gives at most."""


class TapError(ValueError):
    """A module of which a forward of the network gave no features."""


class FeatureTap:
    """What named modules of a network give in a forward of it.

    Within the context every forward of the network replaces ``features``; outside of it nothing of the tap is on the
    network. The features are in the graph: gradients flow through them.

    Args:
        network: any network; one within DistributedDataParallel is tapped by the names it has without it.
        names: of its modules, dotted as in ``network.named_modules()``.

    Attributes:
        features: name to tensor, of the last forward; empty before one. They stay after the context.

    Raises:
        ValueError: a name of no module, with those that there are, the nearest first; or a network in TorchScript,
            whose modules cannot be tapped. In a forward: a module that is not reached, that is reached twice, that
            gives no tensor, or whose tensor is changed in place by what comes after it.
        RuntimeError: the context is entered twice.

    Example:
        >>> with FeatureTap(network, ["down_4", "upcat_1"]) as tap:
        ...     logits = network(images)
        >>> tap.features["down_4"]
    """

    def __init__(self, network: nn.Module, names: Iterable[str]) -> None:
        self.network = network.module if isinstance(network, DistributedDataParallel) else network
        if isinstance(self.network, torch.jit.ScriptModule):
            raise ValueError("network is in TorchScript, whose modules cannot be tapped: give the one it was made of")
        if isinstance(names, str):
            raise ValueError(f"names must be a list of names of modules, got {names!r}: write [{names!r}]")
        self.names = tuple(dict.fromkeys(names))
        self.modules = {name: _module(self.network, name) for name in self.names}
        self.features: dict[str, Tensor] = {}
        self._versions: dict[str, int] = {}
        self._handles: list[RemovableHandle] = []
        self._running = False

    def __enter__(self) -> FeatureTap:
        """Put the hooks on the network."""
        if self._handles:
            raise RuntimeError("this FeatureTap is in use already: make another one")
        self._handles.append(self.network.register_forward_pre_hook(self._begin))
        self._handles += [module.register_forward_hook(partial(self._keep, n)) for n, module in self.modules.items()]
        self._handles.append(self.network.register_forward_hook(self._end))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the hooks off the network."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._running = False

    def _begin(self, network: nn.Module, inputs: Any) -> None:
        self.features, self._versions, self._running = {}, {}, True

    def _keep(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not self._running:
            return
        if not isinstance(output, Tensor):
            raise TapError(
                f"module '{name}' gives no tensor but a {type(output).__name__}: tap a module that gives one"
            )
        if name in self.features:
            raise TapError(
                f"module '{name}' is used more than once in a forward, so that its features are not one tensor: tap a "
                "module that is used once, such as the block around it"
            )
        self.features[name] = output
        self._versions[name] = _version(output)

    def _end(self, network: nn.Module, inputs: Any, output: Any) -> None:
        self._running = False
        missed = [name for name in self.names if name not in self.features]
        if missed:
            raise TapError(
                f"modules {missed} are not called in a forward of {type(network).__name__}: tap modules that are, for "
                "a ModuleList the members of it"
            )
        for name, features in self.features.items():
            if _version(features) != self._versions[name]:
                raise TapError(
                    f"what module '{name}' gives is changed in place by a module after it, so that it is lost: tap "
                    "that one, or the block around both"
                )


def _version(features: Tensor) -> int:
    return 0 if features.is_inference() else features._version


def _module(network: nn.Module, name: Any) -> nn.Module:
    """The module of a name.

    Raises:
        ValueError: there is none; gives the nearest names, and the first of all by their depth.
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    if isinstance(name, str) and name and name in modules:
        return modules[name]
    names = [known for known in modules if known]
    close = difflib.get_close_matches(str(name), names, n=NEAREST, cutoff=0.5)
    same = PUBLISHED.get(str(name))
    if same in names:
        close = [same, *(other for other in close if other != same)]
    nearest = f"; the nearest are {close}" if close else ""
    rest = [known for known in _selection(names) if known not in close]
    there = f"; there are {'also ' if close else ''}{rest}" if rest else ""
    more = len(names) - len(close) - len(rest)
    raise ValueError(
        f"{type(network).__name__} has no module named {name!r}{nearest}{there}"
        + (f" and {more} more, see named_modules()" if more > 0 else "")
    )


def _selection(names: list[str]) -> list[str]:
    """The names of the first levels that are not too many together."""
    levels = sorted({name.count(".") for name in names})
    shown = names[:SHOWN]
    for level in levels:
        chosen = [name for name in names if name.count(".") <= level]
        if len(chosen) > SHOWN:
            return shown if level == levels[0] else [n for n in names if n.count(".") < level]
        shown = chosen
    return shown
