# SPDX-License-Identifier: Apache-2.0
"""Endless batches from a finite set: shuffled rounds through it, each a function of its number alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from wss_monai.functional.seeds import seed_of

__all__ = ["Passes", "Rounds"]

Item = TypeVar("Item")


class Rounds:
    """Shuffled rounds through ``total`` samples, end to end, cut into batches of ``size``.

    Args:
        total: samples in a round.
        size: samples in a batch; a batch may reach from one round into the next.
        seed: of all rounds.
        stream: tells several sequences of one seed apart.
    """

    def __init__(self, total: int, size: int, seed: int, stream: int) -> None:
        self.total = total
        self.size = size
        self._seeds = (seed, stream)
        self._orders: dict[int, np.ndarray] = {}

    def batch(self, number: int) -> list[int]:
        """Samples of the batch of that number, from 0."""
        places = np.arange(number * self.size, (number + 1) * self.size)
        rounds = places // self.total
        self._orders = {int(k): self._order(int(k)) for k in np.unique(rounds)}
        return [int(self._orders[int(k)][place]) for k, place in zip(rounds, places % self.total, strict=True)]

    def _order(self, k: int) -> np.ndarray:
        if (known := self._orders.get(k)) is not None:
            return known
        return np.random.RandomState(seed_of(*self._seeds, k) % 2**32).permutation(self.total)


class Passes(Generic[Item]):
    """The batches of pass after pass, end to end.

    Args:
        make: gives the batches of one pass, always as many, from its generator of random numbers.
        seed: of all passes.
        stream: tells several sequences of one seed apart.
    """

    def __init__(self, make: Callable[[np.random.RandomState], list[Item]], seed: int, stream: int) -> None:
        self._make = make
        self._seeds = (seed, stream)
        self._known: tuple[int, list[Item]] | None = None

    def batch(self, number: int) -> Item:
        """The batch of that number, from 0."""
        length = len(self._pass(0 if self._known is None else self._known[0]))
        return self._pass(number // length)[number % length]

    def _pass(self, k: int) -> list[Item]:
        if self._known is None or self._known[0] != k:
            self._known = (k, self._make(np.random.RandomState(seed_of(*self._seeds, k) % 2**32)))
        return self._known[1]
