# SPDX-License-Identifier: Apache-2.0
"""Learning rate and weight decay by the names of a network's parameters."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

__all__ = ["layer_groups", "published_groups"]

OPTIONS = ("lr", "weight_decay")
SHOWN = 3
"""How many names an error lists."""


def layer_groups(
    network: nn.Module,
    lr: float,
    weight_decay: float = 0.0,
    rates: Mapping[str, Mapping[str, float]] | None = None,
    rest: bool = True,
) -> list[dict[str, Any]]:
    """Make the parameter groups of a torch optimiser from patterns on the parameters' names.

    ``monai.optimizers.generate_param_groups`` makes groups too. It hands out iterators, so that a filter that finds
    nothing is a group without parameters that no optimiser complains of; a parameter that two filters find stands in
    both groups, which optimisers refuse without its name; it sets no weight decay, and its filters are functions, which
    a configuration can only write as code.

    Args:
        network: the network, in ``DistributedDataParallel`` or not (its prefix ``module.`` is no part of the names).
        lr: learning rate that the multipliers refer to.
        weight_decay: weight decay that the multipliers refer to.
        rates: pattern -> {"lr": multiplier, "weight_decay": multiplier}, 1 where left out. A pattern is one of the
            shell (``*``, ``?``, ``[...]``) on the whole name of a parameter, such as ``fc8.*`` or ``*.bias``; the first
            that matches decides.
        rest: parameters without a pattern make a group with multipliers 1; False: there must be none.

    Returns:
        ``{"name", "params", "lr", "weight_decay"}`` a group: the rest first (whose rate logs then show), then the
        patterns in their order.

    Raises:
        ValueError: a pattern that gets no parameter (names it, and similar names), an unknown option, a multiplier
            that is negative or no number, or, without ``rest``, parameters without a pattern.
    """
    rates = rates or {}
    for pattern, options in rates.items():
        _check(pattern, options)
    parameters = {name.removeprefix("module."): value for name, value in network.named_parameters()}
    members: dict[str, list[str]] = {pattern: [] for pattern in rates}
    others: list[str] = []
    for name in parameters:
        first = next((pattern for pattern in rates if fnmatchcase(name, pattern)), None)
        (others if first is None else members[first]).append(name)
    for pattern, names in members.items():
        if not names:
            raise ValueError(_empty(pattern, list(parameters), members))
    if others and not rest:
        raise ValueError(
            f"no pattern of {list(rates)} matches the parameters {_some(others)}; add one, or set rest=true"
        )
    groups: list[tuple[str, list[str], Mapping[str, float]]] = [("rest", others, {})] if others else []
    groups += [(pattern, members[pattern], options) for pattern, options in rates.items()]
    return [
        {
            "name": name,
            "params": [parameters[member] for member in names],
            "lr": lr * options.get("lr", 1.0),
            "weight_decay": weight_decay * options.get("weight_decay", 1.0),
        }
        for name, names, options in groups
    ]


def published_groups(
    network: nn.Module, lr: float = 1e-3, weight_decay: float = 5e-4, last: str = "fc8"
) -> list[dict[str, Any]]:
    """Make the groups of DeepLab-LargeFOV: biases at twice the rate, the last layer at ten times, biases do not decay.

    The published optimiser on them is ``torch.optim.SGD(groups, lr, momentum=0.9)``, its schedule
    ``torch.optim.lr_scheduler.StepLR(optimizer, 2000, 0.1)`` stepped after each iteration
    (``LrScheduleHandler(..., epoch_level=False)``): iterations 0 to 1999 have the full rate, 2000 the tenth.

    Args:
        network: see :func:`layer_groups`. Biases of its normalisation count as biases.
        lr: rate of the weights of all layers but the last.
        weight_decay: of all weights.
        last: name of the last layer, "fc8" in ``LargeFOV``.

    Returns:
        As :func:`layer_groups`; groups of biases only where the network has such.

    Raises:
        ValueError: the network has no layer ``last`` with weights.
    """
    names = [name.removeprefix("module.") for name, _ in network.named_parameters()]
    own, any_bias = f"{last}.*bias", "*bias"
    rates: dict[str, dict[str, float]] = {}
    if any(fnmatchcase(name, own) for name in names):
        rates[own] = {"lr": 20.0, "weight_decay": 0.0}
    if any(fnmatchcase(name, any_bias) and not fnmatchcase(name, own) for name in names):
        rates[any_bias] = {"lr": 2.0, "weight_decay": 0.0}
    return layer_groups(network, lr, weight_decay, {**rates, f"{last}.*": {"lr": 10.0}})


def _check(pattern: str, options: Any) -> None:
    """Refuse what is no pair of multipliers."""
    if not isinstance(options, Mapping) or not set(options) <= set(OPTIONS):
        raise ValueError(f"rates['{pattern}'] must hold multipliers of {list(OPTIONS)}, got {options}")
    for option, value in options.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise ValueError(
                f"rates['{pattern}']: the multiplier of {option} must be a number from 0 up, got {value!r}"
            )


def _empty(pattern: str, names: list[str], members: Mapping[str, list[str]]) -> str:
    """Say why a pattern gets no parameter."""
    taken = [name for name in names if fnmatchcase(name, pattern)]
    if taken:
        owners = [other for other, own in members.items() if set(own) & set(taken)]
        return (
            f"rates['{pattern}'] gets no parameter: those that it matches ({_some(taken)}) match {owners} before; "
            "put the narrower pattern first"
        )
    near = difflib.get_close_matches(pattern, names, n=SHOWN, cutoff=0.3) or names[-SHOWN:]
    return f"rates['{pattern}'] gets no parameter: none has such a name; the network has {near} among {len(names)}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
