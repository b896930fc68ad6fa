# SPDX-License-Identifier: Apache-2.0
"""What a descriptor has to have, what it may have, and the defaults of the latter; see ``descriptors``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor

__all__ = ["Descriptor", "Measure", "completed"]


class Descriptor(Protocol):
    """What the constraint losses and the transforms that make bounds ask of a descriptor."""

    name: ClassVar[str]
    unit: ClassVar[str]
    nonnegative: ClassVar[bool]
    additive: ClassVar[bool]

    def __call__(self, probs: Tensor, *, spacing: Tensor | None = None, region: Tensor | None = None) -> Tensor:
        """Measure ``probs`` (B, K, *spatial); returns (B, K, M)."""

    def components(self, dimensions: int) -> int:
        """M, the number of values that describe one class in so many spatial dimensions."""

    def scale(self, bounds: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What a violation of each side of ``bounds`` (B, K, M, 2) is divided by, for a domain of that shape."""

    def move(self, bounds: Tensor, matrix: Tensor, cut: Tensor, spacing: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Bounds (B, K, M, 2) after the map ``matrix`` (B, D+1, D+1); ``spacing`` is (before, after)."""


class Measure(Descriptor):
    """The rest of what is asked of a descriptor, with the defaults of those that do not say it.

    The descriptors here derive from it. A user's need not: ``completed`` fills in what is missing.

    Attributes:
        is_place: a class that is nowhere has no measure, so that bounds do not hold for a prediction without it, and
            the slack around a bound is a part of the scale, not of the bound: 100 is no more than 0. Of a descriptor
            that does not say it: whether the measure may be negative.
        counts_voxels: the measure is a number of voxels, so that a lower bound n says that n voxels are of the class.
        one_bound: the number of values differs between samples: a class has one pair of bounds for all of them, and
            NaN is no value.
        when_absent: (lower, upper) of a class that is not there; infinite = nothing can be said.
    """

    is_place: ClassVar[bool] = False
    counts_voxels: ClassVar[bool] = False
    one_bound: ClassVar[bool] = False
    when_absent: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    def units(self, dimensions: int) -> tuple[str, ...]:
        """Units that bounds may be given in, the measure's own first."""
        return (self.unit,)

    def to_voxels(self, pairs: Tensor, unit: str, spacing: Sequence[float], shape: Sequence[int]) -> Tensor:
        """Bounds in the measure's own unit.

        Args:
            pairs: (M, 2) in ``unit``.
            unit: one of ``units``.
            spacing: voxel size in mm along each axis.
            shape: voxels along each axis.

        Raises:
            ValueError: another unit.
        """
        fitting = self.units(len(shape))
        if unit not in fitting:
            raise ValueError(
                f"unit '{unit}' does not fit '{self.name}' in {len(shape)}D: {self.name} takes {' or '.join(fitting)}."
            )
        return pairs

    def others(self) -> tuple[int, ...]:
        """Classes that the measure of every class depends on too: its bounds hold where these are there and not cut."""
        return ()

    def joint(self) -> bool:
        """Whether it has to be given all classes, in their order, also where the bounds are about some of them."""
        return bool(self.others())

    def steps_along(self) -> int | None:
        """The axis across the slices, of a measure that has a value for each slice and the next one."""
        return None

    def reach(self, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Least and greatest measure (M or 1,) on a grid of that shape; infinite = any."""
        return torch.tensor([-math.inf]), torch.tensor([math.inf])

    def shown(self, spacing: Sequence[float]) -> tuple[float, str]:
        """By what to multiply a measure for a reader, and the unit that it is in then, for voxels of that size."""
        return 1.0, self.units(len(spacing))[0]


def completed(descriptor: Descriptor) -> Measure:
    """A descriptor with all that ``Measure`` has: its own parts, and the defaults of those that it lacks."""
    return descriptor if isinstance(descriptor, Measure) else cast(Measure, _Guest(descriptor))


class _Guest:
    """A descriptor that somebody else wrote, completed."""

    def __init__(self, own: Descriptor) -> None:
        self.own = own

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Measure, as the descriptor itself does."""
        return self.own(*args, **kwargs)

    def __getattr__(self, part: str) -> Any:
        if hasattr(self.own, part):
            return getattr(self.own, part)
        if part == "is_place":
            return not self.own.nonnegative
        default = getattr(Measure, part)
        return partial(default, self) if callable(default) else default
