# SPDX-License-Identifier: Apache-2.0
"""The running average of a network's weights over the iterations of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel


class AveragedNetwork:
    """Keep average = a x average + (1 - a) x weights at each update, a = min(decay, n / (n + warmup)).

    n counts the updates before, so that the average starts as the plain mean of what was seen (``warmup`` 1), or as one
    of about the last n / warmup updates, and forgets its first weights. It is part of the saved state, which PyTorch's
    ``AveragedModel`` holds: a resumed run goes on as the uninterrupted one. (``ignite.handlers.EMAHandler`` starts its
    warm-up anew after a resume.) Buffers are averaged too, counters copied.

    Source: mean teacher, Tarvainen and Valpola, NeurIPS 2017, section 2 and, for the first iterations, its code.

    Args:
        network: whose weights are averaged; of ``DistributedDataParallel`` the module inside.
        decay: greatest a, the share of the former average; about 1 / (1 - decay) updates are remembered.
        warmup: how fast it follows at first; a short run, in which all weights are young, wants more than 1.
        own_statistics: buffers are not averaged: the averaged network stays in training mode, normalises by the batches
            that it sees itself and keeps their statistics, as in the code that Peng et al. (MELBA 2021:009) refer to.
        shrink: part of each averaged weight that is taken away at each update; 1e-6 in the same code.

    Attributes:
        network: the averaged network, in evaluation mode (but with ``own_statistics``), without gradients.

    Raises:
        ValueError: a decay or shrink outside [0, 1), a warmup below 1.
    """

    def __init__(
        self,
        network: nn.Module,
        decay: float = 0.99,
        warmup: float = 1.0,
        own_statistics: bool = False,
        shrink: float = 0.0,
    ) -> None:
        for name, value in (("decay", decay), ("shrink", shrink)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} must be at least 0 and less than 1, got {value}.")
        if not warmup >= 1:
            raise ValueError(f"warmup must be at least 1, got {warmup}.")
        self.decay = decay
        self.warmup = warmup
        self.source = network.module if isinstance(network, DistributedDataParallel) else network
        self.averaged = AveragedModel(self.source, multi_avg_fn=self._average, use_buffers=True)
        self.own_statistics = own_statistics
        self.shrink = shrink
        self.network: nn.Module = self.averaged.module.train(own_statistics).requires_grad_(False)

    def update(self) -> None:
        """Take the network's weights into the average."""
        buffers = list(self.network.buffers()) if self.own_statistics else []
        kept = [buffer.clone() for buffer in buffers]
        self.averaged.update_parameters(self.source)
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.copy_(value)
        if self.shrink:
            for weight in self.network.parameters():
                weight.mul_(1 - self.shrink)

    def state_dict(self) -> dict[str, Any]:
        """The average and how many iterations are in it."""
        return self.averaged.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            RuntimeError: the state of another network.
        """
        self.averaged.load_state_dict(state)

    @torch.no_grad()
    def _average(self, averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        """Move tensors of one kind towards the current ones."""
        share = (self.warmup / (torch.as_tensor(count) + self.warmup)).clamp(min=1 - self.decay)
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, share.to(mean.dtype))
            else:
                mean.copy_(value)


class UpdateAverage:
    """Take the weights into an average at the end of each iteration.

    Args:
        average: anything with ``update``.
    """

    def __init__(self, average: AveragedNetwork) -> None:
        self.average = average

    def attach(self, engine: Engine) -> None:
        """Act at the end of each iteration of ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.average.update)
