# SPDX-License-Identifier: Apache-2.0
"""What a loss gives back of its single costs: MONAI's ``reduction``."""

from __future__ import annotations

from enum import Enum

from torch import Tensor

__all__ = ["REDUCTIONS", "checked_reduction", "reduced"]

REDUCTIONS = ("mean", "sum", "none")


def checked_reduction(reduction: str, allowed: tuple[str, ...] = REDUCTIONS, why: str = "") -> str:
    """Give the word of a reduction, which may be ``monai.utils.LossReduction`` too.

    Args:
        reduction: the setting.
        allowed: the words that the loss takes.
        why: why it takes no other, for the message.

    Raises:
        ValueError: another word.
    """
    word = reduction.value if isinstance(reduction, Enum) else reduction
    if word not in allowed:
        raise ValueError(f"reduction must be one of {list(allowed)}, got {word!r}{f': {why}' if why else ''}.")
    return str(word)


def reduced(costs: Tensor, reduction: str) -> Tensor:
    """Mean or sum of costs of any shape, a scalar; the costs themselves where ``reduction`` is "none"."""
    return costs if reduction == "none" else costs.sum() if reduction == "sum" else costs.mean()
