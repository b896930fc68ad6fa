# SPDX-License-Identifier: Apache-2.0
"""A term of the loss that comes in later."""

from __future__ import annotations

from ignite.engine import Engine, Events

from wss_monai.losses import WeightedSumLoss


class WeightRamp:
    """Let the weight of a term rise from 0 to its full value, linearly, as a function of the epoch alone.

    The weight of epoch e (from 1) of E is the full weight x min(max((e / E - start) / length, 0), 1): right after a
    resume, and the same method for short and long runs.

    Args:
        loss: whose term it is; the term's weight when the ramp is made is the full one.
        term: name of the term.
        start: fraction of the run with the weight 0.
        length: fraction of the run over which it rises; 0 = at once.
        epochs: length of the run where the engine does not know it (rounds of federated learning); None: the engine's.

    Raises:
        ValueError: no such term, or fractions outside [0, 1].
    """

    def __init__(
        self, loss: WeightedSumLoss, term: str, start: float = 0.3, length: float = 0.2, epochs: int | None = None
    ) -> None:
        if term not in loss.weights:
            raise ValueError(f"term must be one of {list(loss.weights)}, got '{term}'.")
        for name, value in (("start", start), ("length", length)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be a fraction of the run, between 0 and 1, got {value}.")
        self.loss = loss
        self.term = term
        self.full = loss.weights[term]
        self.start = start
        self.length = length
        self.epochs = epochs

    def weight(self, epoch: int, max_epochs: int) -> float:
        """Weight in that epoch (from 1) of a run of ``max_epochs``."""
        over = epoch / max(1, max_epochs) - self.start
        if over <= 1e-9:
            return 0.0
        return self.full if over >= self.length else self.full * over / self.length

    def attach(self, engine: Engine) -> None:
        """Act at the start of each epoch of ``engine``."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the weight for the epoch that starts."""
        self.loss.weights[self.term] = self.weight(engine.state.epoch, self.epochs or engine.state.max_epochs or 1)
