# SPDX-License-Identifier: Apache-2.0
"""The generators of weak labels by name, with their options checked once and applied to whole label maps."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np

from wss_monai.functional.weak.box_maps import box_channels
from wss_monai.functional.weak.generators import (
    box,
    centroid_blob,
    erosion,
    points,
    random_blob,
    slicewise,
    sparse_slices,
)
from wss_monai.functional.weak.scribbles import scribble, scribble_border, scribble_interior

__all__ = ["STRATEGIES", "Strategy", "case_seed", "strategy_options"]

STRATEGIES: dict[str, Callable[..., np.ndarray]] = {
    "random_blob": random_blob,
    "centroid_blob": centroid_blob,
    "erosion": erosion,
    "box": box,
    "scribble": scribble,
    "scribble_interior": scribble_interior,
    "scribble_border": scribble_border,
    "points": points,
    "sparse_slices": sparse_slices,
}
"""Names of the generators in ``wss_monai.functional``; their options are the transforms' options."""

KINDS: dict[str, tuple[type, bool]] = {
    **dict.fromkeys(("classes", "width", "margin", "radius"), (Integral, True)),
    **dict.fromkeys(("jitter", "iterations", "number", "every", "inset"), (Integral, False)),
    **dict.fromkeys(("background", "per_component", "truncated"), (bool, False)),
    "deform": (Real, False),
}
"""Option of a generator -> type of its value, and whether there may be several."""
LARGEST = 10**9


def strategy_options(strategy: str) -> list[str]:
    """List the names of the options that a strategy takes.

    Raises:
        ValueError: if there is no such strategy.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}; got {strategy!r}")
    return [name for name in inspect.signature(STRATEGIES[strategy]).parameters if name not in ("label", "R", "axis")]


def _check_option(name: str, value: Any) -> None:
    """Refuse a value of another type; the generators refuse those out of range."""
    kind, several = KINDS.get(name, (Real, True))
    items = list(value) if isinstance(value, (list, tuple, np.ndarray)) and several else [value]
    fits = all(isinstance(item, kind) and (kind is bool or not isinstance(item, bool)) for item in items)
    if not fits or not all(abs(item) < LARGEST for item in items):
        word = {bool: "true or false", Integral: "a whole number", Real: "a number"}[kind]
        raise ValueError(f"option {name} must be {word}{' or a list of such' if several else ''}, got {value!r}")


def case_seed(seed: int, case: object) -> int:
    """Return the seed of a case's draw: a function of ``seed`` and the case id, equal in every process and order."""
    return zlib.crc32(f"{seed}:{case}".encode())


class Strategy:
    """A generator with its options.

    Args:
        name: in ``STRATEGIES``.
        slice_axis: draw in every 2D slice along this spatial axis; None: draw in the map's own dimension. The strategy
            ``sparse_slices`` keeps slices along it (None: along axis 2).
        options: of the generator.

    Raises:
        ValueError: if there is no such strategy, it has no such option, or a value is of another type.
    """

    def __init__(self, name: str, slice_axis: int | None = None, **options: Any) -> None:
        known = strategy_options(name)
        wrong = sorted(set(options) - set(known))
        if wrong:
            raise ValueError(f"strategy '{name}' has no option {', '.join(wrong)}; it has {', '.join(known)}")
        defaults = inspect.signature(STRATEGIES[name]).parameters
        for option, value in options.items():
            if not (value is None and defaults[option].default is None):
                _check_option(option, value)
        self.name, self.slice_axis, self.options = name, slice_axis, options

    def draw(self, label: np.ndarray, R: np.random.RandomState) -> np.ndarray:
        """Draw a weak label, (*spatial), uint8, of a dense one; class indices, 255 where unknown or unlabelled.

        Raises:
            ValueError: on values that are no class indices.
        """
        generator, options, axis = STRATEGIES[self.name], dict(self.options), self.slice_axis
        if generator is sparse_slices and axis is not None:
            options["axis"], axis = axis, None
        return generator(label, R, **options) if axis is None else slicewise(generator, label, axis, R, **options)

    def channels(self, label: np.ndarray, num_classes: int) -> np.ndarray:
        """Draw the boxes of each class in a channel of its own, since they may overlap.

        Args:
            label: dense class indices, shape ``(*spatial)``, 255 where unknown.
            num_classes: K.

        Returns:
            Boolean, shape ``(K, *spatial)``; ``wss_monai.functional.weak.box_maps.box_index`` writes it as one map.

        Raises:
            ValueError: for another strategy than "box", and as ``draw``.
        """
        if self.name != "box":
            raise ValueError(f"strategy '{self.name}' draws one class a voxel; only boxes have channels")
        return box_channels(label, num_classes, self.slice_axis, **self.options)
