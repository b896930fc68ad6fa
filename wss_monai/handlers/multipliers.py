# SPDX-License-Identifier: Apache-2.0
"""The multipliers of constraints over a training."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import Tensor

from wss_monai.io.processes import rank_and_size
from wss_monai.losses import WeightedSumLoss
from wss_monai.losses.multipliers import DualPenalty

__all__ = ["Multipliers", "UpdateMultipliers"]


class Multipliers:
    """The constraints with multipliers in a sum of losses.

    Args:
        loss: the sum; without any such constraint nothing is done.
    """

    def __init__(self, loss: WeightedSumLoss) -> None:
        found = {name: getattr(module, "penalty", None) for name, module in loss.terms.items()}
        self.penalties = {name: each for name, each in found.items() if isinstance(each, DualPenalty)}

    @property
    def logged(self) -> dict[str, Tensor]:
        """Of each such term ``multiplier_TERM``, the mean over the sides of the last batch, ``multiplier_max_TERM``,
        and ``multiplier_active_TERM``, the share above 0."""
        names = {"mean": "multiplier_", "max": "multiplier_max_", "active": "multiplier_active_"}
        each = [(term, penalty.logged) for term, penalty in self.penalties.items()]
        return {f"{names[kind]}{term}": value for term, logged in each for kind, value in logged.items()}

    def update(self) -> None:
        """Move the multipliers of the last batch."""
        for penalty in self.penalties.values():
            penalty.update()

    def share(self) -> None:
        """Give every process what all have changed since the last time."""
        _, processes = rank_and_size()
        if processes == 1:
            return
        for penalty in self.penalties.values():
            parts: list[Any] = [None] * processes
            dist.all_gather_object(parts, penalty.take_changes())
            penalty.put_changes(parts)


class UpdateMultipliers:
    """Move the multipliers of the samples of a batch after its step, and share them between processes.

    The step is made with the multipliers before (primal first), and the violations of the same prediction move them. At
    the end of each epoch all processes get what each changed; a sample that several processes saw gets the mean. Comes
    before what validates and saves.

    Args:
        multipliers: of a loss.
    """

    def __init__(self, multipliers: Multipliers) -> None:
        self.multipliers = multipliers

    def attach(self, engine: Engine) -> None:
        """Act after the iterations and epochs of ``engine``."""
        if self.multipliers.penalties:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.multipliers.update)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.multipliers.share)
