# SPDX-License-Identifier: Apache-2.0
"""The geometric change between the two views of an image whose maps should change alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wss_monai.functional.settings import check_flags
from wss_monai.functional.spatial_map import SpatialMap
from wss_monai.functional.warps import about_centre, quarter_turns

__all__ = ["FAMILIES", "RandEquivariantTransform", "RandFlips"]

FAMILIES = ("flip", "turn", "translation", "scaling")


class RandEquivariantTransform:
    """Draw the map g of a batch: one family a batch, its parameters for each sample.

    Families: "flip" along one of ``flips``; "turn" by 90, 180 or 270 degrees in the plane ``turns``; "translation" by
    whole voxels, up to ``shift`` of the extent along each axis in ``shifts``; "scaling" about the centre. The first
    three move voxels onto voxels and so are exact; scaling interpolates linearly. As published (Patel and Dolz, MedIA
    77:102374, 2022, released code) g is never the identity for flips and turns; there a flip and a scale are one for
    the batch (``one_a_batch``), and the scaled image gets a larger or smaller frame (``sizes``); by default the frame
    stays and what leaves it is not valid.

    Args:
        family: one of `FAMILIES`, a list of them, or "all": one of them, evenly, for each batch.
        flips: spatial axes that may be flipped.
        turns: the plane of quarter turns; its extents must be equal (a turn by 180 degrees alone is drawn where not).
        shift: largest translation as a fraction of the extent.
        scaling: smallest and largest factor.
        axes: spatial axes along which things are shifted and scaled; None: all. Leave out the axis across thick slices.
        one_a_batch: flip and scale are one for the batch, as published; turns and shifts are drawn a sample there too.
        sizes: smallest and largest extent and their step, such as [192, 288, 8] as published: "scaling" then gives
            the whole image one of these extents along ``axes``, corner voxels onto corner voxels, one for the batch, in
            the place of ``scaling``. None: the frame stays.

    Raises:
        ValueError: an unknown family, numbers out of range.
    """

    def __init__(
        self,
        family: str | Sequence[str] = "all",
        flips: Sequence[int] = (0, 1),
        turns: Sequence[int] = (0, 1),
        shift: float = 0.3,
        scaling: Sequence[float] = (0.8, 1.2),
        axes: Sequence[int] | None = None,
        one_a_batch: bool = False,
        sizes: Sequence[int] | None = None,
    ) -> None:
        check_flags(one_a_batch=one_a_batch)
        families = list(FAMILIES) if family == "all" else [family] if isinstance(family, str) else list(family)
        if not families or not set(families) <= set(FAMILIES):
            raise ValueError(f"family must be 'all' or out of {FAMILIES}, got {family!r}.")
        if "flip" in families and not flips:
            raise ValueError("flips must name a spatial axis for the family 'flip', or leave that family out.")
        if len(turns) != 2 or turns[0] == turns[1]:
            raise ValueError(f"turns must be two different spatial axes, got {turns}.")
        if not 0 <= shift < 1:
            raise ValueError(f"shift must be at least 0 and below 1, got {shift}.")
        if len(scaling) != 2 or not 0 < scaling[0] <= scaling[1]:
            raise ValueError(f"scaling must be a smallest and a largest factor above 0, got {scaling}.")
        if sizes is not None and not (len(sizes) == 3 and 2 <= sizes[0] <= sizes[1] and sizes[2] >= 1):
            raise ValueError(f"sizes must be a smallest and a largest extent of at least 2 and a step, got {sizes}.")
        self.families = families
        self.flips = list(flips)
        self.turns = list(turns)
        self.shift = shift
        self.scaling = [float(factor) for factor in scaling]
        self.axes = None if axes is None else list(axes)
        self.one_a_batch = one_a_batch
        self.sizes = None if sizes is None else [int(size) for size in sizes]

    def __repr__(self) -> str:
        """Everything that the draw depends on, for the record of a run."""
        said = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__}({said})"

    def __call__(self, count: int, shape: Sequence[int], seed: int) -> SpatialMap:
        """Draw the map of ``count`` samples on a grid of ``shape``; a function of ``seed``.

        Raises:
            ValueError: axes that the grid does not have.
        """
        dimensions = len(shape)
        axes = list(range(dimensions)) if self.axes is None else self.axes
        if not all(0 <= axis < dimensions for axis in [*self.flips, *self.turns, *axes]):
            raise ValueError(
                f"flips {self.flips}, turns {self.turns} or axes {axes} name axes that a {dimensions}D image lacks."
            )
        generator = torch.Generator().manual_seed(seed)
        family = self.families[int(torch.randint(0, len(self.families), (1,), generator=generator))]
        linear = torch.eye(dimensions, dtype=torch.float64).repeat(count, 1, 1)
        offset = torch.zeros(count, dimensions, dtype=torch.float64)
        draws = 1 if self.one_a_batch else count
        if family == "flip":
            chosen = torch.tensor(self.flips)[torch.randint(0, len(self.flips), (draws,), generator=generator)]
            chosen = chosen.expand(count)
            linear[torch.arange(count), chosen, chosen] = -1
        elif family == "turn":
            linear = self._quarters(count, shape, generator)
        elif family == "translation":
            most = torch.tensor([self.shift * n if axis in axes else 0 for axis, n in enumerate(shape)])
            drawn = 2 * torch.rand(count, dimensions, generator=generator, dtype=torch.float64) - 1
            offset = (drawn * most).round()
        elif self.sizes is not None:
            return self._resized(count, tuple(shape), axes, generator)
        else:
            low, high = self.scaling
            factors = low + (high - low) * torch.rand(draws, generator=generator, dtype=torch.float64)
            for axis in axes:
                linear[:, axis, axis] = factors
        return SpatialMap(about_centre(linear, offset, tuple(shape)), tuple(shape))

    def _resized(
        self, count: int, shape: tuple[int, ...], axes: Sequence[int], generator: torch.Generator
    ) -> SpatialMap:
        low, high, step = self.sizes or (0, 0, 1)
        size = low + step * int(torch.randint(0, (high - low) // step + 1, (1,), generator=generator))
        frame = tuple(size if axis in axes else n for axis, n in enumerate(shape))
        matrix = torch.eye(len(shape) + 1, dtype=torch.float64).repeat(count, 1, 1)
        for axis in axes:
            matrix[:, axis, axis] = (size - 1) / max(shape[axis] - 1, 1)
        return SpatialMap(matrix, shape, frame)

    def _quarters(self, count: int, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        first, second = self.turns
        times = torch.randint(1, 4, (count,), generator=generator)
        if shape[first] != shape[second]:
            times = torch.full_like(times, 2)
        return quarter_turns(len(shape), first, second)[times]


class RandFlips:
    """Draw flips along each axis independently for each sample, and quarter turns where wanted: exact maps.

    With two axes and the default probability 4 % of the samples stay as they are. Source: Peng, Pedersoli and
    Desrosiers, MELBA 2021:009, released code (flips of height and width with probability 0.8 each; turns are ours).

    Args:
        axes: spatial axes that may be flipped. Leave out the axis across thick slices, and those along which anatomy
            is not alike.
        probability: of each flip.
        turns: two spatial axes of equal extent in whose plane quarter turns (none, 1, 2 or 3) are drawn besides; None:
            none.

    Raises:
        ValueError: neither axes nor turns, a negative or repeated axis, a probability outside 0..1.
    """

    def __init__(
        self, axes: Sequence[int] = (0, 1), probability: float = 0.8, turns: Sequence[int] | None = None
    ) -> None:
        if (not axes and turns is None) or len(set(axes)) != len(axes) or any(axis < 0 for axis in axes):
            raise ValueError(f"axes must name different spatial axes, at least one without turns; got {axes}.")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must lie in 0..1, got {probability}.")
        if turns is not None and (len(turns) != 2 or turns[0] == turns[1] or min(turns) < 0):
            raise ValueError(f"turns must be two different spatial axes or null, got {turns}.")
        self.axes = list(axes)
        self.probability = probability
        self.turns = None if turns is None else list(turns)

    def __repr__(self) -> str:
        """Everything that the draw depends on, for the record of a run."""
        return f"RandFlips(axes={self.axes}, probability={self.probability}, turns={self.turns})"

    def __call__(self, count: int, shape: Sequence[int], seed: int) -> SpatialMap:
        """Draw the map of ``count`` samples on a grid of ``shape``; a function of ``seed``.

        Raises:
            ValueError: axes that the grid does not have, quarter turns in a plane with unequal extents.
        """
        dimensions = len(shape)
        if not all(axis < dimensions for axis in [*self.axes, *(self.turns or ())]):
            raise ValueError(f"axes {self.axes} or turns {self.turns} name axes that a {dimensions}D image lacks.")
        generator = torch.Generator().manual_seed(seed)
        linear = torch.eye(dimensions, dtype=torch.float64).repeat(count, 1, 1)
        for axis in self.axes:
            flipped = torch.rand(count, generator=generator) < self.probability
            linear[:, axis, axis] = torch.where(flipped, -1.0, 1.0).double()
        if self.turns is not None:
            first, second = self.turns
            if shape[first] != shape[second]:
                raise ValueError(
                    f"quarter turns need equal extents along the axes {self.turns}, got {tuple(shape)}; set turns to "
                    "null."
                )
            times = torch.randint(0, 4, (count,), generator=generator)
            linear = quarter_turns(dimensions, first, second)[times] @ linear
        return SpatialMap(about_centre(linear, linear.new_zeros(count, dimensions), tuple(shape)), tuple(shape))
