# SPDX-License-Identifier: Apache-2.0
"""Terms of the loss that come in later."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ignite.engine import Engine, Events

from wss_monai.losses import WeightedSumLoss

SHAPES = ("linear", "sigmoid")


class WeightRamp:
    """Let the weights of some terms rise from 0 to their full values as a function of the epoch alone.

    The weight of epoch e (from 1) of E is the full weight x s = min(max((e / E - start) / length, 0), 1): right after a
    resume, and the same method for short and long runs. With the shape "sigmoid" it is exp(-5 (1 - s)^2) times the full
    weight, from ``start`` on (Laine and Aila, ICLR 2017). A term with ``set_share`` is told the share.

    Args:
        loss: whose term it is; the term's weight when the ramp is made is the full one.
        term: name of the term, or names.
        start: fraction of the run with the weight 0.
        length: fraction of the run over which it rises; 0 = at once.
        shape: "linear" or "sigmoid".
        epochs: length of the run where the engine does not know it (rounds of federated learning); None: the engine's.

    Raises:
        ValueError: no such term or shape, or fractions outside [0, 1].
    """

    def __init__(
        self,
        loss: WeightedSumLoss,
        term: str | Sequence[str],
        start: float = 0.3,
        length: float = 0.2,
        epochs: int | None = None,
        shape: str = "linear",
    ) -> None:
        terms = [term] if isinstance(term, str) else list(term)
        if unknown := [name for name in terms if name not in loss.weights]:
            raise ValueError(f"term must be one of {list(loss.weights)}, got '{unknown[0]}'.")
        for name, value in (("start", start), ("length", length)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be a fraction of the run, between 0 and 1, got {value}.")
        if shape not in SHAPES:
            raise ValueError(f"shape must be one of {list(SHAPES)}, got {shape!r}.")
        self.loss = loss
        self.shape = shape
        self.full = {name: loss.weights[name] for name in terms}
        self.start = start
        self.length = length
        self.epochs = epochs

    def share(self, epoch: int, max_epochs: int) -> float:
        """Part of the full weight in that epoch (from 1) of a run of ``max_epochs``."""
        over = epoch / max(1, max_epochs) - self.start
        if over <= 1e-9:
            return 0.0
        share = 1.0 if over >= self.length else over / self.length
        return share if self.shape == "linear" else math.exp(-5.0 * (1 - share) ** 2)

    def attach(self, engine: Engine) -> None:
        """Act at the start of each epoch of ``engine``."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the weights for the epoch that starts."""
        share = self.share(engine.state.epoch, self.epochs or engine.state.max_epochs or 1)
        for name, full in self.full.items():
            self.loss.weights[name] = full * share
            if hasattr(self.loss.terms[name], "set_share"):
                self.loss.terms[name].set_share(share)  # type: ignore[operator]
