# SPDX-License-Identifier: Apache-2.0
"""How strongly each part of a loss pulls at the network while it trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from torch import Tensor, nn

from wss_monai.losses.cross_modality import EquivariantCAMLoss

__all__ = ["GradientNorms"]


class GradientNorms:
    """Norm of the gradient of each part of the loss, unweighted, over all parameters of the network.

    For ``EpochLog`` (argument ``also``): columns ``gradient_<part>``, the mean over the epoch of what was last
    computed. Each computation costs one backward pass a part.

    Args:
        loss: whose parts are looked at.
        network: whose parameters.
        interval: iterations between two computations, from the first of each epoch on; 0: none.

    Raises:
        ValueError: a negative interval.
    """

    def __init__(self, loss: EquivariantCAMLoss, network: nn.Module, interval: int = 50) -> None:
        if interval < 0:
            raise ValueError(f"interval must be 0 or more, got {interval}.")
        self.loss = loss
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.interval = interval
        self.logged: dict[str, Tensor] = {}

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        if self.interval:
            engine.add_event_handler(Events.ITERATION_STARTED, self._before)
            engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._after)

    def _before(self, engine: Engine) -> None:
        within = (engine.state.iteration - 1) % (engine.state.epoch_length or 1)
        self.loss.keep_live = within % self.interval == 0

    def _after(self, engine: Engine) -> None:
        if not self.loss.live:
            return
        for name, value in self.loss.live.items():
            self.logged[f"gradient_{name}"] = gradient_norm(value, self.parameters)
        self.loss.live = {}


def gradient_norm(value: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of the gradient of a scalar; 0 where it depends on no parameter. The graph is kept."""
    if not value.requires_grad:
        return value.new_zeros(())
    gradients = torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
    norms = [gradient.float().norm() for gradient in gradients if gradient is not None]
    return torch.stack(norms).norm() if norms else value.new_zeros(())
