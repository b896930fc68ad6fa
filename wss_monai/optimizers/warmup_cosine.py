# SPDX-License-Identifier: Apache-2.0
"""A learning rate that rises linearly, rests for an epoch, and falls as a cosine."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["WarmupCosineLR"]


class WarmupCosineLR(LRScheduler):
    """Rates as in the released code of Peng, Pedersoli and Desrosiers (MELBA 2021:009), stepped once an epoch.

    With the optimiser's rate b, the multiplier m, the warm-up of W epochs and E epochs in all, epoch e (from 0) has
    b (1 + (m - 1) e / W) up to e = W, the peak b m at e = W + 1 too, and from then on
    b + (b m - b) (1 + cos(pi (e - W - 1) / (E - W))) / 2.
    A function of the epoch alone, so that a resumed run goes on with the right rate. (The original keeps the optimiser
    of the second phase as a copy in its saved state, and resumes with a rate that no longer changes; MONAI's
    ``WarmupCosineSchedule`` lacks the epoch of rest.)

    Args:
        optimizer: its rates are those of the first epoch.
        epochs: E, the length of the run; a run may end earlier or, at the lowest rate, later.
        warmup: W; 0 = start at the peak. A run of no more than W epochs is all warm-up.
        multiplier: m, peak divided by first rate.
        last_epoch: as for every scheduler of torch.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(
        self, optimizer: Optimizer, epochs: int, warmup: int = 10, multiplier: float = 400.0, last_epoch: int = -1
    ) -> None:
        if epochs < 1 or warmup < 0:
            raise ValueError(f"epochs must be at least 1 and warmup at least 0, got {epochs}, {warmup}.")
        if not 0 < multiplier < math.inf:
            raise ValueError(f"multiplier must be positive, got {multiplier}.")
        self.epochs = epochs
        self.warmup = warmup
        self.multiplier = multiplier
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # type: ignore[override]
        """Rate of each parameter group in the epoch that comes."""
        return [float(rate) * self.factor(self.last_epoch) for rate in self.base_lrs]

    def factor(self, epoch: int) -> float:
        """Rate of an epoch (from 0) in units of the first rate."""
        rise = self.multiplier - 1
        if epoch <= self.warmup and self.warmup:
            return 1 + rise * epoch / self.warmup
        if epoch <= self.warmup + 1 or self.epochs <= self.warmup:
            return self.multiplier
        done = min((epoch - self.warmup - 1) / (self.epochs - self.warmup), 1.0)
        return 1 + rise * (1 + math.cos(math.pi * done)) / 2
