# SPDX-License-Identifier: Apache-2.0
"""The sharpness t of the log-barrier over a run."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from wss_monai.losses.sharpness import barrier_t


class BarrierSchedule:
    """Set t = min(t0 x factor^n, t_max) at the start of each epoch.

    See ``wss_monai.losses.barrier_t`` for n. A function of the epoch alone: right after a resume.

    Args:
        loss: anything with ``set_t``.
        t0: t in the first epoch.
        factor: growth a step.
        steps: steps over the run.
        t_max: greatest t.
        published: one step an epoch instead.
        epochs: length of the run where the engine does not know it (rounds of federated learning); None: the engine's.

    Raises:
        ValueError: numbers that are not positive.
    """

    def __init__(
        self,
        loss: nn.Module,
        t0: float = 5.0,
        factor: float = 1.1,
        steps: float = 50.0,
        t_max: float = 1000.0,
        published: bool = False,
        epochs: int | None = None,
    ) -> None:
        self.loss: Any = loss
        self.numbers: dict[str, Any] = {
            "t0": t0,
            "factor": factor,
            "steps": steps,
            "t_max": t_max,
            "published": published,
        }
        barrier_t(1, 1, **self.numbers)  # refuses what is not positive
        self.epochs = epochs

    def t(self, epoch: int, max_epochs: int) -> float:
        """t in that epoch (from 1) of a run of ``max_epochs``."""
        return barrier_t(epoch, max_epochs, **self.numbers)

    def attach(self, engine: Engine) -> None:
        """Act at the start of each epoch of ``engine``."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set t for the epoch that starts."""
        self.loss.set_t(self.t(engine.state.epoch, self.epochs or engine.state.max_epochs or 1))
