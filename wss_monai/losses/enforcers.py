# SPDX-License-Identifier: Apache-2.0
"""The ways to enforce a constraint, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from wss_monai.losses.multipliers import AugmentedLagrangian, PrimalDual
from wss_monai.losses.penalties import LogBarrierExtension, QuadraticPenalty, ReLUPenalty

__all__ = ["ENFORCERS", "enforcer"]

ENFORCERS: dict[str, Callable[..., nn.Module]] = {
    "quadratic": QuadraticPenalty,
    "relu": ReLUPenalty,
    "logbarrier": LogBarrierExtension,
    "augmented_lagrangian": AugmentedLagrangian,
    "primal_dual": PrimalDual,
}
"""Name -> penalty of a ``ConstraintLoss``."""


def enforcer(name: str, settings: Mapping[str, Mapping[str, Any]] | None = None) -> nn.Module:
    """A penalty by its name, one of its own for each constraint.

    Args:
        name: one of `ENFORCERS`.
        settings: name -> arguments of each; those of other enforcers are not looked at.

    Raises:
        ValueError: an unknown name, or arguments that it does not take.
    """
    if not isinstance(name, str) or name not in ENFORCERS:
        raise ValueError(f"enforcer must be one of {list(ENFORCERS)}, got {name!r}.")
    settings = {} if settings is None else settings
    if not isinstance(settings, Mapping) or not {*settings} <= {*ENFORCERS}:
        raise ValueError(f"enforcers must hold settings of some of {list(ENFORCERS)}, by name; got {settings!r}.")
    arguments = {} if settings.get(name) is None else settings[name]
    if not isinstance(arguments, Mapping):
        raise ValueError(f"enforcers#{name} must be settings by name, such as {{rate: 0.1}}, got {arguments!r}.")
    try:
        return ENFORCERS[name](**arguments)
    except TypeError as fault:
        raise ValueError(f"enforcers#{name} has settings that it does not take: {arguments} ({fault}).") from fault
    except ValueError as fault:
        raise ValueError(f"enforcers#{name}: {fault}") from fault
