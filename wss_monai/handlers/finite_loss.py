# SPDX-License-Identifier: Apache-2.0
"""Stop a training whose loss or weights are no longer numbers, before anything of it is saved."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from wss_monai.handlers.batch_output import batch_output
from wss_monai.losses import WeightedSumLoss

__all__ = ["FiniteLoss", "first_not_finite"]

NEVER = 2**62
"""Iteration of a term that has always been finite."""


class FiniteLoss:
    """Stop at the first loss that is NaN or infinite, and at the end of an epoch whose weights are.

    On the CPU each iteration is looked at when it is done. On a GPU the number of the first bad iteration of each term
    stays on the device and is read every ``interval`` iterations, so that no other iteration waits for it. The last
    iteration of an epoch is always looked at, and with it the weights: validation, ``model.pt`` and ``checkpoint.pt``
    come after it, so that those of the epoch before stay whole.

    Ignite's ``TerminateOnNan`` reads the output in every iteration, and ends the run as if it had been finished.

    Args:
        loss: whose ``parts`` are the terms.
        network: whose weights are looked at.
        scored: the network whose weights become ``model.pt``, where it is another one.
        interval: iterations between two looks on a GPU.

    Raises:
        ValueError: a loss or a weight is not finite; names epoch, iteration and terms, or the weight.
    """

    def __init__(
        self, loss: WeightedSumLoss, network: nn.Module, scored: nn.Module | None = None, interval: int = 50
    ) -> None:
        self.loss = loss
        self.networks = [network] if scored is None or scored is network else [network, scored]
        self.interval = max(1, interval)
        self.first: dict[str, Tensor] = {}

    def attach(self, engine: Engine) -> None:
        """Follow a trainer; attach it after what changes the weights in an iteration."""
        engine.add_event_handler(Events.STARTED, self._forget)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def _forget(self, engine: Engine) -> None:
        self.first = {}

    def __call__(self, engine: Engine) -> None:
        """Note the terms of the iteration, and look at them where it is time to."""
        state: Any = engine.state
        loss = batch_output(engine)["loss"]
        values = {"loss": loss, **self.loss.parts}
        self._note(values, state.iteration)
        last = bool(state.epoch_length) and state.iteration % state.epoch_length == 0
        waits = loss.device.type != "cpu"
        if last or not waits or state.iteration % self.interval == 0:
            self._look(state)
        if last:
            self._look_at_weights(state)

    def _note(self, values: dict[str, Tensor], iteration: int) -> None:
        """Keep the number of the first iteration in which each term was not finite, where the loss is."""
        for name in values:
            if name not in self.first:
                self.first[name] = torch.full((), NEVER, dtype=torch.int64, device=values["loss"].device)
        names = list(values)
        finite = torch.stack([values[name].detach().float().reshape(()) for name in names]).isfinite()
        before = torch.stack([self.first[name] for name in names])
        now = torch.minimum(before, torch.where(finite, NEVER, iteration))
        self.first.update(zip(names, now.unbind(), strict=True))

    def _look(self, state: Any) -> None:
        found = torch.stack(list(self.first.values())).tolist()
        bad = {name: at for name, at in zip(self.first, found, strict=True) if at < NEVER}
        if not bad:
            return
        at = min(bad.values())
        terms = [name for name, when in bad.items() if when == at and name != "loss"]
        of = f", in the terms {terms}" if len(terms) > 1 else f", in the term '{terms[0]}'" if terms else ""
        epoch = (at - 1) // state.epoch_length + 1 if state.epoch_length else state.epoch
        raise ValueError(
            f"the loss is not finite: epoch {epoch}, iteration {at}{of}. Training stops; model.pt and checkpoint.pt "
            f"are those of the last epoch that was whole. {ADVICE}"
        )

    def _look_at_weights(self, state: Any) -> None:
        for network in self.networks:
            name = first_not_finite(network.state_dict().items())
            if name is not None:
                raise ValueError(
                    f"the weights are not finite: '{name}' after epoch {state.epoch}, iteration {state.iteration}. "
                    f"Training stops; model.pt and checkpoint.pt are those of the last epoch that was whole. {ADVICE}"
                )


ADVICE = "Lower --learning_rate, or the weight of that term, and look at the images of the training set."


def first_not_finite(weights: Iterable[tuple[str, Any]]) -> str | None:
    """Name of the first tensor that holds NaN or an infinity; None where all are finite. Waits for a GPU once."""
    pairs = [(name, value) for name, value in weights if isinstance(value, Tensor) and value.is_floating_point()]
    if not pairs:
        return None
    finite = torch.stack([value.isfinite().all().to(pairs[0][1].device) for _, value in pairs]).tolist()
    return next((name for (name, _), right in zip(pairs, finite, strict=True) if not right), None)
