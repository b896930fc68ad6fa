# SPDX-License-Identifier: Apache-2.0
"""The sharpness t of the log-barrier over a run."""

from __future__ import annotations

import math
from typing import Any

from ignite.engine import Engine, Events
from torch import nn


class BarrierSchedule:
    """Set t = min(t0 x factor^n, t_max) at the start of each epoch.

    n rises evenly from 0 to ``steps`` over the run whatever its length, so that short and long runs follow one method;
    with ``published`` n is the number of finished epochs, as in Kervadec et al., arXiv 1904.04205, section 4 (x 1.1 an
    epoch; ``MultiplyT`` of that code with ``factor`` as its mu). A function of the epoch alone: right after a resume.

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
        if not all(math.isfinite(v) and v > 0 for v in (t0, factor, steps, t_max)):
            raise ValueError(f"t0, factor, steps and t_max must be positive, got {t0}, {factor}, {steps}, {t_max}.")
        self.loss: Any = loss
        self.t0 = t0
        self.factor = factor
        self.steps = steps
        self.t_max = t_max
        self.published = published
        self.epochs = epochs

    def t(self, epoch: int, max_epochs: int) -> float:
        """t in that epoch (from 1) of a run of ``max_epochs``."""
        done = epoch - 1
        n = done if self.published else self.steps * done / max(1, max_epochs - 1)
        growth = n * math.log(self.factor)
        return min(self.t0 * math.exp(growth), self.t_max) if growth < 700 else self.t_max

    def attach(self, engine: Engine) -> None:
        """Act at the start of each epoch of ``engine``."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set t for the epoch that starts."""
        self.loss.set_t(self.t(engine.state.epoch, self.epochs or engine.state.max_epochs or 1))
