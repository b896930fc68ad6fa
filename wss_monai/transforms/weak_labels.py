# SPDX-License-Identifier: Apache-2.0
"""Transforms that derive a weak label from a dense one while training, for trials of weak annotation."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Hashable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_numpy, ensure_tuple_rep

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

__all__ = [
    "STRATEGIES",
    "RandWeakLabel",
    "RandWeakLabeld",
    "WeakLabeld",
    "case_seed",
    "strategy_options",
]

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
    **dict.fromkeys(("background", "per_component"), (bool, False)),
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


class RandWeakLabel(RandomizableTransform):
    """Draw a weak label from a dense one, a new one at each call.

    Args:
        strategy: a name in ``STRATEGIES``.
        slice_axis: draw in every 2D slice along this spatial axis; None: draw in the image's own dimension. The
            strategy ``sparse_slices`` keeps slices along it (None: along axis 2).
        options: options of the generator (``wss_monai.functional.weak.generators`` and ``scribbles``).

    Raises:
        ValueError: if there is no such strategy, it has no such option, or the option's value is of another type.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, strategy: str, slice_axis: int | None = None, **options: Any) -> None:
        RandomizableTransform.__init__(self)
        known = strategy_options(strategy)
        wrong = sorted(set(options) - set(known))
        if wrong:
            raise ValueError(f"strategy '{strategy}' has no option {', '.join(wrong)}; it has {', '.join(known)}")
        defaults = inspect.signature(STRATEGIES[strategy]).parameters
        for name, value in options.items():
            if not (value is None and defaults[name].default is None):
                _check_option(name, value)
        self.strategy, self.slice_axis, self.options = strategy, slice_axis, options

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Draw.

        Args:
            img: dense class indices, shape ``(1, *spatial)``, 255 where unknown.

        Returns:
            uint8 of the same shape, kind, device and metadata; class indices, 255 where unlabelled.

        Raises:
            ValueError: on more than one channel or values that are no class indices.
        """
        return self.paint(img, self.R)

    def paint(self, img: NdarrayOrTensor, R: np.random.RandomState) -> NdarrayOrTensor:
        """Draw with a given source of randomness and leave the transform's own alone."""
        label = convert_to_numpy(img)
        if label.ndim < 3 or label.shape[0] != 1:
            raise ValueError(f"a dense label needs one channel, shape (1, *spatial); got shape {tuple(label.shape)}")
        generator, options, axis = STRATEGIES[self.strategy], dict(self.options), self.slice_axis
        if generator is sparse_slices and axis is not None:
            options["axis"], axis = axis, None
        weak = generator(label[0], R, **options) if axis is None else slicewise(generator, label[0], axis, R, **options)
        dtype = torch.uint8 if isinstance(img, torch.Tensor) else np.uint8
        return convert_to_dst_type(weak[None], img, dtype=dtype)[0]

    def channels(self, label: np.ndarray, num_classes: int) -> np.ndarray:
        """Draw the boxes of each class in a channel of its own, since they may overlap.

        Args:
            label: dense class indices, shape ``(*spatial)``, 255 where unknown.
            num_classes: K.

        Returns:
            Boolean, shape ``(K, *spatial)``; ``wss_monai.functional.weak.box_maps.box_index`` writes it as one map.

        Raises:
            ValueError: for another strategy than "box", and as the call.
        """
        if self.strategy != "box":
            raise ValueError(f"strategy '{self.strategy}' draws one class a voxel; only boxes have channels")
        return box_channels(label, num_classes, self.slice_axis, **self.options)


class WeakLabeld(MapTransform):
    """Derive a case's weak label from its dense one: the same label whenever the case is asked for.

    The draw is a function of (seed, case id), whatever the order of the cases or the worker, and the transform is no
    random one for MONAI, so that ``CacheDataset`` keeps its result. A new draw at each epoch would uncover the dense
    label bit by bit, which no annotator does.

    Args:
        keys: keys of the dense labels, shape ``(1, *spatial)``.
        strategy: see ``RandWeakLabel``, as are slice_axis and options.
        slice_axis: see there.
        output_key: where the weak label goes; one for each of ``keys``.
        seed: of the draw.
        id_key: key of the case id.
        allow_missing_keys: leave a case without the dense label as it is.
        options: see there.
    """

    backend = RandWeakLabel.backend

    def __init__(
        self,
        keys: KeysCollection = "label",
        *,
        strategy: str,
        slice_axis: int | None = None,
        output_key: KeysCollection = "weak_label",
        seed: int = 0,
        id_key: str = "case",
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.converter = RandWeakLabel(strategy, slice_axis, **options)
        self.output_keys = ensure_tuple_rep(output_key, len(self.keys))
        self.seed: int | None = seed
        self.id_key = id_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the weak label to a case.

        Raises:
            ValueError: if the case has no id, or as ``RandWeakLabel``; the message names the case.
        """
        d = dict(data)
        seed = self.draw_seed(d)
        for key, output_key in self.key_iterator(d, self.output_keys):
            try:
                d[output_key] = self.converter.paint(d[key], np.random.RandomState(seed))
            except ValueError as error:
                raise ValueError(f"case '{d.get(self.id_key)}', key '{key}': {error}") from error
        return d

    def draw_seed(self, data: Mapping[Hashable, Any]) -> int:
        """Return the seed of this case's draw."""
        if self.id_key not in data:
            raise ValueError(
                f"the case has no '{self.id_key}', which makes its draw its own; keys: {sorted(map(str, data))}"
            )
        return case_seed(self.seed or 0, data[self.id_key])


class RandWeakLabeld(RandomizableTransform, WeakLabeld):
    """Derive a weak label with a new draw at each call; with ``seed``, one draw a case as in ``WeakLabeld``.

    All keys share the draw.

    Args:
        keys: see ``WeakLabeld``, as are all other arguments.
        seed: None: draw from the transform's own random state, which MONAI seeds.
        options: see there.
    """

    def __init__(self, keys: KeysCollection = "label", *, seed: int | None = None, **options: Any) -> None:
        RandomizableTransform.__init__(self)
        WeakLabeld.__init__(self, keys, **options)
        self.seed = seed

    def draw_seed(self, data: Mapping[Hashable, Any]) -> int:
        """Return the seed of this case's draw, or of this call's."""
        if self.seed is not None:
            return WeakLabeld.draw_seed(self, data)
        return int(self.R.randint(2**32, dtype=np.uint32))
