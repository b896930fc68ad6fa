# SPDX-License-Identifier: Apache-2.0
"""What the generated data sets share: the check of how many and from which seed, and the record of how to repeat it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from wss_monai import __version__

__all__ = ["Progress", "check_numbers", "generator"]

Progress = Callable[[Iterable[int]], Iterable[int]]
"""What wraps the loop over patients, such as ``tqdm``."""


def check_numbers(seed: int, patients: int | None = None) -> None:
    """Refuse numbers that no data set can be generated from.

    Raises:
        ValueError: ``patients`` below 1 or ``seed`` negative.
    """
    if patients is not None and patients < 1:
        raise ValueError(f"patients must be 1 or more, got {patients}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")


def generator(words: str, seed: int) -> dict[str, Any]:
    """Give the entry of ``dataset.json`` that says how the data set was made.

    Args:
        words: what stands behind ``python -m wss_monai synthesize``.
        seed: of the data set.
    """
    command = f"python -m wss_monai synthesize {words}"
    return {"generator": {"command": command, "seed": seed, "version": __version__}}
