# SPDX-License-Identifier: Apache-2.0
"""How long a run trains: epochs of a fixed number of iterations, or the iterations in all."""

from __future__ import annotations

from typing import Any

__all__ = ["Budget"]


EPOCHS = 20
"""At least, of a run whose iterations are given."""


class Budget:
    """The number of epochs and the iterations of each, from what the user says of them.

    Args:
        max_epochs: epochs of the run.
        epoch_iterations: iterations of an epoch, whatever the number of patients; None: an epoch is one pass through
            the training set.
        iterations: of the run in all, in the place of ``max_epochs``; None: as ``max_epochs`` says.

    Attributes:
        max_epochs: epochs of the run. With ``iterations``, the fewest whole epochs that hold them.
        epoch_iterations: iterations of an epoch; with ``iterations`` a twentieth of them at most, since what changes in
            the course of a run (learning rate, t, ramps) changes from epoch to epoch. None: one pass.

    Raises:
        ValueError: a number that is no whole number of at least 1; ``iterations`` where an epoch is a pass.
    """

    def __init__(self, max_epochs: int, epoch_iterations: int | None = None, iterations: int | None = None) -> None:
        numbers: dict[str, Any] = {
            "max_epochs": max_epochs,
            "epoch_iterations": epoch_iterations,
            "iterations": iterations,
        }
        for name, value in numbers.items():
            if isinstance(value, float) and value.is_integer():
                numbers[name] = value = int(value)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"setting '--{name}' must be a whole number of at least 1; got {value!r}.")
        self.max_epochs, self.epoch_iterations, iterations = numbers.values()
        if iterations is not None and self.epoch_iterations is None:
            raise ValueError(
                f"--iterations {iterations} needs epochs of a fixed length, and here an epoch is one pass through the "
                "training set (epoch_iterations: null): give --max_epochs, or --epoch_iterations as well."
            )
        if iterations is not None:
            self.epoch_iterations = min(self.epoch_iterations, -(-iterations // EPOCHS))
            self.max_epochs = -(-iterations // self.epoch_iterations)
