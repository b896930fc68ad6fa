# SPDX-License-Identifier: Apache-2.0
"""Weights of terms that change with the number of epochs, as in published recipes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ignite.engine import Engine, Events

from wss_monai.losses import WeightedSumLoss


class _EpochWeights:
    """Set the weights of terms at the start of each epoch, as a function of the epoch alone.

    The terms' weights when the schedule is made are those to start from, so that a resumed run, which makes it from
    the same configuration, goes on where it was. A term follows one schedule: of two, the one attached last decides.
    """

    def __init__(self, loss: WeightedSumLoss, terms: Mapping[str, str]) -> None:
        for argument, term in terms.items():
            if term not in loss.weights:
                raise ValueError(f"{argument} must be one of {list(loss.weights)}, got '{term}'.")
        self.loss = loss
        self.first = {term: loss.weights[term] for term in terms.values()}

    def weights(self, epoch: int) -> dict[str, float]:
        """Weights of the terms in that epoch (from 1)."""
        raise NotImplementedError

    def attach(self, engine: Engine) -> None:
        """Act at the start of each epoch of ``engine``."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the weights for the epoch that starts."""
        self.loss.weights.update(self.weights(engine.state.epoch))


class StartTerm(_EpochWeights):
    """Leave a term out for the first epochs: weight 0 there, its full weight from then on.

    A number of epochs whatever the length of the run, as in the tutorial of MICCAI 2019 (the size loss is off for 3
    epochs); ``WeightRamp`` counts in fractions of the run.

    Args:
        loss: whose term it is; the term's weight when the schedule is made is the full one.
        term: name of the term.
        epochs: number of epochs without it.

    Raises:
        ValueError: no such term, or a negative number of epochs.
    """

    def __init__(self, loss: WeightedSumLoss, term: str, epochs: int = 3) -> None:
        super().__init__(loss, {"term": term})
        if epochs < 0:
            raise ValueError(f"epochs must be a number of epochs, 0 or more, got {epochs}.")
        self.term = term
        self.epochs = epochs

    def weights(self, epoch: int) -> dict[str, float]:
        """0 up to and with epoch ``epochs``, then the full weight."""
        return {self.term: 0.0 if epoch <= self.epochs else self.first[self.term]}


class AddWeight(_EpochWeights):
    """Add a number to a term's weight after each epoch: w + add x (epoch - 1), between 0 and ``most``.

    Args:
        loss: whose term it is; the term's weight when the schedule is made is that of the first epoch.
        term: name of the term.
        add: what an epoch adds; negative takes away, down to 0.
        most: greatest weight; None: no limit.

    Raises:
        ValueError: no such term, a number that is not finite, or ``most`` below the first weight.
    """

    def __init__(self, loss: WeightedSumLoss, term: str, add: float, most: float | None = None) -> None:
        super().__init__(loss, {"term": term})
        if not math.isfinite(add):
            raise ValueError(f"add must be a finite number, got {add}.")
        if most is not None and not most >= self.first[term]:
            raise ValueError(f"most must be at least the weight of '{term}', {self.first[term]}, got {most}.")
        self.term = term
        self.add = add
        self.most = math.inf if most is None else most

    def weights(self, epoch: int) -> dict[str, float]:
        """The weight of the term in that epoch (from 1)."""
        return {self.term: min(max(self.first[self.term] + self.add * (epoch - 1), 0.0), self.most)}


class StealWeight(_EpochWeights):
    """Move weight from one term to another after each epoch: a' = max(least, a - amount), b' = b + what was taken.

    The sum of the two stays. With ``published`` b grows by ``amount`` in each epoch even when a has reached ``least``,
    as in the code of Kervadec et al. (MedIA 2019), where ``least`` is 0.1.

    Args:
        loss: whose terms they are; their weights when the schedule is made are those of the first epoch.
        source: name of the term that loses weight (a).
        target: name of the term that gains it (b).
        amount: what moves after each epoch.
        least: least weight of the source; a source that starts below keeps its weight.
        published: let the target grow on.

    Raises:
        ValueError: no such term, twice the same, or a negative number.
    """

    def __init__(
        self,
        loss: WeightedSumLoss,
        source: str,
        target: str,
        amount: float,
        least: float = 0.1,
        published: bool = False,
    ) -> None:
        super().__init__(loss, {"source": source, "target": target})
        if source == target:
            raise ValueError(f"source and target must be two terms, got '{source}' twice.")
        for name, value in (("amount", amount), ("least", least)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number, 0 or more, got {value}.")
        self.source = source
        self.target = target
        self.amount = amount
        self.least = least
        self.published = published

    def weights(self, epoch: int) -> dict[str, float]:
        """The weights of both terms in that epoch (from 1)."""
        a, b = self.first[self.source], self.first[self.target]
        asked = self.amount * (epoch - 1)
        taken = min(asked, max(a - self.least, 0.0))
        return {self.source: a - taken, self.target: b + (asked if self.published else taken)}
